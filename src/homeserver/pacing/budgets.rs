//! All budgets: who may send what, and when.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hasher as _},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use ruma::{OwnedServerName, RoomId, ServerName, UserId};

use super::{
    Action, Errand, LONGEST_WAIT, WaitReason,
    bucket::{Bucket, between},
    doubt::{Doubts, Verdict},
    guess::Guess,
    kind::Kind,
    ledger::Known,
};

/// What was not used for so long counts as full, and is forgotten.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(2);
/// After how many requests that is looked at.
const CLEARED_EVERY: u32 = 4096;
/// For how many rooms it is remembered who sent into them last.
const MOST_ROOMS: usize = 500_000;

/// Which budget.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) server: OwnedServerName,
    pub(super) kind: Kind,
    /// The account, or the room.
    pub(super) of: String,
}

impl Key {
    fn new(server: &ServerName, kind: Kind, of: impl ToString) -> Self {
        Self { server: server.to_owned(), kind, of: of.to_string() }
    }
}

/// The budgets that requests of one account and action draw from.
#[derive(Clone, Debug, Default)]
pub(super) struct Draws {
    /// Those whose homeserver tells when they are empty, in the order in which it looks at them.
    told: Vec<Key>,
    /// That whose homeserver does not.
    guessed: Option<Key>,
}

impl Draws {
    pub(super) fn of(account: &UserId, errand: &Errand<'_>) -> Self {
        let server = account.server_name();
        let own = |kinds: &[Kind]| -> Vec<Key> {
            kinds.iter().map(|kind| Key::new(server, *kind, account)).collect()
        };
        let told = match errand.action {
            Action::Read => own(&[Kind::Reads]),
            Action::Sync | Action::Listen => own(&[Kind::Syncs]),
            Action::LocalJoin => own(&[Kind::LocalJoins, Kind::Messages]),
            Action::RemoteJoin => own(&[Kind::RemoteJoins]),
            Action::Invite => own(&[Kind::InvitesBy, Kind::Messages]),
            Action::State | Action::Redact | Action::Message | Action::Knock => {
                own(&[Kind::Messages])
            }
            Action::CreateRoom => own(&[Kind::RoomCreations, Kind::Messages]),
            Action::AccountData => own(&[Kind::AccountData]),
            Action::Profile => own(&[Kind::Profile, Kind::Messages]),
            Action::Media => own(&[Kind::Media]),
        };
        let mut draws = Self { told, guessed: None };
        if let Some(invited) = errand.invited {
            draws.told.insert(0, Key::new(server, Kind::InvitesOf, invited));
            let afar = invited.server_name();
            if afar != server {
                draws.guessed = Some(Key::new(afar, Kind::InvitesFromAfar, invited));
            }
        }
        draws
    }

    /// The budget of the room, which everybody in it shares, or else is about this room alone.
    pub(super) fn of_room(account: &UserId, errand: &Errand<'_>) -> Option<Key> {
        let room: &RoomId = errand.room?;
        let kind = match errand.action {
            Action::Invite => Kind::InvitesInto,
            Action::LocalJoin | Action::RemoteJoin => Kind::JoinsInto,
            _ => Kind::OtherIn,
        };
        Some(Key::new(account.server_name(), kind, room))
    }
}

/// Whether a request may be sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It may, and its tokens are taken.
    Now,
    /// Not before this time, and so neither may others of the same account and action.
    At(Timestamp, WaitReason),
    /// Not before this time, but others may.
    RoomAt(Timestamp, WaitReason),
    /// Not before another of the same account and action was answered.
    AfterAnother,
    /// Not before it gets a slot among those that are on their way.
    Full,
}

/// How fast a server lets its accounts be, as one of them found out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate {
    pub(super) interval: Duration,
    pub(super) burst: Option<u32>,
}

#[derive(Debug, Default)]
pub(super) struct Budgets {
    buckets: HashMap<Key, (Bucket, Timestamp)>,
    guesses: HashMap<Key, (Doubts, Timestamp)>,
    rates: HashMap<(OwnedServerName, Kind), Rate>,
    /// Who sent last into which room, and into which rooms several did. As hashes, since there may
    /// be very many.
    last_in: HashMap<u64, u64>,
    shared: HashSet<u64>,
    taken_since_cleared: u32,
}

