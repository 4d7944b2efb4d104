//! What a person is shown before anybody is asked, and their word that it be sent.

use std::{collections::BTreeSet, time::Duration};

use ruma::{OwnedRoomId, OwnedRoomOrAliasId, OwnedTransactionId, OwnedUserId, RoomId, UserId};
use tokio_util::sync::CancellationToken;

use super::{
    Choice, InviteRequest, Moderation, RequestState, Way,
    choose::{Setting, choose},
    post::POST_EVERY,
    read::{Asker, settings},
    record::Draft,
};
use crate::{
    homeserver::{Account, Failure},
    migration::{Access, Closed, Migration, Refusal, RoomLabel, Said, Side, closed_rooms},
    store::{Batch, StoreError},
};

/// How long asking takes, for each room.
pub const TIME_PER_ROOM: Duration = POST_EVERY;

/// What would be asked, if the person said yes to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// Room by room.
    pub rooms: Vec<Proposed>,
    /// Whether the words are the person's own.
    pub own_words: bool,
}

/// What would be done about one room.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposed {
    /// The request as it would be sent.
    pub request: InviteRequest,
    /// Why it is not sent, if it is not.
    pub obstacle: Option<Obstacle>,
}

/// Why the moderators of a room are not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// They are asked already.
    Asked,
    /// The new account can get in without.
    Opened,
    /// One of them said no.
    Refused,
    /// One of them said that nobody is to be asked there.
    Stopped,
    /// There is nobody to be asked, or no way to.
    Nobody,
    /// The old account is not in the room any more.
    OutOfRoom,
}

impl Proposal {
    /// The rooms that would be asked in.
    pub fn askable(&self) -> impl Iterator<Item = &InviteRequest> {
        let askable = self.rooms.iter().filter(|proposed| proposed.is_askable());
        askable.map(|proposed| &proposed.request)
    }
}

impl Proposed {
    /// Whether something is done about the room on the person's word.
    fn is_askable(&self) -> bool {
        matches!(self.obstacle, None | Some(Obstacle::Opened))
    }
}

impl Moderation {
    /// `ask`, `ask ROOM…`: what would be asked in the rooms that need a moderator, or in those of
    /// them that are named. Nothing is sent.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoMigration`], [`Refusal::WrongSide`], [`Refusal::WrongPhase`],
    /// [`Refusal::NoPlan`]; [`Refusal::Unread`] when the old account cannot be asked about them.
    pub async fn propose(
        &self,
        said: &Said,
        only: Option<&[OwnedRoomOrAliasId]>,
    ) -> Result<Proposal, Refusal> {
        let (migration, plan) = self.0.migrations.to_ask_for(said)?;
        let is_meant = |label: &RoomLabel| {
            only.is_none_or(|only| {
                let named = |room: &OwnedRoomOrAliasId| {
                    let alias = label.alias.as_ref().map(|alias| alias.as_str());
                    *room == label.id || alias == Some(room.as_str())
                };
                only.iter().any(named)
            })
        };
        let meant: Vec<_> = closed_rooms(&plan).filter(|(_, label)| is_meant(label)).collect();
        let mut draft = self.0.records.draft(migration.id)?;
        let mut rooms = Vec::new();
        let mut open = Vec::new();
        for (room_id, label) in meant {
            let request = request(&migration, room_id.clone(), label.clone(), draft.words.clone());
            let obstacle = self.known_obstacle(&migration, &room_id)?;
            if obstacle.is_none() {
                open.push(room_id);
            }
            rooms.push(Proposed { request, obstacle });
        }
        if !open.is_empty() {
            self.choose_all(&migration, &open, &mut rooms).await?;
        }
        let proposal = Proposal { own_words: draft.words.is_some(), rooms };
        draft.shown = proposal.askable().map(|request| request.room_id.clone()).collect();
        self.0.records.set_draft(migration.id, &draft).await?;
        Ok(proposal)
    }

