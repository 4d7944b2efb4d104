//! What was said in a room, made from its events.

use std::fmt;

use ruma::{
    OwnedEventId, OwnedUserId,
    events::room::{
        MediaSource,
        message::{FormattedBody, MessageType},
    },
};
use serde_json::Value;

/// An event of a room's timeline, decrypted when that was possible.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) id: OwnedEventId,
    pub(crate) json: Value,
    pub(crate) encrypted: bool,
    /// Its keys have not come yet.
    pub(crate) sealed: bool,
}

/// A message as a client shows it: with its last edit, its reactions, and whether it was redacted.
#[derive(Clone, Debug)]
pub struct Message {
    /// Of the message itself, not of an edit.
    pub event_id: OwnedEventId,
    /// Who wrote it.
    pub sender: OwnedUserId,
    /// `m.text`, `m.notice`, `m.file`, …
    pub kind: String,
    /// Plain text.
    pub body: String,
    /// HTML.
    pub formatted: Option<String>,
    /// Plain texts that it had before it was edited, oldest first.
    pub earlier: Vec<String>,
    /// What is attached.
    pub file: Option<Attachment>,
    /// Who reacted, and with what.
    pub reactions: Vec<(OwnedUserId, String)>,
    /// Its text was taken back.
    pub redacted: bool,
    /// It was sent encrypted.
    pub encrypted: bool,
    /// Its keys have not come yet, so that there is no text.
    pub sealed: bool,
}

impl Message {
    /// Whether it was edited.
    pub fn edited(&self) -> bool {
        !self.earlier.is_empty()
    }

    /// Its author's localpart.
    pub fn author(&self) -> &str {
        self.sender.localpart()
    }

    fn new(event: &Event, sender: OwnedUserId) -> Self {
        let content = &event.json["content"];
        // The homeserver empties what was redacted before it was first sent to this client.
        let redacted = content.as_object().is_none_or(serde_json::Map::is_empty);
        let mut message = Self {
            event_id: event.id.clone(),
            sender,
            kind: String::new(),
            body: String::new(),
            formatted: None,
            earlier: Vec::new(),
            file: None,
            reactions: Vec::new(),
            redacted,
            encrypted: event.encrypted,
            sealed: event.sealed && !redacted,
        };
        message.show(content);
        message
    }

    fn take_back(&mut self) {
        self.redacted = true;
        self.sealed = false;
        self.body.clear();
        self.formatted = None;
        self.file = None;
    }

    fn show(&mut self, content: &Value) {
        let Ok(message) = serde_json::from_value::<MessageType>(content.clone()) else { return };
        let formatted = match &message {
            MessageType::Text(text) => text.formatted.as_ref(),
            MessageType::Notice(notice) => notice.formatted.as_ref(),
            MessageType::Emote(emote) => emote.formatted.as_ref(),
            _ => None,
        };
        self.formatted = formatted.map(|FormattedBody { body, .. }| body.clone());
        message.msgtype().clone_into(&mut self.kind);
        message.body().clone_into(&mut self.body);
        self.file = Attachment::of(message);
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let author = self.author();
        let text = match (self.redacted, self.sealed) {
            (true, _) => "(redacted)",
            (_, true) => "(not decrypted)",
            _ => &self.body,
        };
        for (number, line) in text.lines().enumerate() {
            let author = if number == 0 { format!("{author}:") } else { String::new() };
            write!(f, "{}{author:<8} {line}", if number == 0 { "" } else { "\n" })?;
        }
        if self.edited() {
            write!(f, " (edited)")?;
        }
        for (user, key) in &self.reactions {
            write!(f, "\n{:<8} {key} from {}", "", user.localpart())?;
        }
        Ok(())
    }
}

/// A file in a message.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// File name.
    pub name: String,
    /// Where it is, and the keys when it is encrypted.
    pub source: MediaSource,
}

impl Attachment {
    fn of(message: MessageType) -> Option<Self> {
        let (name, source) = match message {
            MessageType::File(file) => (file.filename().to_owned(), file.source),
            MessageType::Image(image) => (image.filename().to_owned(), image.source),
            _ => return None,
        };
        Some(Self { name, source })
    }
}