impl Budgets {
    /// Takes the tokens for a request if all of them are there, and it gets a slot by `enter`.
    /// `in_flight` is how many of the same account and action are on their way.
    pub(super) fn admit(
        &mut self,
        draws: &Draws,
        room: Option<&Key>,
        now: Timestamp,
        in_flight: usize,
        enter: impl FnOnce() -> bool,
    ) -> Admission {
        if let Some((until, reason)) = self.wait(draws, now) {
            return Admission::At(until, reason);
        }
        let learns = |key: &Key| self.buckets.get(key).is_some_and(|(b, _)| b.is_learning());
        let doubts = self.doubts(draws);
        let doubted = doubts.and_then(|doubts| doubts.room_opens(hash(room)));
        if let Some(until) = doubted.filter(|until| is_to_come(*until, now)) {
            return Admission::RoomAt(until, WaitReason::InviteeServer);
        }
        if in_flight > 0
            && (draws.told.iter().any(learns) || doubts.is_some_and(Doubts::is_learning))
        {
            return Admission::AfterAnother;
        }
        let bucket_of_room = room.and_then(|key| self.buckets.get(key));
        if let Some(until) = bucket_of_room.and_then(|(bucket, _)| bucket.opens())
            && is_to_come(until, now)
        {
            return Admission::RoomAt(until, WaitReason::RateLimit);
        }
        if !enter() {
            return Admission::Full;
        }
        self.take(draws, room, now);
        Admission::Now
    }

    fn doubts(&self, draws: &Draws) -> Option<&Doubts> {
        self.guesses.get(draws.guessed.as_ref()?).map(|(doubts, _)| doubts)
    }

    /// Whether it is to be found out if what was refused last is a limit, or one room: another one is
    /// tried for that.
    pub(super) fn is_doubting(&self, draws: &Draws) -> bool {
        self.doubts(draws).is_some_and(Doubts::is_doubting)
    }

    /// Until when requests have to wait, and why, if they do.
    pub(super) fn wait(&self, draws: &Draws, now: Timestamp) -> Option<(Timestamp, WaitReason)> {
        let told = draws.told.iter().filter_map(|key| self.buckets.get(key)?.0.opens());
        let told = told.max().map(|until| (until, WaitReason::RateLimit));
        let guessed = self.doubts(draws).and_then(Doubts::opens);
        let guessed = guessed.map(|until| (until, WaitReason::InviteeServer));
        let to_come = told.into_iter().chain(guessed).filter(|(until, _)| is_to_come(*until, now));
        to_come.max_by_key(|(until, _)| *until)
    }

    /// Ends a wait that was waited for, also when the machine's clock was set back meanwhile.
    pub(super) fn end_wait(&mut self, draws: &Draws, until: Timestamp, now: Timestamp) {
        if now >= until {
            return;
        }
        for key in &draws.told {
            if let Some((bucket, _)) = self.buckets.get_mut(key)
                && bucket.opens() == Some(until)
            {
                bucket.next = Some(now);
            }
        }
        if let Some((doubts, _)) = draws.guessed.as_ref().and_then(|key| self.guesses.get_mut(key))
        {
            doubts.end_wait(until);
        }
    }

    /// How long from one such request to the next, as far as that is known.
    pub(super) fn interval(&self, draws: &Draws) -> Option<Duration> {
        let told = draws.told.iter().filter_map(|key| {
            let bucket = &self.buckets.get(key)?.0;
            bucket.next.and(bucket.interval)
        });
        let guessed = self.doubts(draws).and_then(|doubts| doubts.guess().interval);
        told.chain(guessed).max()
    }

    fn take(&mut self, draws: &Draws, room: Option<&Key>, now: Timestamp) {
        self.forget_unused(now);
        for key in &draws.told {
            let rate = self.rates.get(&(key.server.clone(), key.kind));
            let (bucket, used) =
                self.buckets.entry(key.clone()).or_insert_with(|| (bucket_of(key.kind, rate), now));
            bucket.take(now);
            *used = now;
        }
        if let Some(key) = &draws.guessed {
            let rate = self.rates.get(&(key.server.clone(), key.kind));
            let interval = rate.map(|rate| rate.interval);
            let (doubts, used) = self
                .guesses
                .entry(key.clone())
                .or_insert_with(|| (Doubts::new(Guess::recalled(interval, None)), now));
            doubts.take();
            *used = now;
        }
        if let (Some(room), Some(own)) = (room, draws.told.first()) {
            if let Some((bucket, _)) = self.buckets.get_mut(room) {
                bucket.take(now);
            }
            let (hashed, own) = (hash(room), hash(&own.of));
            if room.kind != Kind::OtherIn
                && self.last_in.insert(hashed, own).is_some_and(|last| last != own)
            {
                self.shared.insert(hashed);
            }
        }
    }

