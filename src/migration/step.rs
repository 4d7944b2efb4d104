//! Steps: one idempotent change on a homeserver each, as data and a `run`.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
};

use jiff::SignedDuration;
use ruma::{
    OwnedRoomAliasId, OwnedRoomId, OwnedRoomOrAliasId, OwnedServerName, OwnedUserId, RoomId,
    RoomOrAliasId, UserId,
    api::error::ErrorCode,
    events::{
        GlobalAccountDataEventType, StateEventType,
        room::member::MembershipState,
        tag::{TagInfo, TagName},
    },
    serde::JsonObject,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{PlannedRoom, Side, StepResult, plan::via_members};
use crate::{
    homeserver::{Account, Failure, Nearness},
    store::StoreError,
};

/// What was done in one room, as stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RoomRecord {
    /// Servers to join the room through, where the plan knew none but the old account's, which may
    /// be gone when it is joined.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) via: Vec<OwnedServerName>,
    /// What came of each step.
    pub(crate) steps: BTreeMap<StepKind, StepResult>,
    /// How long all invitations waited for the invited account's homeserver, from the last one
    /// before this to this one.
    #[serde(default, skip_serializing_if = "SignedDuration::is_zero")]
    pub(crate) held: SignedDuration,
}

impl RoomRecord {
    /// Whether the step need not be run any more.
    pub(crate) fn is_settled(&self, kind: StepKind) -> bool {
        self.steps.contains_key(&kind)
    }

    /// Whether a step was needed and worked, or had to do nothing.
    pub(crate) fn is_through(&self, kind: StepKind) -> bool {
        matches!(self.steps.get(&kind), Some(StepResult::Done | StepResult::AlreadySo))
    }

    /// Whether the new account is known to have got in.
    pub(crate) fn is_in(&self) -> bool {
        self.is_through(StepKind::Join)
    }

    /// Whether the new account tried to join, and was not let in.
    pub(crate) fn was_kept_out(&self) -> bool {
        matches!(self.steps.get(&StepKind::Join), Some(StepResult::Failed(Failure::Refused { .. })))
    }

    /// Whether some step failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.steps.values().any(|result| matches!(result, StepResult::Failed(_)))
    }

    /// Forgets the steps that failed, so that they are run again. An invitation that did not let the
    /// new account in may be withdrawn by now; one that stands is not sent again.
    pub(crate) fn without_failures(mut self) -> Self {
        if matches!(self.steps.get(&StepKind::Join), Some(StepResult::Failed(_))) {
            self.steps.remove(&StepKind::Invite);
        }
        self.steps.retain(|_, result| !matches!(result, StepResult::Failed(_)));
        self
    }
}

/// A step without its particulars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StepKind {
    Invite,
    Join,
    PowerLevel,
    Tags,
}

impl StepKind {
    /// What it is counted as.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Invite => "invite",
            Self::Join => "join",
            Self::PowerLevel => "power_level",
            Self::Tags => "tags",
        }
    }
}

/// One idempotent change in one room.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// The old account invites the new one.
    Invite,
    /// The new account joins.
    Join {
        /// Servers to join through.
        via: Vec<OwnedServerName>,
        /// Whether the new account's server is in the room.
        nearness: Nearness,
    },
    /// The person joins by hand as the new account; this step waits for it.
    AwaitJoin,
    /// The old account raises the new one to this power level.
    PowerLevel { level: i64 },
    /// The new account gets these tags, with their order.
    Tags {
        tags: BTreeMap<String, Option<f64>>,
        /// Also where it has tagged the room itself.
        prefer_old: bool,
    },
}

impl Step {
    pub(crate) fn kind(&self) -> StepKind {
        match self {
            Self::Invite => StepKind::Invite,
            Self::Join { .. } | Self::AwaitJoin => StepKind::Join,
            Self::PowerLevel { .. } => StepKind::PowerLevel,
            Self::Tags { .. } => StepKind::Tags,
        }
    }

    /// Whether it waits for somebody to do something by hand, for as long as that takes.
    pub(crate) fn waits_for_a_person(&self) -> bool {
        matches!(self, Self::AwaitJoin)
    }

    /// Carries the step out.
    pub(crate) async fn run(
        &self,
        room: &OwnedRoomOrAliasId,
        stage: &Stage,
    ) -> Result<StepResult, StepError> {
        match self {
            Self::Join { via, nearness } => stage.join(room, via, *nearness).await,
            Self::AwaitJoin => stage.await_join(room).await,
            Self::Invite => stage.invite(&stage.room_id(room).await?).await,
            Self::PowerLevel { level } => stage.raise(&stage.room_id(room).await?, *level).await,
            Self::Tags { tags, prefer_old } => {
                stage.tag(&stage.room_id(room).await?, tags, *prefer_old).await
            }
        }
    }
}

