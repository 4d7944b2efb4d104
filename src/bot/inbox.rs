//! What arrives in one room, one after the other: from an event to a command, and its answer.

use std::time::Duration;

use jiff::SignedDuration;
use matrix_sdk::{
    Room,
    deserialized_responses::{
        EncryptionInfo, TimelineEvent, TimelineEventKind, VerificationLevel, VerificationState,
    },
    ruma::{
        OwnedEventId, OwnedUserId,
        events::{
            AnySyncMessageLikeEvent, AnySyncTimelineEvent, SyncMessageLikeEvent,
            reaction::ReactionEventContent,
            room::{
                encrypted::OriginalSyncRoomEncryptedEvent,
                message::{MessageType, Relation, RoomMessageEventContent},
            },
        },
        serde::Raw,
    },
};

use super::{
    answer::Answer,
    commands::{Command, Context, known_to},
    grammar::{self, Argument, Words},
    reactions,
    records::Prompt,
    rooms::{self, Company},
    shared::Bot,
    stewardship,
    talk::{Cause, Unsent},
    wording::{self, Message},
};
use crate::{
    bot::records::Room as Record,
    clock::Timestamp,
    migration::{Refusal, Said},
    store::StoreError,
};

/// How long the key to a message is waited for, and how often it is looked for meanwhile.
const KEY_WAIT: (Duration, u32) = (Duration::from_millis(500), 20);
/// After how long a person is told that it takes a while.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// How often somebody is told that what they say is old.
const A_DAY: SignedDuration = SignedDuration::from_hours(24);

