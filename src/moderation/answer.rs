//! What follows from what moderators answer.

use std::time::Duration;

use futures_util::future;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use tokio_util::sync::CancellationToken;

use super::{
    Answer, Inner, InviteRequest, Moderation, RequestState, Way,
    ask::transaction,
    attend::End,
    content,
    heard::{Heard, Witness},
    read::may_invite,
};
use crate::{
    consent::ModeratorsWord,
    homeserver::Failure,
    migration::{Event, MigrationId, Said, Side, Unanswered},
    store::{Batch, StoreError},
};

/// How long a moderator who answered in a chat waits for what comes of it: nobody waits without end
/// for somebody else's homeserver.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long their own homeserver has to push the answer, if it pushes any.
const PUSHED_WITHIN: Duration = Duration::from_secs(10);

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

impl Moderation {
    /// What a moderator said in a direct message with the bot, to the request that was sent there.
    ///
    /// # Errors
    ///
    /// When the store fails. What a homeserver fails at counts as [`Reply::Thanks`].
    pub async fn hear(
        &self,
        id: MigrationId,
        room: &RoomId,
        said: &Said,
        answer: Answer,
    ) -> Result<Reply, StoreError> {
        let inner = &self.0;
        let Some(request) = inner.records.request(id, room)? else { return Ok(Reply::Over) };
        // Only what their own homeserver vouches for lets anything be sent in their name.
        let vouched = match answer {
            Answer::Yes if inner.migrations.hears_from(&said.by) => {
                inner.migrations.vouched(said, PUSHED_WITHIN).await
            }
            _ => None,
        };
        let asked = request.message.as_ref().map_or(&said.event_id, |message| &message.event_id);
        let heard = Heard::in_chat(&said.by, asked, answer, vouched);
        // A no is kept before anything is waited for, and is followed whatever hangs.
        if answer != Answer::Yes && request.state.is_live() {
            inner.records.put_answer(id, room, &heard).await?;
        }
        if answer == Answer::Stop {
            inner.stop_in(id, room, &heard).await?;
        }
        let stop = CancellationToken::new();
        let followed = tokio::select! {
            followed = inner.heed(&request, &heard, &stop) => followed,
            () = inner.clock.sleep(PATIENCE) => {
                inner.tell_changed();
                return Ok(answer.is_kept());
            }
        };
        match followed {
            Ok(reply) => {
                inner.records.drop_answer(id, room, &heard).await?;
                Ok(reply)
            }
            Err(End::Store(error)) => Err(error),
            Err(end) => {
                tracing::warn!(migration = %id, %room, ?end, "an answer could not be followed");
                inner.tell_changed();
                Ok(answer.is_kept())
            }
        }
    }

    /// A moderator said `stop` in a direct message: the rooms for which they were asked there, and
    /// in which nobody is asked any more.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn stop(&self, said: &Said) -> Result<Vec<InviteRequest>, StoreError> {
        let asked = self.0.records.asked_in_person(&said.by)?;
        // Side by side: no request waits for what becomes of another.
        let heard = asked.into_iter().map(async |request| {
            let reply = self.hear(request.migration, &request.room_id, said, Answer::Stop).await?;
            Ok((reply == Reply::Stopped).then_some(request))
        });
        Ok(future::try_join_all(heard).await?.into_iter().flatten().collect())
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
            _ => self.0.end_all(id, &[room], Unanswered::NotAsked).await,
        }
    }
}

impl Answer {
    /// What is told of an answer of which nothing could come yet.
    fn is_kept(self) -> Reply {
        match self {
            Self::Yes => Reply::Thanks,
            Self::No => Reply::Refused,
            Self::Stop => Reply::Stopped,
        }
    }
}

impl Inner {
    /// Does what follows from an answer, as far as who vouches for it can be believed, if it is that
    /// of somebody who may invite at this moment.
    pub(super) async fn heed(
        &self,
        request: &InviteRequest,
        heard: &Heard,
        stop: &CancellationToken,
    ) -> Result<Reply, End> {
        let (id, room, by) = (request.migration, &request.room_id, heard.by());
        if request.is_of(by) {
            return Ok(Reply::Nothing);
        }
        let Some(request) = self.records.request(id, room)? else { return Ok(Reply::Over) };
        if !request.state.is_live() {
            return Ok(if heard.answer() == Answer::Stop { Reply::Stopped } else { Reply::Over });
        }
        if !self.counts(&request, heard, stop).await? {
            tracing::debug!(migration = %id, %room, %by, "an answer that does not count");
            return Ok(Reply::Nothing);
        }
        match heard.answer() {
            Answer::Yes => self.let_in(&request, heard).await,
            Answer::No => {
                self.refuse(id, room, by, RequestState::Refused).await?;
                Ok(Reply::Refused)
            }
            Answer::Stop => {
                self.refuse(id, room, by, RequestState::Stopped).await?;
                Ok(Reply::Stopped)
            }
        }
    }

