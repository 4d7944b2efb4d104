//! Who is in a room beside the bot, and who else hears what is said there.

use matrix_sdk::{
    Room, RoomMemberships, RoomState,
    ruma::{
        OwnedUserId,
        events::{
            StateEventType,
            room::{history_visibility::HistoryVisibility, member::MembershipState},
        },
        room::JoinRule,
    },
};

use super::{records::Records, retry::until_final, talk::Unsent};
use crate::{clock::SharedClock, identifiers::is_readable};

/// Who is in a room beside the bot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Company {
    /// The bot is not in it.
    NotThere,
    /// Nobody.
    None,
    /// Exactly this person, and nobody else hears what is said: a direct message.
    One(OwnedUserId),
    /// One person, but it is no direct message.
    Overheard(Overheard),
    /// More than one.
    Many,
}

/// Why a room with one other person in it is no direct message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overheard {
    /// Somebody else is invited: they can come in and read, and matrix-sdk gives them the keys.
    Invited,
    /// People may join whom nobody here invited.
    Open,
    /// Its history can be read without being in it.
    WorldReadable,
    /// It was encrypted, and its homeserver says that it is not.
    NoLongerEncrypted,
    /// The person has a user ID that could be read as something else.
    UnreadableName,
}

/// Sees who is in rooms, as far as the bot's homeserver told.
#[derive(Clone, Debug)]
pub(super) struct Lookout {
    pub(super) me: OwnedUserId,
    pub(super) clock: SharedClock,
    pub(super) records: Records,
}

impl Lookout {
    /// Who is in a room. It is asked before each command is heard and before anything is said: a
    /// direct message is a room whose joined members are exactly the bot and that person, to which
    /// nobody else is invited, which the public cannot join and whose history the world cannot read.
    pub(super) async fn company(&self, room: &Room) -> Result<Company, Unsent> {
        if room.state() != RoomState::Joined {
            return Ok(Company::NotThere);
        }
        let members = until_final(&self.clock, || room.members(RoomMemberships::ACTIVE)).await?;
        let others = || members.iter().filter(|member| member.user_id() != self.me);
        let mut joined = others().filter(|m| *m.membership() == MembershipState::Join);
        let one = match (joined.next(), joined.next()) {
            (None, _) => return Ok(Company::None),
            (Some(_), Some(_)) => return Ok(Company::Many),
            (Some(one), None) => one.user_id().to_owned(),
        };
        let is_invited = others().any(|member| *member.membership() == MembershipState::Invite);
        let overheard = if is_invited || is_invited_by_address(room).await? {
            Some(Overheard::Invited)
        } else if !is_readable(&one) {
            Some(Overheard::UnreadableName)
        } else {
            match exposure(room.join_rule().as_ref(), room.history_visibility().as_ref()) {
                None if self.has_lost_encryption(room).await? => Some(Overheard::NoLongerEncrypted),
                exposure => exposure,
            }
        };
        Ok(overheard.map_or(Company::One(one), Company::Overheard))
    }

    /// Encryption stays: whoever takes it away from a room that had it wants to read along.
    async fn has_lost_encryption(&self, room: &Room) -> Result<bool, Unsent> {
        let is_encrypted = self.is_encrypted_now(room).await?;
        let was_encrypted = self.records.room(room.room_id())?.encrypted;
        if is_encrypted && !was_encrypted {
            self.records.change_room(room.room_id(), |record| record.encrypted = true).await?;
        }
        Ok(was_encrypted && !is_encrypted)
    }

    async fn is_encrypted_now(&self, room: &Room) -> Result<bool, Unsent> {
        let state = room.encryption_state();
        if !state.is_unknown() {
            return Ok(state.is_encrypted());
        }
        let state = until_final(&self.clock, || room.latest_encryption_state()).await?;
        Ok(state.is_encrypted())
    }
}

/// Whether somebody is invited by an email address or the like, who is in no list of members.
async fn is_invited_by_address(room: &Room) -> Result<bool, matrix_sdk::Error> {
    let invitations = room.get_state_events(StateEventType::RoomThirdPartyInvite).await?;
    // What was taken back has no content any more.
    Ok(invitations.iter().any(|event| {
        let event = serde_json::to_value(event).unwrap_or_default();
        let event = event.get("Sync").or_else(|| event.get("Stripped")).unwrap_or(&event);
        event.pointer("/content/public_key").is_some_and(|key| !key.is_null())
    }))
}

/// How others than its members get at what is said in a room with these settings. A setting that is
/// not there is the specification's default: only who is invited joins, and reads from then on.
fn exposure(
    join_rule: Option<&JoinRule>,
    history_visibility: Option<&HistoryVisibility>,
) -> Option<Overheard> {
    match join_rule {
        None | Some(JoinRule::Invite | JoinRule::Private | JoinRule::Knock) => {}
        // Public, for members of another room, or something that nobody knows yet.
        Some(_) => return Some(Overheard::Open),
    }
    match history_visibility {
        None
        | Some(
            HistoryVisibility::Invited | HistoryVisibility::Joined | HistoryVisibility::Shared,
        ) => None,
        Some(_) => Some(Overheard::WorldReadable),
    }
}

#[cfg(test)]
mod tests {
    use matrix_sdk::ruma::room::Restricted;

    use super::*;

    #[test]
    fn a_room_that_others_may_enter_or_read_is_no_direct_message() {
        let restricted = || Restricted::new(Vec::new());
        for rule in [JoinRule::Invite, JoinRule::Private, JoinRule::Knock] {
            assert_eq!(exposure(Some(&rule), Some(&HistoryVisibility::Shared)), None, "{rule:?}");
        }
        for rule in [
            JoinRule::Public,
            JoinRule::Restricted(restricted()),
            JoinRule::KnockRestricted(restricted()),
        ] {
            assert_eq!(exposure(Some(&rule), None), Some(Overheard::Open), "{rule:?}");
        }
        for visibility in [HistoryVisibility::WorldReadable, "new".into()] {
            assert_eq!(exposure(None, Some(&visibility)), Some(Overheard::WorldReadable));
        }
        assert_eq!(exposure(None, None), None);
    }
}
