//! What is stored about invite requests.

use std::collections::{BTreeMap, BTreeSet};

use ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedServerName, OwnedTransactionId, OwnedUserId,
    ServerName, UserId,
};
use serde::{Deserialize, Serialize};

use super::heard::Heard;
use crate::{
    clock::Timestamp,
    homeserver::Failure,
    migration::{MigrationId, RoomLabel},
};

/// What the moderators of one room are asked for, in one migration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InviteRequest {
    /// For which migration.
    pub migration: MigrationId,
    /// The room that the new account is to be invited to.
    pub room_id: OwnedRoomId,
    /// What the person knows the room by.
    pub room: RoomLabel,
    /// Who moves, and where to.
    pub old: OwnedUserId,
    /// See [`old`](Self::old).
    pub new: OwnedUserId,
    /// The person's own words, in place of the bot's.
    pub words: Option<String>,
    /// How it is asked, once that is chosen.
    pub way: Option<Way>,
    /// Who is asked by name.
    pub asked: Vec<OwnedUserId>,
    /// How many more may invite.
    pub more: usize,
    /// Chosen before anything is sent, and the same for each try.
    pub transaction: OwnedTransactionId,
    /// The message that asks, once sent, and where it is.
    pub message: Option<Posted>,
    /// The message that brought it to mind once more, in the same place.
    pub reminder: Option<OwnedEventId>,
    /// When it was sent.
    pub asked_at: Option<Timestamp>,
    /// When it was brought to mind once more.
    pub reminded_at: Option<Timestamp>,
    /// How it stands.
    pub state: RequestState,
    /// Who answered.
    pub answered_by: Option<OwnedUserId>,
    /// Moderators who said yes and were told how to invite.
    pub thanked: BTreeSet<OwnedUserId>,
    /// Whether the message is still to be edited to say how it ended.
    pub to_be_closed: bool,
}

/// A message that asks, or a knock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// Where it is.
    pub room_id: OwnedRoomId,
    /// Which one it is.
    pub event_id: OwnedEventId,
}

/// How moderators are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The new account knocks, with a reason
    /// ([spec](https://spec.matrix.org/v1.16/client-server-api/#knocking-on-rooms)).
    Knock,
    /// The old account writes a message in the room.
    Message,
    /// The bot writes to one of them in a direct message.
    DirectMessage,
}

/// How an invite request stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestState {
    /// The person said yes to it; it is not sent yet.
    Planned,
    /// It is being sent; whether it arrived is not known.
    Sending,
    /// It was sent, and waits for an answer.
    Open,
    /// The new account can get in: it was invited, or the room became public.
    Opened,
    /// A moderator said no.
    Refused,
    /// A moderator said no, and that nobody is to be asked in this room again.
    Stopped,
    /// Nobody answered in time.
    Expired,
    /// The migration was cancelled.
    Withdrawn,
    /// The old account is not in the room any more.
    OutOfRoom,
    /// It could not be sent, for this reason, or because there was nobody to be asked.
    NotAsked(Option<Failure>),
}

impl RequestState {
    /// Whether something is still to come of it.
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Planned | Self::Sending | Self::Open)
    }
}

impl InviteRequest {
    /// Whether `event` is one of the messages that ask.
    pub(super) fn is_asked_by(&self, event: &EventId) -> bool {
        self.message.as_ref().is_some_and(|message| message.event_id == event)
            || self.reminder.as_deref() == Some(event)
    }

    /// The same of one that the old account wrote in the room itself.
    pub(super) fn is_asked_in_room_by(&self, event: &EventId) -> bool {
        let is_here = self.message.as_ref().is_none_or(|message| message.room_id == self.room_id);
        self.way == Some(Way::Message) && is_here && self.is_asked_by(event)
    }

    /// Whether `user` is asked in a direct message.
    pub(super) fn is_asked_in_person(&self, user: &UserId) -> bool {
        self.way == Some(Way::DirectMessage) && self.asked.iter().any(|asked| asked == user)
    }

    /// Ends it in this way. What was sent is then to be edited.
    pub(super) fn end(&mut self, state: RequestState, by: Option<OwnedUserId>) {
        self.to_be_closed = self.message.is_some();
        self.state = state;
        self.answered_by = by;
    }
}

/// What was shown to a person, and not sent yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Draft {
    /// The person's own words.
    pub(super) words: Option<String>,
    /// The rooms that were shown last.
    pub(super) shown: Vec<OwnedRoomId>,
}