/// The steps that bring the new account into a room. `invite` is whether the old account invites it
/// first.
pub(crate) fn entrance(way: Way, invite: bool, new_access: bool) -> Vec<Step> {
    let Way { via, nearness } = way;
    let join = if new_access { Step::Join { via, nearness } } else { Step::AwaitJoin };
    if invite { vec![Step::Invite, join] } else { vec![join] }
}

/// The steps that give the new account, once it is in a room, what the old one has there.
pub(crate) fn after_join(room: &PlannedRoom) -> Vec<Step> {
    let mut steps = Vec::new();
    steps.extend(room.after.power_level.map(|level| Step::PowerLevel { level }));
    if !room.after.tags.is_empty() {
        let prefer_old = room.after.prefers_old_tags;
        steps.push(Step::Tags { tags: room.after.tags.clone(), prefer_old });
    }
    steps
}

/// The way into a room.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Way {
    /// Servers to join through.
    pub(crate) via: Vec<OwnedServerName>,
    /// Whether the new account's server is in the room.
    pub(crate) nearness: Nearness,
}

impl Way {
    /// The way that the plan knows.
    pub(crate) fn planned(room: &PlannedRoom) -> Self {
        let nearness = if room.near { Nearness::Here } else { Nearness::Unknown };
        Self { via: room.via.clone(), nearness }
    }
}

