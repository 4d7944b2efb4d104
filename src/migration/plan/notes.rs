//! What a person should know about a room before it is moved.

use std::time::Duration;

use ruma::events::room::{history_visibility::HistoryVisibility, power_levels::UserPowerLevel};

use super::{Accounts, Note, Route, after::ADMINISTRATOR};
use crate::migration::survey::SurveyedRoom;

/// The notes on a room that the new account gets into.
pub(super) fn notes(accounts: &Accounts<'_>, room: &SurveyedRoom, route: &Route) -> Vec<Note> {
    let is_new = *route != Route::AlreadyThere;
    let mut notes = Vec::new();
    if is_new && !shows_earlier(room) {
        notes.push(Note::EarlierHidden);
    }
    notes.extend(room.bridged_with.clone().map(|with| Note::Bridged { with }));
    if let Some(alias) = &room.alias
        && alias.server_name() == accounts.old.server_name()
        && accounts.old.server_name() != accounts.new.server_name()
        && runs(accounts, room)
    {
        notes.push(Note::AliasOnOldServer { alias: alias.clone() });
    }
    if let Some(since) = room.last_active {
        let now = Duration::from_millis(accounts.surveyed.get().into());
        let last = Duration::from_millis(since.get().into());
        if now.saturating_sub(last) > accounts.quiet_after {
            notes.push(Note::Quiet { since });
        }
    }
    notes
}

/// Whether who joins sees what was said before
/// ([spec](https://spec.matrix.org/v1.16/client-server-api/#room-history-visibility)).
fn shows_earlier(room: &SurveyedRoom) -> bool {
    matches!(room.history_visibility, HistoryVisibility::Shared | HistoryVisibility::WorldReadable)
}

/// Whether the old account is an administrator of the room.
fn runs(accounts: &Accounts<'_>, room: &SurveyedRoom) -> bool {
    match room.power_levels.for_user(accounts.old) {
        UserPowerLevel::Int(level) => i64::from(level) >= ADMINISTRATOR,
        _ => true,
    }
}
