//! `fast`: private rooms that are opened to the new account for a moment, where invitations would
//! have to wait for long.
//!
//! The old account makes a [`Lobby`], a room that only the two accounts share. A room's join rule
//! then lets in the members of the lobby
//! ([restricted rooms](https://spec.matrix.org/v1.16/client-server-api/#restricted-rooms)), the new
//! account joins, and the rule is put back as it was. An [`Opening`] is written down before the rule
//! is changed.

use std::time::Duration;

use jiff::SignedDuration;
use ruma::{
    OwnedRoomId, RoomId, UserId, events::StateEventType, room::JoinRule, serde::JsonObject,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{RoomLabel, survey::SurveyedRoom};
use crate::{
    clock::Timestamp,
    homeserver::{Account, Failure},
};

/// What marks the lobby, in its `m.room.create`.
pub(crate) const LOBBY_MARK: &str = "tern.lobby";

/// For how long a request that was not answered may still arrive at the homeserver.
const ARRIVES_WITHIN: SignedDuration = SignedDuration::from_mins(2);

/// The room that only the two accounts share, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Lobby {
    /// The old account may have made it.
    Begun,
    /// It is there.
    Made(OwnedRoomId),
}

/// A join rule that was changed for a moment, as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Opening {
    /// The content of `m.room.join_rules` before, with every field it had.
    pub(crate) before: JsonObject,
    /// What was put in its place.
    pub(crate) during: JsonObject,
    pub(crate) state: OpeningState,
    /// Until when the change may still arrive at the homeserver, as far as it has not answered. It is
    /// sent a single time, so once it was seen nothing more comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) arrives_until: Option<Timestamp>,
}

/// How it stands with a join rule that was changed for a moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpeningState {
    /// It may be changed at this moment.
    Open,
    /// It is as it was before.
    PutBack,
    /// Somebody else changed it meanwhile, and theirs stayed.
    ChangedByOthers,
    /// It could not be put back, and why. Tried again whenever the migration goes on.
    Stuck(Failure),
}

impl OpeningState {
    /// Whether there is nothing to put back any more.
    pub(crate) fn is_settled(&self) -> bool {
        matches!(self, Self::PutBack | Self::ChangedByOthers)
    }
}

/// A room that was opened for a moment, in a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenedRoom {
    /// Which room.
    pub room: RoomLabel,
    /// The join rule that it had before.
    pub rule: String,
    /// How it stands with that.
    pub state: OpeningState,
}

/// What `fast` would do.
#[derive(Clone, Debug, PartialEq)]
pub struct FastOffer {
    /// The rooms that would be opened.
    pub rooms: Vec<RoomLabel>,
    /// How long the migration would take.
    pub takes: Duration,
    /// How long it takes without.
    pub instead_of: Duration,
}

impl FastOffer {
    /// Below this nobody is offered it.
    const LONG: Duration = Duration::from_secs(600);

    /// Whether it is worth what others see of it: the wait is long, and a quarter of it is saved at
    /// least.
    pub(crate) fn is_worth_it(&self) -> bool {
        !self.rooms.is_empty()
            && self.instead_of >= Self::LONG
            && self.takes * 4 <= self.instead_of * 3
    }
}

impl Opening {
    /// One that is about to be sent.
    pub(crate) fn new(before: JsonObject, during: JsonObject, now: Timestamp) -> Self {
        let arrives_until = Some(now + ARRIVES_WITHIN);
        Self { before, during, state: OpeningState::Open, arrives_until }
    }

    /// Notes that it was sent, and failed.
    pub(crate) fn failed(&mut self, failure: &Failure, now: Timestamp) {
        self.arrives_until = failure.may_have_arrived().then(|| now + ARRIVES_WITHIN);
    }

    pub(crate) fn rule(&self) -> String {
        let rule = self.before.get("join_rule").and_then(serde_json::Value::as_str);
        rule.unwrap_or_default().to_owned()
    }

    /// Puts the rule back, unless somebody else changed it since. It stays
    /// [`Open`](OpeningState::Open) while the change may still arrive.
    pub(crate) async fn put_back(
        &self,
        old: &Account,
        room: &RoomId,
        now: Timestamp,
    ) -> Result<OpeningState, Failure> {
        let rule = StateEventType::RoomJoinRules;
        let found = old.state(room, rule.clone(), "").await?.unwrap_or_default();
        if found == self.during {
            old.set_state(room, rule, "", &self.before).await?;
            return Ok(OpeningState::PutBack);
        }
        Ok(if self.arrives_until.is_some_and(|until| now < until) {
            OpeningState::Open
        } else if found == self.before {
            OpeningState::PutBack
        } else {
            OpeningState::ChangedByOthers
        })
    }
}

