//! What migrations write down: typed tables, and changes that are committed as one.

mod handled;
mod notices;
mod steps;
#[cfg(test)]
mod tests;

use ruma::{OwnedMxcUri, OwnedUserId};
use tokio::sync::mpsc;

use self::handled::Handled;
use super::{
    Event, Migration, MigrationId, Notice, Plan, Report, Said, Side, StepResult,
    fast::{Lobby, Opening},
    step::RoomRecord,
};
use crate::{
    clock::Timestamp,
    store::{Batch, Scope, Store, StoreError, Table},
};

/// The part of the store that migrations are in.
#[derive(Debug)]
pub(crate) struct Journal {
    store: Store,
    migrations: Table<Migration>,
    plans: Table<Plan>,
    rooms: Table<RoomRecord>,
    direct_chats: Table<StepResult>,
    holdings: Table<StepResult>,
    /// Where files of the old account were copied to, by what they were copied from.
    copies: Table<OwnedMxcUri>,
    /// Push rules that may have been given in part, by their names.
    rules_begun: Table<()>,
    lobbies: Table<Lobby>,
    /// Join rules that were changed for a moment, by room.
    openings: Table<Opening>,
    /// How many times in a row the accounts began to be read, and the process ended.
    surveys_begun: Table<u32>,
    reports: Table<Report>,
    notices: Table<Notice>,
    handled: Handled,
    reader: std::sync::Mutex<Option<mpsc::UnboundedSender<Notice>>>,
}

/// A change of one migration, with everything that becomes true together with it.
#[derive(Debug)]
#[must_use = "nothing is written before `Journal::commit`"]
pub(crate) struct Change<'a> {
    /// The migration as it is to be.
    pub(crate) migration: &'a Migration,
    /// The command that caused it.
    pub(crate) said: Option<&'a Said>,
    /// What is told, to whom.
    pub(crate) events: Vec<(Side, Event)>,
    /// The plan, when it is a new one.
    pub(crate) plan: Option<&'a Plan>,
    /// The report, when it is a new one.
    pub(crate) report: Option<&'a Report>,
    /// Whatever else.
    pub(crate) batch: Batch,
}

/// The notices of a change that is written down.
#[derive(Debug)]
#[must_use = "nobody is told before `Journal::hand_out`"]
pub(crate) struct Committed(Vec<Notice>);

impl<'a> Change<'a> {
    /// A change that nobody is told of yet.
    pub(crate) fn of(migration: &'a Migration) -> Self {
        Self {
            migration,
            said: None,
            events: Vec::new(),
            plan: None,
            report: None,
            batch: Batch::new(),
        }
    }

    /// Caused by this command.
    pub(crate) fn said(mut self, said: &'a Said) -> Self {
        self.said = Some(said);
        self
    }

    /// Told to one side.
    pub(crate) fn tell(mut self, side: Side, event: Event) -> Self {
        self.events.push((side, event));
        self
    }

    /// Told to both sides.
    pub(crate) fn tell_both(self, event: Event) -> Self {
        self.tell(Side::Old, event.clone()).tell(Side::New, event)
    }
}

impl Journal {
    /// # Errors
    ///
    /// When what is kept in order cannot be read.
    pub(crate) fn open(store: Store) -> Result<Self, StoreError> {
        Ok(Self {
            migrations: store.table("migration"),
            plans: store.table("plan"),
            rooms: store.table("room"),
            direct_chats: store.table("direct_chats"),
            holdings: store.table("holding"),
            copies: store.table("copies"),
            rules_begun: store.table("rule_begun"),
            lobbies: store.table("lobby"),
            openings: store.table("opening"),
            surveys_begun: store.table("survey_begun"),
            reports: store.table("report"),
            notices: store.table("notice"),
            handled: Handled::open(&store)?,
            reader: std::sync::Mutex::default(),
            store,
        })
    }

    /// A mark by which something is known again, and which tells nobody what it is.
    pub(crate) fn mark(&self, of: &str, what: &str) -> String {
        self.store.mark(of, what)
    }

    pub(crate) fn next_id(&self) -> Result<MigrationId, StoreError> {
        self.store.next_id().map(MigrationId)
    }

    pub(crate) fn migrations(&self) -> Result<Vec<Migration>, StoreError> {
        self.migrations.iter().map(|record| record.map(|(_, migration)| migration)).collect()
    }

    pub(crate) fn plan(&self, id: MigrationId) -> Result<Option<Plan>, StoreError> {
        readable(self.plans.get(&key(id))).map(Option::flatten)
    }

    pub(crate) fn report(&self, id: MigrationId) -> Result<Option<Report>, StoreError> {
        readable(self.reports.get(&key(id))).map(Option::flatten)
    }

