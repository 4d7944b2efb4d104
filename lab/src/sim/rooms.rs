//! What accounts do in rooms.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    Answer, Refusal,
    limits::Kind,
    world::{Room, World, server_of},
};

/// When the inviting homeserver asks the invited account's one, after the first time was denied.
const INVITE_ATTEMPTS: [f64; 4] = [0.0, 1.0, 2.5, 5.0];
/// How long it takes until it gives up.
const INVITE_GIVEN_UP: Duration = Duration::from_millis(5500);

impl World {
    /// Invites `target` as `user`.
    pub(super) fn invite(
        &mut self,
        user: &str,
        room_id: &str,
        target: &str,
        now: Duration,
    ) -> Result<Answer, Refusal> {
        let server = server_of(user);
        self.take(user, Kind::InviteRoom, room_id, now)?;
        self.take(user, Kind::InviteUser, target, now)?;
        self.take(user, Kind::InviteIssuer, user, now)?;
        let room = self.room(room_id)?;
        let content = self.member_content(target, "invite");
        if room.membership(target) == Some("ban") {
            let message = "Cannot invite user who was banned";
            return Err(Refusal::new(403, "M_BAD_STATE", message));
        }
        let invited = room.event("m.room.member", target);
        if invited.is_some_and(|event| *event.content == content && &*event.sender == user) {
            return Ok(Answer::ok(&json!({})));
        }
        if !room.is_joined(user) {
            return Err(Refusal::forbidden(format!("{user} not in room {room_id}.")));
        }
        if !room.is_federated() && server_of(target) != server {
            return Err(Refusal::forbidden("This room has been marked as unfederatable."));
        }
        if room.is_joined(target) {
            return Err(Refusal::forbidden(format!("{target} is already in the room.")));
        }
        if room.power(user) < room.needed("invite", 0) {
            return Err(Refusal::forbidden("You don't have permission to invite users"));
        }
        self.take(user, Kind::Message, user, now)?;
        let hold = self.ask_invitee_server(server, room_id, target, now)?;
        self.write(room_id, user, "m.room.member", Some(target), content, now);
        Ok(Answer::ok(&json!({})).after(hold))
    }

    /// The invited account's homeserver has a limit of its own, which the inviting one tells nobody
    /// of. How long it took.
    fn ask_invitee_server(
        &mut self,
        server: &str,
        room_id: &str,
        target: &str,
        now: Duration,
    ) -> Result<Duration, Refusal> {
        let other = server_of(target);
        if other == server {
            return Ok(Duration::ZERO);
        }
        let Some(limiter) = self.limiters.get_mut(other) else { return Ok(Duration::ZERO) };
        // A room that it has a fault with takes no token, and looks the same to the inviting one.
        if !self.faulty_rooms.contains(room_id) {
            for attempt in INVITE_ATTEMPTS.map(Duration::from_secs_f64) {
                if limiter.take(Kind::InviteUser, target, now + attempt).is_ok() {
                    return Ok(attempt);
                }
            }
        }
        let message = format!("Can't connect to server {other}");
        Err(Refusal::new(502, "M_UNKNOWN", message).after(INVITE_GIVEN_UP))
    }

    /// The room behind an alias or an ID.
    pub(super) fn resolve(&self, room: &str) -> Result<String, Refusal> {
        if room.starts_with('!') {
            return Ok(room.to_owned());
        }
        let found = self.aliases.get(room).cloned();
        found.ok_or_else(|| Refusal::not_found(format!("Room alias {room} not found")))
    }

    /// Joins as `user`. `via` are servers to join through.
    pub(super) fn join(
        &mut self,
        user: &str,
        room: &str,
        via: &[String],
        now: Duration,
    ) -> Result<Answer, Refusal> {
        let room_id = self.resolve(room)?;
        let (server, by_alias) = (server_of(user), room.starts_with('#'));
        let known = self.rooms.get(&room_id);
        let was_in = known.is_some_and(|room| room.is_joined(user));
        if !was_in {
            self.take(user, Kind::JoinLocal, user, now)?;
        }
        let mut content = self.member_content(user, "join");
        let known = self.rooms.get(&room_id);
        let is_local = known.is_some_and(|room| room.has_server(server));
        let done = Answer::ok(&json!({ "room_id": room_id }));
        if let Some(room) = known.filter(|_| is_local) {
            if room.membership(user) == Some("ban") {
                let message = "Cannot join user who was banned";
                return Err(Refusal::new(403, "M_BAD_STATE", message));
            }
            if room.event("m.room.member", user).is_some_and(|event| *event.content == content) {
                return Ok(done);
            }
        }
        let is_remote = !is_local || known.is_some_and(|room| room.needs_another(server, user));
        if is_remote {
            self.take(user, Kind::JoinRemote, user, now)?;
        }
        let Some(room) = self.rooms.get(&room_id) else { return Err(no_way_in()) };
        let invited = room.membership(user) == Some("invite");
        let leads_there = via.iter().any(|server| room.has_server(server));
        if !is_local && !leads_there && !invited && !by_alias {
            return Err(no_way_in());
        }
        self.may_join(user, room)?;
        if room.is_restricted() && !invited && !was_in {
            let inviter =
                room.joined().find(|member| room.power(member) >= room.needed("invite", 0));
            content["join_authorised_via_users_server"] = json!(inviter);
        }
        if !is_remote {
            self.take(user, Kind::Message, user, now)?;
        }
        self.write(&room_id, user, "m.room.member", Some(user), content, now);
        Ok(done)
    }

