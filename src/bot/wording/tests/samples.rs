//! What the texts are about.

use std::{collections::BTreeMap, time::Duration};

use jiff::SignedDuration;
use matrix_sdk::ruma::{
    OwnedRoomOrAliasId, OwnedUserId, api::error::ErrorCode, event_id, push::RuleKind, room_id,
    user_id,
};

use crate::{
    clock::Timestamp,
    homeserver::{Action, Excess, Failure, Fault, WaitReason},
    migration::{
        Access, AfterJoin, By, Consent, Ending, Entry, Event, Holding, HoldingOutcome, HoldingRow,
        Migration, MigrationId, Omission, Options, Outcome, Party, Phase, Plan, PlanNumber,
        PlannedHolding, PlannedRoom, Progress, Reason, Report, ReportRow, RoomLabel, Route,
        RouteKind, SecretMessage, Side, StepResult, Treatment, Unanswered, Wait,
    },
    moderation::{InviteRequest, RequestState, Way},
};

pub(super) fn old() -> OwnedUserId {
    user_id!("@alice:old.example").to_owned()
}

pub(super) fn new() -> OwnedUserId {
    user_id!("@alice:new.example").to_owned()
}

pub(super) fn me() -> OwnedUserId {
    user_id!("@tern:example.org").to_owned()
}

pub(super) fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

pub(super) fn party(user_id: OwnedUserId, access: Access) -> Party {
    let consent = Consent {
        room_id: room_id!("!chat:example.org").to_owned(),
        event_id: event_id!("$said").to_owned(),
        at: now(),
    };
    Party { user_id, consent: Some(consent), access }
}

pub(super) fn migration(phase: Phase) -> Migration {
    Migration {
        id: MigrationId(1),
        old: party(old(), Access::Session),
        new: party(new(), Access::Session),
        phase,
        options: Options::default(),
        started: now(),
        consent_expires: now() + Duration::from_secs(86_000),
        plan: PlanNumber(1),
        planned: Some(now()),
        lapsed: None,
        lapse_told: None,
        go: None,
        interrupted: None,
        went: None,
        ended: None,
        awaited: BTreeMap::new(),
    }
}

pub(super) fn label(id: &str, name: &str) -> RoomLabel {
    RoomLabel {
        id: OwnedRoomOrAliasId::try_from(id).unwrap(),
        name: (!name.is_empty()).then(|| name.to_owned()),
        alias: None,
        direct_with: Vec::new(),
        names: BTreeMap::new(),
        space: false,
        encrypted: false,
    }
}

pub(super) fn planned(id: &str, name: &str, route: Route) -> PlannedRoom {
    PlannedRoom {
        room: label(id, name),
        route,
        omission: None,
        after: AfterJoin::default(),
        notes: Vec::new(),
        via: vec!["old.example".try_into().unwrap()],
        near: false,
        hides_servers: false,
        may_open: false,
        opens: false,
    }
}

pub(super) fn sample_plan() -> Plan {
    let mut rooms = vec![
        planned("!space:old.example", "Garden club", Route::InviteAndJoin),
        planned("!bob:old.example", "", Route::InviteAndJoin),
        planned("!tomatoes:old.example", "Tomatoes", Route::Join(Entry::Public)),
        planned("!invited:old.example", "Seeds", Route::Join(Entry::Invited)),
        planned("!there:old.example", "Compost", Route::AlreadyThere),
        planned("!closed:old.example", "Committee", Route::NeedsModerator),
        planned("!banned:old.example", "Roses", Route::Unreachable(Reason::Banned)),
        planned("!local:old.example", "Shed", Route::Unreachable(Reason::NotFederated)),
        planned("!skip:old.example", "Noise", Route::Skipped(Omission::Asked)),
    ];
    rooms[0].room.space = true;
    rooms[0].after.power_level = Some(100);
    rooms[0].after.creator_stays = true;
    rooms[1].room.direct_with = vec![user_id!("@bob:old.example").to_owned()];
    rooms[1].room.names = [(user_id!("@bob:old.example").to_owned(), "Bob <3".to_owned())].into();
    rooms[1].room.encrypted = true;
    rooms[2].after.tags = [("m.favourite".to_owned(), None)].into();
    rooms[4].after.contested_tags = [("u.garden".to_owned(), None)].into();
    let bob = user_id!("@bob:old.example").to_owned();
    let direct = BTreeMap::from([(bob, vec![room_id!("!bob:old.example").to_owned()])]);
    let takes = Some(Duration::from_secs(15_000));
    let holdings = sample_holdings();
    Plan { rooms, direct, holdings, takes, ..Plan::default() }
}