    fn known_obstacle(
        &self,
        migration: &Migration,
        room: &OwnedRoomId,
    ) -> Result<Option<Obstacle>, StoreError> {
        let records = &self.0.records;
        let asked = records.request(migration.id, room)?;
        Ok(if asked.as_ref().is_some_and(|asked| asked.state == RequestState::Stopped) {
            Some(Obstacle::Stopped)
        } else if records.was_refused(room, &migration.old.user_id)? {
            Some(Obstacle::Refused)
        } else if asked.is_some_and(|asked| asked.state.is_live()) {
            Some(Obstacle::Asked)
        } else {
            None
        })
    }

    async fn choose_all(
        &self,
        migration: &Migration,
        open: &[OwnedRoomId],
        rooms: &mut [Proposed],
    ) -> Result<(), Refusal> {
        let stop = CancellationToken::new();
        let old = match self.0.migrations.account(migration.id, Side::Old, &stop).await {
            Ok(old) => old,
            Err(Closed::Store(error)) => return Err(error.into()),
            Err(Closed::Failed(failure)) => return Err(Refusal::Unread(failure)),
            Err(Closed::NoAccess | Closed::NoService) => {
                return Err(Refusal::Unread(Failure::TokenGone { soft_logout: false }));
            }
        };
        let asker = self.0.asker(migration, &old)?;
        let settings = settings(&asker, open).await.map_err(Refusal::Unread)?;
        for proposed in rooms.iter_mut().filter(|proposed| proposed.obstacle.is_none()) {
            let Some(setting) = settings.get(&proposed.request.room_id) else { continue };
            if self.0.stopped_by(&proposed.request.room_id, setting)?.is_some() {
                proposed.obstacle = Some(Obstacle::Stopped);
                continue;
            }
            match choose(setting, &BTreeSet::new()) {
                Choice::Opened => proposed.obstacle = Some(Obstacle::Opened),
                Choice::OutOfRoom => proposed.obstacle = Some(Obstacle::OutOfRoom),
                Choice::Nobody => proposed.obstacle = Some(Obstacle::Nobody),
                Choice::Ask { way, asked, more } => {
                    proposed.request.choose(way, asked, more);
                }
            }
        }
        Ok(())
    }

    /// `ask text …`: the person's own words from now on; the bot's again without any.
    ///
    /// # Errors
    ///
    /// As [`propose`](Self::propose).
    pub async fn set_words(&self, said: &Said, words: Option<String>) -> Result<(), Refusal> {
        let (migration, _) = self.0.migrations.to_ask_for(said)?;
        let draft = Draft { words, ..self.0.records.draft(migration.id)? };
        Ok(self.0.records.set_draft(migration.id, &draft).await?)
    }

    /// Whether something was shown that `ask yes` can mean.
    ///
    /// # Errors
    ///
    /// As [`propose`](Self::propose).
    pub fn has_shown(&self, said: &Said) -> Result<bool, Refusal> {
        let (migration, _) = self.0.migrations.to_ask_for(said)?;
        Ok(!self.0.records.draft(migration.id)?.shown.is_empty())
    }

    /// `ask yes`: what was shown last is sent. How many rooms that are.
    ///
    /// # Errors
    ///
    /// As [`propose`](Self::propose); [`Refusal::NothingShown`].
    pub async fn send(&self, said: &Said) -> Result<usize, Refusal> {
        let (migration, plan) = self.0.migrations.to_ask_for(said)?;
        let records = &self.0.records;
        let _turn = records.turn(migration.id).await;
        let draft = records.draft(migration.id)?;
        let mut batch = Batch::new();
        let mut asked = Vec::new();
        for (room_id, label) in closed_rooms(&plan) {
            let is_shown = draft.shown.contains(&room_id);
            if !is_shown || self.known_obstacle(&migration, &room_id)?.is_some() {
                continue;
            }
            let mut request =
                request(&migration, room_id.clone(), label.clone(), draft.words.clone());
            request.transaction =
                OwnedTransactionId::from(format!("tern-ask-{}-{}", migration.id, said.event_id));
            records.put(&mut batch, &request)?;
            asked.push(room_id);
        }
        if asked.is_empty() {
            return Err(Refusal::NothingShown);
        }
        let draft = Draft { shown: Vec::new(), ..draft };
        records.put_draft(&mut batch, migration.id, &draft)?;
        self.0.migrations.await_moderators(said, &asked, batch).await?;
        self.0.tell_changed();
        Ok(asked.len())
    }
}