/// Folds a timeline, oldest event first, into what was said.
pub(crate) fn messages(events: &[Event]) -> Vec<Message> {
    let mut messages = Vec::new();
    for event in events {
        if let Ok(sender) = serde_json::from_value(event.json["sender"].clone()) {
            add(&mut messages, event, sender);
        }
    }
    messages
}

fn add(messages: &mut Vec<Message>, event: &Event, sender: OwnedUserId) {
    let content = &event.json["content"];
    let relation = &content["m.relates_to"];
    match event.json["type"].as_str() {
        Some("m.room.message") if relation["rel_type"] == "m.replace" => {
            let original = find(messages, &relation["event_id"]);
            // https://spec.matrix.org/v1.18/client-server-api/#validity-of-replacement-events
            if let Some(original) = original.filter(|original| original.sender == sender) {
                original.earlier.push(original.body.clone());
                original.show(&content["m.new_content"]);
            }
        }
        Some("m.reaction") => {
            let target = find(messages, &relation["event_id"]);
            if let (Some(target), Some(key)) = (target, relation["key"].as_str()) {
                target.reactions.push((sender, key.to_owned()));
            }
        }
        Some("m.room.redaction") => {
            // It moved into the content with room version 11.
            for id in [&event.json["redacts"], &content["redacts"]] {
                if let Some(target) = find(messages, id) {
                    target.take_back();
                }
            }
        }
        Some("m.room.message" | "m.room.encrypted") => messages.push(Message::new(event, sender)),
        _ => {}
    }
}

fn find<'a>(messages: &'a mut [Message], id: &Value) -> Option<&'a mut Message> {
    messages.iter_mut().find(|message| id.as_str() == Some(message.event_id.as_str()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(id: &str, kind: &str, sender: &str, content: Value) -> Event {
        let json = json!({ "type": kind, "sender": sender, "event_id": id, "content": content });
        Event { id: id.try_into().unwrap(), json, encrypted: false, sealed: false }
    }

    fn text(body: &str) -> Value {
        json!({ "msgtype": "m.text", "body": body })
    }

    fn edit(id: &str, body: &str) -> Value {
        json!({
            "msgtype": "m.text",
            "body": format!("* {body}"),
            "m.new_content": text(body),
            "m.relates_to": { "rel_type": "m.replace", "event_id": id },
        })
    }

    #[test]
    fn an_edit_replaces_the_text_and_keeps_what_was_there_before() {
        let messages = messages(&[
            event("$1", "m.room.message", "@tern:a", text("looking…")),
            event("$2", "m.room.message", "@tern:a", edit("$1", "half")),
            event("$3", "m.room.message", "@tern:a", edit("$1", "all")),
        ]);
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].body, "all");
        assert_eq!(messages[0].earlier, ["looking…", "half"]);
    }

    #[test]
    fn nobody_edits_what_another_wrote() {
        let messages = messages(&[
            event("$1", "m.room.message", "@tern:a", text("true")),
            event("$2", "m.room.message", "@mallory:a", edit("$1", "false")),
        ]);
        assert_eq!(messages[0].body, "true");
    }

    #[test]
    fn a_redaction_takes_the_text_back_in_every_room_version() {
        let mut old = event("$3", "m.room.redaction", "@a:a", json!({}));
        old.json["redacts"] = json!("$1");
        let messages = messages(&[
            event("$1", "m.room.message", "@a:a", text("secret")),
            event("$2", "m.room.message", "@a:a", text("secret")),
            old,
            event("$4", "m.room.redaction", "@a:a", json!({ "redacts": "$2" })),
        ]);
        assert!(messages.iter().all(|message| message.redacted && message.body.is_empty()));
    }

    #[test]
    fn a_reaction_belongs_to_its_message() {
        let relation = json!({ "rel_type": "m.annotation", "event_id": "$1", "key": "✅" });
        let messages = messages(&[
            event("$1", "m.room.message", "@tern:a", text("ready?")),
            event("$2", "m.reaction", "@a:a", json!({ "m.relates_to": relation })),
        ]);
        let a = ruma::user_id!("@a:a").to_owned();
        assert_eq!(messages[0].reactions, [(a, "✅".to_owned())]);
    }
}
