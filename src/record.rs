//! What is stored about one migration: who takes part, how far it is, what was chosen.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use ruma::{OwnedEventId, OwnedRoomId, OwnedRoomOrAliasId, OwnedServerName, OwnedUserId, UserId};
use serde::{Deserialize, Serialize};

use crate::{clock::Timestamp, homeserver::Failure};

/// The number of a migration, unique within one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MigrationId(pub u64);

impl fmt::Display for MigrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The number of a plan among those of one migration: it counts up with each survey and with each
/// choice that changes what would be run, so that two plans with one number do the same.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct PlanNumber(pub u64);

/// Which plan is meant: the one that was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanId {
    /// Of which migration.
    pub migration: MigrationId,
    /// Its number.
    pub number: PlanNumber,
}

/// Which of the two accounts of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The account moved from.
    Old,
    /// The account moved to.
    New,
}

impl Side {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Old => Self::New,
            Self::New => Self::Old,
        }
    }
}

/// One move of one old account to one new account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Migration {
    /// Its number.
    pub id: MigrationId,
    /// The account moved from.
    pub old: Party,
    /// The account moved to.
    pub new: Party,
    /// How far it is.
    pub phase: Phase,
    /// What the person chose.
    pub options: Options,
    /// Rooms whose moderators were asked, as long as something is to come of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub awaited: BTreeMap<OwnedRoomId, Awaited>,
    /// When `start` was said.
    pub started: Timestamp,
    /// When an unanswered request for consent lapses.
    pub consent_expires: Timestamp,
    /// The last plan; zero before the first.
    #[serde(default)]
    pub plan: PlanNumber,
    /// When that was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<Timestamp>,
    /// When the consent of both lapsed, some time after the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lapsed: Option<Timestamp>,
    /// When both were told last that their consent is about to lapse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lapse_told: Option<Timestamp>,
    /// The plan that the old account said `go` to. A new plan clears it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub go: Option<PlanNumber>,
    /// The phase of a run in the middle of which the access to an account was lost: what is gone
    /// back to once it is given again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupted: Option<Phase>,
    /// When `go` was said, last. It tells that something was done, and lets nothing be done.
    pub went: Option<Timestamp>,
    /// When it finished, was cancelled or failed.
    pub ended: Option<Timestamp>,
}

impl Migration {
    /// One of the two accounts.
    pub fn party(&self, side: Side) -> &Party {
        match side {
            Side::Old => &self.old,
            Side::New => &self.new,
        }
    }

    /// One of the two accounts, to be changed.
    pub fn party_mut(&mut self, side: Side) -> &mut Party {
        match side {
            Side::Old => &mut self.old,
            Side::New => &mut self.new,
        }
    }

    /// The side that `user` is on.
    pub fn side_of(&self, user: &UserId) -> Option<Side> {
        [Side::Old, Side::New].into_iter().find(|side| self.party(*side).user_id == user)
    }

    /// Whether the old account said `go` to the last plan. Nothing runs that was not shown: a run
    /// needs a `go` that names the plan it means, said after that plan.
    pub fn may_run(&self) -> bool {
        self.go == Some(self.plan)
    }

    /// The last plan.
    pub fn plan_id(&self) -> PlanId {
        PlanId { migration: self.id, number: self.plan }
    }

    /// There is another plan than before: whatever `go` was said meant that one.
    pub(crate) fn change_plan(&mut self, now: Timestamp) {
        self.plan.0 += 1;
        self.planned = Some(now);
        self.go = None;
        self.interrupted = None;
    }

    /// Whether `reader` is told the names of rooms and people. Who asked for the new account may have
    /// meant another one: until `go`, that one is shown counts and routes.
    pub fn may_name(&self, reader: Side) -> bool {
        reader == Side::Old || self.may_run()
    }

    /// Since when it waits for nobody but the two people, and so for nothing that comes by itself:
    /// since its end, or since there was a plan or an agreement and no `go`. What was begun and
    /// waits to be gone on with does not count.
    pub(crate) fn idle_since(&self) -> Option<Timestamp> {
        let began = || {
            let agreed = [&self.old, &self.new].map(|party| party.consent.as_ref().map(|it| it.at));
            agreed.into_iter().flatten().chain(self.planned).max()
        };
        match self.phase.underlying() {
            Phase::Finished if self.lapsed.is_none() => self.ended,
            Phase::AwaitingAccess if self.interrupted.is_none() => began(),
            Phase::Surveying | Phase::AwaitingGo | Phase::Failed(_) => began(),
            _ => None,
        }
    }

