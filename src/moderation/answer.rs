//! What moderators answer, and what follows from it.

use ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId,
    events::room::{join_rules::JoinRule, member::MembershipState},
};
use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    Inner, InviteRequest, Moderation, RequestState, Way, ask::transaction, attend::End, content,
    read::may_invite, record::Stop,
};
use crate::{
    consent::ModeratorsWord,
    homeserver::Failure,
    migration::{Event, MigrationId, Side},
    store::{Batch, StoreError},
};

/// Something that somebody said to an invite request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Who.
    pub by: OwnedUserId,
    /// The reaction or message.
    pub event_id: OwnedEventId,
    /// What it means.
    pub answer: Answer,
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The new account may come in.
    Yes,
    /// It may not.
    No,
    /// It may not, and nobody is to be asked in this room again.
    Stop,
}

impl Answer {
    /// What a reaction means, with and without variation selectors.
    pub fn of_reaction(key: &str) -> Option<Self> {
        match key.trim_end_matches(['\u{fe0e}', '\u{fe0f}']) {
            "✅" => Some(Self::Yes),
            "❌" => Some(Self::No),
            _ => None,
        }
    }

    /// What a reply means: only `stop` means anything.
    fn of_reply(body: &str) -> Option<Self> {
        let said = body.lines().find(|line| !line.starts_with('>') && !line.trim().is_empty())?;
        let word = said.trim().trim_end_matches(['.', '!']);
        word.eq_ignore_ascii_case("stop").then_some(Self::Stop)
    }
}

/// What came of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It counts for nothing: who gave it may not invite.
    Nothing,
    /// Nothing is waited for any more.
    Over,
    /// The bot cannot invite in this moderator's name, who is to do so by hand.
    Thanks,
    /// It is remembered as a no.
    Refused,
    /// Nobody is asked in this room any more.
    Stopped,
}

/// What an event in a room tells about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// The new account can get in.
    Opened { by: Option<OwnedUserId> },
    /// The knock was turned down.
    KnockRefused { by: OwnedUserId },
    /// Somebody answered.
    Said(Heard),
}

/// An event of any kind, as far as it is read here.
#[derive(Debug, Deserialize)]
struct AnyEvent {
    r#type: String,
    sender: OwnedUserId,
    event_id: Option<OwnedEventId>,
    state_key: Option<String>,
    #[serde(default)]
    content: Value,
}

/// Reads an event of the room that `request` is about.
pub(super) fn sign(request: &InviteRequest, event: &str) -> Option<Sign> {
    let event: AnyEvent = serde_json::from_str(event).ok()?;
    let by = event.sender;
    match (event.r#type.as_str(), event.state_key.as_deref()) {
        ("m.room.member", Some(user)) if user == request.new.as_str() => {
            let membership = event.content.get("membership")?.as_str()?;
            member_sign(request, &MembershipState::from(membership), by)
        }
        ("m.room.join_rules", Some("")) => {
            let rule = event.content.get("join_rule")?.as_str()?;
            (rule == JoinRule::Public.as_str()).then_some(Sign::Opened { by: Some(by) })
        }
        ("m.reaction", None) => {
            let relation = event.content.get("m.relates_to")?;
            let to = <&EventId>::try_from(relation.get("event_id")?.as_str()?).ok()?;
            let answer = Answer::of_reaction(relation.get("key")?.as_str()?)?;
            said(request, to, by, event.event_id?, answer)
        }
        ("m.room.message", None) => {
            let to = event.content.pointer("/m.relates_to/m.in_reply_to/event_id")?.as_str()?;
            let to = <&EventId>::try_from(to).ok()?;
            let answer = Answer::of_reply(event.content.get("body")?.as_str()?)?;
            said(request, to, by, event.event_id?, answer)
        }
        _ => None,
    }
}

