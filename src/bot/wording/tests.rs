//! Every text in one place, as it is read.

mod samples;

use std::{collections::BTreeMap, time::Duration};

use insta::assert_snapshot;
use jiff::SignedDuration;
use matrix_sdk::ruma::{
    MilliSecondsSinceUnixEpoch, RoomVersionId, api::error::ErrorCode, owned_room_alias_id,
    owned_room_id, owned_user_id, room_id, user_id,
};

use self::samples::*;
pub(in crate::bot) use self::samples::{sample_report, sample_requests};
use super::{message::Line, *};
use crate::{
    access::LoginError,
    bot::commands::COMMANDS,
    bot::company::Overheard,
    homeserver::{Action, DiscoverError, Excess, Failure, Fault, WaitReason},
    migration::{
        Access, By, Ending, Entry, Event, FastOffer, HoldingKind, Note, Omission, OpenedRoom,
        OpeningState, Outcome, Pending, Phase, Plan, Reading, Reason, Refusal, Report, RoomAddress,
        Route, RouteKind, Side, StepResult, Wait,
    },
    moderation::{Obstacle, Proposal, Proposed, Reply, RequestState, Way, Words},
};

#[test]
fn what_moderators_read() {
    let words = ModeratorWords { bot: me() };
    let texts = sample_requests().into_iter().flat_map(|request| {
        let mut own = request.clone();
        own.words = Some("Hi, it is **me**, `Alice` <b>!".to_owned());
        let name = format!("{:?}, {:?}", request.way, request.state);
        [
            (format!("{name}: request"), words.request(&request)),
            (format!("{name}: in own words"), words.request(&own)),
            (format!("{name}: reminder"), words.reminder(&request)),
            (format!("{name}: ended"), words.ended(&request)),
            (format!("{name}: thanks"), words.thanks(&request, &moderator())),
        ]
    });
    let texts: BTreeMap<_, _> =
        texts.map(|(name, text)| (format!("{}\n{}", text.plain, text.html), name)).collect();
    let texts: Vec<_> =
        texts.into_iter().map(|(text, name)| format!("──── {name}\n\n{text}\n")).collect();
    let request = sample_request(Way::Knock, "!knock:old.example", RequestState::Planned);
    let knock = words.knock_reason(&request);
    assert_snapshot!(format!("{}\n──── knock\n\n{knock}", texts.join("\n")));
}

#[test]
fn what_the_person_is_told_of_invite_requests() {
    let words = ModeratorWords { bot: me() };
    let proposed = |way, room, obstacle| Proposed {
        request: sample_request(way, room, RequestState::Planned),
        obstacle,
    };
    let mut rooms = vec![
        proposed(Way::Message, "!closed:old.example", None),
        proposed(Way::DirectMessage, "!silent:old.example", None),
        proposed(Way::Knock, "!knock:old.example", None),
    ];
    let obstacles = [
        Obstacle::Asked,
        Obstacle::Opened,
        Obstacle::Refused,
        Obstacle::Stopped,
        Obstacle::Nobody,
        Obstacle::OutOfRoom,
    ];
    let closed = obstacles.map(|why| proposed(Way::Message, "!closed:old.example", Some(why)));
    rooms.extend(closed.clone());
    let request = sample_request(Way::DirectMessage, "!closed:old.example", RequestState::Open);
    let replies = [Reply::Nothing, Reply::Over, Reply::Thanks, Reply::Refused]
        .map(|reply| (format!("{reply:?}"), chat_reply(reply, &request).unwrap()));
    let texts = [
        ("proposal", proposal(&Proposal { rooms, own_words: false }, &words)),
        ("nothing", proposal(&Proposal { rooms: Vec::new(), own_words: false }, &words)),
        ("none open", proposal(&Proposal { rooms: closed[2..].to_vec(), own_words: true }, &words)),
        ("own words", own_words(true)),
        ("words as before", own_words(false)),
        ("sent", requests_sent(200)),
        ("stopped", stopped(std::slice::from_ref(&request))),
        ("nothing to stop", no_request_to_stop()),
    ];
    let texts = texts.map(|(name, text)| (name.to_owned(), text));
    let states = sample_requests();
    let states = states.iter().map(request_words).collect::<Vec<_>>().join("\n");
    assert_snapshot!(format!(
        "{}\n──── states\n\n{states}",
        shown(texts.into_iter().chain(replies))
    ));
}

