//! How long a migration takes: a pure function of what is still to be sent and of what homeservers
//! allow.

use std::{
    collections::HashMap,
    ops::{AddAssign, SubAssign},
    time::Duration,
};

use super::{
    Access, FastOffer, Migration, Plan, PlannedRoom, Route, Side,
    step::{RoomRecord, StepKind},
};
use crate::homeserver::{Action, Budget, Kind};

/// What a room takes at least, several at a time.
const A_ROOM: Duration = Duration::from_millis(250);
/// What everything together takes at least: the accounts are read before and after.
const AT_LEAST: Duration = Duration::from_secs(5);

/// What is still to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) invites: u32,
    pub(crate) local_joins: u32,
    pub(crate) remote_joins: u32,
    /// Rooms that the old account opens for a moment: two events each.
    pub(crate) openings: u32,
    /// Power levels that the old account raises.
    pub(crate) power_levels: u32,
    /// Names that the new account gets in single rooms.
    pub(crate) room_profiles: u32,
    pub(crate) rooms: u32,
    /// The room that both accounts share before any is opened: one invitation and one join.
    pub(crate) lobby: u32,
}

impl Work {
    /// What of `plan` is not recorded as done.
    pub(crate) fn of(
        plan: &Plan,
        migration: &Migration,
        records: &HashMap<String, RoomRecord>,
    ) -> Self {
        let mut work = Self::default();
        let untouched = RoomRecord::default();
        for room in &plan.rooms {
            let record = records.get(room.room.id.as_str()).unwrap_or(&untouched);
            work.add(room, record, migration);
        }
        let to_be_opened = plan.rooms.iter().filter(|room| room.opens).count();
        work.in_all(named_in_rooms(plan), count(to_be_opened))
    }

    /// With what does not follow from single rooms: `names` for single rooms that the new account is
    /// to get, and the lobby, unless some of the rooms that are `to_be_opened` were opened already.
    fn in_all(self, names: u32, to_be_opened: u32) -> Self {
        Self {
            room_profiles: names.min(self.rooms),
            lobby: u32::from(self.openings > 0 && self.openings == to_be_opened),
            ..self
        }
    }

    fn add(&mut self, room: &PlannedRoom, record: &RoomRecord, migration: &Migration) {
        *self += Self::of_room(room, room.opens, record, migration);
    }

    /// What is still to be sent for one room, if it is opened or not.
    fn of_room(
        room: &PlannedRoom,
        is_opened: bool,
        record: &RoomRecord,
        migration: &Migration,
    ) -> Self {
        let mut work = Self::default();
        let enters = match room.route {
            Route::Join(_) | Route::InviteAndJoin => !record.is_settled(StepKind::Join),
            Route::AlreadyThere => false,
            Route::NeedsModerator | Route::Unreachable(_) | Route::Skipped(_) => return work,
        };
        let invites = room.route == Route::InviteAndJoin && !record.is_settled(StepKind::Invite);
        let opens = enters && invites && is_opened;
        let raises = room.after.power_level.is_some() && !record.is_settled(StepKind::PowerLevel);
        work.invites += u32::from(enters && invites && !opens);
        work.openings += u32::from(opens);
        work.power_levels += u32::from(raises);
        if enters && migration.new.access != Access::None {
            // The old account's homeserver lets in whoever comes through an opened room.
            let is_local = room.near && (!opens || is_on_one_server(migration));
            work.local_joins += u32::from(is_local);
            work.remote_joins += u32::from(!is_local);
        }
        work.rooms += u32::from(enters || raises);
        work
    }

    fn change_by(&mut self, other: Self, change: impl Fn(u32, u32) -> u32) {
        let fields = [
            (&mut self.invites, other.invites),
            (&mut self.local_joins, other.local_joins),
            (&mut self.remote_joins, other.remote_joins),
            (&mut self.openings, other.openings),
            (&mut self.power_levels, other.power_levels),
            (&mut self.room_profiles, other.room_profiles),
            (&mut self.rooms, other.rooms),
            (&mut self.lobby, other.lobby),
        ];
        for (field, by) in fields {
            *field = change(*field, by);
        }
    }

