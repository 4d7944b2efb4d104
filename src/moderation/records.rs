//! Where invite requests are kept.

use ruma::{RoomId, UserId};

use super::record::{Draft, InviteRequest, Stop};
use crate::{
    clock::Timestamp,
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
    /// Which old account was refused in which room: a mark, which tells neither.
    refusals: Table<Timestamp>,
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
            refusals: store.table("invite_refusal"),
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

    /// Adds to `batch` that a moderator of this room refused this old account.
    pub(super) fn put_refusal(
        &self,
        batch: &mut Batch,
        request: &InviteRequest,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        batch.put(&self.refusals, &self.refusal(&request.room_id, &request.old), &at)
    }

    /// Whether a moderator of this room refused this old account before, in whatever migration.
    pub(super) fn was_refused(&self, room: &RoomId, old: &UserId) -> Result<bool, StoreError> {
        self.refusals.contains(&self.refusal(room, old))
    }

    fn refusal(&self, room: &RoomId, old: &UserId) -> String {
        self.store.mark("invite_refusal", &format!("{room} {old}"))
    }

    /// Adds to `batch` that nothing is kept about a migration. What moderators said no to stays:
    /// nobody is asked anew because somebody else was forgotten.
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

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};
    use ruma::{owned_room_id, room_id, user_id};

    use super::*;

    #[tokio::test]
    async fn a_no_outlives_what_is_forgotten_and_names_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let mut rng = StdRng::seed_from_u64(1);
        let store = Store::open(folder.path(), &folder.path().join("key"), &mut rng).unwrap();
        let records = Records::new(store.clone());
        let request = super::super::ask::sample(MigrationId(1), owned_room_id!("!room:a"));
        let mut batch = Batch::new();
        records.put(&mut batch, &request).unwrap();
        records.put_refusal(&mut batch, &request, Timestamp::UNIX_EPOCH).unwrap();
        store.commit(batch).await.unwrap();
        let mut batch = Batch::new();
        records.forget(&mut batch, MigrationId(1)).unwrap();
        store.commit(batch).await.unwrap();

        assert!(records.of(MigrationId(1)).unwrap().is_empty());
        assert!(records.was_refused(room_id!("!room:a"), &request.old).unwrap());
        assert!(!records.was_refused(room_id!("!other:a"), &request.old).unwrap());
        assert!(!records.was_refused(room_id!("!room:a"), user_id!("@other:a")).unwrap());
        let kept: Vec<_> = records.refusals.iter().map(|kept| kept.unwrap().0).collect();
        assert_eq!(kept.len(), 1);
        assert!(!kept[0].contains("room") && !kept[0].contains(request.old.localpart()));
    }
}
