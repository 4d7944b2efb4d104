//! What events in a room tell about an invite request.

use ruma::{
    EventId, OwnedEventId, OwnedUserId,
    events::room::{join_rules::JoinRule, member::MembershipState},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{InviteRequest, Way};
use crate::web::Pushed;

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The new account may come in.
    Yes,
    /// It may not.
    No,
    /// It may not, and nobody is to be asked in this room again.
    Stop,
}

impl Answer {
    /// What a reaction means, with and without variation selectors.
    pub fn of_reaction(key: &str) -> Option<Self> {
        match key.trim_end_matches(['\u{fe0e}', '\u{fe0f}']) {
            "✅" => Some(Self::Yes),
            "❌" => Some(Self::No),
            _ => None,
        }
    }

    /// What a reply means: only `stop` means anything.
    fn of_reply(body: &str) -> Option<Self> {
        let said = body.lines().find(|line| !line.starts_with('>') && !line.trim().is_empty())?;
        let word = said.trim().trim_end_matches(['.', '!']);
        word.eq_ignore_ascii_case("stop").then_some(Self::Stop)
    }
}

/// What an event in a room tells about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// The new account can get in.
    Opened { by: Option<OwnedUserId> },
    /// The knock was turned down.
    KnockRefused { by: OwnedUserId },
    /// Somebody answered, if the event is what it is said to be.
    Said(Said),
}

/// An answer, as an event has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) by: OwnedUserId,
    /// The message that it is an answer to.
    pub(super) to: OwnedEventId,
    pub(super) answer: Answer,
}

/// An event of any kind, as far as it is read here.
#[derive(Debug, Deserialize)]
struct AnyEvent {
    r#type: String,
    sender: OwnedUserId,
    state_key: Option<String>,
    #[serde(default)]
    content: Value,
}

impl AnyEvent {
    /// What somebody says by it to a message, if it is an answer to one.
    fn said(self) -> Option<Said> {
        let (to, answer) = match (self.r#type.as_str(), self.state_key) {
            ("m.reaction", None) => {
                let relation = self.content.get("m.relates_to")?;
                let answer = Answer::of_reaction(relation.get("key")?.as_str()?)?;
                (relation.get("event_id")?.as_str()?, answer)
            }
            ("m.room.message", None) => {
                let to = self.content.pointer("/m.relates_to/m.in_reply_to/event_id")?.as_str()?;
                (to, Answer::of_reply(self.content.get("body")?.as_str()?)?)
            }
            _ => return None,
        };
        let to = <&EventId>::try_from(to).ok()?.to_owned();
        Some(Said { by: self.sender, to, answer })
    }
}

/// What is said by an event to whatever message, if it can be an answer to an invite request.
pub(super) fn said(event: &str) -> Option<Said> {
    serde_json::from_str::<AnyEvent>(event).ok()?.said()
}

/// The same of an event that somebody's homeserver pushed.
pub(super) fn said_by_pushed(pushed: &Pushed<'_>) -> Option<Said> {
    let envelope = &pushed.envelope;
    let event = AnyEvent {
        r#type: envelope.event_type.clone().into_owned(),
        sender: envelope.sender.clone(),
        state_key: envelope.state_key.as_ref().map(|key| key.clone().into_owned()),
        content: pushed.content()?,
    };
    event.said()
}

/// Reads an event of the room that `request` is about, as the old account is told of it.
pub(super) fn sign(request: &InviteRequest, event: &str) -> Option<Sign> {
    let event: AnyEvent = serde_json::from_str(event).ok()?;
    match (event.r#type.as_str(), event.state_key.as_deref()) {
        ("m.room.member", Some(_)) => member_sign(request, event),
        ("m.room.join_rules", Some("")) => {
            let rule = event.content.get("join_rule")?.as_str()?;
            (rule == JoinRule::Public.as_str()).then_some(Sign::Opened { by: Some(event.sender) })
        }
        _ => {
            let said = event.said()?;
            let is_meant = request.is_asked_in_room_by(&said.to) && !request.is_of(&said.by);
            is_meant.then_some(Sign::Said(said))
        }
    }
}