    /// Nothing is done before there is access. A run that was under way is noted: no other is gone
    /// on with when the access comes.
    pub(crate) fn await_access(&mut self) {
        let before = std::mem::replace(&mut self.phase, Phase::AwaitingAccess);
        match before.underlying() {
            Phase::AwaitingAccess => {}
            Phase::Running | Phase::WaitingForModerators => self.interrupted = Some(before),
            _ => self.interrupted = None,
        }
    }

    /// There is access: goes back to the run in the middle of which it was lost. Whether there was
    /// one; else the accounts are to be read.
    pub(crate) fn go_back_to_run(&mut self) -> bool {
        match self.interrupted.take().filter(|_| self.may_run()) {
            // What moderators opened meanwhile is seen to by a run.
            Some(Phase::WaitingForModerators) => self.phase = Phase::Running,
            Some(phase) => self.phase = phase,
            None => return false,
        }
        true
    }

    /// Whether the access to the old account was lost in the middle of a run that the new one can go
    /// on with by itself.
    pub fn can_go_on_without_old(&self) -> bool {
        self.phase == Phase::AwaitingAccess
            && self.interrupted.is_some()
            && self.may_run()
            && self.old.access.is_missing()
            && self.new.access.is_given()
    }
}

/// How it stands with a room whose moderators were asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Awaited {
    /// They have not answered.
    Asked,
    /// The new account can get in now, and is to be brought in.
    Opened,
}

/// One account's part in a migration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Party {
    /// The account.
    pub user_id: OwnedUserId,
    /// Its own word that it takes part, once given.
    pub consent: Option<Consent>,
    /// How the bot may act as it. Tokens are kept apart, encrypted.
    pub access: Access,
}

/// An account's own word, said from that account in its own direct message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Consent {
    /// The direct message it was said in.
    pub room_id: OwnedRoomId,
    /// The event that said it: a command or a reaction.
    pub event_id: OwnedEventId,
    /// When it was received.
    pub at: Timestamp,
}

/// How the bot may act as an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Not said yet.
    Unknown,
    /// `login none`: not at all.
    None,
    /// With an access token of the account's own.
    Session,
    /// As an application service that the account's homeserver lets act as it.
    Masquerade,
    /// It had a session, which the homeserver no longer accepts; `login` is needed again.
    Lost,
}

impl Access {
    /// Whether the bot may act as the account.
    pub fn is_given(self) -> bool {
        matches!(self, Self::Session | Self::Masquerade)
    }

    /// Whether it is for the account to say `login`.
    pub fn is_missing(self) -> bool {
        matches!(self, Self::Unknown | Self::Lost)
    }
}

/// How far a migration is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The old account said `start`; the new account has not answered.
    AwaitingConsent,
    /// Both consented; how the bot may act as at least one of them is not known.
    AwaitingAccess,
    /// Both accounts are being read.
    Surveying,
    /// There is a plan; the old account has not said `go`.
    AwaitingGo,
    /// The plan is being carried out.
    Running,
    /// Everything else is done; moderators were asked to let the new account into rooms.
    WaitingForModerators,
    /// `pause` was said; `resume` goes back to the phase in here.
    Paused(Box<Phase>),
    /// An account could not be read, for the reason in here; `plan` tries again.
    Failed(Failure),
    /// Done; there is a report.
    Finished,
    /// Ended before it was done.
    Cancelled(Ending),
}

impl Phase {
    /// What all phases are counted as.
    pub const NAMES: [&str; 10] = [
        "awaiting_consent",
        "awaiting_access",
        "surveying",
        "awaiting_go",
        "running",
        "waiting_for_moderators",
        "paused",
        "failed",
        "finished",
        "cancelled",
    ];

