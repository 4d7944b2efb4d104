//! Who is there, and their rooms.

use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use lab::{Account, Homeserver, RoomSpec};
use reqwest::Method;
use ruma::{OwnedRoomId, OwnedUserId, events::tag::TagName};
use serde_json::json;

/// How many rooms are made at once.
const AT_ONCE: usize = 8;

/// A person with two accounts, a friend of theirs, and their rooms.
#[derive(Debug)]
pub(crate) struct Town {
    pub(crate) old: Account,
    pub(crate) new: Account,
    friend: Account,
    pub(crate) rooms: Vec<Room>,
}

/// A room of the old account.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) id: OwnedRoomId,
    /// Whether the new account needs an invitation.
    pub(crate) private: bool,
    /// Whether it is a direct chat with the friend.
    direct: bool,
}

/// Who made the rooms, and so has power in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Makers {
    /// The old account made the private ones and half of the public ones.
    Mixed,
    /// The friend made all of them: the old account has no power to hand on.
    Friend,
}

impl Town {
    /// Makes accounts whose names begin with `name`, and as many rooms: half of them public. No
    /// limit holds for who makes them, until this is done.
    pub(crate) async fn build(
        (from, to): (&Homeserver, &Homeserver),
        name: &str,
        rooms: usize,
        makers: Makers,
    ) -> Result<Self> {
        let admin = from.register_admin(&format!("{name}-admin"), "admin").await?;
        let old = from.account(&format!("{name}-old")).await?;
        let friend = from.account(&format!("{name}-friend")).await?;
        let new = to.account(&format!("{name}-new")).await?;
        let mut town = Self { old, new, friend, rooms: Vec::new() };
        for account in [&town.old, &town.friend] {
            limit(&admin, account, false).await?;
        }
        let made = stream::iter((0..rooms).map(|number| town.room(number, makers)));
        town.rooms = made.buffered(AT_ONCE).try_collect().await?;
        town.mark_direct().await?;
        for account in [&town.old, &town.friend] {
            limit(&admin, account, true).await?;
        }
        Ok(town)
    }

    /// Rooms come in tens: five private ones, of which one is a direct chat and one a favorite, and
    /// five public ones, of which one is a favorite.
    async fn room(&self, number: usize, makers: Makers) -> Result<Room> {
        let private = number % 10 < 5;
        // Who is invited to a direct chat has power in it.
        let direct = number.is_multiple_of(10) && makers == Makers::Mixed;
        let by_old = makers == Makers::Mixed && (private || number.is_multiple_of(2));
        let (host, guest) =
            if by_old { (&self.old, &self.friend) } else { (&self.friend, &self.old) };
        let name = format!("Room {number}");
        let spec = match (direct, private) {
            (true, _) => RoomSpec::direct(guest.user_id()).encrypted(),
            // Everybody may change who may join, so that the old account can open the room.
            (false, true) => {
                RoomSpec::private(&name).invite(guest.user_id()).needs("state_default", 0)
            }
            (false, false) => RoomSpec::public(&name),
        };
        let id = host.create_room(spec).await?;
        guest.join(&id).await?;
        if matches!(number % 10, 1 | 6) {
            self.old.set_tag(&id, TagName::Favorite, None).await?;
        }
        Ok(Room { id, private, direct })
    }

    async fn mark_direct(&self) -> Result<()> {
        let direct: Vec<_> =
            self.rooms.iter().filter(|room| room.direct).map(|room| &room.id).collect();
        let friend: OwnedUserId = self.friend.user_id().to_owned();
        self.old.set_account_data("m.direct", &json!({ friend: direct })).await
    }

    /// How many rooms need an invitation.
    pub(crate) fn private(&self) -> usize {
        self.rooms.iter().filter(|room| room.private).count()
    }
}

/// Puts Synapse's limits on an account, or takes them away
/// (<https://element-hq.github.io/synapse/latest/admin_api/user_admin_api.html>).
pub(crate) async fn limit(admin: &Account, account: &Account, on: bool) -> Result<()> {
    let path = format!("/_synapse/admin/v1/users/{}/override_ratelimit", account.user_id());
    let (method, none) = if on { (Method::DELETE, json!({})) } else { (Method::POST, json!({})) };
    let body = if on { none } else { json!({ "messages_per_second": 0, "burst_count": 0 }) };
    admin.send_raw(method, &path, &body).await?;
    Ok(())
}
