//! Which words of people were dealt with, so that old words do not come back: not after a restart
//! that catches up, not from a homeserver that sends them again, and not after `forget`.
//!
//! Each word that was dealt with leaves a mark, which names nobody. A mark is kept for as long as the
//! word can come again by itself: until everything that came with it is dealt with, and for an hour
//! more. Then it is folded into one time for each sender, before which nothing of theirs is obeyed.
//! `forget` sets that time, too. So what is kept does not grow with what is said, and what is given
//! up for that only ever makes more words old.
//!
//! The times compared are the sender's own homeserver's, which can lie for its own accounts alone,
//! and are never later than what the bot's clock showed, so that a clock that was fast locks nobody
//! out afterwards.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::SignedDuration;
use ruma::{EventId, UserId};
use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    migration::Said,
    store::{Batch, Store, StoreError, Table},
};

/// How much later than another word of the same person's a word may come that was said before it.
const LATENESS: SignedDuration = SignedDuration::from_hours(1);
/// By how much a sender's clock may be fast, and what was dated by it is still known again.
const FASTEST: SignedDuration = SignedDuration::from_hours(24);
/// No older word is obeyed, whoever says it. A homeserver whose clock is that slow has no valid
/// signing keys, and so is in no federation.
const OLDEST: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How many marks are kept beyond what may come again by itself.
const MOST_MARKS: usize = 10_000;
/// For how many senders a time is kept.
const MOST_SENDERS: usize = 20_000;
/// How often the times of senders are looked through.
const SWEEP: SignedDuration = SignedDuration::from_hours(24);

/// The key of the time before which nobody's words are obeyed.
const EVERYBODY: &str = "everybody";

/// The tables, and what of them is needed in order.
#[derive(Debug)]
pub(super) struct Handled {
    store: Store,
    /// By the mark of the event.
    marks: Table<Mark>,
    /// Before which time nothing is obeyed, by the mark of the sender.
    not_before: Table<Timestamp>,
    kept: Mutex<Kept>,
}

/// That a word was dealt with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Mark {
    /// Greater than that of every mark before it.
    number: u64,
    /// The mark of the sender.
    by: String,
    /// When it was said, as its sender's homeserver dates it, but never long after it was heard.
    said: Timestamp,
    /// When it may be folded into the time of its sender.
    due: Timestamp,
}

#[derive(Debug, Default)]
struct Kept {
    /// The keys of all marks, in the order in which they may be folded.
    order: BTreeMap<(Timestamp, u64), String>,
    /// How many senders have a time.
    senders: usize,
    swept: Option<Timestamp>,
}

impl Handled {
    pub(super) fn open(store: &Store) -> Result<Self, StoreError> {
        let handled = Self {
            marks: store.table("handled"),
            not_before: store.table("not_before"),
            kept: Mutex::default(),
            store: store.clone(),
        };
        let mut kept = handled.kept();
        for record in handled.marks.iter() {
            let (key, mark) = record?;
            kept.order.insert((mark.due, mark.number), key);
        }
        kept.senders = handled.not_before.iter().count();
        drop(kept);
        Ok(handled)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, event: &EventId) -> String {
        self.store.mark("handled", event.as_str())
    }

    fn sender(&self, user: &UserId) -> String {
        self.store.mark("sender", user.as_str())
    }

    /// Whether a word was dealt with, as far as its mark is kept.
    pub(super) fn contains(&self, event: &EventId) -> Result<bool, StoreError> {
        self.marks.contains(&self.key(event))
    }

    /// Whether a word is too old to be obeyed: older than the last `forget` of its sender, or than
    /// what the sender said when the marks of that were given up.
    pub(super) fn is_old(&self, said: &Said, now: Timestamp) -> Result<bool, StoreError> {
        let for_sender = self.not_before.get(&self.sender(&said.by))?;
        let for_everybody = self.not_before.get(EVERYBODY)?;
        let limits = [for_sender, for_everybody, Some(now - OLDEST)];
        Ok(limits.into_iter().flatten().any(|limit| said.sent <= limit))
    }

