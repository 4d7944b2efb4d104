//! What people can have done to a migration.

pub(super) mod access;
mod admin;
mod choices;
mod consent;
mod course;

use std::sync::Arc;

use ruma::UserId;

use super::{
    Inner, Migration, Migrations, Phase, Refusal, Said, Side,
    job::{Job, Turn},
};

impl Inner {
    /// The migration that `user` takes part in and that is not over, to be changed.
    async fn active(&self, user: &UserId) -> Result<(Arc<Job>, Turn, Migration, Side), Refusal> {
        let job = self.find(user, |phase| !phase.is_over()).ok_or(Refusal::NoMigration)?;
        self.turn_as(job, user).await
    }

    /// The last migration that `user` took part in, over or not, to be changed.
    pub(super) async fn latest(
        &self,
        user: &UserId,
    ) -> Result<(Arc<Job>, Turn, Migration, Side), Refusal> {
        let job = self
            .find(user, |phase| !phase.is_over())
            .or_else(|| self.find(user, |_| true))
            .ok_or(Refusal::NoMigration)?;
        self.turn_as(job, user).await
    }

    async fn turn_as(
        &self,
        job: Arc<Job>,
        user: &UserId,
    ) -> Result<(Arc<Job>, Turn, Migration, Side), Refusal> {
        let turn = job.turn().await;
        let migration = job.migration();
        let side = migration.side_of(user).ok_or(Refusal::NoMigration)?;
        Ok((job, turn, migration, side))
    }

    /// The newest migration in such a phase that `user` consented to take part in.
    fn find(&self, user: &UserId, in_phase: impl Fn(&Phase) -> bool) -> Option<Arc<Job>> {
        self.jobs.of(user).into_iter().rev().find(|job| {
            let migration = job.migration();
            let consented =
                migration.side_of(user).is_some_and(|side| migration.party(side).consent.is_some());
            consented && in_phase(&migration.phase)
        })
    }

    /// Whether `user` takes part in a migration that is not over, other than `besides`.
    pub(super) fn busy(&self, user: &UserId, besides: &Migration) -> Result<(), Refusal> {
        match self.find(user, |phase| !phase.is_over()).map(|job| job.migration()) {
            Some(other) if other.id != besides.id => Err(Refusal::Busy {
                busy: user.to_owned(),
                same_pair: other.old.user_id == besides.old.user_id
                    && other.new.user_id == besides.new.user_id,
            }),
            _ => Ok(()),
        }
    }
}

pub use self::admin::Which;

impl Migrations {
    fn inner(&self) -> &Arc<Inner> {
        &self.0
    }
}

/// Refuses what only the other side may say.
fn only(side: Side, may: Side) -> Result<(), Refusal> {
    if side == may { Ok(()) } else { Err(Refusal::WrongSide { may }) }
}

fn wrong_phase(migration: &Migration) -> Refusal {
    Refusal::WrongPhase { phase: migration.phase.clone() }
}

/// The consent that a command is.
fn consent_of(said: &Said, at: crate::clock::Timestamp) -> super::Consent {
    super::Consent { room_id: said.room_id.clone(), event_id: said.event_id.clone(), at }
}