/// Texts under their names.
fn shown<N: std::fmt::Display>(texts: impl IntoIterator<Item = (N, Message)>) -> String {
    let texts = texts.into_iter().map(|(name, text)| {
        assert!(!text.plain.contains(['{', '}']), "an empty place in {}", text.plain);
        assert!(!text.html.contains("<p></p>"), "an empty paragraph in {}", text.html);
        format!("──── {name}\n\n{}\n", text.plain)
    });
    texts.collect::<Vec<_>>().join("\n")
}

#[test]
fn greetings() {
    assert_snapshot!(shown([
        ("greeting", greeting("Tern")),
        ("hint", hint(&me())),
        ("staying", staying(&me())),
        ("crowded", crowded(&me())),
        ("overheard", overheard(Overheard::Invited, &me())),
        ("overheard, open", overheard(Overheard::Open, &me())),
        ("overheard, readable", overheard(Overheard::WorldReadable, &me())),
        ("overheard, unencrypted", overheard(Overheard::NoLongerEncrypted, &me())),
        ("overheard and left", overheard_and_left(Overheard::UnreadableName, &me())),
        ("plain in an encrypted chat", plain_in_encrypted()),
        ("perhaps a secret", perhaps_secret(true)),
        ("perhaps a secret, not redacted", perhaps_secret(false)),
        ("unreadable", unreadable()),
        ("looking", looking()),
        ("broken", broken()),
        ("not allowed", not_allowed(&old())),
        ("secret in the clear, redacted", secret_in_the_clear(true, &me())),
        ("secret in the clear, not redacted", secret_in_the_clear(false, &me())),
        ("secret unused, redacted", Message::new(secret_unused(true))),
        ("secret unused, not redacted", Message::new(secret_unused(false))),
        ("forgot", forgot(&[])),
        ("forgot, not logged out", forgot(&[new()])),
        ("forgotten", forgotten()),
        ("no such number", no_such_number(9)),
        ("no list", no_such_number(0)),
        ("outdated requests", outdated_requests()),
        ("asking", Message::new(Line::text(&asking_reason(&old())))),
        ("talking", Message::new(Line::text(&talking_reason()))),
    ]));
}

#[test]
fn why_the_new_account_could_not_be_asked() {
    let reasons = [
        Unasked::NoSuchAccount,
        Unasked::ServerUnreachable,
        Unasked::Refused("Invites are <i>off</i>".to_owned()),
        Unasked::Rejected,
        Unasked::Unwanted,
    ];
    assert_snapshot!(shown(
        reasons.map(|why| (format!("{why:?}"), unasked(&why, &old(), &new(), &me())))
    ));
}

#[test]
fn help() {
    let list = help_list(COMMANDS.iter().map(|command| &command.help));
    let each = COMMANDS.iter().map(|command| (command.name, help_for(&command.help)));
    assert_snapshot!(shown(std::iter::once(("help", list)).chain(each)));
}

#[test]
fn mistakes() {
    use crate::bot::grammar::{Words, parse};
    let said = [
        "",
        "halp",
        "hello",
        "start",
        "start bob",
        "start @a:b.c @d:e.f",
        "skip Garden",
        "skip profil",
        "skip profile 3",
        "prefer",
        "prefer mine",
        "rooms invit",
        "rooms all",
        "login",
        "login hunter2",
        "login password",
        "go now",
    ];
    assert_snapshot!(shown(said.map(|said| {
        let words = Words::new(said, None, "!migrate");
        (format!("{said:?}"), mistake(&parse(&words, COMMANDS).err().unwrap()))
    })));
}

