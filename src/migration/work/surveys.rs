//! Reading both accounts: for the plan, and for the check of what was done.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedRoomId, OwnedUserId, UserId,
    api::client::filter::FilterDefinition,
    events::{StateEventType, room::power_levels::UserPowerLevel},
};
use tokio_util::sync::CancellationToken;

use super::Trouble;
use crate::{
    clock::Timestamp,
    compute,
    homeserver::{Account, Excess, Failure},
    migration::{
        Holding, Inner, Migration, MigrationId, Plan, PlannedHolding, Reading, Side,
        holdings::{Copies, Profile, RoomProfile},
        job::Job,
        plan::{Accounts, make, plan_holdings},
        report::Check,
        run::read_memberships,
        survey::{Survey, check_filter, membership_filter, survey_filter},
    },
    store::StoreError,
};

/// From so many rooms on, an account is read, and compared, on a thread of its own.
const MANY_ROOMS: usize = 2_000;

/// How many times in a row the accounts of one migration are read while the process ends each time.
const MOST_RESTARTS: u32 = 3;

/// How many rooms are asked about at once that a sync may show as they were.
const REREAD_AT_ONCE: usize = 8;

impl Inner {
    /// From now on, and until it is read, others can ask how far the reading is.
    pub(super) fn begin_reading(&self, id: MigrationId) {
        let reading = (self.now(), Reading::default());
        self.change_readings(|readings| {
            readings.insert(id, reading);
        });
    }

    pub(super) fn change_readings(
        &self,
        change: impl FnOnce(&mut BTreeMap<MigrationId, (Timestamp, Reading)>),
    ) {
        change(&mut self.readings.lock().unwrap_or_else(PoisonError::into_inner));
        self.tell_progress();
    }

    fn note_rooms(&self, id: MigrationId, side: Side, survey: &Survey) {
        let rooms = Some(survey.joined().count());
        self.change_readings(|readings| match (readings.get_mut(&id), side) {
            (Some((_, reading)), Side::Old) => reading.old_rooms = rooms,
            (Some((_, reading)), Side::New) => reading.new_rooms = rooms,
            (None, _) => {}
        });
    }

    /// Reads both accounts and makes the plan, unless that ended the process again and again: what a
    /// homeserver tells may be too much for a machine in ways that nobody thought of.
    pub(super) async fn make_plan_or_park(
        &self,
        job: &Job,
        migration: &Migration,
        stop: &CancellationToken,
    ) -> Result<Plan, Trouble> {
        let times = self.journal.surveys_begun(migration.id)?;
        if times >= MOST_RESTARTS {
            let excess = Excess::Restarts { times };
            return Err(Trouble::Failed(Side::Old, Failure::TooMuch(excess)));
        }
        // Of those that were being read when the process ended, one was the reason, or none. One after
        // the other, each is to blame only for itself.
        let alone = async { if times > 0 { self.readers.alone().await } else { None } };
        let Some(_alone) = stop.run_until_cancelled(alone).await else {
            return Err(Trouble::Failed(Side::Old, Failure::Stopped));
        };
        self.journal.begin_survey(migration.id, times + 1).await?;
        self.make_plan(job, migration, stop).await
    }

    async fn make_plan(
        &self,
        job: &Job,
        migration: &Migration,
        stop: &CancellationToken,
    ) -> Result<Plan, Trouble> {
        let old = self.open(job, Side::Old, stop).await?;
        let new = self.open(job, Side::New, stop).await?;
        let _turn = self.readers.turn(migration, stop).await;
        let (old_survey, new_survey) = tokio::try_join!(
            async {
                match &old {
                    Some(old) => self.survey_old(old, migration.id).await.map(Some),
                    None => Ok(None),
                }
            },
            async {
                match (&new, &old) {
                    (Some(new), _) => self.survey_new(new, migration.id).await,
                    (None, Some(old)) => survey_through(old, &migration.new.user_id).await,
                    (None, None) => Err(Trouble::Failed(Side::Old, Failure::Stopped)),
                }
            }
        )?;
        let comparison = self.comparison(migration)?;
        let surveys = (old_survey, new_survey);
        let (plan, surveys) = comparison.with(surveys, make).await;
        let doubtful = doubtful_names(&plan.holdings, &surveys.1);
        if doubtful.is_empty() {
            return Ok(plan);
        }
        let (mut old_survey, mut new_survey) = surveys;
        reread_names(new.as_ref(), Some(&mut new_survey), &doubtful).await;
        reread_names(old.as_ref(), old_survey.as_mut(), &doubtful).await;
        Ok(comparison.with((old_survey, new_survey), make).await.0)
    }

