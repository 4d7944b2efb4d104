//! The form of everything that is stored about a migration. A changed snapshot is a changed format,
//! and needs a new schema version.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use rand::{SeedableRng as _, rngs::StdRng};
use ruma::{event_id, owned_event_id, owned_room_id, owned_user_id, push::RuleKind};

use super::{
    Access, Awaited, By, Consent, Ending, Event, Holding, HoldingKind, HoldingOutcome, HoldingRow,
    Migration, MigrationId, Notice, OpenedRoom, OpeningState, Options, Outcome, Party, Phase, Plan,
    PlanNumber, PlannedHolding, Report, ReportRow, RoomLabel, RouteKind, SecretMessage, Side,
    StepResult, ToModerator, Treatment, Unanswered,
    journal::Journal,
    step::{RoomRecord, StepKind},
};
use crate::{clock::Timestamp, homeserver::Failure, store::Store};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn migration() -> Migration {
    Migration {
        id: MigrationId(7),
        old: Party {
            user_id: owned_user_id!("@old:a.example"),
            consent: Some(Consent {
                room_id: owned_room_id!("!chat:a.example"),
                event_id: owned_event_id!("$start"),
                at: at(1_000_000),
            }),
            access: Access::Session,
        },
        new: Party {
            user_id: owned_user_id!("@new:b.example"),
            consent: None,
            access: Access::Unknown,
        },
        phase: Phase::Paused(Box::new(Phase::Running)),
        options: Options {
            skipped: [owned_room_id!("!skipped:a.example").into()].into(),
            included: [owned_room_id!("!included:a.example").into()].into(),
            named: [owned_room_id!("!named:a.example").into()].into(),
            named_via: [(
                owned_room_id!("!named:a.example").into(),
                vec![ruma::owned_server_name!("c.example")],
            )]
            .into(),
            skipped_holdings: [HoldingKind::Profile, HoldingKind::PushRules].into(),
            prefer_old: true,
            opened: [owned_room_id!("!opened:a.example")].into(),
            fast_shown: [owned_room_id!("!shown:a.example")].into(),
            fast: [owned_room_id!("!fast:a.example")].into(),
        },
        awaited: [
            (owned_room_id!("!asked:a.example"), Awaited::Asked),
            (owned_room_id!("!opened:a.example"), Awaited::Opened),
        ]
        .into(),
        started: at(1_000_000),
        consent_expires: at(1_086_400),
        plan: PlanNumber(3),
        planned: Some(at(1_000_050)),
        go: Some(PlanNumber(3)),
        interrupted: Some(Phase::Running),
        went: Some(at(1_000_060)),
        ended: None,
    }
}

/// One that was just begun.
pub(super) fn migration_of(id: MigrationId, old: &str, new: &str) -> Migration {
    let mut migration = Migration { id, awaited: BTreeMap::new(), ..migration() };
    migration.old.user_id = old.try_into().unwrap();
    migration.new.user_id = new.try_into().unwrap();
    migration.phase = Phase::AwaitingConsent;
    migration
}

fn failure() -> Failure {
    Failure::Faulty { status: 502, code: None, message: "no Matrix error in the answer".into() }
}

#[test]
fn a_migration_is_stored_in_this_form() {
    insta::assert_json_snapshot!(migration());
}

#[test]
fn every_kind_of_access_is_stored_in_this_form() {
    insta::assert_json_snapshot!(
        [Access::Unknown, Access::None, Access::Session, Access::Masquerade, Access::Lost],
        @r#"
    [
      "unknown",
      "none",
      "session",
      "masquerade",
      "lost"
    ]
    "#
    );
}

fn phases() -> Vec<Phase> {
    vec![
        Phase::AwaitingConsent,
        Phase::AwaitingAccess,
        Phase::Surveying,
        Phase::AwaitingGo,
        Phase::Running,
        Phase::WaitingForModerators,
        Phase::Paused(Box::new(Phase::Surveying)),
        Phase::Failed(failure()),
        Phase::Finished,
        Phase::Cancelled(Ending::Declined),
        Phase::Cancelled(Ending::Expired),
        Phase::Cancelled(Ending::CancelledBy(By::New)),
        Phase::Cancelled(Ending::CancelledBy(By::Admin)),
    ]
}

