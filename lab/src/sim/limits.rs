//! Rate limits as Synapse has them: a bucket for each kind of action and each key, that leaks.

use std::{collections::HashMap, time::Duration};

use super::Refusal;

/// How long a denied request is held before it is answered.
const DENIED: Duration = Duration::from_millis(500);

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// How many in a second, over time.
    pub per_second: f64,
    /// How many at once.
    pub burst: u32,
}

impl Rate {
    const fn new(per_second: f64, burst: u32) -> Self {
        Self { per_second, burst }
    }
}

/// What a homeserver limits. The default is Synapse's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Joins of one account; every join counts here.
    pub joins_local: Rate,
    /// Joins of one account to rooms that its homeserver is not in; they count here as well.
    pub joins_remote: Rate,
    /// Invites into one room, whoever sends them.
    pub invites_per_room: Rate,
    /// Invites of one account, whoever sends them. Asked of both homeservers.
    pub invites_per_user: Rate,
    /// Invites by one account.
    pub invites_per_issuer: Rate,
    /// Everything that an account writes into rooms: messages and state, its invites, its joins
    /// where its homeserver is in the room already, and changes of its name and picture.
    pub messages: Rate,
    /// Rooms that one account makes.
    pub room_creation: Rate,
    /// Logins to one account.
    pub login: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            joins_local: Rate::new(0.1, 10),
            joins_remote: Rate::new(0.01, 10),
            invites_per_room: Rate::new(0.3, 10),
            invites_per_user: Rate::new(0.003, 5),
            invites_per_issuer: Rate::new(0.3, 10),
            messages: Rate::new(0.2, 10),
            room_creation: Rate::new(0.016, 10),
            login: Rate::new(0.003, 5),
        }
    }
}

impl Rates {
    /// So high that nobody meets them.
    pub fn open() -> Self {
        let open = Rate::new(100_000.0, 100_000);
        Self {
            joins_local: open,
            joins_remote: open,
            invites_per_room: open,
            invites_per_user: open,
            invites_per_issuer: open,
            messages: open,
            room_creation: open,
            login: open,
        }
    }

    fn of(&self, kind: Kind) -> Rate {
        match kind {
            Kind::JoinLocal => self.joins_local,
            Kind::JoinRemote => self.joins_remote,
            Kind::InviteRoom => self.invites_per_room,
            Kind::InviteUser => self.invites_per_user,
            Kind::InviteIssuer => self.invites_per_issuer,
            Kind::Message => self.messages,
            Kind::RoomCreation => self.room_creation,
            Kind::Login => self.login,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    JoinLocal,
    JoinRemote,
    InviteRoom,
    InviteUser,
    InviteIssuer,
    Message,
    RoomCreation,
    Login,
}

/// The limits of one homeserver, and how far each is used up.
#[derive(Clone, Debug)]
pub(super) struct Limiter {
    pub(super) rates: Rates,
    buckets: HashMap<(Kind, String), Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// How many actions were let pass since.
    count: f64,
    /// When it was last empty, in seconds.
    since: f64,
}

impl Limiter {
    pub(super) fn new(rates: Rates) -> Self {
        Self { rates, buckets: HashMap::new() }
    }

    /// Lets one action pass, or says when the next may. A denied one counts for nothing.
    pub(super) fn take(&mut self, kind: Kind, key: &str, now: Duration) -> Result<(), Refusal> {
        let mut bucket = self.free(kind, key, now)?;
        bucket.count += 1.0;
        self.buckets.insert((kind, key.to_owned()), bucket);
        Ok(())
    }

    /// Whether an action would pass.
    pub(super) fn check(&self, kind: Kind, key: &str, now: Duration) -> Result<(), Refusal> {
        self.free(kind, key, now).map(drop)
    }

    fn free(&self, kind: Kind, key: &str, now: Duration) -> Result<Bucket, Refusal> {
        let (rate, now) = (self.rates.of(kind), now.as_secs_f64());
        let key = (kind, key.to_owned());
        let mut bucket =
            self.buckets.get(&key).copied().unwrap_or(Bucket { count: 0.0, since: now });
        let mut level = bucket.count - (now - bucket.since) * rate.per_second;
        if level < 0.0 {
            (level, bucket) = (0.0, Bucket { count: 0.0, since: now });
        }
        let burst = f64::from(rate.burst);
        // A level that is a hair too high by rounding would be denied for 0 ms, again and again.
        if level <= burst - 1.0 + 1e-9 {
            return Ok(bucket);
        }
        let next = bucket.since + (bucket.count - burst + 1.0) / rate.per_second;
        let wait = Duration::from_secs_f64((next - now).max(0.0));
        Err(Refusal::limited(wait, DENIED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_burst_one_token_comes_at_a_time_and_a_denied_request_uses_none() {
        let mut limiter = Limiter::new(Rates::default());
        let mut take =
            |at: f64| limiter.take(Kind::JoinRemote, "@a:a", Duration::from_secs_f64(1000.0 + at));
        for _ in 0..10 {
            take(0.0).unwrap();
        }
        assert_eq!(take(0.0).unwrap_err().retry_after, Some(Duration::from_secs(100)));
        assert_eq!(take(40.0).unwrap_err().retry_after, Some(Duration::from_secs(60)));
        take(100.0).unwrap();
        take(100.0).unwrap_err();
    }
}