/// Why a step has no result.
#[derive(Debug)]
pub(crate) enum StepError {
    /// It did not work.
    Failed(Failure),
    /// It was stopped before it did anything; it is to be run again when the migration goes on.
    Stopped,
    /// It did nothing yet but find out more; this is the step to be run instead.
    Known(Box<Step>),
    /// The homeserver no longer accepts this side's session.
    AccessLost(Side),
    /// Nothing can be written down any more.
    Broken(StoreError),
}

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
    async fn room_id(&self, room: &OwnedRoomOrAliasId) -> Result<OwnedRoomId, StepError> {
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

    async fn invite(&self, room: &RoomId) -> Result<StepResult, StepError> {
        let Some(old) = &self.old else { return Ok(StepResult::NoAccess) };
        // An invitation that was sent just before a crash is not sent again: people would see it.
        if is_let_in(self.membership(room).as_ref()) {
            return Ok(StepResult::AlreadySo);
        }
        let failure = match self.invite_unless_invited(old, room).await {
            Some(Ok(())) => return Ok(StepResult::Done),
            Some(Err(failure)) => failure,
            None => return Ok(StepResult::AlreadySo),
        };
        // A homeserver refuses to invite whoever is in already, in words of its own.
        if let Failure::Refused { .. } = failure
            && let Ok(Some(member)) = old.member(room, &self.new_user).await
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

    async fn join(
        &self,
        room: &OwnedRoomOrAliasId,
        via: &[OwnedServerName],
        nearness: Nearness,
    ) -> Result<StepResult, StepError> {
        let Some(new) = &self.new else { return Ok(StepResult::NoAccess) };
        if self.is_in(room) {
            return Ok(StepResult::AlreadySo);
        }
        let via = via.to_vec();
        let mut joined = new.join(room, via.clone(), nearness).await;
        if let Err(Failure::Limited { .. }) = joined {
            // Asked only when a join has to wait, since local ones wait less.
            let members = self.members(room).await?;
            let nearness = members.map(|(_, members)| self.nearness(&members));
            let nearness = nearness.unwrap_or(Nearness::Elsewhere);
            return Err(StepError::Known(Box::new(Step::Join { via, nearness })));
        }
        // Where the old account's homeserver is the way in, the join fails while that is away.
        if let (Err(Failure::Faulty { status: 502..=504, .. }), Some(old)) = (&joined, &self.old)
            && old.was_away().await
        {
            joined = new.join(room, via, Nearness::Elsewhere).await;
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

    async fn await_join(&self, room: &OwnedRoomOrAliasId) -> Result<StepResult, StepError> {
        let room_id = self.room_id(room).await?;
        let mut memberships = self.memberships.clone();
        memberships
            .wait_for(|known| known.get(&room_id) == Some(&MembershipState::Join))
            .await
            .map_err(|_| StepError::Stopped)?;
        Ok(StepResult::Done)
    }

    async fn raise(&self, room: &RoomId, level: i64) -> Result<StepResult, StepError> {
        let Some(old) = &self.old else { return Ok(StepResult::NoAccess) };
        let failed = |failure| StepError::of(Side::Old, failure);
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

    async fn tag(
        &self,
        room: &RoomId,
        tags: &BTreeMap<String, Option<f64>>,
        prefer_old: bool,
    ) -> Result<StepResult, StepError> {
        let Some(new) = &self.new else { return Ok(StepResult::NoAccess) };
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

impl StepError {
    pub(crate) fn of(side: Side, failure: Failure) -> Self {
        match failure {
            Failure::Stopped => Self::Stopped,
            Failure::TokenGone { .. } => Self::AccessLost(side),
            failure => Self::Failed(failure),
        }
    }
}

/// Whether who has this membership can join, or did.
fn is_let_in(membership: Option<&MembershipState>) -> bool {
    matches!(membership, Some(MembershipState::Invite | MembershipState::Join))
}

/// What became of the content of `m.room.power_levels`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Raised {
    Yes,
    Needless,
    Impossible,
}

/// Raises one user in the content of `m.room.power_levels`, and changes nothing else in it.
fn raise(content: &mut JsonObject, user: &UserId, level: i64) -> Raised {
    if power_of(content, user) >= level {
        return Raised::Needless;
    }
    let users = content.entry("users").or_insert_with(|| json!({}));
    let Some(users) = users.as_object_mut() else { return Raised::Impossible };
    users.insert(user.to_string(), json!(level));
    Raised::Yes
}

fn power_of(content: &JsonObject, user: &UserId) -> i64 {
    let users = content.get("users").and_then(Value::as_object);
    let level =
        users.and_then(|users| users.get(user.as_str())).or_else(|| content.get("users_default"));
    level.and_then(number).unwrap_or(0)
}

/// Before room version 10, a power level may be written as text
/// ([spec](https://spec.matrix.org/v1.16/rooms/v10/#values-in-mroompower_levels-events-must-be-integers)).
fn number(level: &Value) -> Option<i64> {
    level.as_i64().or_else(|| level.as_str()?.trim().parse().ok())
}

/// Adds `direct` to the content of `m.direct` without taking anything out of it.
fn merge_direct(
    mut content: JsonObject,
    direct: &BTreeMap<OwnedUserId, Vec<OwnedRoomId>>,
) -> JsonObject {
    for (person, rooms) in direct {
        let known = content.entry(person.as_str()).or_insert_with(|| json!([]));
        if let Some(known) = known.as_array_mut() {
            let missing: Vec<_> =
                rooms.iter().map(|room| json!(room)).filter(|room| !known.contains(room)).collect();
            known.extend(missing);
        }
    }
    content
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ruma::{room_id, user_id};

    use super::*;

    fn object(value: Value) -> JsonObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn trying_again_to_join_begins_with_the_invitation() {
        let failed = StepResult::Failed(Failure::Stopped);
        let record = |join| RoomRecord {
            via: Vec::new(),
            steps: [(StepKind::Invite, StepResult::AlreadySo), (StepKind::Join, join)].into(),
            ..RoomRecord::default()
        };
        assert!(record(failed).without_failures().steps.is_empty());
        let done = record(StepResult::Done);
        assert_eq!(done.clone().without_failures(), done);
    }

    #[test]
    fn merging_direct_chats_adds_and_takes_nothing_away() {
        let content = object(json!({
            "@bob:a": ["!kept:a"],
            "mail@example.org": ["!strange:a"],
        }));
        let direct = BTreeMap::from([
            (
                user_id!("@bob:a").to_owned(),
                vec![room_id!("!kept:a").to_owned(), room_id!("!added:a").to_owned()],
            ),
            (user_id!("@eve:a").to_owned(), vec![room_id!("!new:a").to_owned()]),
        ]);
        let merged = merge_direct(content, &direct);
        assert_eq!(
            merged,
            object(json!({
                "@bob:a": ["!kept:a", "!added:a"],
                "@eve:a": ["!new:a"],
                "mail@example.org": ["!strange:a"],
            }))
        );
        assert_eq!(merge_direct(merged.clone(), &direct), merged, "merging again changes nothing");
    }

    proptest! {
        #[test]
        fn raising_somebody_lowers_nobody_and_changes_nothing_else(
            users in prop::collection::btree_map("@[ab]:a", power(), 0..3),
            default in prop::option::of(power()),
            level in -200_i64..200,
        ) {
            let mut before = object(json!({ "users": users, "ban": 50 }));
            before.extend(default.map(|default| ("users_default".to_owned(), default)));
            let mut after = before.clone();
            let user = user_id!("@a:a");
            let raised = raise(&mut after, user, level);
            prop_assert_eq!(power_of(&after, user), power_of(&before, user).max(level));
            prop_assert_eq!(raised == Raised::Needless, after == before);
            for content in [&mut before, &mut after] {
                content["users"].as_object_mut().unwrap().remove(user.as_str());
            }
            prop_assert_eq!(after, before, "nobody else's power, and nothing else");
        }
    }

    /// As numbers, and as text, as old rooms have them.
    fn power() -> impl Strategy<Value = Value> {
        (-200_i64..200, any::<bool>())
            .prop_map(|(level, text)| if text { json!(level.to_string()) } else { json!(level) })
    }

    #[test]
    fn power_falls_back_to_the_rooms_default_and_then_to_none() {
        let content = object(json!({ "users": { "@a:a": 100 }, "users_default": 10 }));
        assert_eq!(power_of(&content, user_id!("@a:a")), 100);
        assert_eq!(power_of(&content, user_id!("@b:a")), 10);
        assert_eq!(power_of(&JsonObject::new(), user_id!("@a:a")), 0);
    }
}