#[test]
fn refusals() {
    let phases = [
        Phase::AwaitingConsent,
        Phase::AwaitingAccess,
        Phase::Surveying,
        Phase::AwaitingGo,
        Phase::Running,
        Phase::WaitingForModerators,
        Phase::Paused(Box::new(Phase::Running)),
        Phase::Failed(unreachable()),
        Phase::Finished,
        Phase::Cancelled(Ending::Declined),
        Phase::Cancelled(Ending::Expired),
        Phase::Cancelled(Ending::CancelledBy(By::New)),
    ];
    let wrong_phases = phases.map(|phase| Refusal::WrongPhase { phase });
    let others = [
        Refusal::NoMigration,
        Refusal::NoSuchMigration,
        Refusal::SameAccount,
        Refusal::TheBot,
        Refusal::AskedTooOften { left: Duration::from_secs(4 * 3600) },
        Refusal::ServerAskedTooOften { left: Duration::from_secs(4 * 3600) },
        Refusal::Unwanted { new: new() },
        Refusal::UnreadableName,
        Refusal::Busy { busy: old(), same_pair: true },
        Refusal::Busy { busy: old(), same_pair: false },
        Refusal::Busy { busy: new(), same_pair: false },
        Refusal::WrongSide { may: Side::Old },
        Refusal::WrongSide { may: Side::New },
        Refusal::NoSuchRequest { old: user_id!("@bob:old.example").to_owned() },
        Refusal::NoConsentYet,
        Refusal::NoSuchRoom(room_id!("!x:old.example").to_owned().into()),
        Refusal::PlanChanged,
        Refusal::TooManyNamed { most: 1_000 },
        Refusal::NoPlan,
        Refusal::NoReport,
        Refusal::NothingToRetry,
        Refusal::Unread(unreachable()),
        Refusal::NothingShown,
    ];
    let all = others.into_iter().chain(wrong_phases);
    assert_snapshot!(shown(all.map(|why| (format!("{why:?}"), refusal(&why, &old())))));
}

#[test]
fn failed_logins() {
    let url: url::Url = "https://old.example/".parse().unwrap();
    let discovery = [
        DiscoverError::Unreachable { url: url.clone(), fault: Fault::NoConnection("x".into()) },
        DiscoverError::Unreachable { url: url.clone(), fault: Fault::Private("x".into()) },
        DiscoverError::Tls { url: url.clone(), what: "certificate has expired".into() },
        DiscoverError::NotHomeserver { url: url.clone(), what: "x".into() },
        DiscoverError::NotAHost { name: "old.example".try_into().unwrap() },
        DiscoverError::BadWellKnown { url, what: "x".into() },
    ];
    let failures = [
        unreachable(),
        Failure::Limited { retry_after: Some(Duration::from_secs(600)) },
        Failure::Limited { retry_after: None },
        Failure::Faulty { status: 502, code: None, message: "Bad gateway".into() },
        Failure::Garbage { what: "status 200 without JSON".into() },
        Failure::TooMuch(Excess::Answer { most: 10 << 20 }),
        Failure::TooMuch(Excess::Record),
        Failure::Unsendable("a line break".into()),
        Failure::Stopped,
    ];
    let wrong = [
        refused(),
        Failure::Refused { status: 403, code: ErrorCode::Forbidden, message: String::new() },
        Failure::TokenGone { soft_logout: false },
        Failure::Deactivated,
        Failure::Limited { retry_after: Some(Duration::from_secs(600)) },
    ];
    let all = discovery
        .into_iter()
        .map(LoginError::Discovery)
        .chain(failures.map(LoginError::Failed))
        .chain(wrong.map(LoginError::Wrong))
        .chain([
            LoginError::NoPasswordFlow,
            LoginError::SomebodyElse(me()),
            LoginError::NotCovered,
            LoginError::ServiceRefused(refused()),
        ]);
    assert_snapshot!(shown(
        all.map(|why| (format!("{why:?}"), refusal(&Refusal::Login(why), &old())))
    ));
}

#[test]
fn notices() {
    let (plan, progress, report) = (sample_plan(), sample_progress(), sample_report());
    let texts = events().into_iter().flat_map(|(name, event, phase, [old, new])| {
        let mut migration = migration(phase);
        migration.old.access = old;
        migration.new.access = new;
        let text = |reader| {
            let facts = Facts {
                requests: &sample_requests(),
                migration: &migration,
                reader,
                plan: Some(&plan),
                progress: Some(&progress),
                report: Some(&report),
                secret: SecretFate::Redacted,
                encrypted: true,
                served: false,
                now: now(),
            };
            notice(&event, &facts)
        };
        [
            (format!("{name}, to the old account"), text(Side::Old)),
            (format!("{name}, to the new account"), text(Side::New)),
        ]
    });
    assert_snapshot!(shown(texts));
}

