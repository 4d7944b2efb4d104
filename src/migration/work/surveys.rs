//! Reading both accounts: for the plan, and for the check of what was done.

use ruma::MilliSecondsSinceUnixEpoch;
use tokio_util::sync::CancellationToken;

use super::Trouble;
use crate::{
    homeserver::{Account, Failure},
    migration::{
        Inner, Migration, Plan, PlannedHolding, Side,
        holdings::{Copies, Profile},
        plan::{Accounts, knows_no_other_server, make, plan_holdings},
        report::Check,
        run::read_memberships,
        survey::{Survey, membership_filter, survey_filter},
    },
    store::StoreError,
};

impl Inner {
    pub(super) async fn make_plan(
        &self,
        migration: &Migration,
        stop: &CancellationToken,
    ) -> Result<Plan, Trouble> {
        let old = self.open(migration, Side::Old, stop).await?;
        let new = self.open(migration, Side::New, stop).await?;
        let (old_survey, new_survey) = tokio::try_join!(
            async {
                match &old {
                    Some(old) => self.survey_old(old).await.map(Some),
                    None => Ok(None),
                }
            },
            async {
                match (&new, &old) {
                    (Some(new), _) => self.survey_new(new).await,
                    (None, Some(old)) => survey_through(old, &migration.new.user_id).await,
                    (None, None) => Err(Trouble::Failed(Side::Old, Failure::Stopped)),
                }
            }
        )?;
        let copies = self.journal.copies(migration.id)?;
        Ok(make(&self.accounts(migration, old_survey.as_ref(), &new_survey, &copies)))
    }

    fn accounts<'a>(
        &'a self,
        migration: &'a Migration,
        old_survey: Option<&'a Survey>,
        new_survey: &'a Survey,
        copies: &'a Copies,
    ) -> Accounts<'a> {
        let now = self.now().as_millisecond().try_into().unwrap_or_default();
        Accounts {
            old: &migration.old.user_id,
            new: &migration.new.user_id,
            bot: &self.bot,
            old_survey,
            new_survey,
            surveyed: MilliSecondsSinceUnixEpoch(now),
            quiet_after: self.settings.quiet_after,
            copies,
        }
    }

    async fn survey_account(&self, account: &Account, side: Side) -> Result<Survey, Trouble> {
        let response = account
            .sync(survey_filter(), None, None)
            .await
            .map_err(|failure| Trouble::Failed(side, failure))?;
        let mut survey = Survey::read(account.user_id(), &response);
        if let Some(holdings) = &mut survey.holdings {
            holdings.profile = profile_of(account, side).await?;
        }
        Ok(survey)
    }

    /// Surveys the old account, and asks for what its own rooms do not tell: what took their place,
    /// and, where a room could otherwise not be reached without the old server, who is in it.
    async fn survey_old(&self, account: &Account) -> Result<Survey, Trouble> {
        let mut survey = self.survey_account(account, Side::Old).await?;
        let server = account.user_id().server_name();
        let failed = |failure| Trouble::Failed(Side::Old, failure);
        let successors: Vec<_> =
            survey.unknown_successors().into_iter().map(ToOwned::to_owned).collect();
        for room_id in successors {
            let via = vec![server.to_owned()];
            if let Some(summary) = account.room_summary(&room_id, via).await.map_err(failed)? {
                survey.successors.insert(room_id, summary.into());
            }
        }
        for (room_id, room) in &mut survey.rooms {
            if room.is_joined_without_invitation() && knows_no_other_server(server, room) {
                match account.joined_members(room_id).await {
                    Ok(members) => room.count_servers(members.keys()),
                    Err(failure @ (Failure::TokenGone { .. } | Failure::Stopped)) => {
                        return Err(failed(failure));
                    }
                    // It costs this room other ways in, and nothing else.
                    Err(failure) => tracing::info!(room = %room_id, %failure, "no members"),
                }
            }
        }
        Ok(survey)
    }

    async fn survey_new(&self, account: &Account) -> Result<Survey, Trouble> {
        let (survey, versions) =
            tokio::join!(self.survey_account(account, Side::New), account.room_versions());
        let mut survey = survey?;
        match versions {
            Ok(versions) => survey.versions = Some(versions),
            Err(failure) => tracing::info!(%failure, "the room versions are not known"),
        }
        Ok(survey)
    }

    pub(super) async fn check(
        &self,
        migration: &Migration,
        plan: &Plan,
        stop: &CancellationToken,
    ) -> Check {
        let check = async {
            let old = self.open(migration, Side::Old, stop).await?;
            let Some(new) = self.open(migration, Side::New, stop).await? else {
                let (old_user, new_user) = (&migration.old.user_id, &migration.new.user_id);
                let memberships = read_memberships(old.as_ref(), None, old_user, new_user)
                    .await
                    .map_err(|(side, failure)| Trouble::Failed(side, failure))?;
                return Ok(Check::Memberships(memberships));
            };
            let new = self.survey_account(&new, Side::New).await?;
            let old = match &old {
                Some(old) => Some(self.survey_account(old, Side::Old).await?),
                None => None,
            };
            let lacking = self.lacking(migration, plan, old.as_ref(), &new)?;
            Ok(Check::Surveys { new: Box::new(new), old: old.map(Box::new), lacking })
        };
        match check.await {
            Ok(check) => check,
            Err(Trouble::Failed(_, failure)) => Check::Nothing(Some(failure)),
            Err(Trouble::Store(error)) => {
                Check::Nothing(Some(Failure::Unsendable(error.to_string())))
            }
        }
    }

    /// What the new account still does not have of what the old one holds by now.
    fn lacking(
        &self,
        migration: &Migration,
        plan: &Plan,
        old: Option<&Survey>,
        new: &Survey,
    ) -> Result<Vec<PlannedHolding>, StoreError> {
        let copies = self.journal.copies(migration.id)?;
        let mut lacking = plan_holdings(&self.accounts(migration, old, new, &copies), &plan.rooms);
        lacking.iter_mut().for_each(|planned| planned.choose(&migration.options));
        Ok(lacking)
    }
}

/// The profile of an account; `None` when its homeserver does not tell it, which costs the account
/// its profile and nothing else.
async fn profile_of(account: &Account, side: Side) -> Result<Option<Profile>, Trouble> {
    match account.profile(account.user_id()).await {
        Ok(profile) => Ok(Some(profile)),
        Err(failure @ (Failure::TokenGone { .. } | Failure::Stopped | Failure::Deactivated)) => {
            Err(Trouble::Failed(side, failure))
        }
        Err(failure) => {
            tracing::warn!(account = %account.user_id(), %failure, "cannot read the profile");
            Ok(None)
        }
    }
}

/// Surveys what the old account can see of a new one that gave no access: where it is a member.
async fn survey_through(old: &Account, new: &ruma::UserId) -> Result<Survey, Trouble> {
    let filter = membership_filter(old.user_id(), new);
    let response = old
        .sync(filter, None, None)
        .await
        .map_err(|failure| Trouble::Failed(Side::Old, failure))?;
    Ok(Survey::read_of_other(new, &response))
}
