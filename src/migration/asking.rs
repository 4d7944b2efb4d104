//! Who may be asked for their consent, by whom, and how often: nobody is to be pestered.
//!
//! A no lasts, `block` lasts, and neither one account nor one server can make the bot write to
//! strangers without bound. All of it is kept by marks that name nobody, so that it outlives
//! `forget` of either side.

use std::time::Duration;

use jiff::SignedDuration;
use ruma::{ServerName, UserId};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};

use super::Refusal;
use crate::{
    clock::Timestamp,
    store::{Batch, Store, StoreError, Table},
};

/// How many accounts one person may have asked within [`A_DAY`].
pub(super) const MOST_BY_ONE: usize = 5;
/// How many accounts of one server may ask within [`A_DAY`]. Not for those where the bot is at
/// home: whoever runs them answers for the bot as well.
const MOST_BY_SERVER: usize = 100;
/// How many questions one account gets within [`A_DAY`], whoever asks.
const MOST_TO_ONE: usize = 5;
/// How many that they said no to are remembered for one account.
const MOST_NOS: usize = 500;

const A_DAY: SignedDuration = SignedDuration::from_hours(24);

/// Held while what is kept here is read, changed and written: when the last pruning was.
pub(super) type Turn<'a> = MutexGuard<'a, Option<Timestamp>>;

/// What is kept of an account that was asked, or that does not want to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Recipient {
    /// It said `block`.
    pub(super) blocked: bool,
    /// Marks of those whom it said no to. It lasts until it accepts one, or says `unblock`.
    pub(super) said_no_to: Vec<String>,
    /// When it was asked within the last day.
    pub(super) asked: Vec<Timestamp>,
}

/// One question that somebody wants to have asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    /// The account that asks.
    pub(super) old: &'a UserId,
    /// The account that is asked.
    pub(super) new: &'a UserId,
    /// Whether the bot is at home on the server of the account that asks.
    pub(super) from_home: bool,
}

/// When people had others asked, and what those said to it.
#[derive(Debug)]
pub(super) struct Asking {
    store: Store,
    recipients: Table<Recipient>,
    /// When each account and each server had others asked.
    askers: Table<Vec<Timestamp>>,
    /// When the last pruning was. Held while a record is read, changed and written.
    pruned: Mutex<Option<Timestamp>>,
}

impl Asking {
    pub(super) fn new(store: Store) -> Self {
        Self {
            recipients: store.table("asking_recipient"),
            askers: store.table("asking_asker"),
            pruned: Mutex::default(),
            store,
        }
    }

