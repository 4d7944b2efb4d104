//! The writing of a report: what was recorded, held against what is there.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ruma::{
    OwnedRoomId, UserId,
    events::room::{member::MembershipState, power_levels::UserPowerLevel},
};

use super::{HoldingOutcome, HoldingRow, Outcome, Report, ReportRow, StepResult};
use crate::{
    clock::Timestamp,
    homeserver::Failure,
    migration::{
        Holding, Migration, OpenedRoom, Phase, Plan, PlannedHolding, PlannedRoom, Route, Treatment,
        fast::Opening,
        run::Memberships,
        step::{RoomRecord, StepKind},
        survey::{Survey, SurveyedRoom},
    },
};

/// What a report is checked against.
#[derive(Debug)]
pub(crate) enum Check {
    /// What the new account sees itself; and for power levels also what the old one sees, which
    /// raised them: over federation they may take a moment to arrive.
    Surveys {
        new: Box<Survey>,
        old: Option<Box<Survey>>,
        /// What the new account still does not have of what the old one holds.
        lacking: Vec<PlannedHolding>,
    },
    /// What the old account sees of it, where there is no access to the new one.
    Memberships(Memberships),
    /// Nothing could be read, for this reason; or there was no need to.
    Nothing(Option<Failure>),
}

/// What a report is written from.
#[derive(Debug)]
pub(crate) struct Findings<'a> {
    pub(crate) migration: &'a Migration,
    pub(crate) plan: &'a Plan,
    pub(crate) records: &'a HashMap<String, RoomRecord>,
    pub(crate) direct_chats: Option<StepResult>,
    pub(crate) holdings: HashMap<String, StepResult>,
    pub(crate) openings: BTreeMap<OwnedRoomId, Opening>,
    pub(crate) check: &'a Check,
    pub(crate) now: Timestamp,
}