    /// A request passed that was sent at `sent`.
    pub(super) fn passed(
        &mut self,
        draws: &Draws,
        room: Option<&Key>,
        sent: Timestamp,
        now: Timestamp,
    ) -> Option<Key> {
        for key in &draws.told {
            if let Some((bucket, _)) = self.buckets.get_mut(key) {
                bucket.passed(sent);
            }
        }
        let key = draws.guessed.as_ref()?;
        let (doubts, _) = self.guesses.get_mut(key)?;
        let before = doubts.guess().interval;
        doubts.passed(hash(room), now);
        let learned = doubts.guess().interval;
        let interval = learned.filter(|_| learned != before)?;
        self.rates.insert((key.server.clone(), key.kind), Rate { interval, burst: None });
        Some(key.clone())
    }

    /// The homeserver denied a request that was sent at `sent`: the next token comes at `next`.
    /// Which budget is empty it does not say, so that is found out as well as can be.
    pub(super) fn denied(
        &mut self,
        draws: &Draws,
        room: Option<&Key>,
        sent: Timestamp,
        next: Timestamp,
    ) -> Option<Key> {
        let wait = between(sent, next);
        let key = self.emptied(draws, room, sent, wait)?;
        let rate = self.rates.get(&(key.server.clone(), key.kind)).copied();
        let (bucket, _) = self
            .buckets
            .entry(key.clone())
            .or_insert_with(|| (bucket_of(key.kind, rate.as_ref()), sent));
        bucket.denied(sent, next);
        let learned = bucket.interval.map(|interval| (interval, bucket.burst()));
        // The homeserver did not look at what comes after it; first of all at the room's.
        let looked_at =
            draws.told.iter().position(|told| *told == key).map_or(0, |place| place + 1);
        for untouched in draws.told.iter().skip(looked_at) {
            if let Some((bucket, _)) = self.buckets.get_mut(untouched) {
                bucket.give_back();
            }
        }
        if let Some((interval, burst)) = learned {
            let burst = burst.max(rate.and_then(|rate| rate.burst));
            self.rates.insert((key.server.clone(), key.kind), Rate { interval, burst });
        }
        Some(key)
    }

    /// The budget that is empty: one that may make wait so long, and of those the one that holds
    /// least. The room's only where several accounts draw from it, and theirs are not near their
    /// ends.
    fn emptied(
        &self,
        draws: &Draws,
        room: Option<&Key>,
        sent: Timestamp,
        wait: Duration,
    ) -> Option<Key> {
        let fresh = Bucket::default();
        let judged = |key: &Key| {
            let (interval, burst) = key.kind.documented().unwrap_or((Duration::from_secs(5), 0));
            let rate = self.rates.get(&(key.server.clone(), key.kind));
            let burst = rate.and_then(|rate| rate.burst).unwrap_or(burst);
            let interval = rate.map_or(interval, |rate| rate.interval);
            let bucket = self.buckets.get(key).map_or(&fresh, |(bucket, _)| bucket);
            let may_be = bucket.may_be_empty_for(wait, interval);
            (may_be, bucket.left(sent, (interval, burst)))
        };
        let mut likeliest: Option<(&Key, f64)> = None;
        for key in &draws.told {
            let (may_be, left) = judged(key);
            if may_be && likeliest.is_none_or(|(_, least)| left < least) {
                likeliest = Some((key, left));
            }
        }
        let of_room = room.filter(|room| {
            self.shared.contains(&hash(room))
                && judged(room).0
                && likeliest.is_none_or(|(_, left)| left >= 1.0)
        });
        of_room.or(likeliest.map(|(key, _)| key)).or(draws.told.first()).cloned()
    }

    /// The homeserver denied a request about this room again and again, and did not say so of others:
    /// the next token for it comes at `next`, and what others draw from is not empty.
    pub(super) fn denied_room(
        &mut self,
        draws: &Draws,
        room: &Key,
        sent: Timestamp,
        next: Timestamp,
    ) {
        let (bucket, used) = self.buckets.entry(room.clone()).or_default();
        bucket.denied(sent, next);
        *used = next;
        for told in &draws.told {
            if let Some((bucket, _)) = self.buckets.get_mut(told) {
                bucket.give_back();
            }
        }
    }