    /// Adds to `batch` that a word was dealt with.
    pub(super) fn put(
        &self,
        batch: &mut Batch,
        said: &Said,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = self.key(&said.event_id);
        if self.marks.contains(&key)? {
            return Ok(());
        }
        let number = self.store.next_id()?;
        let dated = said.sent.min(now + FASTEST);
        let mark =
            Mark { number, by: self.sender(&said.by), said: dated, due: dated.max(now) + LATENESS };
        batch.put(&self.marks, &key, &mark)?;
        self.kept().order.insert((mark.due, number), key);
        Ok(())
    }

    /// Adds to `batch` that nothing is obeyed any more that this person said before this.
    pub(super) fn put_forgotten(
        &self,
        batch: &mut Batch,
        said: &Said,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.put_not_before(batch, &self.sender(&said.by), said.sent.min(now))
    }

    fn put_not_before(
        &self,
        batch: &mut Batch,
        sender: &str,
        time: Timestamp,
    ) -> Result<(), StoreError> {
        let before = self.not_before.get(sender)?;
        if before.is_none() {
            self.kept().senders += 1;
        }
        if before.is_none_or(|before| before < time) {
            batch.put(&self.not_before, sender, &time)?;
        }
        Ok(())
    }

    /// Everything that came before the mark with this number was made is dealt with, and does not
    /// come again by itself: folds the marks of that.
    pub(super) async fn settle(&self, before: u64, now: Timestamp) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        let folded = self.to_fold(before, now);
        let mut times = HashMap::<String, Timestamp>::new();
        for (_, key) in &folded {
            let Some(mark) = self.marks.get(key)? else { continue };
            batch.remove(&self.marks, key);
            let time = times.entry(mark.by).or_insert(mark.said);
            *time = mark.said.min(now).max(*time);
        }
        for (sender, time) in times {
            self.put_not_before(&mut batch, &sender, time.min(now))?;
        }
        if !batch.is_empty() {
            self.store.commit(batch).await?;
        }
        let places = folded.into_iter().map(|(place, _)| place);
        if self.is_to_be_swept(places, now) { self.sweep(now).await } else { Ok(()) }
    }

    /// What was folded is gone. Whether the times of senders are to be looked through.
    fn is_to_be_swept(
        &self,
        folded: impl Iterator<Item = (Timestamp, u64)>,
        now: Timestamp,
    ) -> bool {
        let mut kept = self.kept();
        for place in folded {
            kept.order.remove(&place);
        }
        let is_due = kept.swept.is_none_or(|swept| now.duration_since(swept) >= SWEEP);
        is_due || kept.senders > MOST_SENDERS
    }

    fn to_fold(&self, before: u64, now: Timestamp) -> Vec<((Timestamp, u64), String)> {
        let kept = self.kept();
        let too_many = kept.order.len().saturating_sub(MOST_MARKS);
        let all = kept.order.iter().enumerate();
        all.take_while(|(place, ((due, _), _))| *due <= now || *place < too_many)
            .filter(|(_, ((_, number), _))| *number < before)
            .map(|(_, (place, key))| (*place, key.clone()))
            .collect()
    }

    /// Gives up the times of senders that say no more than what holds for everybody, and the oldest
    /// of the rest where there are too many: then what holds for them holds for everybody.
    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        let limit = self.not_before.get(EVERYBODY)?.unwrap_or(now - OLDEST).max(now - OLDEST);
        let mut times = Vec::new();
        for record in self.not_before.iter() {
            let (sender, time) = record?;
            if sender != EVERYBODY {
                times.push((time, sender));
            }
        }
        times.sort_unstable();
        let too_many = match times.len() {
            senders if senders > MOST_SENDERS => senders - MOST_SENDERS / 2,
            _ => 0,
        };
        let limit = match times[..too_many].last() {
            Some((time, _)) => limit.max(*time),
            None => limit,
        };
        let given_up = times.iter().take_while(|(time, _)| *time <= limit);
        let mut left = times.len();
        for (_, sender) in given_up {
            batch.remove(&self.not_before, sender);
            left -= 1;
        }
        if too_many > 0 {
            batch.put(&self.not_before, EVERYBODY, &limit)?;
        }
        if !batch.is_empty() {
            self.store.commit(batch).await?;
        }
        let mut kept = self.kept();
        kept.senders = left;
        kept.swept = Some(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
