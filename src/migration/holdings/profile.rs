//! Profiles: what counts as a name of one's own, and what two accounts' differ in.

use ruma::{OwnedMxcUri, UserId, serde::JsonObject};
use serde::Deserialize;
use serde_json::Value;

use super::{Copies, Lack, Profile, Trio};

/// Display name and avatar of an account in one room, as its own `m.room.member` there has them
/// ([spec](https://spec.matrix.org/v1.18/client-server-api/#mroommember)).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct RoomProfile {
    #[serde(default)]
    pub(crate) displayname: Option<String>,
    #[serde(default)]
    pub(crate) avatar_url: Option<OwnedMxcUri>,
}

impl RoomProfile {
    /// What is in the content of a member event.
    pub(crate) fn of(member: JsonObject) -> Self {
        serde_json::from_value(Value::Object(member)).unwrap_or_default()
    }

    /// What of it the account was given in this room alone.
    pub(super) fn beside(&self, profile: &Profile, user_id: &UserId) -> Self {
        let global_name = profile.get("displayname").and_then(Value::as_str);
        let own_name = self.displayname.as_deref().filter(|name| {
            !name.is_empty() && *name != user_id.localpart() && Some(*name) != global_name
        });
        let own_avatar = self.avatar_url.as_ref().filter(|uri| {
            !uri.as_str().is_empty() && Some(uri.as_str()) != text(profile, "avatar_url")
        });
        Self { displayname: own_name.map(str::to_owned), avatar_url: own_avatar.cloned() }
    }
}

/// The display name, if it says more than the user ID: homeservers give a new account its own
/// localpart for a name.
pub(super) fn display_name<'a>(profile: &'a Profile, user_id: &UserId) -> Option<&'a str> {
    text(profile, "displayname").filter(|name| *name != user_id.localpart())
}

/// What the new account lacks of the old one's display name.
pub(super) fn compare_names(old: &Profile, new: &Profile, trio: Trio<'_>) -> Lack {
    let name = display_name(old, trio.old);
    if name == text(new, "displayname") {
        return Lack::default();
    }
    compare(name, display_name(new, trio.new))
}

/// The avatar.
pub(super) fn avatar(profile: &Profile) -> Option<OwnedMxcUri> {
    let uri = OwnedMxcUri::from(text(profile, "avatar_url")?);
    uri.is_valid().then_some(uri)
}

fn text<'a>(profile: &'a Profile, field: &str) -> Option<&'a str> {
    profile.get(field).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// A field that is neither display name nor avatar.
pub(super) fn field<'a>(profile: &'a Profile, name: &str) -> Option<&'a Value> {
    profile.get(name).filter(|value| !value.is_null())
}

/// The names of the other fields that are set.
pub(super) fn other_fields(profile: &Profile) -> impl Iterator<Item = &String> {
    let set = profile.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name);
    set.filter(|name| !matches!(name.as_str(), "displayname" | "avatar_url"))
}

/// Compares one thing that both may have.
pub(super) fn compare<T: PartialEq>(old: Option<T>, new: Option<T>) -> Lack {
    match (old, new) {
        (None, _) => Lack::default(),
        (Some(_), None) => Lack { adds: 1, differs: 0 },
        (Some(old), Some(new)) if old == new => Lack::default(),
        (Some(_), Some(_)) => Lack { adds: 0, differs: 1 },
    }
}

/// What an uploaded file is called on the new account's server: the copy of it, if there is one.
pub(super) fn copied(uri: OwnedMxcUri, copies: &Copies) -> OwnedMxcUri {
    copies.get(&uri).cloned().unwrap_or(uri)
}

/// What the new account lacks of what the old one is called in one room. `new` is its name there,
/// and `own` what of it is its own.
pub(super) fn compare_in_room(
    old: &RoomProfile,
    new: &RoomProfile,
    own: &RoomProfile,
    copies: &Copies,
) -> Lack {
    let mut lack = Lack::default();
    if old.displayname != new.displayname {
        lack += compare(old.displayname.as_ref(), own.displayname.as_ref());
    }
    let avatar = old.avatar_url.clone().map(|uri| copied(uri, copies));
    if avatar != new.avatar_url {
        lack += compare(avatar.as_ref(), own.avatar_url.as_ref());
    }
    lack
}
