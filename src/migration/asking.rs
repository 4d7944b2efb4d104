//! How often one person may have others asked for their consent: nobody is to be pestered.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::SignedDuration;
use ruma::{OwnedUserId, UserId};

use super::{Ending, Migration, Phase, Refusal};
use crate::clock::Timestamp;

/// How many accounts one person may have asked within [`A_DAY`].
pub(super) const MOST_A_DAY: usize = 5;

const A_DAY: SignedDuration = SignedDuration::from_hours(24);

/// When each person had others asked. What was forgotten meanwhile still counts, until a restart.
#[derive(Debug, Default)]
pub(super) struct Asking(Mutex<HashMap<OwnedUserId, Vec<Timestamp>>>);

impl Asking {
    /// As far as it is stored.
    pub(super) fn of<'a>(migrations: impl Iterator<Item = &'a Migration>) -> Self {
        let asking = Self::default();
        migrations.for_each(|migration| asking.note(&migration.old.user_id, migration.started));
        asking
    }

    pub(super) fn note(&self, by: &UserId, at: Timestamp) {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.entry(by.to_owned()).or_default().push(at);
    }

    /// # Errors
    ///
    /// [`Refusal::AskedTooOften`].
    pub(super) fn allow(&self, by: &UserId, now: Timestamp) -> Result<(), Refusal> {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|_, times| {
            times.retain(|at| is_recent(*at, now));
            !times.is_empty()
        });
        match asked.get(by) {
            Some(times) if times.len() >= MOST_A_DAY => {
                let oldest = times.iter().min().copied().unwrap_or(now);
                Err(Refusal::AskedTooOften { left: left(oldest, now) })
            }
            _ => Ok(()),
        }
    }
}

/// Whoever said no is not asked again by the same account for a day.
///
/// # Errors
///
/// [`Refusal::Declined`].
pub(super) fn respect_no(
    before: impl Iterator<Item = Migration>,
    old: &UserId,
    new: &UserId,
    now: Timestamp,
) -> Result<(), Refusal> {
    let said_no = |migration: &Migration| {
        let is_pair = migration.old.user_id == old && migration.new.user_id == new;
        is_pair && migration.phase == Phase::Cancelled(Ending::Declined)
    };
    let last = before.filter(said_no).filter_map(|migration| migration.ended).max();
    match last {
        Some(at) if is_recent(at, now) => Err(Refusal::Declined { left: left(at, now) }),
        _ => Ok(()),
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
    use ruma::user_id;

    use super::*;

    #[test]
    fn a_person_has_only_so_many_asked_a_day_whatever_the_clock_does() {
        let (asking, mallory) = (Asking::default(), user_id!("@mallory:a.example"));
        let hour = |hour: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1000 + hour);
        for number in 0..MOST_A_DAY {
            asking.allow(mallory, hour(0)).unwrap();
            asking.note(mallory, hour(i64::try_from(number).unwrap()));
        }
        let refused = asking.allow(mallory, hour(20)).unwrap_err();
        let Refusal::AskedTooOften { left } = refused else { panic!("{refused}") };
        assert_eq!(left, Duration::from_secs(4 * 3600));
        assert!(asking.allow(user_id!("@alice:a.example"), hour(20)).is_ok(), "nobody else waits");
        let refused = asking.allow(mallory, hour(-900)).unwrap_err();
        let Refusal::AskedTooOften { left } = refused else { panic!("{refused}") };
        assert_eq!(left, Duration::from_secs(24 * 3600), "never longer than a day");
        assert!(asking.allow(mallory, hour(24)).is_ok());
    }
}
