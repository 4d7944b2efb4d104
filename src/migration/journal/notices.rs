//! What people are still to be told, and which of their commands were followed.

use std::sync::PoisonError;

use ruma::{EventId, OwnedUserId, UserId};
use tokio::sync::mpsc;

use super::{Committed, Handled, Journal, number, readable};
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
        self.handled.contains(event.as_str())
    }

    pub(crate) async fn handled(
        &self,
        by: &UserId,
        event: &EventId,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.put(&self.handled, event.as_str(), &Handled { by: by.to_owned(), at })?;
        self.store.commit(batch).await
    }

    pub(super) fn put_handled(
        &self,
        batch: &mut Batch,
        said: Option<&Said>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(said) = said else { return Ok(()) };
        let handled = Handled { by: said.by.clone(), at };
        batch.put(&self.handled, said.event_id.as_str(), &handled)
    }
}