    /// Waits until nobody else changes what is kept here. [`ask`](Self::ask) wants it held until its
    /// batch is committed.
    pub(super) async fn turn(&self) -> Turn<'_> {
        self.pruned.lock().await
    }

    fn recipient_key(&self, user: &UserId) -> String {
        self.store.mark("asking recipient", user.as_str())
    }

    fn no_mark(&self, old: &UserId) -> String {
        self.store.mark("asking no", old.as_str())
    }

    pub(super) fn recipient(&self, user: &UserId) -> Result<Recipient, StoreError> {
        Ok(self.recipients.get(&self.recipient_key(user))?.unwrap_or_default())
    }

    /// Whether `user` once said no to being asked by `old`.
    pub(super) fn has_said_no(&self, user: &UserId, old: &UserId) -> Result<bool, StoreError> {
        Ok(self.recipient(user)?.said_no_to.contains(&self.no_mark(old)))
    }

    /// Writes into `batch` that this is asked, if it may be. The last day alone counts, and a time
    /// to come counts as of it: the clock was set back.
    ///
    /// # Errors
    ///
    /// [`Refusal::AskedTooOften`], [`Refusal::ServerAskedTooOften`], [`Refusal::Unwanted`].
    pub(super) fn ask(
        &self,
        question: Question<'_>,
        now: Timestamp,
        turn: &mut Turn<'_>,
        batch: &mut Batch,
    ) -> Result<(), Refusal> {
        self.prune(now, turn, batch)?;
        let Question { old, new, from_home } = question;
        self.count_asker(&self.asker_key(old), MOST_BY_ONE, now, batch)?
            .map_or(Ok(()), |left| Err(Refusal::AskedTooOften { left }))?;
        if !from_home {
            let key = self.server_key(old.server_name());
            self.count_asker(&key, MOST_BY_SERVER, now, batch)?
                .map_or(Ok(()), |left| Err(Refusal::ServerAskedTooOften { left }))?;
        }
        let mut recipient = self.recipient(new)?;
        recipient.asked.retain(|at| is_recent(*at, now));
        // One answer for all three: whoever asks does not learn which it is.
        if recipient.blocked
            || recipient.said_no_to.contains(&self.no_mark(old))
            || recipient.asked.len() >= MOST_TO_ONE
        {
            return Err(Refusal::Unwanted { new: new.to_owned() });
        }
        recipient.asked.push(now);
        self.put(batch, new, &recipient)?;
        Ok(())
    }

    fn asker_key(&self, old: &UserId) -> String {
        self.store.mark("asking account", old.as_str())
    }

    fn server_key(&self, server: &ServerName) -> String {
        self.store.mark("asking server", server.as_str())
    }

    /// Counts one more question, or tells how long until there may be one more.
    fn count_asker(
        &self,
        key: &str,
        most: usize,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<Option<Duration>, StoreError> {
        let mut times = self.askers.get(key)?.unwrap_or_default();
        times.retain(|at| is_recent(*at, now));
        if times.len() >= most {
            return Ok(Some(left(times.iter().min().copied().unwrap_or(now), now)));
        }
        times.push(now);
        batch.put(&self.askers, key, &times)?;
        Ok(None)
    }

    /// Changes what is kept of one account.
    pub(super) async fn change(
        &self,
        user: &UserId,
        change: impl FnOnce(&mut Recipient),
    ) -> Result<(), StoreError> {
        let _turn = self.turn().await;
        let mut batch = Batch::new();
        let before = self.recipient(user)?;
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return Ok(());
        }
        self.put(&mut batch, user, &after)?;
        self.store.commit(batch).await
    }

    /// `user` said no to `old`.
    pub(super) async fn note_no(&self, user: &UserId, old: &UserId) -> Result<(), StoreError> {
        let mark = self.no_mark(old);
        self.change(user, |recipient| {
            let nos = &mut recipient.said_no_to;
            nos.retain(|known| *known != mark);
            nos.push(mark);
            let too_many = nos.len().saturating_sub(MOST_NOS);
            nos.drain(..too_many);
        })
        .await
    }

    /// `user` said yes to `old`, whatever it said before.
    pub(super) async fn note_yes(&self, user: &UserId, old: &UserId) -> Result<(), StoreError> {
        let mark = self.no_mark(old);
        self.change(user, |recipient| recipient.said_no_to.retain(|known| *known != mark)).await
    }

    fn put(&self, batch: &mut Batch, user: &UserId, kept: &Recipient) -> Result<(), StoreError> {
        let key = self.recipient_key(user);
        if *kept == Recipient::default() {
            batch.remove(&self.recipients, &key);
            return Ok(());
        }
        batch.put(&self.recipients, &key, kept)
    }

    /// Once a day, what counts no more is removed, so that it does not grow with those who ask.
    fn prune(
        &self,
        now: Timestamp,
        pruned: &mut Turn<'_>,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        if pruned.is_some_and(|at| is_recent(at, now)) {
            return Ok(());
        }
        for record in self.askers.iter() {
            let (key, times) = record?;
            if !times.iter().any(|at| is_recent(*at, now)) {
                batch.remove(&self.askers, &key);
            }
        }
        for record in self.recipients.iter() {
            let (key, kept) = record?;
            let is_moot = !kept.blocked && kept.said_no_to.is_empty();
            if is_moot && !kept.asked.iter().any(|at| is_recent(*at, now)) {
                batch.remove(&self.recipients, &key);
            }
        }
        **pruned = Some(now);
        Ok(())
    }
}

/// A time to come counts as recent: the clock was set back.
fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at) < A_DAY
}

