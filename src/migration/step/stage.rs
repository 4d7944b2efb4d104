//! Where steps are carried out: as the two accounts.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    time::Duration,
};

use jiff::SignedDuration;
use ruma::{
    OwnedRoomAliasId, OwnedRoomId, OwnedRoomOrAliasId, OwnedServerName, OwnedUserId, RoomId,
    RoomOrAliasId,
    api::error::ErrorCode,
    events::{
        GlobalAccountDataEventType, StateEventType,
        room::member::MembershipState,
        tag::{TagInfo, TagName},
    },
};
use tokio::sync::watch;

use super::{
    Step, StepError, StepResult, Way,
    content::{Raised, merge_direct, raise},
};
use crate::{
    homeserver::{Account, Action, Failure, Nearness, Retries},
    migration::{Side, plan::via_members},
};

/// What steps work with: the two accounts, and what is known of the new one's memberships.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) old: Option<Account>,
    pub(crate) new: Option<Account>,
    pub(crate) new_user: OwnedUserId,
    /// Where the new account is invited or joined. Read when the run began, and kept up to date
    /// where somebody joins by hand.
    pub(crate) memberships: watch::Receiver<HashMap<OwnedRoomId, MembershipState>>,
}

impl Stage {
    /// The room behind a name.
    pub(super) async fn room_id(
        &self,
        room: &OwnedRoomOrAliasId,
    ) -> Result<OwnedRoomId, StepError> {
        let alias = match OwnedRoomId::try_from(room.clone()) {
            Ok(room_id) => return Ok(room_id),
            Err(_) => OwnedRoomAliasId::try_from(room.clone()),
        };
        let (account, side) = match (&self.new, &self.old) {
            (Some(new), _) => (new, Side::New),
            (None, Some(old)) => (old, Side::Old),
            (None, None) => return Err(StepError::Stopped),
        };
        let resolved = match alias {
            Ok(alias) => account
                .once()
                .resolve_alias(&alias)
                .await
                .map_err(|failure| StepError::of(side, failure))?
                .map(|found| found.room_id),
            Err(_) => None,
        };
        resolved.ok_or_else(|| {
            let message = format!("there is no room {room}");
            StepError::Failed(Failure::Refused { status: 404, code: ErrorCode::NotFound, message })
        })
    }

    /// The retries that a step has.
    pub(crate) fn retries(&self) -> Option<Retries> {
        self.old.as_ref().or(self.new.as_ref()).map(Account::retries)
    }

    /// Waits until a step is to be taken again that failed for now, perhaps since the homeserver of
    /// one side is `away`.
    pub(crate) async fn wait_to_retry(
        &self,
        step: &Step,
        away: Option<Side>,
        pause: Duration,
    ) -> Result<(), StepError> {
        let (side, action) = match (away, step) {
            (Some(side), _) => (side, Action::Read),
            (None, Step::Invite) => (Side::Old, Action::Invite),
            (None, Step::PowerLevel { .. }) => (Side::Old, Action::State),
            (None, Step::Join { nearness, .. }) => (Side::New, nearness.join()),
            (None, Step::Tags { .. }) => (Side::New, Action::AccountData),
            (None, Step::AwaitJoin) => return Ok(()),
        };
        let account = match side {
            Side::Old => &self.old,
            Side::New => &self.new,
        };
        let Some(account) = account else { return Ok(()) };
        let invited = (action == Action::Invite).then_some(&*self.new_user);
        let waited = account.wait_to_retry(action, invited, pause).await;
        waited.map_err(|failure| StepError::of(side, failure))
    }

    /// How long invitations waited for the new account's homeserver, since this was last asked.
    pub(crate) fn take_held(&self) -> SignedDuration {
        let held = self.old.as_ref().map(|old| old.take_held(&self.new_user)).unwrap_or_default();
        SignedDuration::try_from(held).unwrap_or(SignedDuration::MAX)
    }

    /// Whether the new account is in a room, or can join it.
    pub(crate) fn is_let_in(&self, room: &RoomId) -> bool {
        is_let_in(self.membership(room).as_ref())
    }

    fn membership(&self, room: &RoomId) -> Option<MembershipState> {
        self.memberships.borrow().get(room).cloned()
    }

