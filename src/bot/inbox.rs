//! What arrives in one room, one after the other: from an event to a command, and its answer.

use std::time::Duration;

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
    company::Company,
    grammar::{self, Argument, Mistake, Words},
    reactions,
    records::Prompt,
    shared::Bot,
    talk::{Cause, Unsent},
    wording::{self, Message},
};
use crate::{
    migration::{Refusal, Said},
    store::StoreError,
};

/// How long the key to a message is waited for, and how often it is looked for meanwhile.
const KEY_WAIT: (Duration, u32) = (Duration::from_millis(500), 20);
/// After how long a person is told that it takes a while.
const PATIENCE: Duration = Duration::from_millis(1_500);

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
    /// What is no command, an edit or an emote, but may tell a secret; and the message that it edits.
    Aside(Words, Option<OwnedEventId>),
    Reaction {
        to: OwnedEventId,
        key: String,
    },
    Unreadable,
}

/// Deals with one event of a room's timeline.
pub(super) async fn receive(bot: &Bot, room: &Room, event: TimelineEvent) -> Result<(), Undone> {
    if !concerns_the_bot(bot, &event) {
        return Ok(());
    }
    // First who is there: a message in a room with others is never even decrypted.
    let Some(sender) = event.sender() else { return Ok(()) };
    if bot.shared.records.room(room.room_id())?.silent
        || bot.lookout.company(room).await? != Company::One(sender.clone())
    {
        return Ok(());
    }
    let Some(saying) = understand(bot, room, sender, event).await? else { return Ok(()) };
    let said = &saying.said;
    // In an encrypted chat only encrypted words count: whoever carries others could have made them
    // up. Reactions are never encrypted in Matrix.
    let is_plain = matches!(saying.what, What::Message(_) | What::Aside(..)) && !saying.encrypted;
    if is_plain && bot.shared.records.room(room.room_id())?.encrypted {
        return not_heard(bot, &saying).await;
    }
    let mark = bot.shared.records.mark(&said.by);
    bot.shared.records.change_room(room.room_id(), |record| record.spoken_by = Some(mark)).await?;
    bot.shared
        .records
        .change_person(&said.by, |person| person.room_id = Some(said.room_id.clone()))
        .await?;
    follow(bot, &saying).await
}

/// Whether it may be a command at all, as far as the envelope shows.
fn concerns_the_bot(bot: &Bot, event: &TimelineEvent) -> bool {
    let is_state = matches!(event.raw().get_field::<serde_json::Value>("state_key"), Ok(Some(_)));
    let sent = event.timestamp_raw().map_or(0, |sent| i64::from(sent.get()));
    !is_state
        && event.sender().is_some_and(|sender| sender != bot.me)
        && sent >= bot.first_started.as_millisecond()
}

async fn understand(
    bot: &Bot,
    room: &Room,
    sender: OwnedUserId,
    event: TimelineEvent,
) -> Result<Option<Saying>, Undone> {
    let Some(event_id) = event.event_id() else { return Ok(None) };
    let said = Said { by: sender, room_id: room.room_id().to_owned(), event_id };
    let Some(event) = decrypted(bot, room, event).await? else {
        return Ok(Some(Saying { said, what: What::Unreadable, encrypted: true }));
    };
    let info = event.encryption_info();
    if info.is_some_and(|info| is_forged(info)) {
        tracing::warn!(account = %said.by, "a message was encrypted by somebody else than its sender");
        return Ok(None);
    }
    let encrypted = info.is_some();
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
            message(bot, &event.content)
        }
        AnySyncMessageLikeEvent::Reaction(SyncMessageLikeEvent::Original(event)) => {
            let ReactionEventContent { relates_to, .. } = event.content;
            Some(What::Reaction { to: relates_to.event_id, key: relates_to.key })
        }
        _ => None,
    }
}

