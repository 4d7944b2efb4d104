//! Merging one piece of account data into another.

use std::collections::BTreeSet;

use ruma::serde::JsonObject;
use serde_json::Value;

use super::{Lack, Trio};

/// Clients keep about this many recent emoji. More than that is not added.
const RECENT_EMOJI: usize = 100;

/// How two contents of one type become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// One or the other: who reads it expects it as somebody wrote it.
    Whole,
    /// Key by key, down to this depth, below which a value is one or the other.
    ByKey(u8),
    /// A list of emoji, most recent first, where each stands once.
    RecentEmoji,
}

impl Way {
    fn of(event_type: &str) -> Self {
        match event_type {
            // `ignored_users`, by user.
            "m.ignored_user_list" => Self::ByKey(2),
            // One setting beside another.
            "im.vector.web.settings" | "im.vector.setting.allowed_widgets" | "m.widgets" => {
                Self::ByKey(1)
            }
            // `rooms`, by room, by pack.
            "im.ponies.emote_rooms" | "m.image_pack.rooms" => Self::ByKey(3),
            // `images` by shortcode; and `pack`, by what is told of it.
            "im.ponies.user_emotes" => Self::ByKey(2),
            pack if pack.starts_with("m.image_pack") => Self::ByKey(2),
            "io.element.recent_emoji" | "m.recent_emoji" => Self::RecentEmoji,
            _ => Self::Whole,
        }
    }
}

/// Merges `old` into `new`; what both have is that of `new`, or of `old` where that is preferred.
/// Nothing is taken out of `new`.
pub(super) fn merge(
    event_type: &str,
    trio: Trio<'_>,
    mut old: JsonObject,
    new: JsonObject,
    prefer_old: bool,
) -> (JsonObject, Lack) {
    if event_type == "m.ignored_user_list" {
        keep_listening(&mut old, trio);
    }
    let mut merged = if is_unset(event_type, &new) { JsonObject::new() } else { new };
    let lack = match Way::of(event_type) {
        _ if is_unset(event_type, &old) => Lack::default(),
        Way::Whole => merge_whole(old, &mut merged, prefer_old),
        Way::ByKey(depth) => merge_by_key(old, &mut merged, depth, prefer_old),
        Way::RecentEmoji => merge_emoji(&old, &mut merged),
    };
    (merged, lack)
}

/// Account data cannot be deleted; clients empty it instead, or say that a mark is not there.
fn is_unset(event_type: &str, content: &JsonObject) -> bool {
    let is_mark = matches!(event_type, "m.marked_unread" | "com.famedly.marked_unread");
    content.is_empty() || (is_mark && content.get("unread") == Some(&Value::Bool(false)))
}

/// Nobody is to ignore the accounts that the migration goes on between, or the bot.
fn keep_listening(list: &mut JsonObject, trio: Trio<'_>) {
    if let Some(ignored) = list.get_mut("ignored_users").and_then(Value::as_object_mut) {
        for user in [trio.old, trio.new, trio.bot] {
            ignored.remove(user.as_str());
        }
    }
}

fn merge_whole(old: JsonObject, new: &mut JsonObject, prefer_old: bool) -> Lack {
    if old == *new {
        return Lack::default();
    }
    if new.is_empty() {
        *new = old;
        return Lack { adds: 1, differs: 0 };
    }
    if prefer_old {
        *new = old;
    }
    Lack { adds: 0, differs: 1 }
}

fn merge_by_key(old: JsonObject, new: &mut JsonObject, depth: u8, prefer_old: bool) -> Lack {
    let mut lack = Lack::default();
    for (key, theirs) in old {
        match (new.get_mut(&key), theirs) {
            (None, Value::Object(theirs)) if depth > 1 => {
                let mut ours = JsonObject::new();
                lack += merge_by_key(theirs, &mut ours, depth - 1, prefer_old);
                if !ours.is_empty() {
                    new.insert(key, Value::Object(ours));
                }
            }
            (None, theirs) => {
                new.insert(key, theirs);
                lack.adds += 1;
            }
            (Some(Value::Object(ours)), Value::Object(theirs)) if depth > 1 => {
                lack += merge_by_key(theirs, ours, depth - 1, prefer_old);
            }
            (Some(ours), theirs) if *ours != theirs => {
                lack.differs += 1;
                if prefer_old {
                    *ours = theirs;
                }
            }
            (Some(_), _) => {}
        }
    }
    lack
}

/// Both forms, `[["😀", 3]]` and `[{ "emoji": "😀", "total": 3 }]`, are in `recent_emoji`.
fn merge_emoji(old: &JsonObject, new: &mut JsonObject) -> Lack {
    let list = |content: &JsonObject| {
        content.get("recent_emoji").and_then(Value::as_array).cloned().unwrap_or_default()
    };
    if new.get("recent_emoji").is_some_and(|own| !own.is_array()) {
        // Not as any client writes it, but the new account's own.
        return Lack::default();
    }
    let mut merged = list(new);
    let known: BTreeSet<_> = merged.iter().filter_map(emoji).map(str::to_owned).collect();
    let room = RECENT_EMOJI.saturating_sub(merged.len());
    let missing: Vec<_> = list(old)
        .into_iter()
        .filter(|entry| emoji(entry).is_some_and(|emoji| !known.contains(emoji)))
        .take(room)
        .collect();
    let lack = Lack { adds: missing.len(), differs: 0 };
    if !missing.is_empty() {
        merged.extend(missing);
        new.insert("recent_emoji".to_owned(), Value::Array(merged));
    }
    lack
}

fn emoji(entry: &Value) -> Option<&str> {
    entry.get(0).or_else(|| entry.get("emoji"))?.as_str()
}
