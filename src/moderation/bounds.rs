//! How often moderators are written to in direct messages: nobody is to be pestered, by however many
//! people who move, and by however many homeservers that name somebody a moderator.

use jiff::SignedDuration;
use ruma::{OwnedUserId, RoomId, UserId};

use super::{Inner, InviteRequest};
use crate::{
    clock::Timestamp,
    store::{Batch, StoreError},
};

const A_DAY: SignedDuration = SignedDuration::from_hours(24);

/// What is counted, each by itself.
#[derive(Clone, Copy, Debug)]
enum Counted<'a> {
    /// The requests of one old account, to whomever.
    By(&'a UserId),
    /// The requests to one moderator, by whomever.
    To(&'a UserId),
    /// The requests for one room, by whomever and to whomever.
    For(&'a RoomId),
}

impl Counted<'_> {
    /// How many may be written within a day.
    fn most(self) -> usize {
        match self {
            Self::By(_) => 10,
            Self::To(_) => 3,
            Self::For(_) => 5,
        }
    }

    fn words(self) -> String {
        match self {
            Self::By(user) => format!("by {user}"),
            Self::To(user) => format!("to {user}"),
            Self::For(room) => format!("for {room}"),
        }
    }
}

/// From when on one more may be written, when so many were; nothing when at once. A time to come
/// counts as now: the clock was set back.
fn free_at(written: &[Timestamp], most: usize, now: Timestamp) -> Option<Timestamp> {
    let mut recent: Vec<_> = written.iter().map(|at| (*at).min(now)).collect();
    recent.retain(|at| now.duration_since(*at) < A_DAY);
    recent.sort_unstable();
    let last_free = recent.len().checked_sub(most)?;
    recent.get(last_free).map(|at| *at + A_DAY)
}

impl Inner {
    /// The first of `moderators` who may be written to now because of `request`, who is then counted
    /// as written to; or when that may be tried again.
    pub(super) async fn pick(
        &self,
        request: &InviteRequest,
        moderators: &[OwnedUserId],
    ) -> Result<Result<OwnedUserId, Timestamp>, StoreError> {
        let _counting = self.records.counting().await;
        let now = self.clock.now();
        let shared = [Counted::By(&request.old), Counted::For(&request.room_id)];
        for counted in shared {
            if let Some(at) = self.free_at(counted, now)? {
                return Ok(Err(at));
            }
        }
        let mut next = None;
        for moderator in moderators {
            let to = Counted::To(moderator);
            if let Some(at) = self.free_at(to, now)? {
                next = Some(next.map_or(at, |next: Timestamp| next.min(at)));
                continue;
            }
            let mut batch = Batch::new();
            for counted in shared.into_iter().chain([to]) {
                let mut written = self.records.written(&counted.words())?;
                written.retain(|at| now.duration_since(*at) < A_DAY);
                written.push(now);
                self.records.put_written(&mut batch, &counted.words(), &written)?;
            }
            self.records.commit(batch).await?;
            return Ok(Ok(moderator.clone()));
        }
        Ok(Err(next.unwrap_or(now + A_DAY)))
    }

    fn free_at(
        &self,
        counted: Counted<'_>,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        Ok(free_at(&self.records.written(&counted.words())?, counted.most(), now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1000 + hour)
    }

    #[test]
    fn so_many_a_day_and_then_none_until_the_first_is_a_day_ago() {
        let written = [at(0), at(5), at(7)];
        assert_eq!(free_at(&written[..2], 3, at(8)), None);
        assert_eq!(free_at(&written, 3, at(8)), Some(at(24)));
        assert_eq!(free_at(&written, 3, at(24)), None);
        let more = [at(7), at(5), at(0), at(3)];
        assert_eq!(free_at(&more, 3, at(8)), Some(at(27)), "whatever was counted too much");
    }

    #[test]
    fn a_clock_that_was_set_back_stops_nobody_for_longer_than_a_day() {
        assert_eq!(free_at(&[at(9000); 3], 3, at(0)), Some(at(24)));
    }
}