impl super::Inner {
    /// Who of the moderators of a room, as this old account sees it, said that nobody is to be asked
    /// there.
    pub(super) fn stopped_by<'a>(
        &self,
        room: &RoomId,
        setting: &'a Setting,
    ) -> Result<Option<&'a OwnedUserId>, StoreError> {
        for moderator in &setting.moderators {
            if self.records.is_stopped_by(room, moderator)? {
                return Ok(Some(moderator));
            }
        }
        Ok(None)
    }

    /// What there is to be known of who asks in a migration.
    pub(super) fn asker<'a>(
        &'a self,
        migration: &'a Migration,
        old: &'a Account,
    ) -> Result<Asker<'a>, StoreError> {
        Ok(Asker {
            old,
            new: &migration.new.user_id,
            bot: self.migrations.bot(),
            knocks: matches!(migration.new.access, Access::Session | Access::Masquerade),
            encrypts: self.migrations.has_device(migration.id, Side::Old)?,
        })
    }
}

impl InviteRequest {
    /// Notes who is asked, and how.
    pub(super) fn choose(&mut self, way: Way, asked: Vec<OwnedUserId>, more: usize) {
        (self.way, self.asked, self.more) = (Some(way), asked, more);
    }

    /// Whether `user` is one of the two accounts that move, who answer nothing.
    pub(super) fn is_of(&self, user: &UserId) -> bool {
        self.old == user || self.new == user
    }
}

fn request(
    migration: &Migration,
    room_id: OwnedRoomId,
    room: RoomLabel,
    words: Option<String>,
) -> InviteRequest {
    InviteRequest {
        migration: migration.id,
        room_id,
        room,
        old: migration.old.user_id.clone(),
        new: migration.new.user_id.clone(),
        words,
        way: None,
        asked: Vec::new(),
        more: 0,
        transaction: OwnedTransactionId::from(""),
        message: None,
        reminder: None,
        asked_at: None,
        reminded_at: None,
        state: RequestState::Planned,
        answered_by: None,
        thanked: BTreeSet::new(),
        to_be_closed: false,
    }
}

/// The transaction of one of the messages that belong to a request.
pub(super) fn transaction(request: &InviteRequest, part: &str) -> OwnedTransactionId {
    OwnedTransactionId::from(format!("{}-{part}", request.transaction))
}

#[cfg(test)]
pub(super) fn sample(id: crate::migration::MigrationId, room_id: OwnedRoomId) -> InviteRequest {
    use ruma::owned_user_id;

    let label = RoomLabel {
        id: room_id.clone().into(),
        name: Some("Club".to_owned()),
        alias: None,
        direct_with: Vec::new(),
        names: Default::default(),
        space: false,
        encrypted: false,
    };
    InviteRequest {
        migration: id,
        room_id,
        room: label,
        old: owned_user_id!("@old:a.example"),
        new: owned_user_id!("@new:b.example"),
        words: None,
        way: None,
        asked: Vec::new(),
        more: 0,
        transaction: "tern-ask-1".into(),
        message: None,
        reminder: None,
        asked_at: None,
        reminded_at: None,
        state: RequestState::Planned,
        answered_by: None,
        thanked: BTreeSet::new(),
        to_be_closed: false,
    }
}