fn left(at: Timestamp, now: Timestamp) -> Duration {
    let left = A_DAY - now.duration_since(at);
    Duration::try_from(left.min(A_DAY)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};
    use ruma::{OwnedUserId, user_id};
    use tempfile::TempDir;

    use super::*;

    fn hour(hour: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1000 + hour)
    }

    fn open(dir: &TempDir) -> Asking {
        let path = dir.path().join("data");
        let store = Store::open(&path, &path.join("key"), &mut StdRng::seed_from_u64(1)).unwrap();
        Asking::new(store)
    }

    fn name(number: usize, server: &str) -> OwnedUserId {
        OwnedUserId::try_from(format!("@somebody-{number}:{server}")).unwrap()
    }

    async fn ask(asking: &Asking, old: &UserId, new: &UserId, at: Timestamp) -> Result<(), String> {
        let mut turn = asking.turn().await;
        let mut batch = Batch::new();
        let question = Question { old, new, from_home: false };
        asking.ask(question, at, &mut turn, &mut batch).map_err(|refusal| refusal.to_string())?;
        asking.store.commit(batch).await.unwrap();
        Ok(())
    }

    #[tokio::test]
    async fn a_person_has_only_so_many_asked_a_day_whatever_the_clock_does_and_after_a_restart() {
        let dir = TempDir::new().unwrap();
        let asking = open(&dir);
        let mallory = user_id!("@mallory:a.example");
        for number in 0..MOST_BY_ONE {
            let at = hour(i64::try_from(number).unwrap());
            ask(&asking, mallory, &name(number, "b.example"), at).await.unwrap();
        }
        drop(asking);
        let asking = open(&dir);
        let other = name(99, "b.example");
        let left = async |at| {
            let mut turn = asking.turn().await;
            let question = Question { old: mallory, new: &other, from_home: true };
            match asking.ask(question, at, &mut turn, &mut Batch::new()) {
                Err(Refusal::AskedTooOften { left }) => left,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(left(hour(20)).await, Duration::from_secs(4 * 3600));
        assert_eq!(left(hour(-900)).await, Duration::from_secs(24 * 3600), "never longer");
        let alice = user_id!("@alice:a.example");
        ask(&asking, alice, &other, hour(20)).await.expect("nobody else waits");
        ask(&asking, mallory, &other, hour(24)).await.expect("a day later");
    }

    #[tokio::test]
    async fn many_accounts_of_one_server_or_of_many_ask_no_more_than_one_would() {
        let dir = TempDir::new().unwrap();
        let asking = open(&dir);
        for number in 0..MOST_BY_SERVER {
            let (old, new) = (name(number, "evil.example"), name(number, "b.example"));
            ask(&asking, &old, &new, hour(0)).await.unwrap();
        }
        let (old, new) = (name(998, "evil.example"), name(998, "b.example"));
        let refused = ask(&asking, &old, &new, hour(1)).await.unwrap_err();
        assert!(refused.contains("server"), "the server is at its end: {refused}");
        let victim = user_id!("@victim:b.example");
        for number in 0..MOST_TO_ONE {
            ask(&asking, &name(0, &format!("s{number}.example")), victim, hour(2)).await.unwrap();
        }
        let next = name(0, "next.example");
        assert!(ask(&asking, &next, victim, hour(3)).await.is_err(), "the victim was asked enough");
        asking.change(victim, |kept| kept.asked.clear()).await.unwrap();
        ask(&asking, &next, victim, hour(3)).await.expect("it wants to be asked");
    }

    #[tokio::test]
    async fn a_no_and_a_block_outlive_everything_but_their_own_end_and_name_nobody() {
        let dir = TempDir::new().unwrap();
        let asking = open(&dir);
        let (mallory, bob) = (user_id!("@mallory:a.example"), user_id!("@bob:a.example"));
        let victim = user_id!("@victim:b.example");
        asking.note_no(victim, mallory).await.unwrap();
        drop(asking);
        let asking = open(&dir);
        let years = hour(24 * 3650);
        let no = ask(&asking, mallory, victim, years).await.unwrap_err();
        ask(&asking, bob, victim, years).await.expect("the no was to another");
        asking.change(victim, |kept| kept.blocked = true).await.unwrap();
        let blocked = ask(&asking, bob, victim, years).await.unwrap_err();
        assert_eq!(no, blocked, "whoever asks does not learn which it is");
        for record in asking.recipients.iter() {
            let stored = format!("{:?}", record.unwrap());
            assert!(!stored.contains("victim") && !stored.contains("mallory"), "{stored}");
        }
        asking.change(victim, |kept| kept.blocked = false).await.unwrap();
        asking.note_yes(victim, mallory).await.unwrap();
        ask(&asking, mallory, victim, years).await.expect("it agreed to it later");
    }

    #[tokio::test]
    async fn what_counts_no_more_is_not_kept() {
        let dir = TempDir::new().unwrap();
        let asking = open(&dir);
        for number in 0..20 {
            let (old, new) = (name(number, "a.example"), name(number, "b.example"));
            ask(&asking, &old, &new, hour(0)).await.unwrap();
        }
        ask(&asking, &name(0, "a.example"), &name(0, "b.example"), hour(48)).await.unwrap();
        assert_eq!(asking.askers.iter().count(), 2, "an account and its server");
        assert_eq!(asking.recipients.iter().count(), 1);
    }
}
