//! What accounts and rooms are called.

use matrix_sdk::ruma::{OwnedServerName, OwnedUserId, RoomId};

use super::{
    message::{Line, line},
    value::{Value, clean_name, name},
};
use crate::migration::{Migration, RoomLabel, Side};

/// `this account` for the reader's own account, else its ID.
pub(super) fn account(migration: &Migration, side: Side, reader: Side) -> Value {
    if side == reader {
        Value::from("this account")
    } else {
        Value::from(&migration.party(side).user_id)
    }
}

/// The server of an account.
pub(super) fn server(migration: &Migration, side: Side) -> Value {
    Value::from(migration.party(side).user_id.server_name().to_string())
}

/// What a person knows a room by, in a sentence.
pub(super) fn room(label: &RoomLabel) -> Value {
    if label.is_nameless() {
        return Value::from("a room");
    }
    match (&label.name, &label.alias, label.direct_with.as_slice()) {
        (Some(given), ..) if !clean_name(given).is_empty() => name(given),
        (_, Some(alias), _) => Value::from(alias),
        (_, _, [other]) => Value::from(line!("chat with {other}", other = person(label, other))),
        (_, _, [other, rest @ ..]) => Value::from(line!(
            "chat with {other} and {n} more",
            other = person(label, other),
            n = rest.len()
        )),
        _ => Value::from(&label.id),
    }
}

/// Somebody in a room: by user ID, since anybody may take any name, and by name where it is known.
fn person(label: &RoomLabel, user: &OwnedUserId) -> Value {
    match label.names.get(user) {
        Some(given) if !clean_name(given).is_empty() => {
            Value::from(line!("{name} ({user})", name = name(given), user = user))
        }
        _ => Value::from(user),
    }
}

/// What a person knows a room by, for the files of a report.
pub(crate) fn room_name(label: &RoomLabel) -> String {
    line!("{room}", room = plain_room(label)).into_plain()
}

fn plain_room(label: &RoomLabel) -> Value {
    match &label.name {
        Some(given) if !clean_name(given).is_empty() => Value::from(Line::text(&clean_name(given))),
        _ => room(label),
    }
}

/// A link that opens a room in any client, with the servers to join through.
pub(super) fn room_link(label: &RoomLabel, via: &[OwnedServerName]) -> Line {
    let via = via.iter().take(3).cloned();
    let url = match (&label.alias, <&RoomId>::try_from(&*label.id)) {
        (Some(alias), _) => alias.matrix_to_uri().to_string(),
        (None, Ok(id)) => id.matrix_to_uri_via(via).to_string(),
        (None, Err(alias)) => alias.matrix_to_uri().to_string(),
    };
    Line::link(&url, &line!("{room}", room = plain_room(label)).into_plain())
}