    /// The invited account's server let an invitation not pass. What that means, and how often in a
    /// row it met the limit; nothing where no such server is asked.
    pub(super) fn refused(
        &mut self,
        draws: &Draws,
        room: Option<&Key>,
        sent: Timestamp,
        now: Timestamp,
    ) -> Option<(Verdict, u32)> {
        let key = draws.guessed.as_ref()?;
        let (doubts, _) = self.guesses.get_mut(key)?;
        let verdict = doubts.refused(hash(room), (sent, now), key.kind.documented());
        Some((verdict, doubts.refused_in_a_row()))
    }

    /// How fast a server lets its accounts be, where one of them found that out.
    pub(super) fn rate(&self, server: &ServerName, kind: Kind) -> Option<Rate> {
        self.rates.get(&(server.to_owned(), kind)).copied()
    }

    /// Whether an account was let do more by now than such a limit allows.
    pub(super) fn exceeds(
        &self,
        (server, kind, of): (&ServerName, Kind, &UserId),
        now: Timestamp,
        limit: (Duration, u32),
    ) -> bool {
        let key = Key::new(server, kind, of);
        self.buckets.get(&key).is_some_and(|(bucket, _)| bucket.exceeds(now, limit))
            || self.guesses.get(&key).is_some_and(|(known, _)| known.guess().exceeds(now, limit))
    }

    /// When the next token comes, or came, to an account, where a limit was met.
    pub(super) fn next(
        &self,
        server: &ServerName,
        kind: Kind,
        of: &UserId,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let key = Key::new(server, kind, of);
        let told = || self.buckets.get(&key).and_then(|(bucket, _)| bucket.next);
        self.guesses.get(&key).and_then(|(known, _)| known.guess().expected(now)).or_else(told)
    }

    /// What is to be kept of a budget.
    pub(super) fn known(&self, key: &Key, now: Timestamp) -> Known {
        let (interval, next) = match (self.buckets.get(key), self.guesses.get(key)) {
            (Some((bucket, _)), _) => (bucket.interval, bucket.next),
            (None, Some((doubts, _))) => (doubts.guess().interval, doubts.opens()),
            (None, None) => (None, None),
        };
        let burst = self.rate(&key.server, key.kind).and_then(|rate| rate.burst);
        Known { interval, burst, next, learned: now }
    }

    /// Takes in what was kept of a budget, or of all on a server if it is of nobody.
    pub(super) fn recall(&mut self, key: Key, known: &Known) {
        if let (Some(interval), true) = (known.interval, key.of.is_empty()) {
            self.rates.insert((key.server, key.kind), Rate { interval, burst: known.burst });
        } else if key.kind == Kind::InvitesFromAfar {
            let guess = Guess::recalled(known.interval, known.next);
            self.guesses.insert(key, (Doubts::new(guess), known.learned));
        } else if !key.of.is_empty() {
            let bucket = Bucket::recalled(known.interval, known.next);
            let bucket = bucket.with_reserve(key.kind.reserve());
            self.buckets.insert(key, (bucket, known.learned));
        }
    }

    /// Forgets what an account was allowed.
    pub(super) fn forget(&mut self, account: &UserId) {
        self.buckets.retain(|key, _| key.of != account.as_str());
        self.guesses.retain(|key, _| key.of != account.as_str());
    }

    /// Now and then forgets what was not used for long.
    fn forget_unused(&mut self, now: Timestamp) {
        self.taken_since_cleared += 1;
        if self.taken_since_cleared < CLEARED_EVERY {
            return;
        }
        self.taken_since_cleared = 0;
        let is_used = |used: &Timestamp, next: Option<Timestamp>| {
            now.duration_since(*used) < KEPT_FOR || next.is_some_and(|next| next > now)
        };
        self.buckets.retain(|_, (bucket, used)| is_used(used, bucket.next));
        self.guesses.retain(|_, (doubts, used)| is_used(used, doubts.guess().next));
        if self.last_in.len() > MOST_ROOMS {
            self.last_in.clear();
            self.shared.clear();
        }
    }
}

/// A bucket of which nothing more is known than how fast its server lets others be.
fn bucket_of(kind: Kind, rate: Option<&Rate>) -> Bucket {
    Bucket::recalled(rate.map(|rate| rate.interval), None).with_reserve(kind.reserve())
}

/// Whether a token is still to come, as far as that can be: what would be further away was told
/// before the machine's clock was set back.
pub(super) fn is_to_come(token: Timestamp, now: Timestamp) -> bool {
    token > now && between(now, token) <= LONGEST_WAIT * 2
}

pub(super) fn hash(value: impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
