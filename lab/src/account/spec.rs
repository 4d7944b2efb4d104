//! What a room is to be like.

use anyhow::Result;
use ruma::{
    Int, OwnedRoomId, OwnedUserId, RoomId, RoomVersionId, UserId,
    api::client::room::{
        Visibility,
        create_room::v3::{CreationContent, Request, RoomPreset},
    },
    room::{JoinRuleKind, RoomType},
    serde::Raw,
};
use serde_json::{Value, json};

/// A room to be made with [`Account::create_room`](super::Account::create_room).
#[derive(Clone, Debug, Default)]
pub struct RoomSpec {
    name: Option<String>,
    public: bool,
    space: bool,
    encrypted: bool,
    direct_with: Option<OwnedUserId>,
    invite: Vec<OwnedUserId>,
    alias: Option<String>,
    version: Option<RoomVersionId>,
    join_rule: Option<Value>,
    power: Vec<(OwnedUserId, Int)>,
    levels: Vec<(String, Int)>,
    pub(super) parent: Option<OwnedRoomId>,
}

impl RoomSpec {
    /// A room for those who are invited.
    pub fn private(name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..Self::default() }
    }

    /// A room that everybody may join, published in the room list.
    pub fn public(name: &str) -> Self {
        Self { public: true, ..Self::private(name) }
    }

    /// A direct chat: nameless, both are invited as equals, and `m.direct` of its creator lists it.
    pub fn direct(with: &UserId) -> Self {
        Self { direct_with: Some(with.to_owned()), ..Self::default() }
    }

    /// A space for those who are invited.
    pub fn space(name: &str) -> Self {
        Self { space: true, ..Self::private(name) }
    }

    /// With end-to-end encryption.
    #[must_use]
    pub fn encrypted(mut self) -> Self {
        self.encrypted = true;
        self
    }

    /// Invites somebody right away.
    #[must_use]
    pub fn invite(mut self, user: &UserId) -> Self {
        self.invite.push(user.to_owned());
        self
    }

    /// With an alias on its creator's homeserver.
    #[must_use]
    pub fn alias(mut self, localpart: &str) -> Self {
        self.alias = Some(localpart.to_owned());
        self
    }

    /// Of another version than the homeserver's default.
    #[must_use]
    pub fn version(mut self, version: RoomVersionId) -> Self {
        self.version = Some(version);
        self
    }

    /// With another join rule. For `restricted` and `knock_restricted`, members of
    /// [the space](Self::within) are let in.
    #[must_use]
    pub fn join_rule(mut self, rule: JoinRuleKind) -> Self {
        let allow = self
            .parent
            .iter()
            .map(|space| json!({ "type": "m.room_membership", "room_id": space }))
            .collect::<Vec<_>>();
        self.join_rule = Some(json!({ "join_rule": rule, "allow": allow }));
        self
    }

    /// Gives somebody a power level from the start.
    #[must_use]
    pub fn power(mut self, user: &UserId, level: i32) -> Self {
        self.power.push((user.to_owned(), level.into()));
        self
    }

    /// Sets the power level that something needs: a key of `m.room.power_levels`, such as `invite`.
    #[must_use]
    pub fn needs(mut self, key: &str, level: i32) -> Self {
        self.levels.push((key.to_owned(), level.into()));
        self
    }

    /// Puts the room into a space of its creator's. Say this before [`join_rule`](Self::join_rule).
    #[must_use]
    pub fn within(mut self, space: &RoomId) -> Self {
        self.parent = Some(space.to_owned());
        self
    }

    /// Whom the room is a direct chat with.
    pub(super) fn direct_with(&self) -> Option<&UserId> {
        self.direct_with.as_deref()
    }

    pub(super) fn request(self, creator: &UserId) -> Result<Request> {
        let mut request = Request::new();
        request.is_direct = self.direct_with.is_some();
        request.preset = Some(match (self.public, self.direct_with.is_some()) {
            (true, _) => RoomPreset::PublicChat,
            (false, true) => RoomPreset::TrustedPrivateChat,
            (false, false) => RoomPreset::PrivateChat,
        });
        if self.public {
            request.visibility = Visibility::Public;
        }
        if self.space {
            let mut content = CreationContent::new();
            content.room_type = Some(RoomType::Space);
            request.creation_content = Some(Raw::new(&content)?);
        }
        request.power_level_content_override = self.power_levels(creator)?;
        request.initial_state = self.initial_state()?;
        request.name = self.name;
        request.room_alias_name = self.alias;
        request.room_version = self.version;
        request.invite = self.invite;
        request.invite.extend(self.direct_with);
        Ok(request)
    }

    fn power_levels<T>(&self, creator: &UserId) -> Result<Option<Raw<T>>> {
        if self.power.is_empty() && self.levels.is_empty() {
            return Ok(None);
        }
        let mut levels = json!({});
        for (key, level) in &self.levels {
            levels[key] = json!(level);
        }
        if !self.power.is_empty() {
            // Replaces the whole map. Before version 12 the creator's own power stands there too;
            // from then on it must not.
            let listed = self
                .version
                .as_ref()
                .and_then(RoomVersionId::rules)
                .is_some_and(|rules| !rules.authorization.explicitly_privilege_room_creators);
            if listed {
                levels["users"][creator.as_str()] = json!(100);
            }
            for (user, level) in &self.power {
                levels["users"][user.as_str()] = json!(level);
            }
        }
        Ok(Some(Raw::new(&levels)?.cast_unchecked()))
    }

    fn initial_state<T>(&self) -> Result<Vec<Raw<T>>> {
        let encryption = self.encrypted.then(|| {
            let algorithm = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
            json!({ "type": "m.room.encryption", "content": algorithm })
        });
        let join_rule = self
            .join_rule
            .iter()
            .map(|rule| json!({ "type": "m.room.join_rules", "content": rule }));
        let parent = self.parent.iter().map(|space| {
            let content = json!({ "canonical": true, "via": [] });
            json!({ "type": "m.space.parent", "state_key": space, "content": content })
        });
        encryption
            .into_iter()
            .chain(join_rule)
            .chain(parent)
            .map(|event| Ok(Raw::new(&event)?.cast_unchecked()))
            .collect()
    }
}