/// Reads an event that the new account is told of. Only of its own membership its homeserver can
/// tell: what it says of anybody's answer is nothing.
pub(super) fn own_membership(request: &InviteRequest, event: &str) -> Option<Sign> {
    let event: AnyEvent = serde_json::from_str(event).ok()?;
    (event.r#type == "m.room.member").then(|| member_sign(request, event))?
}

fn member_sign(request: &InviteRequest, event: AnyEvent) -> Option<Sign> {
    if event.state_key.as_deref() != Some(request.new.as_str()) {
        return None;
    }
    let by = event.sender;
    match MembershipState::from(event.content.get("membership")?.as_str()?) {
        MembershipState::Invite | MembershipState::Join => Some(Sign::Opened { by: Some(by) }),
        MembershipState::Leave | MembershipState::Ban
            if by != request.new && request.way == Some(Way::Knock) =>
        {
            Some(Sign::KnockRefused { by })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ruma::{owned_event_id, owned_room_id, user_id};
    use serde_json::json;

    use super::*;
    use crate::{migration::MigrationId, moderation::Posted};

    fn request() -> InviteRequest {
        let room_id = owned_room_id!("!room:a");
        let mut request = super::super::ask::sample(MigrationId(1), room_id.clone());
        request.way = Some(Way::Message);
        request.message = Some(Posted { room_id, event_id: owned_event_id!("$asked") });
        request.reminder = Some(owned_event_id!("$again"));
        request
    }

    fn event(kind: &str, content: &Value) -> String {
        json!({ "type": kind, "sender": "@mod:a", "event_id": "$1", "content": content })
            .to_string()
    }

    fn reaction(to: &str, key: &str) -> String {
        let relation = json!({ "rel_type": "m.annotation", "event_id": to, "key": key });
        event("m.reaction", &json!({ "m.relates_to": relation }))
    }

    fn reply(to: &str, body: &str) -> String {
        let relation = json!({ "m.in_reply_to": { "event_id": to } });
        let content = json!({ "msgtype": "m.text", "body": body, "m.relates_to": relation });
        event("m.room.message", &content)
    }

    fn answer(event: &str) -> Option<Answer> {
        match sign(&request(), event)? {
            Sign::Said(said) => Some(said.answer),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reactions_to_the_request_and_to_the_reminder_are_answers() {
        assert_eq!(answer(&reaction("$asked", "✅")), Some(Answer::Yes));
        assert_eq!(answer(&reaction("$again", "❌\u{fe0f}")), Some(Answer::No));
        assert_eq!(answer(&reaction("$other", "✅")), None);
        assert_eq!(answer(&reaction("$asked", "👍")), None);
    }

    #[test]
    fn of_replies_only_stop_counts() {
        assert_eq!(answer(&reply("$asked", "Stop.")), Some(Answer::Stop));
        assert_eq!(answer(&reply("$asked", "> <@old:a> I am moving\n\nstop")), Some(Answer::Stop));
        assert_eq!(answer(&reply("$asked", "do not stop")), None);
        assert_eq!(answer(&reply("$other", "stop")), None);
    }

    #[test]
    fn the_two_accounts_that_move_answer_nothing() {
        let event = reaction("$asked", "✅").replace("@mod:a", "@old:a.example");
        assert_eq!(sign(&request(), &event), None);
    }

    fn member(membership: &str, by: &str) -> String {
        let content = json!({ "membership": membership });
        let new = request().new;
        json!({ "type": "m.room.member", "sender": by, "state_key": new, "content": content })
            .to_string()
    }

    #[test]
    fn an_invitation_and_a_public_room_open_and_a_kick_turns_a_knock_down() {
        let by = user_id!("@mod:a").to_owned();
        let opened = Some(Sign::Opened { by: Some(by.clone()) });
        assert_eq!(sign(&request(), &member("invite", "@mod:a")), opened);
        let public = json!({
            "type": "m.room.join_rules", "sender": "@mod:a", "state_key": "",
            "content": { "join_rule": "public" },
        });
        assert_eq!(sign(&request(), &public.to_string()), opened);
        assert_eq!(sign(&request(), &member("leave", "@mod:a")), None);
        let mut knock = request();
        knock.way = Some(Way::Knock);
        assert_eq!(sign(&knock, &member("leave", "@mod:a")), Some(Sign::KnockRefused { by }));
        assert_eq!(sign(&knock, &member("leave", knock.new.as_str())), None);
    }

    #[test]
    fn the_new_accounts_homeserver_tells_of_its_membership_and_of_nothing_else() {
        let mut request = request();
        for answer in [reaction("$asked", "✅"), reaction("$asked", "❌"), reply("$asked", "stop")]
        {
            assert!(sign(&request, &answer).is_some());
            assert_eq!(own_membership(&request, &answer), None, "{answer}");
        }
        let public = json!({
            "type": "m.room.join_rules", "sender": "@mod:a", "state_key": "",
            "content": { "join_rule": "public" },
        });
        assert_eq!(own_membership(&request, &public.to_string()), None);
        let by = user_id!("@mod:a").to_owned();
        let opened = Some(Sign::Opened { by: Some(by.clone()) });
        assert_eq!(own_membership(&request, &member("invite", "@mod:a")), opened);
        request.way = Some(Way::Knock);
        let refused = Some(Sign::KnockRefused { by });
        assert_eq!(own_membership(&request, &member("leave", "@mod:a")), refused);
        let others = member("leave", "@mod:a").replace(request.new.as_str(), "@other:b");
        assert_eq!(own_membership(&request, &others), None);
    }

    #[test]
    fn what_was_asked_in_a_direct_message_is_answered_there_and_not_in_a_room() {
        let mut request = request();
        request.way = Some(Way::DirectMessage);
        assert_eq!(sign(&request, &reaction("$asked", "❌")), None);
        request.way = Some(Way::Message);
        request.message.as_mut().unwrap().room_id = owned_room_id!("!chat:a");
        assert_eq!(sign(&request, &reaction("$asked", "❌")), None);
    }

    #[test]
    fn what_makes_no_sense_is_no_sign() {
        for event in ["", "null", "{}", r#"{"type":"m.reaction","sender":"x"}"#] {
            assert_eq!(sign(&request(), event), None, "{event}");
        }
    }
}