impl Findings<'_> {
    /// Writes the report.
    pub(crate) fn report(self) -> Report {
        let rooms: Vec<_> = self.plan.rooms.iter().map(|room| self.row(room)).collect();
        let holdings = self.holdings(&rooms);
        Report {
            old: self.migration.old.user_id.clone(),
            new: self.migration.new.user_id.clone(),
            went: self.migration.went.unwrap_or(self.migration.started),
            checked: self.now,
            unchecked: match self.check {
                Check::Nothing(failure) => failure.clone(),
                _ => None,
            },
            held: self.records.values().map(|record| record.held).sum(),
            rooms,
            direct_chats: self.direct_chats(),
            opened: self.opened(),
            holdings,
        }
    }

    fn opened(&self) -> Vec<OpenedRoom> {
        let opened = |room: &PlannedRoom| {
            let room_id = OwnedRoomId::try_from(room.room.id.clone()).ok()?;
            let opening = self.openings.get(&room_id)?;
            let (rule, state) = (opening.rule(), opening.state.clone());
            Some(OpenedRoom { room: room.room.clone(), rule, state })
        };
        self.plan.rooms.iter().filter_map(opened).collect()
    }

    /// Rooms in which a power level that was raised is not what the check found: somebody else
    /// wrote the event in the same moment.
    pub(crate) fn lost_power(&self) -> Vec<(&str, RoomRecord)> {
        self.plan
            .rooms
            .iter()
            .filter(|room| room.after.power_level.is_some_and(|level| !self.has_power(room, level)))
            .filter_map(|room| {
                let id = room.room.id.as_str();
                let mut record = self.records.get(id)?.clone();
                let raised = record.is_through(StepKind::PowerLevel);
                record.steps.remove(&StepKind::PowerLevel);
                raised.then_some((id, record))
            })
            .collect()
    }

    /// A row for each holding, but for those that belong to rooms that the new account is not in:
    /// it is told of the rooms that they are missing.
    fn holdings(&self, rooms: &[ReportRow]) -> Vec<HoldingRow> {
        let entered: HashSet<&str> = rooms
            .iter()
            .filter(|row| matches!(row.outcome, Outcome::AlreadyThere | Outcome::Joined))
            .map(|row| row.room.id.as_str())
            .collect();
        let is_told = |planned: &&PlannedHolding| {
            planned.holding.room_id().is_none_or(|room_id| entered.contains(room_id.as_str()))
        };
        let holdings = self.plan.holdings.iter().filter(is_told);
        let lacking: BTreeSet<&Holding> = match self.check {
            Check::Surveys { lacking, .. } => lacking
                .iter()
                .filter(|lacking| lacking.prefers_old().is_some())
                .map(|lacking| &lacking.holding)
                .collect(),
            _ => BTreeSet::new(),
        };
        holdings.map(|planned| self.holding(planned, &lacking)).collect()
    }

    fn holding(&self, planned: &PlannedHolding, lacking: &BTreeSet<&Holding>) -> HoldingRow {
        let outcome = match planned.treatment {
            Treatment::Add | Treatment::Replace => {
                let result = self.holdings.get(&planned.holding.key()).cloned();
                let result = result.unwrap_or(StepResult::NotTried);
                HoldingOutcome::Copied(checked(result, !lacking.contains(&planned.holding)))
            }
            Treatment::KeepOwn => HoldingOutcome::KeptOwn,
            Treatment::Skip => HoldingOutcome::Skipped,
            Treatment::TooLarge => HoldingOutcome::TooLarge,
            Treatment::Unreadable => HoldingOutcome::Unreadable,
        };
        HoldingRow { holding: planned.holding.clone(), parts: planned.parts(), outcome }
    }

    fn row(&self, room: &PlannedRoom) -> ReportRow {
        let none = RoomRecord::default();
        let record = self.records.get(room.room.id.as_str()).unwrap_or(&none);
        let outcome = self.outcome(room, record);
        let entered = matches!(outcome, Outcome::AlreadyThere | Outcome::Joined);
        let result = |kind| record.steps.get(&kind).cloned().unwrap_or(StepResult::NotTried);
        let seen = self.seen(room);
        ReportRow {
            room: room.room.clone(),
            route: room.route.kind(),
            power_level: room.after.power_level.map(|level| {
                (level, checked(result(StepKind::PowerLevel), self.has_power(room, level)))
            }),
            power_out_of_reach: room.after.power_out_of_reach.filter(|_| entered),
            tags: (!room.after.tags.is_empty()).then(|| {
                let has = |seen: &SurveyedRoom| {
                    room.after.tags.keys().all(|tag| seen.tags.contains_key(tag))
                };
                checked(result(StepKind::Tags), seen.is_none_or(has))
            }),
            own_tags_kept: !room.after.contested_tags.is_empty(),
            creator_stays: room.after.creator_stays,
            outcome,
        }
    }

    fn outcome(&self, room: &PlannedRoom, record: &RoomRecord) -> Outcome {
        match &room.route {
            Route::AlreadyThere => return Outcome::AlreadyThere,
            Route::NeedsModerator => return Outcome::NeedsModerator,
            Route::Unreachable(reason) => return Outcome::Unreachable(reason.clone()),
            Route::Skipped(omission) => return Outcome::Skipped(omission.clone()),
            Route::Join(_) | Route::InviteAndJoin => {}
        }
        for kind in [StepKind::Invite, StepKind::Join] {
            if let Some(StepResult::Failed(failure)) = record.steps.get(&kind) {
                return Outcome::Failed(failure.clone());
            }
        }
        let by_hand = !self.migration.new.access.is_given();
        if record.is_in() {
            if self.is_missing(room) { Outcome::Missing } else { Outcome::Joined }
        } else if (by_hand || self.is_cancelled()) && record.is_through(StepKind::Invite) {
            Outcome::Invited
        } else if by_hand && matches!(room.route, Route::Join(_)) {
            Outcome::ByHand
        } else {
            Outcome::NotTried
        }
    }

    fn is_cancelled(&self) -> bool {
        matches!(self.migration.phase, Phase::Cancelled(_))
    }

    /// Whether the check shows that the new account is not in a room.
    fn is_missing(&self, room: &PlannedRoom) -> bool {
        // A room that was named by its alias is known by another name to the check.
        let Ok(room_id) = OwnedRoomId::try_from(room.room.id.clone()) else { return false };
        match self.check {
            Check::Surveys { new, .. } => {
                new.rooms.get(&room_id).is_none_or(|room| room.membership != MembershipState::Join)
            }
            Check::Memberships(memberships) => {
                memberships.get(&room_id) != Some(&MembershipState::Join)
            }
            Check::Nothing(_) => false,
        }
    }

    /// The room as the check found it, if the new account is in it.
    fn seen(&self, room: &PlannedRoom) -> Option<&SurveyedRoom> {
        let Check::Surveys { new, .. } = self.check else { return None };
        joined(new, room)
    }

    /// Whether the new account has this power in a room, as far as the check tells.
    fn has_power(&self, room: &PlannedRoom, level: i64) -> bool {
        let Check::Surveys { new, old, .. } = self.check else { return true };
        let mut seen = old.iter().chain([new]);
        let user = &self.migration.new.user_id;
        seen.any(|survey| joined(survey, room).is_some_and(|room| has_power(room, user, level)))
    }

    fn direct_chats(&self) -> Option<StepResult> {
        let result = self.direct_chats.clone()?;
        let Check::Surveys { new: survey, .. } = self.check else { return Some(result) };
        let so = self.plan.direct.iter().all(|(person, rooms)| {
            let marked: HashSet<_> = survey.direct.get(person).into_iter().flatten().collect();
            rooms
                .iter()
                .filter(|room_id| {
                    let seen = survey.rooms.get(*room_id);
                    seen.is_some_and(|room| room.membership == MembershipState::Join)
                })
                .all(|room_id| marked.contains(room_id))
        });
        Some(checked(result, so))
    }
}

/// A room that the surveyed account is in.
fn joined<'a>(survey: &'a Survey, room: &PlannedRoom) -> Option<&'a SurveyedRoom> {
    let room_id = OwnedRoomId::try_from(room.room.id.clone()).ok()?;
    survey.rooms.get(&room_id).filter(|room| room.membership == MembershipState::Join)
}

fn has_power(room: &SurveyedRoom, user: &UserId, level: i64) -> bool {
    match room.power_levels.for_user(user) {
        UserPowerLevel::Int(actual) => i64::from(actual) >= level,
        _ => true,
    }
}

/// What came of a step, given whether the check found it so.
fn checked(result: StepResult, so: bool) -> StepResult {
    match result {
        StepResult::Done | StepResult::AlreadySo if !so => StepResult::Undone,
        result => result,
    }
}
