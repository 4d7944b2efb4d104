//! What an admin of the bot can have done to migrations.

use ruma::{OwnedUserId, UserId};

use crate::migration::{By, Event, Migration, MigrationId, Migrations, Refusal, Said, Side};

/// A migration as an admin names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// By its number.
    Number(u64),
    /// By one of its accounts.
    Of(OwnedUserId),
}

impl Migrations {
    /// All of them, oldest first.
    pub fn all(&self) -> Vec<Migration> {
        self.0.all_jobs().iter().map(|job| job.migration()).collect()
    }

    /// The one that is meant: of an account the one that is not over, or else the last.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoSuchMigration`].
    pub fn named(&self, which: &Which) -> Result<Migration, Refusal> {
        let migration = match which {
            Which::Number(number) => self.get(MigrationId(*number)).ok(),
            Which::Of(user) => self
                .0
                .jobs
                .of(user)
                .iter()
                .map(|job| job.migration())
                .max_by_key(|migration| (!migration.phase.is_over(), migration.id)),
        };
        migration.ok_or(Refusal::NoSuchMigration)
    }

    /// `pause`, by an admin. Both accounts are told.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoSuchMigration`], [`Refusal::WrongPhase`].
    pub async fn pause_as_admin(&self, said: &Said, id: MigrationId) -> Result<(), Refusal> {
        let job = self.0.job(id).ok_or(Refusal::NoSuchMigration)?;
        let turn = job.turn().await;
        self.0.pause(&job, turn, said, By::Admin).await
    }

    /// `resume`, by an admin. Both accounts are told.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoSuchMigration`], [`Refusal::WrongPhase`].
    pub async fn resume_as_admin(&self, said: &Said, id: MigrationId) -> Result<(), Refusal> {
        let job = self.0.job(id).ok_or(Refusal::NoSuchMigration)?;
        let turn = job.turn().await;
        self.0.resume(&job, turn, said, By::Admin).await
    }

    /// `cancel`, by an admin. Both accounts are told.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoSuchMigration`], [`Refusal::WrongPhase`].
    pub async fn cancel_as_admin(&self, said: &Said, id: MigrationId) -> Result<(), Refusal> {
        let job = self.0.job(id).ok_or(Refusal::NoSuchMigration)?;
        let turn = job.turn().await;
        self.0.cancel(&job, turn, said, By::Admin).await
    }

    /// Tells `text` to every account that `is_local` and takes part in a migration that is not
    /// over. To how many.
    ///
    /// # Errors
    ///
    /// When it cannot be written down; then nobody is told.
    pub async fn announce(
        &self,
        said: &Said,
        text: &str,
        is_local: impl Fn(&UserId) -> bool,
    ) -> Result<usize, Refusal> {
        let event = Event::Announced { text: text.to_owned() };
        let told: Vec<_> = self
            .all()
            .into_iter()
            .filter(|migration| !migration.phase.is_over())
            .flat_map(|migration| {
                [Side::Old, Side::New].map(|side| (migration.id, migration.party(side).clone()))
            })
            .filter(|(_, party)| party.consent.is_some() && is_local(&party.user_id))
            .map(|(id, party)| (id, party.user_id))
            .collect();
        let number = told.len();
        self.0.journal.tell_all(told, &event, said, self.0.now()).await?;
        Ok(number)
    }
}