/// One thing of each kind, treated in each way.
pub(super) fn sample_holdings() -> Vec<PlannedHolding> {
    let planned = |holding, treatment| PlannedHolding { holding, adds: 3, differs: 1, treatment };
    let data = |event_type: &str| Holding::AccountData(event_type.to_owned());
    vec![
        planned(Holding::DisplayName, Treatment::Replace),
        planned(Holding::Avatar, Treatment::Add),
        planned(Holding::ProfileField("m.tz".to_owned()), Treatment::Add),
        planned(Holding::ProfileField("<b>".to_owned()), Treatment::Add),
        planned(Holding::PredefinedPushRules, Treatment::Add),
        planned(Holding::PushRules(RuleKind::Room), Treatment::Add),
        planned(data("m.ignored_user_list"), Treatment::Add),
        planned(data("im.ponies.user_emotes"), Treatment::Add),
        planned(data("org.example.a"), Treatment::Add),
        planned(data("org.example.b"), Treatment::KeepOwn),
        planned(data("org.example.c"), Treatment::TooLarge),
        planned(Holding::Profile, Treatment::Unreadable),
        planned(Holding::RoomProfile(room_id!("!space:old.example").to_owned()), Treatment::Add),
        planned(
            Holding::RoomAccountData {
                room_id: room_id!("!space:old.example").to_owned(),
                event_type: "m.marked_unread".to_owned(),
            },
            Treatment::Add,
        ),
    ]
}

pub(super) fn refused() -> Failure {
    Failure::Refused {
        status: 403,
        code: ErrorCode::Forbidden,
        message: "You are <b>not</b> invited".to_owned(),
    }
}

pub(super) fn unreachable() -> Failure {
    Failure::Unreachable { host: "old.example".to_owned(), fault: Fault::Timeout }
}

pub(super) fn row(id: &str, name: &str, outcome: Outcome) -> ReportRow {
    ReportRow {
        room: label(id, name),
        route: RouteKind::InviteAndJoin,
        outcome,
        power_level: None,
        power_out_of_reach: None,
        tags: None,
        own_tags_kept: false,
        creator_stays: false,
    }
}

pub(in crate::bot) fn sample_report() -> Report {
    let mut rooms = vec![
        row("!space:old.example", "Garden club", Outcome::Joined),
        row("!seeds:old.example", "Seeds", Outcome::Joined),
        row("!there:old.example", "=HYPERLINK(\"x\")", Outcome::AlreadyThere),
        row("!failed:old.example", "Roses <script>", Outcome::Failed(refused())),
        row("!missing:old.example", "Shed", Outcome::Missing),
        row("!invited:old.example", "Pots", Outcome::Invited),
        row("!hand:old.example", "Tomatoes", Outcome::ByHand),
        row("!closed:old.example", "Committee", Outcome::NeedsModerator),
        row("!acl:old.example", "Fence", Outcome::Unreachable(Reason::ServerDenied)),
        row("!skip:old.example", "Noise", Outcome::Skipped(Omission::Asked)),
        row("!late:old.example", "Winter", Outcome::NotTried),
    ];
    rooms[0].power_level = Some((100, StepResult::Done));
    rooms[0].creator_stays = true;
    rooms[1].power_level = Some((50, StepResult::Failed(refused())));
    rooms[1].tags = Some(StepResult::NoAccess);
    rooms[2].power_out_of_reach = Some(75);
    rooms[3].power_level = Some((75, StepResult::Done));
    rooms[2].own_tags_kept = true;
    Report {
        old: old(),
        new: new(),
        went: now(),
        checked: now() + Duration::from_secs(3_600),
        unchecked: None,
        held: SignedDuration::from_mins(95),
        rooms,
        direct_chats: Some(StepResult::Done),
        holdings: sample_holding_rows(),
        opened: Vec::new(),
    }
}