/// Whether `old` may open a room for a moment: its rule is one that can be loosened so that nobody
/// else gets in, and the room's version knows such rules.
pub(crate) fn may_open(room: &SurveyedRoom, old: &UserId) -> bool {
    let Some(rules) = room.version.rules().map(|rules| rules.authorization) else { return false };
    let has_rule = match room.join_rule {
        JoinRule::Invite => rules.restricted_join_rule,
        JoinRule::Knock => rules.knock_restricted_join_rule,
        _ => false,
    };
    has_rule && room.power_levels.user_can_send_state(old, StateEventType::RoomJoinRules)
}

/// The content of `m.room.join_rules` that lets in members of `lobby` besides those that `before`
/// does; nothing where that is not for the bot to change.
pub(crate) fn opened_to(lobby: &RoomId, before: &JsonObject) -> Option<JsonObject> {
    let rule = match before.get("join_rule")?.as_str()? {
        "invite" => "restricted",
        "knock" => "knock_restricted",
        _ => return None,
    };
    let mut during = before.clone();
    during.insert("join_rule".to_owned(), json!(rule));
    let allow = json!([{ "type": "m.room_membership", "room_id": lobby }]);
    during.insert("allow".to_owned(), allow);
    Some(during)
}

#[cfg(test)]
mod tests {
    use ruma::room_id;
    use serde_json::Value;

    use super::*;

    fn object(value: Value) -> JsonObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_members_of_the_lobby_are_let_in_besides() {
        let lobby = room_id!("!lobby:a.example");
        let opened = |before: Value| opened_to(lobby, &object(before)).map(Value::Object);
        let allow = json!([{ "type": "m.room_membership", "room_id": lobby }]);
        assert_eq!(
            opened(json!({ "join_rule": "invite", "allow": [], "org.example.kept": 1 })),
            Some(json!({ "join_rule": "restricted", "allow": allow, "org.example.kept": 1 }))
        );
        assert_eq!(
            opened(json!({ "join_rule": "knock" })),
            Some(json!({ "join_rule": "knock_restricted", "allow": allow }))
        );
        for rule in ["public", "restricted", "knock_restricted", "private", "org.example.own"] {
            assert_eq!(opened(json!({ "join_rule": rule })), None);
        }
        assert_eq!(opened(json!({})), None);
        assert_eq!(opened(json!({ "join_rule": 7 })), None);
    }

    #[test]
    fn it_is_offered_only_where_the_wait_is_long_and_much_of_it_is_saved() {
        let offer = |takes, instead_of| FastOffer {
            rooms: vec![],
            takes: Duration::from_secs(takes),
            instead_of: Duration::from_secs(instead_of),
        };
        let room = RoomLabel {
            id: room_id!("!a:a.example").to_owned().into(),
            name: None,
            alias: None,
            direct_with: vec![],
            space: false,
            encrypted: false,
            names: std::collections::BTreeMap::new(),
        };
        let with_room = |offer: FastOffer| FastOffer { rooms: vec![room.clone()], ..offer };
        assert!(with_room(offer(60, 3600)).is_worth_it());
        assert!(!with_room(offer(60, 500)).is_worth_it(), "not long");
        assert!(!with_room(offer(3000, 3600)).is_worth_it(), "not much");
        assert!(!offer(60, 3600).is_worth_it(), "no rooms");
    }

    #[test]
    fn openings_are_stored_in_this_form() {
        let state = |state| Opening {
            before: object(json!({ "join_rule": "invite" })),
            during: object(json!({ "join_rule": "restricted", "allow": [] })),
            arrives_until: (state == OpeningState::Open).then_some(Timestamp::UNIX_EPOCH),
            state,
        };
        let failure = Failure::Faulty { status: 500, code: None, message: "no".into() };
        let openings = [
            OpeningState::Open,
            OpeningState::PutBack,
            OpeningState::ChangedByOthers,
            OpeningState::Stuck(failure),
        ]
        .map(state);
        let lobbies = [Lobby::Begun, Lobby::Made(room_id!("!lobby:a.example").to_owned())];
        insta::assert_json_snapshot!((openings, lobbies));
    }
}