#[test]
fn every_phase_is_stored_in_this_form() {
    insta::assert_json_snapshot!(phases());
}

#[test]
fn every_phase_is_counted() {
    let mut uncounted = Phase::NAMES.to_vec();
    for phase in phases() {
        assert!(Phase::NAMES.contains(&phase.name()), "{phase:?}");
        uncounted.retain(|name| *name != phase.name());
    }
    assert_eq!(uncounted, [""; 0]);
}

#[test]
fn every_notice_is_stored_in_this_form() {
    let event_id = event_id!("$secret").to_owned();
    let secret = SecretMessage { room_id: owned_room_id!("!chat:a.example"), event_id };
    let (old, new) = (owned_user_id!("@old:a.example"), owned_user_id!("@new:b.example"));
    let notices = [
        Event::ConsentRequested,
        Event::ConsentQuestion,
        Event::ConsentGiven,
        Event::ConsentDeclined,
        Event::ConsentExpired,
        Event::AccessGiven { side: Side::Old, secret: Some(secret) },
        Event::AccessLost { side: Side::New },
        Event::ServiceBegan { side: Side::Old },
        Event::ServiceEnded { side: Side::New },
        Event::AccessNeeded,
        Event::PlanReady,
        Event::SurveyFailed { side: Side::Old, reason: failure() },
        Event::Started,
        Event::Paused { by: By::Old },
        Event::Resumed { by: By::New },
        Event::GoesOn,
        Event::ResumedWithoutOld,
        Event::Cancelled { by: By::Old },
        Event::Finished,
        Event::Announced { text: "The server closes on Friday.".into() },
        Event::ToModerator {
            room_id: owned_room_id!("!room:a.example"),
            what: ToModerator::Request,
        },
        Event::LetIn { rooms: vec![label()] },
        Event::RequestRefused { room: label(), by: owned_user_id!("@mod:a.example") },
        Event::RequestsEnded { rooms: vec![label()], why: Unanswered::Expired },
        Event::Forgotten { old, new },
    ]
    .into_iter()
    .enumerate()
    .map(|(number, event)| Notice {
        id: number as u64,
        migration: MigrationId(7),
        to: owned_user_id!("@old:a.example"),
        room_id: None,
        event,
    })
    .collect::<Vec<_>>();
    insta::assert_json_snapshot!(notices);
}

#[test]
fn what_was_done_in_a_room_is_stored_in_this_form() {
    let steps = BTreeMap::from([
        (StepKind::Invite, StepResult::AlreadySo),
        (StepKind::Join, StepResult::Done),
        (StepKind::PowerLevel, StepResult::Failed(failure())),
        (StepKind::Tags, StepResult::NoAccess),
    ]);
    insta::assert_json_snapshot!(RoomRecord {
        via: vec![ruma::owned_server_name!("c.example")],
        steps,
        held: SignedDuration::from_secs(300),
    });
}

fn label() -> RoomLabel {
    RoomLabel {
        id: owned_room_id!("!room:a.example").into(),
        name: Some("Club".into()),
        alias: None,
        direct_with: vec![],
        names: Default::default(),
        space: false,
        encrypted: true,
    }
}