/// Each way to end.
pub(super) fn sample_holding_rows() -> Vec<HoldingRow> {
    let row = |holding, outcome| HoldingRow { holding, parts: 2, outcome };
    let copied = HoldingOutcome::Copied;
    let data = |event_type: &str| Holding::AccountData(event_type.to_owned());
    let room_id = room_id!("!space:old.example").to_owned();
    vec![
        row(Holding::DisplayName, copied(StepResult::Done)),
        row(Holding::Avatar, copied(StepResult::Failed(refused()))),
        row(Holding::ProfileField("m.tz".to_owned()), HoldingOutcome::KeptOwn),
        row(Holding::PushRules(RuleKind::Content), copied(StepResult::AlreadySo)),
        row(Holding::RoomProfile(room_id.clone()), copied(StepResult::Undone)),
        row(
            Holding::RoomAccountData { room_id, event_type: "m.marked_unread".to_owned() },
            copied(StepResult::NotTried),
        ),
        row(data("m.ignored_user_list"), HoldingOutcome::Skipped),
        row(data("=cmd()"), HoldingOutcome::TooLarge),
        row(Holding::Profile, HoldingOutcome::Unreadable),
        row(data("im.ponies.user_emotes"), copied(StepResult::ImagesLeft(3))),
    ]
}

pub(super) fn moderator() -> OwnedUserId {
    user_id!("@mod:old.example").to_owned()
}

pub(super) fn asked_rooms() -> Vec<RoomLabel> {
    vec![label("!closed:old.example", "Committee"), label("!knock:old.example", "Knock <b>")]
}

pub(super) fn ended(why: Unanswered) -> Event {
    Event::RequestsEnded { rooms: asked_rooms(), why }
}

/// One request in each way and state.
pub(in crate::bot) fn sample_requests() -> Vec<InviteRequest> {
    let ways = [Way::Message, Way::DirectMessage, Way::Knock];
    let states = [
        RequestState::Open,
        RequestState::Planned,
        RequestState::Opened,
        RequestState::Refused,
        RequestState::Stopped,
        RequestState::Expired,
        RequestState::Withdrawn,
        RequestState::OutOfRoom,
        RequestState::NotAsked(None),
        RequestState::NotAsked(Some(refused())),
        RequestState::NotAsked(Some(Failure::Unencryptable("no device".into()))),
    ];
    let rooms = ["!closed:old.example", "!hand:old.example", "!failed:old.example"];
    let numbered = ways.into_iter().cycle().zip(rooms.into_iter().cycle()).zip(states);
    numbered.map(|((way, room), state)| sample_request(way, room, state)).collect()
}

pub(super) fn sample_request(way: Way, room: &str, state: RequestState) -> InviteRequest {
    InviteRequest {
        migration: MigrationId(1),
        room_id: room.try_into().unwrap(),
        room: label(room, "Committee <i>"),
        old: old(),
        new: new(),
        words: None,
        way: Some(way),
        asked: vec![moderator(), user_id!("@<b>:old.example").to_owned()],
        more: 2,
        transaction: "tern-ask".into(),
        message: None,
        reminder: None,
        asked_at: Some(now()),
        reminded_at: None,
        answered_by: (!state.is_live()).then(moderator),
        state,
        thanked: [].into(),
        to_be_closed: false,
    }
}

pub(super) fn sample_progress() -> Progress {
    Progress {
        rooms: 57,
        done: 23,
        failed: 1,
        by_hand: 2,
        elapsed: Duration::from_secs(300),
        left: Some(Duration::from_secs(1500)),
        waits: vec![Wait {
            side: Side::New,
            action: Action::RemoteJoin,
            remaining: Duration::from_secs(140),
            reason: WaitReason::RateLimit,
            waiting: 12,
            interval: Some(Duration::from_secs(100)),
        }],
    }
}

pub(super) fn secret() -> Option<SecretMessage> {
    let (room_id, event_id) = (room_id!("!c:e.org").to_owned(), event_id!("$e").to_owned());
    Some(SecretMessage { room_id, event_id })
}

/// A survey that failed since there was too much.
fn too_much(name: &'static str, excess: Excess) -> (&'static str, Event, Phase, [Access; 2]) {
    let reason = Failure::TooMuch(excess);
    let phase = Phase::Failed(reason.clone());
    (name, Event::SurveyFailed { side: Side::Old, reason }, phase, [Access::Session; 2])
}

