//! Where invite requests are kept.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use ruma::{OwnedRoomId, RoomId, UserId};
use tokio::sync::OwnedMutexGuard;

use super::{
    heard::Heard,
    record::{Answered, Draft, InviteRequest, Shown, Way},
};
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
    /// Who said of which room that nobody is to be asked there: a mark, which tells neither.
    stops: Table<Timestamp>,
    /// Which old account was refused in which room: a mark, which tells neither.
    refusals: Table<Timestamp>,
    /// Up to where was heard.
    heard: Table<String>,
    /// Answers that are to be followed: one of each person to each request.
    answers: Table<Answered>,
    /// Who knows what is asked.
    shown: Table<Shown>,
    /// When there were direct messages of late, by marks that name nobody and outlive what is
    /// forgotten.
    written: Table<Vec<Timestamp>>,
    /// Held while these are counted.
    counting: tokio::sync::Mutex<()>,
    /// One for each migration, held while a request of it is read, changed and written, and never
    /// while a homeserver is asked: nobody waits for what concerns another migration.
    changing: Mutex<BTreeMap<MigrationId, Arc<tokio::sync::Mutex<()>>>>,
}

/// The right to change the requests of one migration, until it is dropped.
pub(super) type Turn = OwnedMutexGuard<()>;

impl Records {
    pub(super) fn new(store: Store) -> Self {
        Self {
            requests: store.table("invite_request"),
            drafts: store.table("invite_draft"),
            stops: store.table("invite_stop"),
            refusals: store.table("invite_refusal"),
            heard: store.table("invite_heard"),
            answers: store.table("invite_answer"),
            shown: store.table("invite_shown"),
            written: store.table("invite_written"),
            counting: tokio::sync::Mutex::default(),
            changing: Mutex::default(),
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

    /// The rooms in which the answer to a message is waited for.
    pub(super) fn rooms_with_message(&self) -> Result<HashSet<OwnedRoomId>, StoreError> {
        let asks = |request: &InviteRequest| {
            request.state.is_live() && request.way.is_none_or(|way| way == Way::Message)
        };
        Ok(self.matching(asks)?.into_iter().map(|request| request.room_id).collect())
    }

    /// The requests by which this moderator was asked in a direct message.
    pub(super) fn asked_in_person(&self, user: &UserId) -> Result<Vec<InviteRequest>, StoreError> {
        self.matching(|request| request.is_asked_in_person(user))
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

    /// The right to change the requests of one migration.
    pub(super) async fn turn(&self, id: MigrationId) -> Turn {
        let turn = {
            let mut changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
            changing.entry(id).or_default().clone()
        };
        turn.lock_owned().await
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
        let _turn = self.turn(id).await;
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

    /// Whether this person said that nobody is to be asked in a room.
    pub(super) fn is_stopped_by(&self, room: &RoomId, by: &UserId) -> Result<bool, StoreError> {
        self.stops.contains(&self.stop_mark(room, by))
    }

    pub(super) async fn stop(
        &self,
        room: &RoomId,
        by: &UserId,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.put(&self.stops, &self.stop_mark(room, by), &at)?;
        self.store.commit(batch).await
    }

    fn stop_mark(&self, room: &RoomId, by: &UserId) -> String {
        self.store.mark("invite_stop", &format!("{room} {by}"))
    }

    /// The answers in one migration that are to be followed.
    pub(super) fn answers(&self, id: MigrationId) -> Result<Vec<Answered>, StoreError> {
        self.answers.iter_prefix(&prefix(id)).map(|record| record.map(|(_, it)| it)).collect()
    }

    /// Keeps an answer, in the place of what the same person said before and was not followed yet.
    pub(super) async fn put_answer(
        &self,
        id: MigrationId,
        room: &RoomId,
        heard: &Heard,
    ) -> Result<(), StoreError> {
        let answered = Answered { room_id: room.to_owned(), heard: heard.clone() };
        let mut batch = Batch::new();
        batch.put(&self.answers, &answer_key(id, room, heard.by()), &answered)?;
        self.store.commit(batch).await
    }

    /// An answer was followed; another that came meanwhile is not.
    pub(super) async fn drop_answer(
        &self,
        id: MigrationId,
        room: &RoomId,
        heard: &Heard,
    ) -> Result<(), StoreError> {
        let key = answer_key(id, room, heard.by());
        if self.answers.get(&key)?.is_none_or(|kept| kept.heard != *heard) {
            return Ok(());
        }
        let mut batch = Batch::new();
        batch.remove(&self.answers, &key);
        self.store.commit(batch).await
    }

    /// The right to count, until it is dropped.
    pub(super) async fn counting(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.counting.lock().await
    }

    pub(super) fn written(&self, what: &str) -> Result<Vec<Timestamp>, StoreError> {
        let mark = self.store.mark("invite_written", what);
        Ok(self.written.get(&mark)?.unwrap_or_default())
    }

    pub(super) fn put_written(
        &self,
        batch: &mut Batch,
        what: &str,
        times: &Vec<Timestamp>,
    ) -> Result<(), StoreError> {
        batch.put(&self.written, &self.store.mark("invite_written", what), times)
    }

    pub(super) async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.store.commit(batch).await
    }

    /// Who knows what is asked in a room.
    pub(super) fn shown(&self, id: MigrationId, room: &RoomId) -> Result<Shown, StoreError> {
        Ok(self.shown.get(&key(id, room))?.unwrap_or_default())
    }

    pub(super) async fn change_shown(
        &self,
        id: MigrationId,
        room: &RoomId,
        change: impl FnOnce(&mut Shown),
    ) -> Result<(), StoreError> {
        let _turn = self.turn(id).await;
        let mut shown = self.shown(id, room)?;
        change(&mut shown);
        let mut batch = Batch::new();
        batch.put(&self.shown, &key(id, room), &shown)?;
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
            batch.remove(&self.shown, &key(id, &request.room_id));
        }
        for answered in self.answers(id)? {
            batch.remove(&self.answers, &answer_key(id, &answered.room_id, answered.heard.by()));
        }
        self.changing.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
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

fn answer_key(id: MigrationId, room: &RoomId, by: &UserId) -> String {
    format!("{} {by}", key(id, room))
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