/// Which homeservers know of a request what the bot wrote in the old account's name, word for word:
/// the old account, or its homeserver, could show others something else by the same name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Shown {
    messages: BTreeMap<OwnedEventId, BTreeSet<OwnedServerName>>,
    /// Whether the old account put other words in the place of the bot's.
    edited: bool,
}

/// How many messages are remembered as such of one request: it has two, and whoever writes the same
/// once more gains nothing by it.
const MOST_SHOWN: usize = 8;

impl Shown {
    /// This homeserver knows it.
    pub(super) fn note(&mut self, event: OwnedEventId, server: OwnedServerName) {
        if self.messages.len() < MOST_SHOWN || self.messages.contains_key(&event) {
            self.messages.entry(event).or_default().insert(server);
        }
    }

    /// Another message is to be shown in its place.
    pub(super) fn note_edit(&mut self) {
        self.edited = true;
    }

    /// Whether who answers on this homeserver saw the bot's own words.
    pub(super) fn was_shown(&self, event: &EventId, server: &ServerName) -> bool {
        !self.edited && self.messages.get(event).is_some_and(|servers| servers.contains(server))
    }

    /// Whether it is known as one of the messages that ask.
    pub(super) fn has(&self, event: &EventId) -> bool {
        self.messages.contains_key(event)
    }
}

/// An answer that is to be followed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Answered {
    /// To the request for which room.
    pub(super) room_id: OwnedRoomId,
    pub(super) heard: Heard,
}

#[cfg(test)]
mod tests {
    use ruma::{owned_event_id, owned_room_id, owned_user_id};

    use super::*;
    use crate::{homeserver::Fault, moderation::Answer};

    #[test]
    fn what_is_stored_keeps_its_form() {
        let at = Timestamp::from_second(1_000_000).unwrap();
        let request = InviteRequest {
            migration: MigrationId(7),
            room_id: owned_room_id!("!room:a.example"),
            room: RoomLabel {
                id: owned_room_id!("!room:a.example").into(),
                name: Some("Club".into()),
                alias: None,
                direct_with: vec![],
                names: Default::default(),
                space: false,
                encrypted: false,
            },
            old: owned_user_id!("@old:a.example"),
            new: owned_user_id!("@new:b.example"),
            words: Some("Please.".into()),
            way: Some(Way::Message),
            asked: vec![owned_user_id!("@mod:a.example")],
            more: 2,
            transaction: "tern-ask-5".into(),
            message: Some(Posted {
                room_id: owned_room_id!("!room:a.example"),
                event_id: owned_event_id!("$asked"),
            }),
            reminder: Some(owned_event_id!("$again")),
            asked_at: Some(at),
            reminded_at: Some(at),
            state: RequestState::Refused,
            answered_by: Some(owned_user_id!("@mod:a.example")),
            thanked: [owned_user_id!("@other:a.example")].into(),
            to_be_closed: true,
        };
        let failure = Failure::Unreachable { host: "a.example".into(), fault: Fault::Timeout };
        let states = [
            RequestState::Planned,
            RequestState::Sending,
            RequestState::Open,
            RequestState::Opened,
            RequestState::Refused,
            RequestState::Stopped,
            RequestState::Expired,
            RequestState::Withdrawn,
            RequestState::OutOfRoom,
            RequestState::NotAsked(None),
            RequestState::NotAsked(Some(failure)),
        ];
        let draft =
            Draft { words: Some("Please.".into()), shown: vec![owned_room_id!("!room:a.example")] };
        let mut shown = Shown::default();
        shown.note(owned_event_id!("$asked"), "a.example".try_into().unwrap());
        let to = owned_event_id!("$asked");
        let told = Heard::told_by_old(owned_user_id!("@mod:a.example"), to.clone(), Answer::No);
        let by_the_bot = Heard::by_the_bot(told.by(), &to, Answer::Yes);
        let in_chat = Heard::in_chat(told.by(), &to, Answer::Stop, None);
        let answers = [told, by_the_bot, in_chat]
            .map(|heard| Answered { room_id: owned_room_id!("!room:a.example"), heard });
        let ways = [Way::Knock, Way::Message, Way::DirectMessage];
        insta::assert_json_snapshot!((request, states, draft, shown, answers, ways));
    }
}
