//! What was done of a migration: its steps, and what they need to be gone on with after a crash.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ruma::{MxcUri, OwnedMxcUri, OwnedRoomId, RoomId};

use super::{Journal, key, readable, remove_all, sub_key};
use crate::{
    migration::{
        MigrationId, StepResult,
        fast::{Lobby, Opening},
        holdings::Copies,
        step::RoomRecord,
    },
    store::{Batch, StoreError},
};

impl Journal {
    /// What was done in the rooms of one migration, by room.
    pub(crate) fn rooms(&self, id: MigrationId) -> Result<Vec<(String, RoomRecord)>, StoreError> {
        self.rooms
            .iter_prefix(&sub_key(id, ""))
            .filter_map(|record| readable(record).transpose())
            .map(|record| {
                let (key, room) = record?;
                Ok((key[sub_key(id, "").len()..].to_owned(), room))
            })
            .collect()
    }

    /// What was done in one room of a migration.
    pub(crate) fn room(
        &self,
        id: MigrationId,
        room: &str,
    ) -> Result<Option<RoomRecord>, StoreError> {
        readable(self.rooms.get(&sub_key(id, room))).map(Option::flatten)
    }

    pub(crate) async fn record_room(
        &self,
        id: MigrationId,
        room: &str,
        record: &RoomRecord,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.put(&self.rooms, &sub_key(id, room), record)?;
        self.store.commit(batch).await
    }

    /// Adds to `batch` that rooms are to be tried again.
    pub(crate) fn put_rooms<'a>(
        &self,
        batch: &mut Batch,
        id: MigrationId,
        rooms: impl IntoIterator<Item = (&'a str, &'a RoomRecord)>,
    ) -> Result<(), StoreError> {
        for (room, record) in rooms {
            batch.put(&self.rooms, &sub_key(id, room), record)?;
        }
        Ok(())
    }

    pub(crate) fn direct_chats(&self, id: MigrationId) -> Result<Option<StepResult>, StoreError> {
        readable(self.direct_chats.get(&key(id))).map(Option::flatten)
    }

    pub(crate) async fn record_direct_chats(
        &self,
        id: MigrationId,
        result: &StepResult,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.put(&self.direct_chats, &key(id), result)?;
        self.store.commit(batch).await
    }

    /// Adds to `batch` that the direct chats are to be merged again.
    pub(crate) fn forget_direct_chats(&self, batch: &mut Batch, id: MigrationId) {
        batch.remove(&self.direct_chats, &key(id));
    }

    /// What came of copying each [holding](super::Holding), by its key.
    pub(crate) fn holdings(
        &self,
        id: MigrationId,
    ) -> Result<HashMap<String, StepResult>, StoreError> {
        let prefix = sub_key(id, "");
        let named = |(key, result): (String, _)| (key[prefix.len()..].to_owned(), result);
        let records = self.holdings.iter_prefix(&prefix);
        let records = records.filter_map(|record| readable(record).transpose());
        records.map(|record| record.map(named)).collect()
    }

    pub(crate) async fn record_holding(
        &self,
        id: MigrationId,
        holding: &str,
        result: &StepResult,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.put(&self.holdings, &sub_key(id, holding), result)?;
        self.store.commit(batch).await
    }

    /// Adds to `batch` that these holdings are to be copied again.
    pub(crate) fn forget_holdings<'a>(
        &self,
        batch: &mut Batch,
        id: MigrationId,
        holdings: impl IntoIterator<Item = &'a String>,
    ) {
        for holding in holdings {
            batch.remove(&self.holdings, &sub_key(id, holding));
        }
    }

    /// Files that were copied to the new account's server.
    pub(crate) fn copies(&self, id: MigrationId) -> Result<Copies, StoreError> {
        let prefix = sub_key(id, "");
        let named = |(key, copy): (String, _)| (OwnedMxcUri::from(&key[prefix.len()..]), copy);
        let records = self.copies.iter_prefix(&prefix);
        let records = records.filter_map(|record| readable(record).transpose());
        records.map(|record| record.map(named)).collect()
    }

    pub(crate) async fn record_copy(
        &self,
        id: MigrationId,
        of: &MxcUri,
        copy: &OwnedMxcUri,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.put(&self.copies, &sub_key(id, of.as_str()), copy)?;
        self.store.commit(batch).await
    }

    /// Push rules of the new account that may have been given in part, by their names.
    pub(crate) fn rules_begun(&self, id: MigrationId) -> Result<BTreeSet<String>, StoreError> {
        let prefix = sub_key(id, "");
        let keys = self.rules_begun.keys_prefix(&prefix)?;
        Ok(keys.into_iter().map(|key| key[prefix.len()..].to_owned()).collect())
    }

    pub(crate) async fn begin_rule(
        &self,
        id: MigrationId,
        rule_id: &str,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.put(&self.rules_begun, &sub_key(id, rule_id), &())?;
        self.store.commit(batch).await
    }

    pub(crate) fn lobby(&self, id: MigrationId) -> Result<Option<Lobby>, StoreError> {
        readable(self.lobbies.get(&key(id))).map(Option::flatten)
    }

    pub(crate) async fn record_lobby(
        &self,
        id: MigrationId,
        lobby: &Lobby,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.put(&self.lobbies, &key(id), lobby)?;
        self.store.commit(batch).await
    }

    /// Join rules that were changed for a moment, by room.
    pub(crate) fn openings(
        &self,
        id: MigrationId,
    ) -> Result<BTreeMap<OwnedRoomId, Opening>, StoreError> {
        let prefix = sub_key(id, "");
        let mut openings = BTreeMap::new();
        for record in self.openings.iter_prefix(&prefix) {
            let Some((key, opening)) = readable(record)? else { continue };
            if let Ok(room_id) = OwnedRoomId::try_from(&key[prefix.len()..]) {
                openings.insert(room_id, opening);
            }
        }
        Ok(openings)
    }

    pub(crate) fn opening(
        &self,
        id: MigrationId,
        room: &RoomId,
    ) -> Result<Option<Opening>, StoreError> {
        readable(self.openings.get(&sub_key(id, room.as_str()))).map(Option::flatten)
    }

    pub(crate) async fn record_opening(
        &self,
        id: MigrationId,
        room: &RoomId,
        opening: &Opening,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.put(&self.openings, &sub_key(id, room.as_str()), opening)?;
        self.store.commit(batch).await
    }

    /// How many times in a row the accounts of a migration began to be read, and the process ended.
    pub(crate) fn surveys_begun(&self, id: MigrationId) -> Result<u32, StoreError> {
        Ok(self.surveys_begun.get(&key(id))?.unwrap_or_default())
    }

    /// The accounts are about to be read, for the `times`-th time in a row.
    pub(crate) async fn begin_survey(&self, id: MigrationId, times: u32) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.put(&self.surveys_begun, &key(id), &times)?;
        self.store.commit(batch).await
    }

    /// Adds to `batch` that the reading of the accounts came to an end, whatever came of it.
    pub(crate) fn end_survey(&self, batch: &mut Batch, id: MigrationId) {
        batch.remove(&self.surveys_begun, &key(id));
    }

    /// Adds to `batch` that nothing was done yet.
    pub(crate) fn forget_steps(
        &self,
        batch: &mut Batch,
        id: MigrationId,
    ) -> Result<(), StoreError> {
        self.forget_direct_chats(batch, id);
        remove_all(batch, &self.holdings, id)?;
        remove_all(batch, &self.rules_begun, id)?;
        remove_all(batch, &self.rooms, id)
    }
}
