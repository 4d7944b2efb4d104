//! The form of everything that is stored about a migration. A changed snapshot is a changed format,
//! and needs a new schema version.

use std::collections::BTreeMap;

use ruma::{event_id, owned_event_id, owned_room_id, owned_user_id};

use super::{
    Access, Consent, Ending, Event, Migration, MigrationId, Notice, Options, Outcome, Party, Phase,
    Report, ReportRow, RoomLabel, RouteKind, SecretMessage, Side, StepResult,
    step::{RoomRecord, StepKind},
};
use crate::{clock::Timestamp, homeserver::Failure};

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
        },
        started: at(1_000_000),
        consent_expires: at(1_086_400),
        went: Some(at(1_000_060)),
        ended: None,
    }
}

fn failure() -> Failure {
    Failure::Faulty { status: 502, code: None, message: "no Matrix error in the answer".into() }
}

#[test]
fn a_migration_is_stored_in_this_form() {
    insta::assert_json_snapshot!(migration());
}

#[test]
fn every_phase_is_stored_in_this_form() {
    insta::assert_json_snapshot!([
        Phase::AwaitingConsent,
        Phase::AwaitingAccess,
        Phase::Surveying,
        Phase::AwaitingGo,
        Phase::Running,
        Phase::Paused(Box::new(Phase::Surveying)),
        Phase::Failed(failure()),
        Phase::Finished,
        Phase::Cancelled(Ending::Declined),
        Phase::Cancelled(Ending::Expired),
        Phase::Cancelled(Ending::CancelledBy(Side::New)),
    ]);
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
        Event::AccessNeeded,
        Event::PlanReady,
        Event::SurveyFailed { side: Side::Old, reason: failure() },
        Event::Started,
        Event::Paused { by: Side::Old },
        Event::Resumed { by: Side::New },
        Event::Cancelled { by: Side::Old },
        Event::Finished,
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
    insta::assert_json_snapshot!(RoomRecord { steps });
}

#[test]
fn a_report_is_stored_in_this_form() {
    let row = |outcome| ReportRow {
        room: RoomLabel {
            id: owned_room_id!("!room:a.example").into(),
            name: Some("Club".into()),
            alias: None,
            direct_with: vec![],
            space: false,
            encrypted: true,
        },
        route: RouteKind::InviteAndJoin,
        outcome,
        power_level: Some((100, StepResult::Undone)),
        power_out_of_reach: None,
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
        rooms: outcomes.into_iter().map(row).collect(),
        direct_chats: Some(StepResult::Done),
    });
}

#[test]
fn what_was_stored_is_read_back_as_it_was() {
    let stored = serde_json::to_vec(&migration()).unwrap();
    assert_eq!(serde_json::from_slice::<Migration>(&stored).unwrap(), migration());
}