fn member_sign(
    request: &InviteRequest,
    membership: &MembershipState,
    by: OwnedUserId,
) -> Option<Sign> {
    match membership {
        MembershipState::Invite | MembershipState::Join => Some(Sign::Opened { by: Some(by) }),
        MembershipState::Leave | MembershipState::Ban
            if by != request.new && request.way == Some(Way::Knock) =>
        {
            Some(Sign::KnockRefused { by })
        }
        _ => None,
    }
}

fn said(
    request: &InviteRequest,
    to: &EventId,
    by: OwnedUserId,
    event_id: OwnedEventId,
    answer: Answer,
) -> Option<Sign> {
    let heard = Heard { by, event_id, answer };
    (request.is_asked_by(to) && !request.is_of(&heard.by)).then_some(Sign::Said(heard))
}

impl Moderation {
    /// What a moderator said in a direct message with the bot.
    ///
    /// # Errors
    ///
    /// When the store fails. What a homeserver fails at counts as [`Reply::Nothing`].
    pub async fn hear(
        &self,
        id: MigrationId,
        room: &RoomId,
        heard: &Heard,
    ) -> Result<Reply, StoreError> {
        match self.0.heed(id, room, heard, &CancellationToken::new()).await {
            Ok(reply) => Ok(reply),
            Err(End::Store(error)) => Err(error),
            Err(end) => {
                tracing::warn!(migration = %id, %room, ?end, "an answer could not be followed");
                Ok(Reply::Nothing)
            }
        }
    }

    /// A moderator said `stop` in a direct message: the rooms for which they were asked there, and
    /// in which nobody is asked any more.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn stop(
        &self,
        by: &UserId,
        event_id: &EventId,
    ) -> Result<Vec<InviteRequest>, StoreError> {
        let heard =
            Heard { by: by.to_owned(), event_id: event_id.to_owned(), answer: Answer::Stop };
        let mut stopped = Vec::new();
        for request in self.0.records.asked_in_person(by)? {
            let reply = self.hear(request.migration, &request.room_id, &heard).await?;
            if reply == Reply::Stopped || self.0.records.is_stopped(&request.room_id)? {
                stopped.push(request);
            }
        }
        Ok(stopped)
    }

    /// The moderator who was asked in a direct message cannot be reached there; `refused` when
    /// they do not want to be.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn unreached(
        &self,
        id: MigrationId,
        room: &RoomId,
        refused: bool,
    ) -> Result<(), StoreError> {
        let Some(request) = self.0.records.request(id, room)? else { return Ok(()) };
        match request.asked.first() {
            Some(by) if refused => self.0.refuse(id, room, by, RequestState::Refused).await,
            _ => {
                let why = crate::migration::Unanswered::NotAsked;
                self.0.end_all(id, &[room], why).await
            }
        }
    }
}

impl Inner {
    /// Does what follows from an answer, if it is that of somebody who may invite at this moment.
    pub(super) async fn heed(
        &self,
        id: MigrationId,
        room: &RoomId,
        heard: &Heard,
        stop: &CancellationToken,
    ) -> Result<Reply, End> {
        let Some(request) = self.records.request(id, room)? else { return Ok(Reply::Over) };
        if request.is_of(&heard.by) {
            return Ok(Reply::Nothing);
        }
        if !request.state.is_live() && heard.answer != Answer::Stop {
            return Ok(Reply::Over);
        }
        let old = self.account(id, Side::Old, stop).await?;
        if !may_invite(&old, room, &heard.by).await? {
            tracing::debug!(migration = %id, %room, by = %heard.by, "an answer that does not count");
            return Ok(Reply::Nothing);
        }
        match heard.answer {
            Answer::Yes => self.let_in(&request, &heard.by).await,
            Answer::No => {
                self.refuse(id, room, &heard.by, RequestState::Refused).await?;
                Ok(Reply::Refused)
            }
            Answer::Stop => {
                self.stop_in(room, &heard.by).await?;
                Ok(Reply::Stopped)
            }
        }
    }

