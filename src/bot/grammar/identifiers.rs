//! Users and rooms in every way a person may write them down.

use matrix_sdk::ruma::{
    MatrixToUri, MatrixUri, OwnedRoomOrAliasId, OwnedUserId, RoomOrAliasId, UserId,
    matrix_uri::MatrixId,
};

/// A user as ID, matrix.to link or `matrix:` URI.
pub(super) fn user(word: &str) -> Option<OwnedUserId> {
    let word = trimmed(word);
    if let Some(id) = linked(word) {
        return match id {
            MatrixId::User(user) => Some(user),
            _ => None,
        };
    }
    if word.starts_with('@') {
        return UserId::parse(word).ok();
    }
    // `name:server`, as people say it; but not what was meant for a room.
    let bare = word.contains(':') && !word.starts_with(['!', '#', '$']);
    bare.then(|| UserId::parse(format!("@{word}")).ok()).flatten()
}

/// A room as ID, alias, matrix.to link or `matrix:` URI. A link to a message means its room.
pub(super) fn room(word: &str) -> Option<OwnedRoomOrAliasId> {
    let word = trimmed(word);
    if let Some(id) = linked(word) {
        return match id {
            MatrixId::Room(room) => Some(room.into()),
            MatrixId::RoomAlias(alias) => Some(alias.into()),
            MatrixId::Event(room, _) => Some(room),
            _ => None,
        };
    }
    word.starts_with(['!', '#']).then(|| RoomOrAliasId::parse(word).ok()).flatten()
}

fn linked(word: &str) -> Option<MatrixId> {
    let of_link = MatrixToUri::parse(word).ok().map(|uri| uri.id().clone());
    of_link.or_else(|| MatrixUri::parse(word).ok().map(|uri| uri.id().clone()))
}

/// Without what people put around an address: `<…>`, quotes, a comma or full stop after it.
fn trimmed(word: &str) -> &str {
    word.trim_start_matches(|c| "<([\"'`“”‘’«»".contains(c))
        .trim_end_matches(|c| ">)]\"'`“”‘’«»,.;!?".contains(c))
}