#[test]
fn notices_with_less_to_tell() {
    let migration = migration(Phase::Cancelled(Ending::CancelledBy(By::Old)));
    let report = sample_report();
    let facts = Facts {
        requests: &[],
        migration: &migration,
        reader: Side::Old,
        plan: None,
        progress: None,
        report: None,
        secret: SecretFate::LeftToPerson,
        encrypted: false,
        served: false,
        now: now(),
    };
    let cancelled = Event::Cancelled { by: By::Old };
    let mut waiting = migration.clone();
    waiting.phase = Phase::AwaitingAccess;
    let mut asked = waiting.clone();
    (asked.old.access, asked.new.access) = (Access::Unknown, Access::Unknown);
    let waiting = Facts { migration: &waiting, ..facts };
    let asked = Facts { migration: &asked, ..facts };
    let served = |reader| Facts { reader, served: true, ..facts };
    let mut on_one_server = migration.clone();
    on_one_server.phase = Phase::Surveying;
    on_one_server.new.user_id = user_id!("@other:old.example").to_owned();
    on_one_server.old.access = Access::Masquerade;
    on_one_server.new.access = Access::Masquerade;
    let on_one_server = Facts { migration: &on_one_server, ..facts };
    assert_snapshot!(shown([
        ("cancelled before anything", notice(&cancelled, &facts)),
        ("cancelled", notice(&cancelled, &Facts { report: Some(&report), ..facts })),
        (
            "not redacted",
            notice(&Event::AccessGiven { side: Side::Old, secret: secret() }, &waiting)
        ),
        ("asked, where it is a service", notice(&Event::ConsentRequested, &served(Side::Old))),
        ("question, where it is a service", notice(&Event::ConsentQuestion, &served(Side::New))),
        ("agreed in the clear", notice(&Event::ConsentGiven, &asked)),
        ("agreed on one server", notice(&Event::ConsentGiven, &on_one_server)),
        ("started, nothing known", notice(&Event::Started, &waiting)),
    ]));
}

#[test]
fn lists_of_rooms() {
    let plan = sample_plan();
    let all = rooms_list(&plan, None, Side::Old);
    let one = rooms_list(&plan, Some(RouteKind::NeedsModerator), Side::New);
    let none = rooms_list(&Plan::default(), Some(RouteKind::Join), Side::Old);
    let nothing = rooms_list(&Plan::default(), None, Side::Old);
    let hand = by_hand(&plan, &migration(Phase::Running));
    let lists = [
        ("all", all),
        ("one route", one),
        ("none", none),
        ("no rooms", nothing),
        ("by hand", hand),
    ];
    assert_snapshot!(shown(
        lists.into_iter().flat_map(|(name, list)| list.into_iter().map(move |m| (name, m)))
    ));
}

#[test]
fn plans() {
    let migration = migration(Phase::AwaitingGo);
    let stuck = Plan {
        rooms: vec![planned("!closed:old.example", "Committee", Route::NeedsModerator)],
        ..Plan::default()
    };
    let rooms = ["!skip:old.example", "!closed:old.example"]
        .map(|id| RoomAddress { id: id.try_into().unwrap(), via: Vec::new() });
    let no_rooms = Plan { rooms: Vec::new(), ..sample_plan() };
    let mut skipping = migration.clone();
    skipping.options.skipped_holdings = [HoldingKind::Emotes, HoldingKind::Tags].into();
    let kinds = [HoldingKind::Emotes];
    let offered = Plan { takes_with_fast: Some(Duration::from_secs(900)), ..sample_plan() };
    let mut opening = sample_plan();
    opening.rooms[..2].iter_mut().for_each(|room| room.opens = true);
    let offer = FastOffer {
        rooms: opening.rooms[..2].iter().map(|planned| planned.room.clone()).collect(),
        takes: Duration::from_secs(900),
        instead_of: Duration::from_secs(15_000),
    };
    assert_snapshot!(shown([
        ("fast is offered", plan(&offered, &migration, Side::Old)),
        ("what fast does", fast_offer(&offer, &migration)),
        ("fast yes", plan_with_fast(&opening, &migration, Side::Old)),
        ("fast no", plan_with_fast(&sample_plan(), &migration, Side::Old)),
        ("fast is not needed", fast_needless()),
        ("no rooms", plan(&Plan::default(), &migration, Side::Old)),
        ("nothing to do", plan(&stuck, &migration, Side::Old)),
        ("taken out", plan_changed(true, &rooms, &sample_plan(), &migration, Side::Old)),
        ("put in", plan_changed(false, &rooms, &stuck, &migration, Side::Old)),
        ("no rooms but more", plan(&no_rooms, &migration, Side::Old)),
        ("emotes taken out", plan_holdings_changed(true, &kinds, &no_rooms, &skipping, Side::Old)),
        ("emotes put in", plan_holdings_changed(false, &kinds, &no_rooms, &migration, Side::Old)),
        ("the old preferred", plan_preferring(Side::Old, &no_rooms, &migration, Side::Old)),
        ("the new preferred", plan_preferring(Side::New, &no_rooms, &migration, Side::New)),
    ]));
}

