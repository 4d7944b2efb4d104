//! All migrations in memory, found by their numbers and by their accounts: nobody is looked for among
//! the migrations of others.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ruma::{OwnedUserId, UserId};

use super::{Migration, MigrationId, Side, job::Job};

#[derive(Debug, Default)]
pub(super) struct Jobs(Mutex<Index>);

#[derive(Debug, Default)]
struct Index {
    by_number: BTreeMap<MigrationId, Arc<Job>>,
    by_account: HashMap<OwnedUserId, BTreeSet<MigrationId>>,
}

impl Jobs {
    /// Those that a process before this one stored.
    pub(super) fn stored(migrations: Vec<Migration>) -> Self {
        let jobs = Self::default();
        migrations.into_iter().for_each(|migration| drop(jobs.add(Job::stored(migration))));
        jobs
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, oldest first.
    pub(super) fn all(&self) -> Vec<Arc<Job>> {
        self.index().by_number.values().cloned().collect()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.index().by_number.len()
    }

    pub(super) fn get(&self, id: MigrationId) -> Option<Arc<Job>> {
        self.index().by_number.get(&id).cloned()
    }

    /// Those that this account is named in, on either side, oldest first. It need not have consented.
    pub(super) fn of(&self, user: &UserId) -> Vec<Arc<Job>> {
        let index = self.index();
        let ids = index.by_account.get(user).into_iter().flatten();
        ids.filter_map(|id| index.by_number.get(id).cloned()).collect()
    }

    pub(super) fn add(&self, job: Job) -> Arc<Job> {
        let (id, accounts) = job.look(|migration| (migration.id, accounts(migration)));
        let job = Arc::new(job);
        let mut index = self.index();
        index.by_number.insert(id, job.clone());
        for account in accounts {
            index.by_account.entry(account).or_default().insert(id);
        }
        job
    }

    pub(super) fn remove(&self, id: MigrationId) {
        let mut index = self.index();
        let Some(job) = index.by_number.remove(&id) else { return };
        for account in job.look(accounts) {
            let Some(ids) = index.by_account.get_mut(&account) else { continue };
            ids.remove(&id);
            if ids.is_empty() {
                index.by_account.remove(&account);
            }
        }
    }
}

/// They stay the same for as long as there is the migration.
fn accounts(migration: &Migration) -> [OwnedUserId; 2] {
    [Side::Old, Side::New].map(|side| migration.party(side).user_id.clone())
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;
    use crate::migration::tests::migration_of;

    #[test]
    fn migrations_are_found_by_their_accounts_and_nothing_is_left_of_those_removed() {
        let jobs = Jobs::default();
        for number in 0..1000 {
            let (old, new) = (format!("@old{number}:a.example"), "@new:b.example");
            let ids = (MigrationId(number), old.as_str(), new);
            jobs.add(Job::new(migration_of(ids.0, ids.1, ids.2)));
        }
        let of = |user| jobs.of(user).iter().map(|job| job.migration().id.0).collect::<Vec<_>>();
        assert_eq!(of(user_id!("@old7:a.example")), [7]);
        assert_eq!(of(user_id!("@new:b.example")), (0..1000).collect::<Vec<_>>());
        assert!(of(user_id!("@nobody:b.example")).is_empty());
        (0..1000).for_each(|number| jobs.remove(MigrationId(number)));
        let index = jobs.index();
        assert!(index.by_number.is_empty() && index.by_account.is_empty());
    }
}