/// Events with the phase and the access that they come with.
pub(super) fn events() -> Vec<(&'static str, Event, Phase, [Access; 2])> {
    use Access::{Lost, Masquerade, None as No, Session, Unknown};
    let given = |side| Event::AccessGiven { side, secret: secret() };
    let both = [Session, Session];
    vec![
        ("asked", Event::ConsentRequested, Phase::AwaitingConsent, [Unknown, Unknown]),
        ("question", Event::ConsentQuestion, Phase::AwaitingConsent, [Unknown, Unknown]),
        ("agreed", Event::ConsentGiven, Phase::AwaitingAccess, [Unknown, Unknown]),
        (
            "agreed, one by service",
            Event::ConsentGiven,
            Phase::AwaitingAccess,
            [Masquerade, Unknown],
        ),
        ("agreed, both by service", Event::ConsentGiven, Phase::Surveying, [Masquerade; 2]),
        ("by service", given(Side::Old), Phase::AwaitingAccess, [Masquerade, Unknown]),
        (
            "service began",
            Event::ServiceBegan { side: Side::New },
            Phase::Surveying,
            [Session, Masquerade],
        ),
        (
            "service ended",
            Event::ServiceEnded { side: Side::New },
            Phase::AwaitingAccess,
            [Masquerade, Unknown],
        ),
        ("declined", Event::ConsentDeclined, Phase::Cancelled(Ending::Declined), [Unknown; 2]),
        ("expired", Event::ConsentExpired, Phase::Cancelled(Ending::Expired), [Unknown; 2]),
        ("access old", given(Side::Old), Phase::AwaitingAccess, [Session, Unknown]),
        ("no access old", given(Side::Old), Phase::AwaitingAccess, [No, Unknown]),
        ("access new", given(Side::New), Phase::Surveying, both),
        ("no access new", given(Side::New), Phase::Surveying, [Session, No]),
        ("lost", Event::AccessLost { side: Side::Old }, Phase::AwaitingAccess, [Lost, Session]),
        ("needed", Event::AccessNeeded, Phase::AwaitingAccess, [No, No]),
        ("plan", Event::PlanReady, Phase::AwaitingGo, both),
        ("plan by hand", Event::PlanReady, Phase::AwaitingGo, [Session, No]),
        (
            "survey failed",
            Event::SurveyFailed { side: Side::Old, reason: unreachable() },
            Phase::Failed(unreachable()),
            both,
        ),
        too_much("answer too large", Excess::Answer { most: 128 << 20 }),
        too_much("too many rooms", Excess::Rooms { rooms: 23_456, most: 20_000 }),
        too_much("parked", Excess::Restarts { times: 3 }),
        ("started", Event::Started, Phase::Running, both),
        ("paused", Event::Paused { by: By::Old }, Phase::Paused(Box::new(Phase::Running)), both),
        ("resumed", Event::Resumed { by: By::New }, Phase::Running, both),
        ("stumbled", Event::Stumbled, Phase::Paused(Box::new(Phase::Running)), both),
        ("goes on", Event::GoesOn, Phase::Running, both),
        ("resumed without", Event::ResumedWithoutOld, Phase::Running, [No, Session]),
        ("finished", Event::Finished, Phase::Finished, both),
        ("lapses soon", Event::LapsesSoon, Phase::Finished, both),
        ("plan lapses soon", Event::LapsesSoon, Phase::AwaitingGo, both),
        ("plan lapsed", Event::PlanLapsed, Phase::Cancelled(Ending::Lapsed), both),
        (
            "paused by an admin",
            Event::Paused { by: By::Admin },
            Phase::Paused(Box::new(Phase::Running)),
            both,
        ),
        ("resumed by an admin", Event::Resumed { by: By::Admin }, Phase::Running, both),
        (
            "cancelled by an admin",
            Event::Cancelled { by: By::Admin },
            Phase::Cancelled(Ending::CancelledBy(By::Admin)),
            both,
        ),
        (
            "announced",
            Event::Announced { text: "This server **closes**.\nIt was nice\u{202e}.".to_owned() },
            Phase::Running,
            both,
        ),
        ("finished but for moderators", Event::Finished, Phase::WaitingForModerators, both),
        ("let in", Event::LetIn { rooms: asked_rooms() }, Phase::WaitingForModerators, both),
        (
            "refused by a moderator",
            Event::RequestRefused { room: asked_rooms().remove(0), by: moderator() },
            Phase::WaitingForModerators,
            both,
        ),
        ("nobody answered", ended(Unanswered::Expired), Phase::WaitingForModerators, both),
        ("out of the room", ended(Unanswered::OutOfRoom), Phase::WaitingForModerators, both),
        ("nobody to ask", ended(Unanswered::NotAsked), Phase::WaitingForModerators, both),
    ]
}