#[test]
fn a_list_too_long_for_one_message_is_split() {
    let name = "🦆".repeat(80);
    let room = |n: u32| planned(&format!("!{n}:old.example"), &name, Route::InviteAndJoin);
    let plan = Plan { rooms: (0..500).map(room).collect(), ..Plan::default() };
    let messages = rooms_list(&plan, None, Side::Old);
    assert!(messages.len() > 5);
    assert!(messages.iter().all(|message| message.plain.len() + message.html.len() < 30_000));
    let lines: usize = messages.iter().map(|message| message.plain.matches("🦆: ").count()).sum();
    assert_eq!(lines, 0, "names are cut");
    let lines: usize =
        messages.iter().map(|message| message.plain.matches("is invited and").count()).sum();
    assert_eq!(lines, 500);
}

#[test]
fn states() {
    let progress = sample_progress();
    let at = |phase, access: [Access; 2]| {
        let mut migration = migration(phase);
        migration.old.access = access[0];
        migration.new.access = access[1];
        migration
    };
    let mut running = at(Phase::Running, [Access::Session; 2]);
    running.went = Some(now());
    let mut finished = at(Phase::Finished, [Access::Session; 2]);
    finished.went = Some(now());
    let states = [
        at(Phase::AwaitingConsent, [Access::Unknown; 2]),
        at(Phase::AwaitingAccess, [Access::Unknown; 2]),
        at(Phase::AwaitingAccess, [Access::Session, Access::Unknown]),
        at(Phase::AwaitingAccess, [Access::None; 2]),
        at(Phase::Surveying, [Access::Session; 2]),
        at(Phase::AwaitingGo, [Access::Session; 2]),
        running.clone(),
        at(Phase::Paused(Box::new(Phase::Running)), [Access::Session; 2]),
        at(Phase::Failed(unreachable()), [Access::Session; 2]),
        finished,
        at(Phase::Cancelled(Ending::Declined), [Access::Unknown; 2]),
        at(Phase::Cancelled(Ending::Expired), [Access::Unknown; 2]),
        at(Phase::Cancelled(Ending::CancelledBy(By::New)), [Access::Session; 2]),
    ];
    let texts = states.iter().flat_map(|migration| {
        [Side::Old, Side::New].map(|side| {
            let name = format!("{:?}, to the {side:?} account", migration.phase);
            (name, status(migration, Some(&progress), side, now()))
        })
    });
    let waits = [WaitReason::InviteeServer, WaitReason::Retry].map(|reason| {
        let mut progress = progress.clone();
        progress.waits[0] =
            Wait { side: Side::Old, action: Action::Invite, reason, ..progress.waits[0].clone() };
        (format!("{reason:?}"), super::progress(&running, Some(&progress), Side::Old))
    });
    let mut unknown = progress.clone();
    unknown.waits[0].reason = WaitReason::InviteeServer;
    unknown.waits[0].interval = None;
    let unknown = super::progress(&running, Some(&unknown), Side::Old);
    let waits = waits.into_iter().chain([("InviteeServer, not known yet".to_owned(), unknown)]);
    let asked = ("asked by two".to_owned(), asked(&[states[0].clone(), states[0].clone()], now()));
    assert_snapshot!(shown(texts.chain(waits).chain([asked])));
}

