//! The messages that ask: the content of events.

use ruma::{EventId, OwnedUserId};
use serde_json::{Value, json};

use super::record::{InviteRequest, RequestState};

/// A text as people read it, in its two forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Without markup.
    pub plain: String,
    /// As HTML.
    pub html: String,
}

/// Under which clients and tools find what a message is about.
const BLOCK: &str = "tern.invite_request";

/// The message that asks. It mentions whom it asks.
pub(crate) fn request(request: &InviteRequest, text: &Text) -> Value {
    let mut content = message(text, &request.asked);
    content[BLOCK] = block(request);
    content
}

/// The message that brings it to mind once more.
pub(crate) fn reminder(request: &InviteRequest, text: &Text) -> Value {
    let mut content = message(text, &request.asked);
    content[BLOCK] = block(request);
    if let Some(asked) = &request.message {
        content["m.relates_to"] = reply_to(&asked.event_id);
    }
    content
}

/// What takes the place of the message that asked.
pub(crate) fn ended(request: &InviteRequest, asked: &EventId, text: &Text) -> Value {
    let mut new = message(text, &[]);
    new[BLOCK] = block(request);
    let mut content = message(
        &Text { plain: format!("* {}", text.plain), html: format!("* {}", text.html) },
        &[],
    );
    content[BLOCK] = block(request);
    content["m.new_content"] = new;
    content["m.relates_to"] = json!({ "rel_type": "m.replace", "event_id": asked });
    content
}

/// A word to one moderator who answered.
pub(crate) fn thanks(request: &InviteRequest, text: &Text, to: &OwnedUserId) -> Value {
    let mut content = message(text, std::slice::from_ref(to));
    if let Some(asked) = &request.message {
        content["m.relates_to"] = reply_to(&asked.event_id);
    }
    content
}

fn message(text: &Text, mentions: &[OwnedUserId]) -> Value {
    json!({
        "msgtype": "m.text",
        "body": text.plain,
        "format": "org.matrix.custom.html",
        "formatted_body": text.html,
        "m.mentions": { "user_ids": mentions },
    })
}

fn reply_to(event: &EventId) -> Value {
    json!({ "m.in_reply_to": { "event_id": event } })
}

fn block(request: &InviteRequest) -> Value {
    let state = match request.state {
        RequestState::Planned | RequestState::Sending | RequestState::Open => "open",
        RequestState::Opened => "done",
        RequestState::Refused | RequestState::Stopped => "refused",
        RequestState::Expired => "expired",
        RequestState::Withdrawn | RequestState::OutOfRoom | RequestState::NotAsked(_) => {
            "withdrawn"
        }
    };
    json!({
        "room_id": request.room_id,
        "old_user_id": request.old,
        "new_user_id": request.new,
        "state": state,
    })
}