/// What a message says: a command is a text that edits no other. Nothing for notices.
fn message(bot: &Bot, content: &RoomMessageEventContent) -> Option<What> {
    if let Some(Relation::Replacement(edit)) = &content.relates_to {
        let words = Words::new(edit.new_content.msgtype.body(), None, bot.shared.prefix());
        return Some(What::Aside(words, Some(edit.event_id.clone())));
    }
    match &content.msgtype {
        MessageType::Notice(_) => None,
        MessageType::Text(text) => {
            let html = text.formatted.as_ref().map(|formatted| formatted.body.as_str());
            Some(What::Message(Words::new(&text.body, html, bot.shared.prefix())))
        }
        other => Some(What::Aside(Words::new(other.body(), None, bot.shared.prefix()), None)),
    }
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
    let answer = match &saying.what {
        What::Message(words) if was_handled => tell_again(bot, said, words).await,
        _ if was_handled => return Ok(()),
        What::Message(words) => obey(bot, said, words, saying.encrypted).await?,
        What::Aside(words, edited) => {
            look_for_secret(bot, said, words, edited.as_ref(), saying.encrypted).await?
        }
        What::Reaction { to, key } => reactions::obey(bot, said, to, key).await?,
        What::Unreadable => wording::unreadable().into(),
    };
    match give(bot, said, answer).await {
        Err(Undone::Unsent(error @ (Unsent::Overheard | Unsent::NotThere))) => {
            tracing::info!(room = %said.room_id, %error, "an answer was kept back");
        }
        given => given?,
    }
    // What changed something has marked itself; to mark it twice changes nothing.
    bot.shared.migrations.handled(&said.by, &said.event_id).await?;
    Ok(())
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
async fn obey(bot: &Bot, said: &Said, words: &Words, encrypted: bool) -> Result<Answer, Undone> {
    let parsed = grammar::parse(words, known_to(&said.by, &bot.shared));
    let is_login = words.may_hold_secret();
    let may_be_secret = is_login || may_be_secret(bot, said, words, &parsed)?;
    let lacks_secret =
        matches!(&parsed, Err(Mistake::Arguments { command, .. }) if command.name == "login");
    bot.shared.records.change_person(&said.by, |person| person.secret_next = lacks_secret).await?;
    if may_be_secret && !encrypted {
        let redacted = redact_secret(bot, said, None).await;
        return Ok(wording::secret_in_the_clear(redacted, &bot.me).into());
    }
    if may_be_secret && !is_login {
        let redacted = redact_secret(bot, said, None).await;
        return Ok(wording::perhaps_secret(redacted).into());
    }
    let refused = match parsed {
        Ok((command, argument)) => {
            tracing::debug!(account = %said.by, command = command.name, "a command");
            match run(bot, said, command, argument).await {
                Ok(answer) => return Ok(answer),
                Err(refusal) => {
                    log(said, &refusal);
                    wording::refusal(&refusal, &said.by)
                }
            }
        }
        Err(mistake) => wording::mistake(&mistake),
    };
    if !is_login {
        return Ok(refused.into());
    }
    let redacted = redact_secret(bot, said, None).await;
    Ok(Message::new(wording::secret_unused(redacted)).after(refused).into())
}

/// Whether what is no command may be a secret, which is deleted and never quoted: while an account
/// owes a login, or began one, that is every message.
fn may_be_secret<T>(
    bot: &Bot,
    said: &Said,
    words: &Words,
    parsed: &Result<T, Mistake<'_, Command>>,
) -> Result<bool, StoreError> {
    Ok(match parsed {
        Err(Mistake::UnknownCommand { .. }) => {
            words.may_tell_secret()
                || bot.shared.migrations.owes_login(&said.by)
                || bot.shared.records.person(&said.by)?.secret_next
        }
        Err(_) => words.has_key_or_token(),
        Ok(_) => false,
    })
}

/// Deletes an edit or an emote that may tell a secret, and the message that was edited.
async fn look_for_secret(
    bot: &Bot,
    said: &Said,
    words: &Words,
    edited: Option<&OwnedEventId>,
    encrypted: bool,
) -> Result<Answer, Undone> {
    let parsed = grammar::parse(words, known_to(&said.by, &bot.shared));
    if !words.may_hold_secret() && !may_be_secret(bot, said, words, &parsed)? {
        return Ok(Answer::default());
    }
    let redacted = redact_secret(bot, said, edited).await;
    Ok(if encrypted {
        wording::perhaps_secret(redacted).into()
    } else {
        wording::secret_in_the_clear(redacted, &bot.me).into()
    })
}

/// Words in the clear in an encrypted chat: nothing is done about them but to delete what may be a
/// secret. That is told once.
async fn not_heard(bot: &Bot, saying: &Saying) -> Result<(), Undone> {
    let said = &saying.said;
    if bot.shared.migrations.is_handled(&said.event_id)? {
        return Ok(());
    }
    let (words, edited) = match &saying.what {
        What::Message(words) => (words, None),
        What::Aside(words, edited) => (words, edited.as_ref()),
        What::Reaction { .. } | What::Unreadable => return Ok(()),
    };
    let record = bot.shared.records.room(&said.room_id)?;
    let answer = if words.may_tell_secret() {
        let redacted = redact_secret(bot, said, edited).await;
        Message::new(wording::secret_unused(redacted)).after(wording::plain_in_encrypted()).into()
    } else if record.plain_told {
        Answer::default()
    } else {
        wording::plain_in_encrypted().into()
    };
    give(bot, said, answer).await?;
    bot.shared.records.change_room(&said.room_id, |record| record.plain_told = true).await?;
    Ok(bot.shared.migrations.handled(&said.by, &said.event_id).await?)
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

/// Deletes a message with a secret that was not used, and the one that it edits. Whether they are
/// gone.
async fn redact_secret(bot: &Bot, said: &Said, edited: Option<&OwnedEventId>) -> bool {
    let why = wording::redact_reason();
    let mut gone = true;
    for event in [Some(&said.event_id), edited].into_iter().flatten() {
        if let Err(error) = bot.talk.redact(&said.room_id, event, why).await {
            tracing::info!(account = %said.by, %error, "a message with a secret could not be redacted");
            gone = false;
        }
    }
    gone
}
