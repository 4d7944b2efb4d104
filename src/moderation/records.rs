//! Where invite requests are kept.

use ruma::{OwnedUserId, RoomId, UserId};

use super::record::{Draft, InviteRequest, Stop};
use crate::{
    migration::{MigrationId, Side},
    store::{Batch, Store, StoreError, Table},
};

/// The tables.
#[derive(Debug)]
pub(super) struct Records {
    store: Store,
    requests: Table<InviteRequest>,
    drafts: Table<Draft>,
    stops: Table<Stop>,
    /// Up to where was heard.
    heard: Table<String>,
    /// Held while a request is read, changed and written.
    changing: tokio::sync::Mutex<()>,
}

impl Records {
    pub(super) fn new(store: Store) -> Self {
        Self {
            requests: store.table("invite_request"),
            drafts: store.table("invite_draft"),
            stops: store.table("invite_stop"),
            heard: store.table("invite_heard"),
            changing: tokio::sync::Mutex::default(),
            store,
        }
    }

    /// The requests of one migration.
    pub(super) fn of(&self, id: MigrationId) -> Result<Vec<InviteRequest>, StoreError> {
        self.requests.iter_prefix(&prefix(id)).map(|record| record.map(|(_, it)| it)).collect()
    }

    /// The requests that have to do with a room, of all migrations.
    pub(super) fn in_room(&self, room: &RoomId) -> Result<Vec<InviteRequest>, StoreError> {
        self.matching(|request| request.room_id == room)
    }

    /// The requests by which this moderator was asked in a direct message.
    pub(super) fn asked_in_person(&self, user: &UserId) -> Result<Vec<InviteRequest>, StoreError> {
        self.matching(|request| {
            request.way == Some(super::Way::DirectMessage)
                && request.asked.iter().any(|asked| asked == user)
        })
    }

    fn matching(
        &self,
        test: impl Fn(&InviteRequest) -> bool,
    ) -> Result<Vec<InviteRequest>, StoreError> {
        let all = self.requests.iter().map(|record| record.map(|(_, request)| request));
        all.filter(|request| request.as_ref().map_or(true, &test)).collect()
    }

    pub(super) fn request(
        &self,
        id: MigrationId,
        room: &RoomId,
    ) -> Result<Option<InviteRequest>, StoreError> {
        self.requests.get(&key(id, room))
    }

    /// The right to change requests, until it is dropped.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// Adds to `batch` that a request is as it is now.
    pub(super) fn put(&self, batch: &mut Batch, request: &InviteRequest) -> Result<(), StoreError> {
        batch.put(&self.requests, &key(request.migration, &request.room_id), request)
    }

    /// Changes a request, if it is still kept, and tells how it then is.
    pub(super) async fn change(
        &self,
        id: MigrationId,
        room: &RoomId,
        change: impl FnOnce(&mut InviteRequest),
    ) -> Result<Option<InviteRequest>, StoreError> {
        let _turn = self.turn().await;
        let Some(mut request) = self.request(id, room)? else { return Ok(None) };
        change(&mut request);
        let mut batch = Batch::new();
        self.put(&mut batch, &request)?;
        self.store.commit(batch).await?;
        Ok(Some(request))
    }

    pub(super) fn draft(&self, id: MigrationId) -> Result<Draft, StoreError> {
        Ok(self.drafts.get(&prefix(id))?.unwrap_or_default())
    }

    pub(super) async fn set_draft(&self, id: MigrationId, draft: &Draft) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        self.put_draft(&mut batch, id, draft)?;
        self.store.commit(batch).await
    }

    pub(super) fn put_draft(
        &self,
        batch: &mut Batch,
        id: MigrationId,
        draft: &Draft,
    ) -> Result<(), StoreError> {
        batch.put(&self.drafts, &prefix(id), draft)
    }

    pub(super) fn is_stopped(&self, room: &RoomId) -> Result<bool, StoreError> {
        self.stops.contains(room.as_str())
    }

    pub(super) async fn stop(&self, room: &RoomId, stop: &Stop) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.put(&self.stops, room.as_str(), stop)?;
        self.store.commit(batch).await
    }

    /// Up to where was heard as this side's account.
    pub(super) fn heard(&self, id: MigrationId, side: Side) -> Result<Option<String>, StoreError> {
        self.heard.get(&heard_key(id, side))
    }

    pub(super) async fn set_heard(
        &self,
        id: MigrationId,
        side: Side,
        until: &str,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.put(&self.heard, &heard_key(id, side), &until.to_owned())?;
        self.store.commit(batch).await
    }

    /// Whether a moderator of this room refused this old account before.
    pub(super) fn was_refused(&self, room: &RoomId, old: &OwnedUserId) -> Result<bool, StoreError> {
        let before = self.in_room(room)?;
        Ok(before.iter().any(|request| request.old == *old && request.was_refused()))
    }

    /// Adds to `batch` that nothing is kept about a migration. What moderators said about a room
    /// for everybody stays.
    pub(super) fn forget(&self, batch: &mut Batch, id: MigrationId) -> Result<(), StoreError> {
        for request in self.of(id)? {
            batch.remove(&self.requests, &key(id, &request.room_id));
        }
        batch.remove(&self.drafts, &prefix(id));
        for side in [Side::Old, Side::New] {
            batch.remove(&self.heard, &heard_key(id, side));
        }
        Ok(())
    }
}

fn prefix(id: MigrationId) -> String {
    format!("{:020}/", id.0)
}

fn key(id: MigrationId, room: &RoomId) -> String {
    format!("{}{room}", prefix(id))
}

fn heard_key(id: MigrationId, side: Side) -> String {
    match side {
        Side::Old => format!("{}old", prefix(id)),
        Side::New => format!("{}new", prefix(id)),
    }
}