    /// What it is counted as: one of [`NAMES`](Self::NAMES).
    pub fn name(&self) -> &'static str {
        match self {
            Self::AwaitingConsent => "awaiting_consent",
            Self::AwaitingAccess => "awaiting_access",
            Self::Surveying => "surveying",
            Self::AwaitingGo => "awaiting_go",
            Self::Running => "running",
            Self::WaitingForModerators => "waiting_for_moderators",
            Self::Paused(_) => "paused",
            Self::Failed(_) => "failed",
            Self::Finished => "finished",
            Self::Cancelled(_) => "cancelled",
        }
    }

    /// Whether the plan was carried out, as far as that goes without moderators.
    pub fn is_carried_out(&self) -> bool {
        matches!(self, Self::WaitingForModerators | Self::Finished)
    }

    /// Whether there is something to be stopped until `resume` is said.
    pub fn can_be_paused(&self) -> bool {
        matches!(
            self,
            Self::Surveying | Self::AwaitingGo | Self::Running | Self::WaitingForModerators
        )
    }

    /// Whether nothing more will be done by itself. Both accounts are free for another migration.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Finished | Self::Cancelled(_))
    }

    /// This phase, or the one to go back to when it is paused.
    pub fn underlying(&self) -> &Self {
        match self {
            Self::Paused(phase) => phase,
            phase => phase,
        }
    }
}

/// Why a migration ended before it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The new account said no.
    Declined,
    /// The new account did not answer in time.
    Expired,
    /// Nobody said `go` in time.
    Lapsed,
    /// Somebody said `cancel`.
    CancelledBy(By),
}

/// Who said that a migration is to go another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The old account.
    Old,
    /// The new account.
    New,
    /// An admin of the bot.
    Admin,
}

impl By {
    /// Which of the two accounts, if it was one.
    pub fn side(self) -> Option<Side> {
        match self {
            Self::Old => Some(Side::Old),
            Self::New => Some(Side::New),
            Self::Admin => None,
        }
    }
}

impl From<Side> for By {
    fn from(side: Side) -> Self {
        match side {
            Side::Old => Self::Old,
            Side::New => Self::New,
        }
    }
}

/// A room as a person names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomAddress {
    /// Its ID or alias.
    pub id: OwnedRoomOrAliasId,
    /// Servers to join it through, when it was named by a link that tells.
    pub via: Vec<OwnedServerName>,
}

impl From<OwnedRoomOrAliasId> for RoomAddress {
    fn from(id: OwnedRoomOrAliasId) -> Self {
        Self { id, via: Vec::new() }
    }
}

/// What the person chose for this migration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Rooms taken out with `skip`.
    pub skipped: BTreeSet<OwnedRoomOrAliasId>,
    /// Rooms put in with `include` that would be left out otherwise.
    #[serde(default)]
    pub included: BTreeSet<OwnedRoomOrAliasId>,
    /// Rooms that moderators opened to the new account after the plan was made.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub opened: BTreeSet<OwnedRoomId>,
    /// Rooms named with `include` that no survey showed.
    pub named: BTreeSet<OwnedRoomOrAliasId>,
    /// Servers to join those through, where the link that named one told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub named_via: BTreeMap<OwnedRoomOrAliasId, Vec<OwnedServerName>>,
    /// What else was taken out with `skip`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub skipped_holdings: BTreeSet<HoldingKind>,
    /// `prefer old`: where both accounts have something of their own, the new one gets the old
    /// one's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prefer_old: bool,
    /// Rooms that `fast` would open for a moment, as shown last.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub fast_shown: BTreeSet<OwnedRoomId>,
    /// Those of them to which the person said `fast yes`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub fast: BTreeSet<OwnedRoomId>,
}

/// What a person can leave out of a migration, besides rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldingKind {
    /// Display name, avatar and other fields of the profile.
    Profile,
    /// Display names and avatars of single rooms.
    RoomProfiles,
    /// The people whose messages are not shown.
    IgnoredUsers,
    /// What notifies and how.
    PushRules,
    /// Emote and sticker packs, and recently used emoji.
    Emotes,
    /// The order of spaces, marks of unread rooms, and what clients note about single rooms.
    RoomSettings,
    /// Settings of clients, and everything that fits nowhere else.
    Settings,
    /// Which rooms are direct chats, and with whom.
    DirectChats,
    /// Favorites and other tags of rooms.
    Tags,
}

impl HoldingKind {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 9] = [
        Self::Profile,
        Self::RoomProfiles,
        Self::IgnoredUsers,
        Self::PushRules,
        Self::Emotes,
        Self::RoomSettings,
        Self::Settings,
        Self::DirectChats,
        Self::Tags,
    ];
}