    pub(super) async fn invite(&self, room: &RoomId) -> Result<StepResult, StepError> {
        // An invitation that was sent just before a crash is not sent again: people would see it.
        if is_let_in(self.membership(room).as_ref()) {
            return Ok(StepResult::AlreadySo);
        }
        let Some(old) = self.old.as_ref().map(Account::once) else {
            return Ok(StepResult::NoAccess);
        };
        let failure = match self.invite_unless_invited(&old, room).await {
            Some(Ok(())) => return Ok(StepResult::Done),
            Some(Err(failure)) => failure,
            None => return Ok(StepResult::AlreadySo),
        };
        // A homeserver refuses to invite whoever is in already, in words of its own.
        if let Failure::Refused { .. } = failure
            && let Ok(Some(member)) = Box::pin(old.member(room, &self.new_user)).await
            && is_let_in(Some(&member.membership))
        {
            return Ok(StepResult::AlreadySo);
        }
        Err(StepError::of(Side::Old, failure))
    }

    /// Sends an invitation when its turn comes; nothing if the new account was let in by somebody
    /// else while it waited for that.
    async fn invite_unless_invited(
        &self,
        old: &Account,
        room: &RoomId,
    ) -> Option<Result<(), Failure>> {
        let (waiting, needless) = old.with_stop();
        let mut memberships = self.memberships.clone();
        let look_out = async {
            if memberships.wait_for(|known| is_let_in(known.get(room))).await.is_ok() {
                needless.cancel();
            }
            std::future::pending::<Infallible>().await
        };
        let result = tokio::select! {
            // Also after the look-out: what is on its way is waited for.
            result = waiting.invite(room, &self.new_user) => result,
            never = look_out => match never {},
        };
        match result {
            Err(Failure::Stopped) if is_let_in(self.membership(room).as_ref()) => None,
            result => Some(result),
        }
    }

    pub(super) async fn join(
        &self,
        room: &OwnedRoomOrAliasId,
        via: &[OwnedServerName],
        nearness: Nearness,
    ) -> Result<StepResult, StepError> {
        let Some(new) = self.new.as_ref().map(Account::once) else {
            return Ok(StepResult::NoAccess);
        };
        if self.is_in(room) {
            return Ok(StepResult::AlreadySo);
        }
        let joined = new.join(room, via.to_vec(), nearness).await;
        if let Err(Failure::Limited { .. }) = joined {
            // Asked only when a join has to wait, since local ones wait less.
            let members = self.members(room).await?;
            let nearness = members.map(|(_, members)| self.nearness(&members));
            let nearness = nearness.unwrap_or(Nearness::Elsewhere);
            return Err(StepError::Found(nearness));
        }
        // Where the old account's homeserver is the way in, the join fails while that is away.
        if let (Err(Failure::Faulty { status: 502..=504, .. }), Some(old)) = (&joined, &self.old)
            && let Some(away) = Box::pin(old.away()).await
        {
            return Err(StepError::Away(Side::Old, away));
        }
        joined.map(|_room_id| StepResult::Done).map_err(|failure| StepError::of(Side::New, failure))
    }

    /// Whether the new account was in a room when the run began, or joined it by hand since.
    pub(crate) fn is_in(&self, room: &RoomOrAliasId) -> bool {
        let room_id = <&RoomId>::try_from(room);
        room_id.is_ok_and(|room_id| self.membership(room_id) == Some(MembershipState::Join))
    }

    /// The way into a room of which the plan knows no server but the old account's, from all of its
    /// members; nothing where there is no other server, or nobody tells.
    pub(crate) async fn way(&self, room: &OwnedRoomOrAliasId) -> Result<Option<Way>, StepError> {
        let Some((room_id, members)) = self.members(room).await? else { return Ok(None) };
        let nearness = self.nearness(&members);
        let via = self.servers(&room_id, &members).await?;
        Ok(via.map(|via| Way { via, nearness }))
    }

    /// Who is in a room, as far as the old account can see.
    async fn members(
        &self,
        room: &OwnedRoomOrAliasId,
    ) -> Result<Option<(OwnedRoomId, Vec<OwnedUserId>)>, StepError> {
        let (Some(old), Ok(room_id)) = (&self.old, OwnedRoomId::try_from(room.clone())) else {
            return Ok(None);
        };
        let members = told(&room_id, old.joined_members(&room_id).await)?;
        Ok(members.map(|members| (room_id, members.into_keys().collect())))
    }

    /// Whether the new account's server is in a room with these members.
    fn nearness(&self, members: &[OwnedUserId]) -> Nearness {
        let server = self.new_user.server_name();
        if members.iter().any(|member| member.server_name() == server) {
            Nearness::Here
        } else {
            Nearness::Elsewhere
        }
    }

    /// The servers to join a room with these members through, where others than the old account's
    /// are among them.
    async fn servers(
        &self,
        room: &RoomId,
        members: &[OwnedUserId],
    ) -> Result<Option<Vec<OwnedServerName>>, StepError> {
        let Some(old) = &self.old else { return Ok(None) };
        let own = old.user_id().server_name();
        if members.iter().all(|member| member.server_name() == own) {
            return Ok(None);
        }
        let server_acl = told(room, old.server_acl(room).await)?;
        Ok(server_acl.map(|server_acl| via_members(own, members.iter(), server_acl.as_ref())))
    }