    fn comparison(&self, migration: &Migration) -> Result<Arc<Comparison>, StoreError> {
        let now = self.now().as_millisecond().try_into().unwrap_or_default();
        Ok(Arc::new(Comparison {
            old: migration.old.user_id.clone(),
            new: migration.new.user_id.clone(),
            bot: self.bot.clone(),
            chat_with_bot: migration.old.consent.as_ref().map(|consent| consent.room_id.clone()),
            surveyed: MilliSecondsSinceUnixEpoch(now),
            quiet_after: self.settings.quiet_after,
            copies: self.journal.copies(migration.id)?,
        }))
    }

    async fn survey_account(
        &self,
        account: &Account,
        side: Side,
        of: MigrationId,
        filter: FilterDefinition,
    ) -> Result<Survey, Trouble> {
        let synced = account
            .sync(filter, None, None)
            .await
            .map_err(|failure| Trouble::Failed(side, failure))?;
        let user_id = account.user_id().to_owned();
        let is_much = synced.response.rooms.join.len() > MANY_ROOMS;
        let read = move || Survey::read(&user_id, &synced);
        let mut survey = compute::aside_if(is_much, read).await;
        self.note_rooms(of, side, &survey);
        if let Some(excess) = survey.excess() {
            return Err(Trouble::Failed(side, Failure::TooMuch(excess)));
        }
        if let Some(holdings) = &mut survey.holdings {
            holdings.profile = profile_of(account, side).await?;
        }
        Ok(survey)
    }

    /// Surveys the old account, and asks for what its own rooms do not tell: what took their place.
    async fn survey_old(&self, account: &Account, of: MigrationId) -> Result<Survey, Trouble> {
        let mut survey = self.survey_account(account, Side::Old, of, survey_filter()).await?;
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
        Ok(survey)
    }

    async fn survey_new(&self, account: &Account, of: MigrationId) -> Result<Survey, Trouble> {
        let survey = self.survey_account(account, Side::New, of, survey_filter());
        let (survey, versions) = tokio::join!(survey, account.room_versions());
        let mut survey = survey?;
        match versions {
            Ok(versions) => survey.versions = Some(versions),
            Err(failure) => tracing::info!(%failure, "the room versions are not known"),
        }
        Ok(survey)
    }

    pub(super) async fn check(
        &self,
        job: &Job,
        migration: &Migration,
        plan: &Plan,
        stop: &CancellationToken,
    ) -> Check {
        let check = async {
            let old = self.open(job, Side::Old, stop).await?;
            let Some(new) = self.open(job, Side::New, stop).await? else {
                let (old_user, new_user) = (&migration.old.user_id, &migration.new.user_id);
                let memberships = read_memberships(old.as_ref(), None, old_user, new_user)
                    .await
                    .map_err(|(side, failure)| Trouble::Failed(side, failure))?;
                return Ok(Check::Memberships(memberships));
            };
            let _turn = self.readers.turn(migration, stop).await;
            let read =
                |account, side| self.survey_account(account, side, migration.id, check_filter());
            let (new_survey, mut old_survey) = tokio::try_join!(read(&new, Side::New), async {
                match &old {
                    Some(old) => read(old, Side::Old).await.map(Some),
                    None => Ok(None),
                }
            })?;
            let new_user = new.user_id();
            reread_power(old.as_ref(), old_survey.as_mut(), plan, new_user).await;
            let comparison = self.comparison(migration)?;
            let rooms: Arc<BTreeSet<OwnedRoomId>> = Arc::new(plan.room_ids().collect());
            let lacking = || {
                let rooms = rooms.clone();
                move |accounts: &Accounts<'_>| plan_holdings(accounts, &rooms)
            };
            let surveys = (old_survey, new_survey);
            let (mut found, mut surveys) = comparison.with(surveys, lacking()).await;
            let doubtful = doubtful_names(&found, &surveys.1);
            if !doubtful.is_empty() {
                reread_names(Some(&new), Some(&mut surveys.1), &doubtful).await;
                reread_names(old.as_ref(), surveys.0.as_mut(), &doubtful).await;
                (found, surveys) = comparison.with(surveys, lacking()).await;
            }
            // What the new account still does not have of what the old one holds by now.
            found.iter_mut().for_each(|planned| planned.choose(&migration.options));
            let (old, new) = (surveys.0.map(Box::new), Box::new(surveys.1));
            Ok(Check::Surveys { new, old, lacking: found })
        };
        match check.await {
            Ok(check) => check,
            Err(Trouble::Failed(_, failure)) => Check::Nothing(Some(failure)),
            Err(Trouble::NoService(_)) => {
                Check::Nothing(Some(Failure::TokenGone { soft_logout: false }))
            }
            Err(Trouble::Store(error)) => {
                Check::Nothing(Some(Failure::Unsendable(error.to_string())))
            }
        }
    }
}