    pub(crate) async fn record_report(
        &self,
        id: MigrationId,
        report: &Report,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.put(&self.reports, &key(id), report)?;
        self.store.commit(batch).await
    }

    /// Writes a change down as one. Its notices are to be [handed out](Self::hand_out) once
    /// everybody who asks is told of the change, too.
    pub(crate) async fn commit(
        &self,
        change: Change<'_>,
        now: Timestamp,
    ) -> Result<Committed, StoreError> {
        let Change { migration, said, events, plan, report, mut batch } = change;
        let key = key(migration.id);
        batch.put(&self.migrations, &key, migration)?;
        if let Some(plan) = plan {
            batch.put(&self.plans, &key, plan)?;
        }
        if let Some(report) = report {
            batch.put(&self.reports, &key, report)?;
        }
        if let Some(said) = said {
            self.handled.put(&mut batch, said, now)?;
        }
        let notices = events
            .into_iter()
            .map(|(side, event)| {
                let to = migration.party(side).user_id.clone();
                self.put_notice(&mut batch, migration.id, to, said, event)
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.store.commit(batch).await?;
        Ok(Committed(notices))
    }

    /// Writes down `batch`, and what somebody who takes no part in the migration is told with it.
    pub(crate) async fn tell(
        &self,
        id: MigrationId,
        to: OwnedUserId,
        event: Event,
        mut batch: Batch,
    ) -> Result<(), StoreError> {
        let notice = self.put_notice(&mut batch, id, to, None, event)?;
        self.store.commit(batch).await?;
        self.hand_out(Committed(vec![notice]));
        Ok(())
    }

    /// Has each of these accounts told the same, as one.
    pub(crate) async fn tell_all(
        &self,
        accounts: Vec<(MigrationId, OwnedUserId)>,
        event: &Event,
        said: &Said,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        self.handled.put(&mut batch, said, now)?;
        let notices = accounts
            .into_iter()
            .map(|(id, to)| self.put_notice(&mut batch, id, to, None, event.clone()))
            .collect::<Result<Vec<_>, _>>()?;
        self.store.commit(batch).await?;
        self.hand_out(Committed(notices));
        Ok(())
    }

    /// Writes down what nobody is told of.
    pub(crate) async fn commit_batch(&self, batch: Batch) -> Result<(), StoreError> {
        if batch.is_empty() { Ok(()) } else { self.store.commit(batch).await }
    }

    /// Deletes all that is stored about a migration, and tells `tell` so.
    pub(crate) async fn delete(
        &self,
        migration: &Migration,
        said: Option<&Said>,
        tell: Option<(OwnedUserId, Event)>,
        mut batch: Batch,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = key(migration.id);
        // From here on nobody can read what the disk still has of it.
        batch.forget(Scope::Migration(migration.id.0));
        batch.remove(&self.migrations, &key);
        batch.remove(&self.plans, &key);
        batch.remove(&self.reports, &key);
        batch.remove(&self.lobbies, &key);
        batch.remove(&self.surveys_begun, &key);
        remove_all(&mut batch, &self.copies, migration.id)?;
        remove_all(&mut batch, &self.openings, migration.id)?;
        self.forget_steps(&mut batch, migration.id)?;
        for record in self.notices.iter() {
            let Some((key, notice)) = readable(record)? else { continue };
            if notice.migration == migration.id {
                batch.remove(&self.notices, &key);
            }
        }
        // The marks of what was said stay, or it could be said again by a restart.
        if let Some(said) = said {
            self.handled.put(&mut batch, said, now)?;
            self.handled.put_forgotten(&mut batch, said, now)?;
        }
        let notice = tell
            .map(|(to, event)| self.put_notice(&mut batch, migration.id, to, None, event))
            .transpose()?;
        self.store.commit(batch).await?;
        self.hand_out(Committed(Vec::from_iter(notice)));
        Ok(())
    }
}

/// A record that is damaged is as one that is not there: what it told is lost, and nothing else. It
/// stands in the way of no `cancel`, no `forget`, and nobody else's migration.
fn readable<T>(record: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match record {
        Err(error @ StoreError::Damaged { .. }) => {
            tracing::error!(%error, "what was written down there is lost");
            Ok(None)
        }
        record => record.map(Some),
    }
}

/// Adds to `batch` that all records of a migration go from a table, also those that are damaged.
fn remove_all<V>(batch: &mut Batch, table: &Table<V>, id: MigrationId) -> Result<(), StoreError> {
    for key in table.keys_prefix(&sub_key(id, ""))? {
        batch.remove(table, &key);
    }
    Ok(())
}

fn key(id: MigrationId) -> String {
    number(id.0)
}

fn sub_key(id: MigrationId, part: &str) -> String {
    format!("{}/{part}", key(id))
}

/// Of one length, so that keys sort as their numbers do.
fn number(number: u64) -> String {
    format!("{number:020}")
}