    /// Sends the invitation as the bot, where it is in the room and may invite, or in the
    /// moderator's name, where it may act in that; else they do it by hand.
    async fn let_in(&self, request: &InviteRequest, by: &OwnedUserId) -> Result<Reply, End> {
        let (id, room) = (request.migration, &request.room_id);
        if let Some(host) = self.host()
            && host.invite(room, &request.new).await
        {
            tracing::info!(migration = %id, %room, %by, "invited on a moderator's word");
            self.opened(id, room, Some(by.clone())).await?;
            return Ok(Reply::Over);
        }
        let word = ModeratorsWord::of_reaction(by.clone(), room.clone(), request.new.clone());
        if !self.migrations.invite_as_moderator(word).await? {
            return Ok(Reply::Thanks);
        }
        tracing::info!(migration = %id, %room, %by, "invited in a moderator's name");
        self.opened(id, room, Some(by.clone())).await?;
        Ok(Reply::Over)
    }

    /// The new account can get into a room.
    pub(super) async fn opened(
        &self,
        id: MigrationId,
        room: &RoomId,
        by: Option<OwnedUserId>,
    ) -> Result<(), StoreError> {
        let _turn = self.records.turn().await;
        let Some(mut request) = self.records.request(id, room)? else { return Ok(()) };
        if !request.state.is_live() {
            return Ok(());
        }
        request.end(RequestState::Opened, by);
        let mut batch = Batch::new();
        self.records.put(&mut batch, &request)?;
        self.migrations.opened(id, room, batch).await?;
        tracing::info!(migration = %id, %room, "a moderator opened a room");
        self.tell_changed();
        Ok(())
    }

    /// A moderator said no.
    pub(super) async fn refuse(
        &self,
        id: MigrationId,
        room: &RoomId,
        by: &UserId,
        state: RequestState,
    ) -> Result<(), StoreError> {
        let _turn = self.records.turn().await;
        let Some(mut request) = self.records.request(id, room)? else { return Ok(()) };
        if !request.state.is_live() {
            return Ok(());
        }
        request.end(state, Some(by.to_owned()));
        let mut batch = Batch::new();
        self.records.put(&mut batch, &request)?;
        self.records.put_refusal(&mut batch, &request, self.clock.now())?;
        let event = Event::RequestRefused { room: request.room, by: by.to_owned() };
        let rooms = [room.to_owned()].into();
        self.migrations.unopened(id, &rooms, event, batch).await?;
        self.tell_changed();
        Ok(())
    }

    /// A moderator said that nobody is to be asked in a room, for whomever.
    async fn stop_in(&self, room: &RoomId, by: &UserId) -> Result<(), StoreError> {
        if !self.records.is_stopped(room)? {
            let stop = Stop { by: by.to_owned(), at: self.clock.now() };
            self.records.stop(room, &stop).await?;
        }
        for request in self.records.in_room(room)? {
            self.refuse(request.migration, room, by, RequestState::Stopped).await?;
        }
        Ok(())
    }