    /// How many tokens it takes of the budget of this kind that this side's homeserver keeps.
    fn tokens(&self, side: Side, kind: Kind) -> u32 {
        match (side, kind) {
            (Side::Old, Kind::InvitesBy | Kind::InvitesOf) | (Side::New, Kind::InvitesFromAfar) => {
                self.invites + self.lobby
            }
            (Side::Old, Kind::Messages) => {
                self.invites + self.lobby + 2 * self.openings + self.power_levels
            }
            (Side::New, Kind::Messages) => self.local_joins + self.room_profiles,
            (Side::New, Kind::LocalJoins) => self.local_joins,
            (Side::New, Kind::RemoteJoins) => self.remote_joins + self.lobby,
            _ => 0,
        }
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.change_by(other, u32::wrapping_add);
    }
}

impl SubAssign for Work {
    fn sub_assign(&mut self, other: Self) {
        self.change_by(other, u32::wrapping_sub);
    }
}

fn is_on_one_server(migration: &Migration) -> bool {
    migration.old.user_id.server_name() == migration.new.user_id.server_name()
}

/// How many rooms of `plan` are to be brought on by an action next.
pub(crate) fn next(
    plan: &Plan,
    migration: &Migration,
    records: &HashMap<String, RoomRecord>,
) -> HashMap<Action, usize> {
    let untouched = RoomRecord::default();
    let mut next = HashMap::new();
    for room in &plan.rooms {
        let record = records.get(room.room.id.as_str()).unwrap_or(&untouched);
        let mut work = Work::default();
        work.add(room, record, migration);
        let action = match work {
            Work { invites: 1.., .. } => Action::Invite,
            Work { local_joins: 1.., .. } => Action::LocalJoin,
            Work { remote_joins: 1.., .. } => Action::RemoteJoin,
            Work { power_levels: 1.., .. } => Action::State,
            _ => continue,
        };
        *next.entry(action).or_default() += 1;
    }
    next
}

/// The budgets that a migration draws from.
pub(crate) const BUDGETS: [(Side, Kind); 7] = [
    (Side::Old, Kind::InvitesBy),
    (Side::Old, Kind::InvitesOf),
    (Side::New, Kind::InvitesFromAfar),
    (Side::Old, Kind::Messages),
    (Side::New, Kind::Messages),
    (Side::New, Kind::LocalJoins),
    (Side::New, Kind::RemoteJoins),
];

/// How long `work` takes. `budget` tells what a side's homeserver allows; nothing where it does not
/// limit. Everything goes on side by side, so what takes longest decides.
pub(crate) fn time(work: &Work, budget: impl Fn(Side, Kind) -> Option<Budget>) -> Duration {
    let waits = BUDGETS.into_iter().filter_map(|(side, kind)| {
        let tokens = work.tokens(side, kind);
        Some(wait(tokens, &budget(side, kind)?))
    });
    waits.max().unwrap_or_default() + A_ROOM * work.rooms + AT_LEAST
}

/// What `fast` would do with what is still to be sent: opens as few rooms as it takes to be as fast
/// as can be, those first that come first in the plan.
pub(crate) fn fast_offer(
    plan: &Plan,
    migration: &Migration,
    records: &HashMap<String, RoomRecord>,
    budget: impl Fn(Side, Kind) -> Option<Budget>,
) -> FastOffer {
    let untouched = |room: &PlannedRoom| {
        records.get(room.room.id.as_str()).is_none_or(|record| record.steps.is_empty())
    };
    let no_record = RoomRecord::default();
    let record = |room: &PlannedRoom| records.get(room.room.id.as_str()).unwrap_or(&no_record);
    // What is to be sent with none opened. Each further room that is opened changes that by what is
    // to be sent for this room alone.
    let mut sum = Work::default();
    let mut candidates = Vec::new();
    for room in &plan.rooms {
        let shut = Work::of_room(room, false, record(room), migration);
        sum += shut;
        if room.may_be_opened() && untouched(room) {
            candidates.push((room, shut));
        }
    }
    let names = named_in_rooms(plan);
    let instead_of = time(&sum.in_all(names, 0), &budget);
    let (mut takes, mut opened) = (instead_of, 0);
    for (number, (room, shut)) in (1..).zip(&candidates) {
        sum -= *shut;
        sum += Work::of_room(room, true, record(room), migration);
        let with = time(&sum.in_all(names, number), &budget);
        if with < takes {
            (takes, opened) = (with, number);
        }
    }
    let rooms = candidates.iter().zip(0..opened).map(|((room, _), _)| room.room.clone()).collect();
    FastOffer { rooms, takes, instead_of }
}