/// Why something could not be dealt with, and would not be with another try.
#[derive(Debug, thiserror::Error)]
pub(super) enum Undone {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Unsent(#[from] Unsent),
    #[error(transparent)]
    Matrix(#[from] matrix_sdk::Error),
}

/// What a person said: a message or a reaction.
struct Saying {
    said: Said,
    what: What,
    /// Whether this very event was encrypted.
    encrypted: bool,
}

enum What {
    Message(Words),
    Reaction { to: OwnedEventId, key: String },
    Unreadable,
}

/// Deals with one event of a room's timeline.
pub(super) async fn receive(bot: &Bot, room: &Room, event: TimelineEvent) -> Result<(), Undone> {
    if !concerns_the_bot(bot, &event) {
        return Ok(());
    }
    if bot.shared.records.room(room.room_id())?.stays {
        return stewardship::overhear(bot, room, &event).await;
    }
    // First who is there: a message in a room with others is never even decrypted.
    let Some(sender) = event.sender() else { return Ok(()) };
    if rooms::company(bot, room).await? != Company::One(sender.clone())
        || bot.shared.records.room(room.room_id())?.silent
    {
        return Ok(());
    }
    let Some(saying) = understand(bot, room, sender, event).await? else { return Ok(()) };
    let said = &saying.said;
    bot.shared
        .records
        .change_person(&said.by, |person| person.room_id = Some(said.room_id.clone()))
        .await?;
    follow(bot, &saying).await
}

/// Whether it may be a command at all, as far as the envelope shows.
fn concerns_the_bot(bot: &Bot, event: &TimelineEvent) -> bool {
    let is_state = matches!(event.raw().get_field::<serde_json::Value>("state_key"), Ok(Some(_)));
    !is_state
        && event.sender().is_some_and(|sender| sender != bot.me)
        && dated(event).is_some_and(|sent| sent >= bot.first_started)
}

/// When it was said, as its sender's homeserver dates it, in whole milliseconds.
fn dated(event: &TimelineEvent) -> Option<Timestamp> {
    Timestamp::from_millisecond(event.timestamp_raw()?.get().into()).ok()
}

async fn understand(
    bot: &Bot,
    room: &Room,
    sender: OwnedUserId,
    event: TimelineEvent,
) -> Result<Option<Saying>, Undone> {
    let Some(event_id) = event.event_id() else { return Ok(None) };
    let sent = dated(&event).unwrap_or(bot.first_started);
    let said = Said { by: sender, room_id: room.room_id().to_owned(), event_id, sent };
    let Some(event) = decrypted(bot, room, event).await? else {
        return Ok(Some(Saying { said, what: What::Unreadable, encrypted: true }));
    };
    let info = event.encryption_info();
    if info.is_some_and(|info| is_forged(info)) {
        tracing::warn!(account = %said.by, "a message was encrypted by somebody else than its sender");
        return Ok(None);
    }
    let encrypted = info.is_some();
    let content: Option<Box<serde_json::value::RawValue>> =
        event.raw().get_field("content").ok().flatten();
    let plain = content.as_ref().filter(|_| !encrypted).map(|content| content.get());
    if encrypted || plain.is_some() {
        bot.shared.migrations.heard(&said.event_id, plain);
    }
    let what = match event.raw().deserialize() {
        Ok(AnySyncTimelineEvent::MessageLike(event)) => what(bot, event),
        _ => None,
    };
    Ok(what.map(|what| Saying { said, what, encrypted }))
}

fn is_forged(info: &EncryptionInfo) -> bool {
    info.verification_state == VerificationState::Unverified(VerificationLevel::MismatchedSender)
}

fn what(bot: &Bot, event: AnySyncMessageLikeEvent) -> Option<What> {
    match event {
        AnySyncMessageLikeEvent::RoomMessage(SyncMessageLikeEvent::Original(event)) => {
            words(bot, &event.content).map(What::Message)
        }
        AnySyncMessageLikeEvent::Reaction(SyncMessageLikeEvent::Original(event)) => {
            let ReactionEventContent { relates_to, .. } = event.content;
            Some(What::Reaction { to: relates_to.event_id, key: relates_to.key })
        }
        _ => None,
    }
}

/// The words of a message; nothing for notices, edits, and what is no text.
fn words(bot: &Bot, content: &RoomMessageEventContent) -> Option<Words> {
    if matches!(content.relates_to, Some(Relation::Replacement(_))) {
        return None;
    }
    let MessageType::Text(text) = &content.msgtype else { return None };
    let html = text.formatted.as_ref().map(|formatted| formatted.body.as_str());
    Some(Words::new(&text.body, html, bot.shared.prefix()))
}

/// The event itself, once its key is there; nothing when the key does not come.
async fn decrypted(
    bot: &Bot,
    room: &Room,
    event: TimelineEvent,
) -> Result<Option<TimelineEvent>, Undone> {
    let is_encrypted = match &event.kind {
        TimelineEventKind::Decrypted(_) => false,
        TimelineEventKind::UnableToDecrypt { .. } => true,
        TimelineEventKind::PlainText { event } => {
            event.get_field::<String>("type").ok().flatten().as_deref() == Some("m.room.encrypted")
        }
    };
    if !is_encrypted {
        return Ok(Some(event));
    }
    let raw: &Raw<OriginalSyncRoomEncryptedEvent> = event.raw().cast_ref_unchecked();
    if raw.deserialize().is_err() {
        // Redacted before it was read: there is nothing in it any more.
        return Ok(Some(event));
    }
    for _ in 0..KEY_WAIT.1 {
        let tried = room.decrypt_event(raw, None).await?;
        if !tried.kind.is_utd() {
            return Ok(Some(tried));
        }
        bot.shared.clock.sleep(KEY_WAIT.0).await;
    }
    Ok(None)
}

async fn follow(bot: &Bot, saying: &Saying) -> Result<(), Undone> {
    let said = &saying.said;
    let was_handled = bot.shared.migrations.is_handled(&said.event_id)?;
    if !was_handled && bot.shared.migrations.is_old(said)? {
        return pass_over(bot, saying).await;
    }
    let answer = match &saying.what {
        What::Message(words) if was_handled => tell_again(bot, said, words).await,
        _ if was_handled => return Ok(()),
        What::Message(words) => obey(bot, said, words, saying.encrypted).await,
        What::Reaction { to, key } => reactions::obey(bot, said, to, key).await?,
        What::Unreadable => wording::unreadable().into(),
    };
    give(bot, said, answer).await?;
    // What changed something has marked itself; to mark it twice changes nothing.
    bot.shared.migrations.handled(said).await?;
    Ok(())
}

/// What is old is never obeyed: said before its sender's last `forget`, or before what was answered
/// long ago. It may come again by a restart, or by a homeserver that tells of it twice. A secret
/// in it is deleted all the same; and somebody whose homeserver's clock is slow is told why
/// nothing happens, once a day in each room.
async fn pass_over(bot: &Bot, saying: &Saying) -> Result<(), Undone> {
    let (said, now) = (&saying.said, bot.shared.clock.now());
    tracing::info!(account = %said.by, "what was said is old; nothing is done");
    let What::Message(words) = &saying.what else { return Ok(()) };
    if words.may_hold_secret() {
        redact_secret(bot, said).await;
    }
    let record = bot.shared.records.room(&said.room_id)?;
    if record.passed_over.is_some_and(|told| now.duration_since(told) < A_DAY) {
        return Ok(());
    }
    let transaction = Cause::command(&said.event_id).transaction("old");
    bot.talk.say(&said.room_id, &wording::said_before(), transaction).await?;
    let record = Record { passed_over: Some(now), ..record };
    Ok(bot.shared.records.put_room(&said.room_id, &record).await?)
}

/// Sends an answer to the room of the command.
async fn give(bot: &Bot, said: &Said, answer: Answer) -> Result<(), Undone> {
    let (room, cause) = (&said.room_id, Cause::command(&said.event_id));
    let cause = match &answer.prompt {
        Some(Prompt::Plan(plan)) => cause.showing(*plan),
        _ => cause,
    };
    let mut last = None;
    for (part, message) in answer.messages.iter().enumerate() {
        last = Some(bot.talk.say(room, message, cause.transaction(part)).await?);
    }
    if let (Some(prompt), Some(event)) = (&answer.prompt, &last) {
        reactions::offer(bot, room, event, &said.by, prompt).await?;
    }
    for file in &answer.files {
        bot.talk.send_file(room, file, cause.transaction(file.name)).await?;
    }
    Ok(())
}

/// Once more the answer to a command that was followed before a crash; the homeserver knows by its
/// transaction ID whether it was given.
async fn tell_again(bot: &Bot, said: &Said, words: &Words) -> Answer {
    let context = Context { bot: &bot.shared, said };
    match grammar::parse(words, known_to(&said.by, &bot.shared)) {
        Ok((Command { tell_again: Some(tell), .. }, _)) => tell(context).await.unwrap_or_default(),
        _ => Answer::default(),
    }
}

/// Does what the words say.
async fn obey(bot: &Bot, said: &Said, words: &Words, encrypted: bool) -> Answer {
    let parsed = grammar::parse(words, known_to(&said.by, &bot.shared));
    let has_secret = words.may_hold_secret();
    if has_secret && !encrypted {
        let redacted = redact_secret(bot, said).await;
        return wording::secret_in_the_clear(redacted, &bot.me).into();
    }
    let refused = match parsed {
        Ok((command, argument)) => {
            tracing::debug!(account = %said.by, command = command.name, "a command");
            match run(bot, said, command, argument).await {
                Ok(answer) => return answer,
                Err(refusal) => {
                    log(said, &refusal);
                    wording::refusal(&refusal, &said.by)
                }
            }
        }
        Err(mistake) => wording::mistake(&mistake),
    };
    if !has_secret {
        return refused.into();
    }
    let redacted = redact_secret(bot, said).await;
    Message::new(wording::secret_unused(redacted)).after(refused).into()
}

fn log(said: &Said, refusal: &Refusal) {
    match refusal {
        Refusal::Store(error) => tracing::error!(account = %said.by, %error, "the store failed"),
        refusal => tracing::debug!(account = %said.by, %refusal, "refused"),
    }
}

/// Runs a command, and tells the person when it takes a while.
async fn run(
    bot: &Bot,
    said: &Said,
    command: &Command,
    argument: Argument,
) -> Result<Answer, Refusal> {
    let context = Context { bot: &bot.shared, said };
    let Some(mut doing) = command.run(context, argument) else {
        return Ok(wording::broken().into());
    };
    tokio::select! {
        done = &mut doing => return done,
        () = bot.shared.clock.sleep(PATIENCE) => {}
    }
    let transaction = Cause::command(&said.event_id).transaction("looking");
    let (done, told) = tokio::join!(doing, async {
        bot.talk.typing(&said.room_id, true).await;
        bot.talk.say(&said.room_id, &wording::looking(), transaction).await
    });
    if let Err(error) = told {
        tracing::warn!(%error, "a person could not be told to wait");
    }
    bot.talk.typing(&said.room_id, false).await;
    done
}

/// Deletes a message with a secret that was not used. Whether it is gone.
async fn redact_secret(bot: &Bot, said: &Said) -> bool {
    let why = wording::redact_reason();
    match bot.talk.redact(&said.room_id, &said.event_id, why).await {
        Ok(()) => true,
        Err(error) => {
            tracing::info!(account = %said.by, %error, "a message with a secret could not be redacted");
            false
        }
    }
}