    pub(super) async fn await_join(
        &self,
        room: &OwnedRoomOrAliasId,
    ) -> Result<StepResult, StepError> {
        let room_id = self.room_id(room).await?;
        let mut memberships = self.memberships.clone();
        memberships
            .wait_for(|known| known.get(&room_id) == Some(&MembershipState::Join))
            .await
            .map_err(|_| StepError::Stopped)?;
        Ok(StepResult::Done)
    }

    pub(super) async fn raise(
        &self,
        room: &RoomId,
        level: i64,
        ahead: bool,
    ) -> Result<StepResult, StepError> {
        let Some(old) = &self.old else { return Ok(StepResult::NoAccess) };
        let failed = |failure| StepError::of(Side::Old, failure);
        if ahead && old.is_limited(Action::State) {
            return Err(failed(Failure::Limited { retry_after: None }));
        }
        let old = if ahead { old.at_once() } else { old.once() };
        let event_type = StateEventType::RoomPowerLevels;
        // Read right before it is written, so that nobody else's change is undone.
        let mut content =
            old.state(room, event_type.clone(), "").await.map_err(failed)?.unwrap_or_default();
        match raise(&mut content, &self.new_user, level) {
            Raised::Yes => {}
            Raised::Needless => return Ok(StepResult::AlreadySo),
            Raised::Impossible => {
                let what = "the power levels of this room have no list of users".to_owned();
                return Err(failed(Failure::Garbage { what }));
            }
        }
        old.set_state(room, event_type, "", &content).await.map_err(failed)?;
        Ok(StepResult::Done)
    }

    pub(super) async fn tag(
        &self,
        room: &RoomId,
        tags: &BTreeMap<String, Option<f64>>,
        prefer_old: bool,
    ) -> Result<StepResult, StepError> {
        let Some(new) = self.new.as_ref().map(Account::once) else {
            return Ok(StepResult::NoAccess);
        };
        let failed = |failure| StepError::of(Side::New, failure);
        // Read right before they are written: the person may have tagged the room meanwhile.
        let known = new.tags(room).await.map_err(failed)?;
        let is_known = |(tag, order): &(&String, &Option<f64>)| {
            known.get(&TagName::from(tag.as_str())).is_some_and(|info| info.order == **order)
        };
        let is_ours =
            |(tag, info): (&TagName, &TagInfo)| tags.get(tag.as_ref()) == Some(&info.order);
        let missing: Vec<_> = tags.iter().filter(|tag| !is_known(tag)).collect();
        if missing.is_empty() || (!prefer_old && !known.iter().all(is_ours)) {
            return Ok(StepResult::AlreadySo);
        }
        for (tag, order) in missing {
            let mut info = TagInfo::new();
            info.order = *order;
            new.set_tag(room, &TagName::from(tag.as_str()), info).await.map_err(failed)?;
        }
        Ok(StepResult::Done)
    }

    /// Adds direct chats to those that the new account has marked.
    pub(crate) async fn mark_direct(
        &self,
        direct: &BTreeMap<OwnedUserId, Vec<OwnedRoomId>>,
    ) -> Result<StepResult, StepError> {
        let Some(new) = &self.new else { return Ok(StepResult::NoAccess) };
        let failed = |failure| StepError::of(Side::New, failure);
        let event_type = GlobalAccountDataEventType::Direct;
        let current =
            new.account_data(event_type.clone()).await.map_err(failed)?.unwrap_or_default();
        let merged = merge_direct(current.clone(), direct);
        if merged == current {
            return Ok(StepResult::AlreadySo);
        }
        new.set_account_data(event_type, &merged).await.map_err(failed)?;
        Ok(StepResult::Done)
    }
}

/// What the old account's homeserver tells of a room, if it does: what is only good to know costs
/// nothing else when it does not.
fn told<T>(room: &RoomId, answer: Result<T, Failure>) -> Result<Option<T>, StepError> {
    match answer.map_err(|failure| StepError::of(Side::Old, failure)) {
        Ok(answer) => Ok(Some(answer)),
        Err(StepError::Failed(failure)) => {
            tracing::info!(%room, %failure, "the old account's homeserver does not tell");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether who has this membership can join, or did.
fn is_let_in(membership: Option<&MembershipState>) -> bool {
    matches!(membership, Some(MembershipState::Invite | MembershipState::Join))
}