    /// Thanks a moderator in the room, and tells how to invite; each once.
    pub(super) async fn thank(
        &self,
        id: MigrationId,
        room: &OwnedRoomId,
        to: &OwnedUserId,
        stop: &CancellationToken,
    ) -> Result<(), End> {
        let Some(request) = self.records.request(id, room)? else { return Ok(()) };
        if request.way != Some(Way::Message) || request.thanked.contains(to) {
            return Ok(());
        }
        if !self.gate.pass(stop).await {
            return Err(End::Stopped);
        }
        let old = self.account(id, Side::Old, stop).await?;
        let content = content::thanks(&request, &self.words.thanks(&request, to), to);
        match self.say(id, &old, room, &content, &transaction(&request, to.as_str())).await {
            // Whoever may not speak any more thanks nobody.
            Ok(_)
            | Err(Failure::Refused { .. } | Failure::Unsendable(_) | Failure::Unencryptable(_)) => {
            }
            Err(failure) => return Err(failure.into()),
        }
        self.records
            .change(id, room, |request| {
                request.thanked.insert(to.clone());
            })
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ruma::{owned_event_id, owned_room_id, user_id};
    use serde_json::json;

    use super::*;
    use crate::moderation::Posted;

    fn request() -> InviteRequest {
        let room_id = owned_room_id!("!room:a");
        let mut request = super::super::ask::sample(MigrationId(1), room_id.clone());
        request.way = Some(Way::Message);
        request.message = Some(Posted { room_id, event_id: owned_event_id!("$asked") });
        request.reminder = Some(owned_event_id!("$again"));
        request
    }

    fn event(kind: &str, content: &Value) -> String {
        json!({ "type": kind, "sender": "@mod:a", "event_id": "$1", "content": content })
            .to_string()
    }

    fn reaction(to: &str, key: &str) -> String {
        let relation = json!({ "rel_type": "m.annotation", "event_id": to, "key": key });
        event("m.reaction", &json!({ "m.relates_to": relation }))
    }

    fn reply(to: &str, body: &str) -> String {
        let relation = json!({ "m.in_reply_to": { "event_id": to } });
        let content = json!({ "msgtype": "m.text", "body": body, "m.relates_to": relation });
        event("m.room.message", &content)
    }

    fn answer(event: &str) -> Option<Answer> {
        match sign(&request(), event)? {
            Sign::Said(heard) => Some(heard.answer),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reactions_to_the_request_and_to_the_reminder_are_answers() {
        assert_eq!(answer(&reaction("$asked", "✅")), Some(Answer::Yes));
        assert_eq!(answer(&reaction("$again", "❌\u{fe0f}")), Some(Answer::No));
        assert_eq!(answer(&reaction("$other", "✅")), None);
        assert_eq!(answer(&reaction("$asked", "👍")), None);
    }

    #[test]
    fn of_replies_only_stop_counts() {
        assert_eq!(answer(&reply("$asked", "Stop.")), Some(Answer::Stop));
        assert_eq!(answer(&reply("$asked", "> <@old:a> I am moving\n\nstop")), Some(Answer::Stop));
        assert_eq!(answer(&reply("$asked", "do not stop")), None);
        assert_eq!(answer(&reply("$other", "stop")), None);
    }

    #[test]
    fn the_two_accounts_that_move_answer_nothing() {
        let event = reaction("$asked", "✅").replace("@mod:a", "@old:a.example");
        assert_eq!(sign(&request(), &event), None);
    }

    fn member(membership: &str, by: &str) -> String {
        let content = json!({ "membership": membership });
        let new = request().new;
        json!({ "type": "m.room.member", "sender": by, "state_key": new, "content": content })
            .to_string()
    }

    #[test]
    fn an_invitation_and_a_public_room_open_and_a_kick_turns_a_knock_down() {
        let by = user_id!("@mod:a").to_owned();
        let opened = Some(Sign::Opened { by: Some(by.clone()) });
        assert_eq!(sign(&request(), &member("invite", "@mod:a")), opened);
        let public = json!({
            "type": "m.room.join_rules", "sender": "@mod:a", "state_key": "",
            "content": { "join_rule": "public" },
        });
        assert_eq!(sign(&request(), &public.to_string()), opened);
        assert_eq!(sign(&request(), &member("leave", "@mod:a")), None);
        let mut knock = request();
        knock.way = Some(Way::Knock);
        assert_eq!(sign(&knock, &member("leave", "@mod:a")), Some(Sign::KnockRefused { by }));
        assert_eq!(sign(&knock, &member("leave", knock.new.as_str())), None);
    }

    #[test]
    fn what_makes_no_sense_is_no_sign() {
        for event in ["", "null", "{}", r#"{"type":"m.reaction","sender":"x"}"#] {
            assert_eq!(sign(&request(), event), None, "{event}");
        }
    }
}