    fn may_join(&self, user: &str, room: &Room) -> Result<(), Refusal> {
        if !room.is_federated() && !room.joined().any(|member| server_of(member) == server_of(user))
        {
            return Err(Refusal::forbidden("This room has been marked as unfederatable."));
        }
        match room.membership(user) {
            Some("ban") => return Err(Refusal::forbidden("You are banned from this room")),
            Some("invite" | "join") => return Ok(()),
            _ => {}
        }
        let lets_in =
            |allowed: &str| self.rooms.get(allowed).is_some_and(|allowed| allowed.is_joined(user));
        if room.join_rule() == "public" || room.lets_in_from().any(lets_in) {
            return Ok(());
        }
        let message = match room.is_restricted() {
            true => "You do not belong to any of the required rooms/spaces to join this room.",
            false => "You are not invited to this room.",
        };
        Err(Refusal::forbidden(message))
    }

    /// Asks to be let in, where the room has that.
    pub(super) fn knock(
        &mut self,
        user: &str,
        room: &str,
        now: Duration,
    ) -> Result<Answer, Refusal> {
        let room_id = self.resolve(room)?;
        let room = self.rooms.get(&room_id).ok_or_else(no_way_in)?;
        if !room.join_rule().starts_with("knock") {
            return Err(Refusal::forbidden("You don't have permission to knock"));
        }
        if let Some(membership @ ("join" | "invite" | "ban")) = room.membership(user) {
            let message = format!("You cannot knock on this room: {membership}");
            return Err(Refusal::forbidden(message));
        }
        let content = self.member_content(user, "knock");
        self.write(&room_id, user, "m.room.member", Some(user), content, now);
        Ok(Answer::ok(&json!({ "room_id": room_id })))
    }

    /// Leaves a room, or turns an invitation down.
    pub(super) fn leave(
        &mut self,
        user: &str,
        room_id: &str,
        now: Duration,
    ) -> Result<Answer, Refusal> {
        let room = self.room(room_id)?;
        match room.membership(user) {
            Some("join" | "invite" | "knock") => {}
            Some("leave") => return Ok(Answer::ok(&json!({}))),
            _ => return Err(Refusal::forbidden(format!("{user} not in room {room_id}."))),
        }
        self.write(
            room_id,
            user,
            "m.room.member",
            Some(user),
            json!({ "membership": "leave" }),
            now,
        );
        Ok(Answer::ok(&json!({})))
    }

    /// Bans `target`, or with another membership than `ban` lets it go.
    pub(super) fn ban(
        &mut self,
        user: &str,
        room_id: &str,
        target: &str,
        membership: &str,
        now: Duration,
    ) -> Result<Answer, Refusal> {
        let room = self.room_of(user, room_id)?;
        if room.power(user) < room.needed("ban", 50) || room.power(user) <= room.power(target) {
            return Err(Refusal::forbidden("You don't have permission to ban"));
        }
        let content = json!({ "membership": membership });
        self.write(room_id, user, "m.room.member", Some(target), content, now);
        Ok(Answer::ok(&json!({})))
    }

    /// Writes a state event.
    pub(super) fn set_state(
        &mut self,
        user: &str,
        room_id: &str,
        (kind, key): (&str, &str),
        content: Value,
        now: Duration,
    ) -> Result<Answer, Refusal> {
        self.may_write(user, now)?;
        let room = self.room_of(user, room_id)?;
        let own_profile = kind == "m.room.member" && key == user;
        if !own_profile && room.power(user) < room.needed_to_send(kind, true) {
            let message = format!("You don't have permission to post that to the room. ({kind})");
            return Err(Refusal::forbidden(message));
        }
        let before = room.event(kind, key);
        if let Some(before) = before.filter(|event| *event.content == content) {
            return Ok(Answer::ok(&json!({ "event_id": before.id() })));
        }
        self.take(user, Kind::Message, user, now)?;
        let event = self.write(room_id, user, kind, Some(key), content, now);
        Ok(Answer::ok(&json!({ "event_id": event.id() })))
    }

    /// Sends a message, or any other event that is no state; one and the same transaction once.
    pub(super) fn send(
        &mut self,
        user: &str,
        room_id: &str,
        (kind, transaction): (&str, &str),
        content: Value,
        now: Duration,
    ) -> Result<Answer, Refusal> {
        self.may_write(user, now)?;
        let transaction = format!("{room_id}/{transaction}");
        if let Some(sent) = self.account(user).sent.get(&transaction) {
            return Ok(Answer::ok(&json!({ "event_id": sent })));
        }
        let room = self.room_of(user, room_id)?;
        if room.power(user) < room.needed_to_send(kind, false) {
            let message = format!("You don't have permission to post that to the room. ({kind})");
            return Err(Refusal::forbidden(message));
        }
        self.take(user, Kind::Message, user, now)?;
        let id = self.write(room_id, user, kind, None, content, now).id();
        self.account(user).sent.insert(transaction, id.clone());
        Ok(Answer::ok(&json!({ "event_id": id })))
    }
}

impl Room {
    /// Whether another homeserver has to let `user` in, because nobody of its own may invite.
    fn needs_another(&self, server: &str, user: &str) -> bool {
        let inviter = |member: &str| {
            server_of(member) == server && self.power(member) >= self.needed("invite", 0)
        };
        self.is_restricted()
            && !matches!(self.membership(user), Some("join" | "invite"))
            && !self.joined().any(inviter)
    }
}

fn no_way_in() -> Refusal {
    let message =
        "Can't join remote room because no servers that are in the room have been provided.";
    Refusal::new(404, "M_UNKNOWN", message)
}
