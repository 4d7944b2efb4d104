//! What people are still to be told, and which of their commands were followed.

use std::sync::PoisonError;

use ruma::{EventId, OwnedUserId};
use tokio::sync::mpsc;

use super::{Committed, Journal, number, readable};
use crate::{
    clock::Timestamp,
    migration::{Event, MigrationId, Notice, Said},
    store::{Batch, Scope, StoreError},
};

impl Journal {
    pub(super) fn put_notice(
        &self,
        batch: &mut Batch,
        migration: MigrationId,
        to: OwnedUserId,
        said: Option<&Said>,
        event: Event,
    ) -> Result<Notice, StoreError> {
        let room_id = said.filter(|said| said.by == to).map(|said| said.room_id.clone());
        let notice = Notice { id: self.store.next_id()?, migration, to, room_id, event };
        let about = match notice.event {
            // It outlives the migration, until this person is told and forgotten, too.
            Event::Forgotten { .. } => self.store.person(notice.to.as_str()),
            _ => Scope::Migration(migration.0),
        };
        batch.put_about(about, &self.notices, &number(notice.id), &notice)?;
        Ok(notice)
    }

    pub(crate) fn hand_out(&self, Committed(notices): Committed) {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = &*reader {
            // With nobody there to read it, it stays in the store until somebody is.
            notices.into_iter().for_each(|notice| drop(reader.send(notice)));
        }
    }

    /// The notices that are not delivered yet, and from then on each new one.
    pub(crate) fn notices(&self) -> Result<mpsc::UnboundedReceiver<Notice>, StoreError> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        for record in self.notices.iter() {
            if let Some((_, notice)) = readable(record)? {
                drop(sender.send(notice));
            }
        }
        *reader = Some(sender);
        Ok(receiver)
    }

    pub(crate) async fn delivered(&self, notice: u64) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.remove(&self.notices, &number(notice));
        self.store.commit(batch).await
    }

    pub(crate) fn is_handled(&self, event: &EventId) -> Result<bool, StoreError> {
        self.handled.contains(event)
    }

    pub(crate) fn is_old(&self, said: &Said, now: Timestamp) -> Result<bool, StoreError> {
        self.handled.is_old(said, now)
    }

    pub(crate) async fn handled(&self, said: &Said, now: Timestamp) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        self.handled.put(&mut batch, said, now)?;
        self.commit_batch(batch).await
    }

    /// A number greater than those of all marks so far.
    pub(crate) fn next_mark(&self) -> Result<u64, StoreError> {
        self.store.next_id()
    }

    pub(crate) async fn settle(&self, before: u64, now: Timestamp) -> Result<(), StoreError> {
        self.handled.settle(before, now).await
    }
}
