//! Users and rooms in every way a person may write them down.

use matrix_sdk::ruma::{
    MatrixToUri, MatrixUri, OwnedServerName, OwnedUserId, RoomOrAliasId, UserId,
    matrix_uri::MatrixId,
};

use crate::{identifiers::is_readable, migration::RoomAddress};

/// A user as ID, matrix.to link or `matrix:` URI; none whose ID could be read as something else, which
/// a link can hold as well.
pub(super) fn user(word: &str) -> Option<OwnedUserId> {
    parsed_user(word).filter(|user| is_readable(user))
}

fn parsed_user(word: &str) -> Option<OwnedUserId> {
    let word = trimmed(word);
    if let Some((id, _)) = linked(word) {
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
pub(super) fn room(word: &str) -> Option<RoomAddress> {
    let word = trimmed(word);
    if let Some((id, via)) = linked(word) {
        let id = match id {
            MatrixId::Room(room) => room.into(),
            MatrixId::RoomAlias(alias) => alias.into(),
            MatrixId::Event(room, _) => room,
            _ => return None,
        };
        return Some(RoomAddress { id, via });
    }
    let id = word.starts_with(['!', '#']).then(|| RoomOrAliasId::parse(word).ok()).flatten();
    id.map(RoomAddress::from)
}

/// What a link leads to, and through which servers.
fn linked(word: &str) -> Option<(MatrixId, Vec<OwnedServerName>)> {
    let of_link = MatrixToUri::parse(word).ok().map(|uri| (uri.id().clone(), uri.via().to_vec()));
    let of_uri = || MatrixUri::parse(word).ok().map(|uri| (uri.id().clone(), uri.via().to_vec()));
    of_link.or_else(of_uri)
}

/// Without what people put around an address: `<…>`, quotes, a comma or full stop after it.
fn trimmed(word: &str) -> &str {
    word.trim_start_matches(|c| "<([\"'`“”‘’«»".contains(c))
        .trim_end_matches(|c| ">)]\"'`“”‘’«»,.;!?".contains(c))
}