    /// Whether the answer is that of somebody who may invite at this moment: as the bot itself sees
    /// the room, where that is what it heard; else as the homeserver of this migration's old
    /// account tells, which deceives nobody but its own account by a lie: that anything is sent it
    /// does not decide. Whoever was asked in person may answer.
    async fn counts(
        &self,
        request: &InviteRequest,
        heard: &Heard,
        stop: &CancellationToken,
    ) -> Result<bool, End> {
        let (room, by) = (&request.room_id, heard.by());
        match heard.witness() {
            Witness::Bot => Ok(self.host_knows(room, by).await),
            Witness::OwnChat(_) if request.is_asked_in_person(by) => Ok(true),
            _ => {
                let old = self.account(request.migration, Side::Old, stop).await?;
                Ok(may_invite(&old, room, by).await?)
            }
        }
    }

    async fn host_knows(&self, room: &RoomId, moderator: &UserId) -> bool {
        match self.host() {
            Some(host) => host.may_invite(room, moderator).await,
            None => false,
        }
    }

    /// Sends the invitation as the bot, where it stays in the room and sees there that both may
    /// invite, or in the moderator's name, where their own homeserver vouches for it; else they do
    /// it by hand.
    async fn let_in(&self, request: &InviteRequest, heard: &Heard) -> Result<Reply, End> {
        let (id, room, by) = (request.migration, &request.room_id, heard.by());
        if heard.is_of_one_migration() {
            // No act follows from it; and no thanks where the bot hears of it by itself.
            let is_heard = self.host_knows(room, by).await
                || self.migrations.hears_from(by) && self.was_shown(request, heard, by)?;
            return Ok(if is_heard { Reply::Nothing } else { Reply::Thanks });
        }
        if let Some(host) = self.host()
            && host.may_invite(room, by).await
            && host.invite(room, &request.new).await
        {
            tracing::info!(migration = %id, %room, %by, "invited on a moderator's word");
            self.opened(id, room, Some(by.clone())).await?;
            return Ok(Reply::Over);
        }
        let Some(vouched) = heard.vouched() else { return Ok(Reply::Thanks) };
        if !self.was_shown(request, heard, by)? {
            return Ok(Reply::Thanks);
        }
        let word = ModeratorsWord::of(vouched, room.clone(), request.new.clone());
        if !self.migrations.invite_as_moderator(word).await? {
            return Ok(Reply::Thanks);
        }
        tracing::info!(migration = %id, %room, %by, "invited in a moderator's name");
        self.opened(id, room, Some(by.clone())).await?;
        Ok(Reply::Over)
    }

    /// Whether the moderator saw this very request before they answered. In their chat the bot wrote
    /// it itself; of what the old account wrote in the room, their own homeserver has to know it.
    fn was_shown(
        &self,
        request: &InviteRequest,
        heard: &Heard,
        moderator: &UserId,
    ) -> Result<bool, StoreError> {
        if matches!(heard.witness(), Witness::OwnChat(_)) {
            return Ok(true);
        }
        let shown = self.records.shown(request.migration, &request.room_id)?;
        Ok(shown.was_shown(heard.to(), moderator.server_name()))
    }

    /// The new account can get into a room.
    pub(super) async fn opened(
        &self,
        id: MigrationId,
        room: &RoomId,
        by: Option<OwnedUserId>,
    ) -> Result<(), StoreError> {
        let _turn = self.records.turn(id).await;
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
        let _turn = self.records.turn(id).await;
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

    /// A moderator said that nobody is to be asked in a room, for whomever. Whether they look after
    /// that room, each other migration sees for itself: the word of one old account's homeserver
    /// ends nobody else's request.
    pub(super) async fn stop_in(
        &self,
        id: MigrationId,
        room: &RoomId,
        heard: &Heard,
    ) -> Result<(), StoreError> {
        self.records.stop(room, heard.by(), self.clock.now()).await?;
        let others = self.records.in_room(room)?.into_iter();
        for other in others.filter(|it| it.migration != id && it.state.is_live()) {
            self.records.put_answer(other.migration, room, heard).await?;
        }
        self.tell_changed();
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