/// What two surveys are compared with.
struct Comparison {
    old: OwnedUserId,
    new: OwnedUserId,
    bot: OwnedUserId,
    chat_with_bot: Option<OwnedRoomId>,
    surveyed: MilliSecondsSinceUnixEpoch,
    quiet_after: Duration,
    copies: Copies,
}

/// What the old account sees, if there is access to it, and what the new one does.
type Surveys = (Option<Survey>, Survey);

impl Comparison {
    /// Makes something of two surveys, and gives them back: beside the threads that answer people,
    /// where it is much.
    async fn with<T: Send + 'static>(
        self: &Arc<Self>,
        surveys: Surveys,
        make: impl FnOnce(&Accounts<'_>) -> T + Send + 'static,
    ) -> (T, Surveys) {
        let comparison = self.clone();
        let rooms = |survey: &Survey| survey.rooms.len();
        let is_much = surveys.0.as_ref().map_or(0, rooms) + rooms(&surveys.1) > MANY_ROOMS;
        let compare = move || (make(&comparison.accounts(&surveys)), surveys);
        compute::aside_if(is_much, compare).await
    }

    fn accounts<'a>(&'a self, (old_survey, new_survey): &'a Surveys) -> Accounts<'a> {
        Accounts {
            old: &self.old,
            new: &self.new,
            bot: &self.bot,
            chat_with_bot: self.chat_with_bot.as_deref(),
            old_survey: old_survey.as_ref(),
            new_survey,
            surveyed: self.surveyed,
            quiet_after: self.quiet_after,
            copies: &self.copies,
        }
    }
}

/// The rooms that the new account is in and does not seem to be called there as the old one is.
fn doubtful_names(lacking: &[PlannedHolding], new: &Survey) -> Vec<OwnedRoomId> {
    let is_in = |room_id: &&OwnedRoomId| {
        new.holdings.as_ref().is_some_and(|holdings| holdings.rooms.contains_key(*room_id))
    };
    let rooms = lacking.iter().filter_map(|planned| match &planned.holding {
        Holding::RoomProfile(room_id) => Some(room_id),
        _ => None,
    });
    rooms.filter(is_in).cloned().collect()
}

async fn a_few_at_once<T>(requests: Vec<impl Future<Output = T>>) -> Vec<T> {
    stream::iter(requests).buffer_unordered(REREAD_AT_ONCE).collect().await
}

/// Asks by itself what an account is called in these rooms. The state in a sync is that before the
/// newest event, which may come from a server that had not heard of the name yet.
async fn reread_names(
    account: Option<&Account>,
    survey: Option<&mut Survey>,
    rooms: &[OwnedRoomId],
) {
    let (Some(account), Some(survey)) = (account, survey) else { return };
    let Some(holdings) = &mut survey.holdings else { return };
    let read = rooms.iter().map(async |room_id| {
        let user_id = account.user_id().as_str();
        (room_id, account.state(room_id, StateEventType::RoomMember, user_id).await)
    });
    for (room_id, member) in a_few_at_once(read.collect()).await {
        match (member, holdings.rooms.get_mut(room_id)) {
            (Ok(Some(member)), Some(room)) => room.profile = RoomProfile::of(member),
            (Err(failure), _) => tracing::debug!(room = %room_id, %failure, "no member event"),
            _ => {}
        }
    }
}

/// Asks by itself for the new account's power where a survey does not show it as planned. The state
/// in a sync is that before the newest event, which may come from a server that had not heard of
/// the power yet.
async fn reread_power(
    account: Option<&Account>,
    survey: Option<&mut Survey>,
    plan: &Plan,
    new: &UserId,
) {
    let (Some(account), Some(survey)) = (account, survey) else { return };
    let doubtful = plan.rooms.iter().filter_map(|planned| {
        let room_id = OwnedRoomId::try_from(planned.room.id.clone()).ok()?;
        let levels = &survey.rooms.get(&room_id)?.power_levels;
        let UserPowerLevel::Int(shown) = levels.for_user(new) else { return None };
        planned.after.power_level.filter(|level| *level > i64::from(shown)).map(|_| room_id)
    });
    let read = doubtful.map(async |room_id| {
        let levels = account.state(&room_id, StateEventType::RoomPowerLevels, "").await;
        (room_id, levels)
    });
    for (room_id, levels) in a_few_at_once(read.collect()).await {
        let Ok(Some(levels)) = levels else { continue };
        let level = levels.get("users").and_then(|users| users.get(new.as_str()));
        let level =
            level.and_then(serde_json::Value::as_i64).and_then(|level| level.try_into().ok());
        if let (Some(level), Some(room)) = (level, survey.rooms.get_mut(&room_id)) {
            room.power_levels.users.insert(new.to_owned(), level);
        }
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
    let synced = old
        .sync(filter, None, None)
        .await
        .map_err(|failure| Trouble::Failed(Side::Old, failure))?;
    Ok(Survey::read_of_other(new, &synced.response))
}