/// In how many rooms the new account is to get a name of its own.
fn named_in_rooms(plan: &Plan) -> u32 {
    let names = plan.holdings.iter().filter(|planned| {
        matches!(planned.holding, super::Holding::RoomProfile(_)) && planned.prefers_old().is_some()
    });
    count(names.count())
}

/// How long until the last of `tokens` comes. What came by now is there, as far as the bucket holds
/// it.
fn wait(tokens: u32, budget: &Budget) -> Duration {
    let from_full = budget.interval * tokens.saturating_sub(budget.burst);
    let (Some(next_in), 1..) = (budget.next_in, tokens) else { return from_full };
    let last = budget.interval * (tokens - 1);
    let from_next = match Duration::try_from(next_in) {
        Ok(next_in) => last + next_in,
        Err(_) => last.saturating_sub(next_in.unsigned_abs()),
    };
    from_next.max(from_full)
}

fn count(number: usize) -> u32 {
    number.try_into().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn documented(_: Side, kind: Kind) -> Option<Budget> {
        let (interval, burst) = kind.documented()?;
        Some(Budget { interval, burst, next_in: None })
    }

    fn hours(work: &Work) -> f64 {
        time(work, documented).as_secs_f64() / 3600.0
    }

    #[test]
    fn a_hundred_rooms_at_default_limits_take_as_long_as_the_invitations() {
        let work = Work { invites: 50, remote_joins: 100, rooms: 100, ..Work::default() };
        assert!((4.1..4.3).contains(&hours(&work)), "{}", hours(&work));
        let work = Work { invites: 0, ..work };
        assert!((2.4..2.6).contains(&hours(&work)), "{}", hours(&work));
        let work = Work { remote_joins: 0, local_joins: 100, ..work };
        assert!((0.2..0.3).contains(&hours(&work)), "{}", hours(&work));
    }

    #[test]
    fn what_fits_into_the_bursts_takes_moments() {
        let work = Work { invites: 5, remote_joins: 10, rooms: 10, ..Work::default() };
        assert!(time(&work, documented) < Duration::from_secs(10));
        assert_eq!(time(&Work::default(), documented), AT_LEAST);
    }

    #[test]
    fn opened_rooms_cost_messages_in_place_of_invitations() {
        let work = Work { invites: 50, remote_joins: 50, rooms: 50, ..Work::default() };
        let opened = Work { invites: 0, openings: 50, lobby: 1, ..work };
        assert!((4.1..4.3).contains(&hours(&work)), "{}", hours(&work));
        assert!((1.1..1.2).contains(&hours(&opened)), "{}", hours(&opened));
        let near = Work { remote_joins: 0, ..opened };
        let seconds = time(&near, documented).as_secs();
        assert!((450..480).contains(&seconds), "two messages a room: {seconds}");
    }

    #[test]
    fn who_is_not_limited_waits_for_nothing() {
        let work = Work { invites: 50, remote_joins: 100, rooms: 100, ..Work::default() };
        assert!(time(&work, |_, _| None) < Duration::from_secs(60));
    }

    #[test]
    fn an_empty_budget_is_waited_for_from_its_next_token_on() {
        let budget = Budget {
            interval: Duration::from_secs(100),
            burst: 10,
            next_in: Some(SignedDuration::from_secs(30)),
        };
        assert_eq!(wait(3, &budget), Duration::from_secs(230));
        assert_eq!(wait(0, &budget), Duration::ZERO);
        assert_eq!(wait(12, &Budget { next_in: None, ..budget }), Duration::from_secs(200));
    }

    #[test]
    fn tokens_that_came_since_are_there_but_no_more_than_the_bucket_holds() {
        let since = |seconds: i64| Budget {
            interval: Duration::from_secs(100),
            burst: 10,
            next_in: Some(SignedDuration::from_secs(-seconds)),
        };
        assert_eq!(wait(3, &since(0)), Duration::from_secs(200), "one is there");
        assert_eq!(wait(3, &since(150)), Duration::from_secs(50), "two are");
        assert_eq!(wait(3, &since(400)), Duration::ZERO);
        assert_eq!(wait(12, &since(100_000)), Duration::from_secs(200), "ten are");
    }
}