#[test]
fn a_report_is_stored_in_this_form() {
    let row = |outcome| ReportRow {
        room: label(),
        route: RouteKind::InviteAndJoin,
        outcome,
        power_level: Some((100, StepResult::Undone)),
        power_out_of_reach: None,
        own_tags_kept: true,
        tags: Some(StepResult::NotTried),
        creator_stays: true,
    };
    let outcomes = [
        Outcome::AlreadyThere,
        Outcome::Joined,
        Outcome::Invited,
        Outcome::ByHand,
        Outcome::NeedsModerator,
        Outcome::Unreachable(super::Reason::Banned),
        Outcome::Skipped(super::Omission::Asked),
        Outcome::Failed(failure()),
        Outcome::NotTried,
        Outcome::Missing,
    ];
    insta::assert_json_snapshot!(Report {
        old: owned_user_id!("@old:a.example"),
        new: owned_user_id!("@new:b.example"),
        went: at(1_000_060),
        checked: at(1_000_120),
        unchecked: None,
        held: SignedDuration::from_secs(300),
        rooms: outcomes.into_iter().map(row).collect(),
        direct_chats: Some(StepResult::Done),
        holdings: holdings(),
        opened: vec![OpenedRoom {
            room: label(),
            rule: "invite".into(),
            state: OpeningState::PutBack,
        }],
    });
}

/// One row for each way to be copied or not, and for each holding.
fn holdings() -> Vec<HoldingRow> {
    let room_id = || owned_room_id!("!room:a.example");
    let row = |holding, outcome| HoldingRow { holding, parts: 2, outcome };
    vec![
        row(Holding::DisplayName, HoldingOutcome::Copied(StepResult::Done)),
        row(Holding::Avatar, HoldingOutcome::KeptOwn),
        row(Holding::ProfileField("m.tz".into()), HoldingOutcome::Skipped),
        row(Holding::RoomProfile(room_id()), HoldingOutcome::Copied(StepResult::Undone)),
        row(Holding::AccountData("m.example".into()), HoldingOutcome::TooLarge),
        row(
            Holding::RoomAccountData { room_id: room_id(), event_type: "m.example".into() },
            HoldingOutcome::Copied(StepResult::Failed(failure())),
        ),
        row(Holding::PushRules(RuleKind::Override), HoldingOutcome::KeptOwn),
        row(Holding::PredefinedPushRules, HoldingOutcome::KeptOwn),
    ]
}

#[test]
fn planned_holdings_are_stored_in_this_form() {
    let treatments = [
        Treatment::Add,
        Treatment::Replace,
        Treatment::KeepOwn,
        Treatment::Skip,
        Treatment::TooLarge,
    ];
    let planned = treatments.map(|treatment| PlannedHolding {
        holding: Holding::Avatar,
        adds: 1,
        differs: 2,
        treatment,
    });
    insta::assert_json_snapshot!(planned);
}

#[test]
fn a_migration_stored_before_there_were_holdings_is_read() {
    let stored = r#"{ "skipped": ["!skipped:a.example"], "named": [] }"#;
    let options: Options = serde_json::from_str(stored).unwrap();
    assert!(options.skipped_holdings.is_empty() && !options.prefer_old);
    let plan: Plan = serde_json::from_str(r#"{ "rooms": [], "direct": {} }"#).unwrap();
    assert_eq!(plan, Plan::default());
}

#[test]
fn what_was_stored_is_read_back_as_it_was() {
    let stored = serde_json::to_vec(&migration()).unwrap();
    assert_eq!(serde_json::from_slice::<Migration>(&stored).unwrap(), migration());
}

#[tokio::test]
async fn a_push_rule_that_may_be_given_in_part_is_stored_in_this_form() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    let store = Store::open(dir.path(), &dir.path().join("key"), &mut rng).unwrap();
    let journal = Journal::open(store.clone()).unwrap();
    journal.begin_rule(MigrationId(7), "underride/.m.rule.message").await.unwrap();
    let records = store.table::<serde_json::Value>("rule_begun");
    let records: BTreeMap<_, _> = records.iter().map(Result::unwrap).collect();
    insta::assert_json_snapshot!(records, @r#"
    {
      "00000000000000000007/underride/.m.rule.message": null
    }
    "#);
    assert_eq!(journal.rules_begun(MigrationId(7)).unwrap().len(), 1);
    assert!(journal.rules_begun(MigrationId(8)).unwrap().is_empty());
}