#[test]
fn reports() {
    let (finished, running) = (migration(Phase::Finished), migration(Phase::Running));
    let clean = Report {
        rooms: sample_report().rooms[..1].to_vec(),
        holdings: Vec::new(),
        held: SignedDuration::ZERO,
        ..sample_report()
    };
    let unchecked = Report {
        unchecked: Some(unreachable()),
        direct_chats: Some(StepResult::NoAccess),
        ..clean.clone()
    };
    let many = (0..40).map(|n| row(&format!("!{n}:old.example"), "", Outcome::Failed(refused())));
    let many = Report {
        rooms: many.collect(),
        direct_chats: Some(StepResult::Failed(refused())),
        ..clean.clone()
    };
    let opened = [
        OpeningState::PutBack,
        OpeningState::ChangedByOthers,
        OpeningState::Open,
        OpeningState::Stuck(refused()),
    ];
    let opened = opened.map(|state| OpenedRoom {
        room: label("!space:old.example", "Garden club"),
        rule: "invite".into(),
        state,
    });
    let opened = Report { opened: opened.into(), ..clean.clone() };
    assert_snapshot!(shown([
        ("opened", report(&opened, &[], &finished, Side::Old)),
        (
            "all kinds, to the new account",
            report(&sample_report(), &sample_requests(), &finished, Side::New)
        ),
        ("clean", report(&clean, &[], &finished, Side::Old)),
        ("unchecked", report(&unchecked, &[], &finished, Side::Old)),
        ("many failed", report(&many, &[], &finished, Side::Old)),
        ("not over", report(&clean, &[], &running, Side::Old)),
    ]));
}

#[test]
fn the_formatted_body_says_the_same_with_markup() {
    let migration = migration(Phase::AwaitingGo);
    assert_snapshot!(plan(&sample_plan(), &migration, Side::Old).html.replace("><", ">\n<"));
}

#[test]
fn what_to_know_about_rooms_is_said_before_they_are_moved() {
    let mut plan = sample_plan();
    let notes = [
        Note::EarlierHidden,
        Note::Bridged { with: "IRC".to_owned() },
        Note::AliasOnOldServer { alias: owned_room_alias_id!("#tomatoes:old.example") },
        Note::Quiet {
            since: MilliSecondsSinceUnixEpoch(1_600_000_000_000_u64.try_into().unwrap()),
        },
    ];
    for (planned, note) in plan.rooms.iter_mut().skip(2).zip(notes) {
        planned.notes.push(note);
    }
    let successor = owned_room_id!("!newer:old.example");
    for (name, omission) in [
        ("Nobody", Omission::Empty),
        ("Server", Omission::ServerNotices),
        ("Tern", Omission::ChatWithBot),
        ("Version 1", Omission::Upgraded { successor }),
    ] {
        plan.rooms.push(planned("!left:old.example", name, Route::Skipped(omission)));
    }
    let through = Entry::Through { room: owned_room_id!("!space:old.example"), or_invite: true };
    plan.rooms.push(planned("!inner:old.example", "Compost", Route::Join(through)));
    let version = Reason::VersionUnsupported(RoomVersionId::V12);
    plan.rooms.push(planned("!new:old.example", "Modern", Route::Unreachable(version)));
    let nonsense = Reason::Unreadable { server: "old.example".try_into().unwrap() };
    plan.rooms.push(planned("!odd:old.example", "", Route::Unreachable(nonsense)));
    plan.pending = vec![
        Pending {
            room: label("!waits:old.example", "Beekeepers"),
            invited_by: Some(owned_user_id!("@bea:old.example")),
        },
        Pending { room: label("!knocked:old.example", "Hedge"), invited_by: None },
    ];
    let migration = migration(Phase::AwaitingGo);
    let texts: Vec<_> = [super::plan(&plan, &migration, Side::Old)]
        .into_iter()
        .chain(rooms_list(&plan, None, Side::Old))
        .map(|message| message.plain)
        .collect();
    insta::assert_snapshot!(texts.join("\n----\n"));
}

#[test]
fn what_is_told_while_both_accounts_are_read() {
    let reading = Reading { elapsed: Duration::from_secs(12), ..Reading::default() };
    let further = Reading { old_rooms: Some(2000), new_rooms: Some(1), ..reading };
    let texts = [
        super::progress::reading(&migration(Phase::Surveying), Some(&reading)),
        super::progress::reading(&migration(Phase::Surveying), Some(&further)),
        super::progress::reading(&migration(Phase::AwaitingGo), None),
        super::progress::reading(&migration(Phase::Failed(Failure::Deactivated)), None),
        super::progress::reading(&migration(Phase::Paused(Box::new(Phase::Surveying))), None),
    ];
    let texts: Vec<_> = texts.into_iter().map(|message| message.plain).collect();
    insta::assert_snapshot!(texts.join("\n----\n"));
}
