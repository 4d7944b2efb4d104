//! What a holding is called: the unit that is planned, carried out and reported.

use ruma::{OwnedRoomId, push::RuleKind};
use serde::{Deserialize, Serialize};

use crate::record::HoldingKind;

/// One thing that an account holds besides its rooms, as far as it is copied by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holding {
    /// The profile as a whole, where an account's could not be read.
    Profile,
    /// The display name of the account.
    DisplayName,
    /// The avatar of the account.
    Avatar,
    /// Another [field of the profile], by its name.
    ///
    /// [field of the profile]: https://spec.matrix.org/v1.18/client-server-api/#profiles
    ProfileField(String),
    /// The display name and avatar that the account has in this room alone.
    RoomProfile(OwnedRoomId),
    /// Global account data of this type.
    AccountData(String),
    /// Account data of one room.
    RoomAccountData {
        /// The room.
        room_id: OwnedRoomId,
        /// The type.
        event_type: String,
    },
    /// The account's own push rules of this kind, with their order.
    PushRules(RuleKind),
    /// Which of the predefined push rules are in force, and with which actions.
    PredefinedPushRules,
}

impl Holding {
    /// What the person chooses it by.
    pub fn kind(&self) -> HoldingKind {
        match self {
            Self::Profile | Self::DisplayName | Self::Avatar | Self::ProfileField(_) => {
                HoldingKind::Profile
            }
            Self::RoomProfile(_) => HoldingKind::RoomProfiles,
            Self::AccountData(event_type) => kind_of_type(event_type),
            Self::RoomAccountData { .. } => HoldingKind::RoomSettings,
            Self::PushRules(_) | Self::PredefinedPushRules => HoldingKind::PushRules,
        }
    }

    /// The room that the new account has to be in.
    pub fn room_id(&self) -> Option<&OwnedRoomId> {
        match self {
            Self::RoomProfile(room_id) | Self::RoomAccountData { room_id, .. } => Some(room_id),
            _ => None,
        }
    }

    /// Its name in the store, unlike that of any other.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Profile => "profile".to_owned(),
            Self::DisplayName => "profile/displayname".to_owned(),
            Self::Avatar => "profile/avatar_url".to_owned(),
            Self::ProfileField(field) => format!("profile_field/{field}"),
            Self::RoomProfile(room_id) => format!("room_profile/{room_id}"),
            Self::AccountData(event_type) => format!("account_data/{event_type}"),
            Self::RoomAccountData { room_id, event_type } => {
                format!("room_account_data/{room_id}/{event_type}")
            }
            Self::PushRules(kind) => format!("push_rules/{kind}"),
            Self::PredefinedPushRules => "predefined_push_rules".to_owned(),
        }
    }
}

fn kind_of_type(event_type: &str) -> HoldingKind {
    match event_type {
        "m.ignored_user_list" => HoldingKind::IgnoredUsers,
        "im.ponies.user_emotes"
        | "im.ponies.emote_rooms"
        | "io.element.recent_emoji"
        | "m.recent_emoji" => HoldingKind::Emotes,
        pack if pack.starts_with("m.image_pack") => HoldingKind::Emotes,
        _ => HoldingKind::Settings,
    }
}
