//! What a migration tells: the events that [`bot`](crate::bot) turns into messages.

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde::{Deserialize, Serialize};

use super::{By, MigrationId, RoomLabel, Side};
use crate::homeserver::Failure;

/// Something that a person has to be told, stored in the same moment as the change it tells of and
/// removed once it was delivered. Its number makes the message's transaction ID, so that a message
/// sent just before a crash is not sent again after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Unique and growing: notices to one person are delivered in this order.
    pub id: u64,
    /// The migration it is about.
    pub migration: MigrationId,
    /// Who is told.
    pub to: OwnedUserId,
    /// The room of the command that caused it, when it is the answer to one.
    pub room_id: Option<OwnedRoomId>,
    /// What happened.
    pub event: Event,
}

/// What happened in a migration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// To the old account: it said `start`, and the new account is being asked.
    ConsentRequested,
    /// To the new account: the question whether it takes part. Answered by `accept`, `decline`, or
    /// a reaction to this very message.
    ConsentQuestion,
    /// To both: the new account agreed; what is needed next is access to each.
    ConsentGiven,
    /// To both: the new account said no.
    ConsentDeclined,
    /// To both: the new account did not answer in time.
    ConsentExpired,
    /// To both: this side said `login`, and it worked; or `login none`.
    AccessGiven {
        /// Whose access.
        side: Side,
        /// The message that carried the secret and has to be redacted before this is told.
        secret: Option<SecretMessage>,
    },
    /// To both: the homeserver no longer accepts this side's session; it has to `login` again. The
    /// migration waits meanwhile.
    AccessLost {
        /// Whose access.
        side: Side,
    },
    /// To both: the homeserver of this side lets the bot act as it without a session, after access
    /// to it was waited for.
    ServiceBegan {
        /// Whose access.
        side: Side,
    },
    /// To both: the bot is no application service on this side's homeserver any more, or the
    /// homeserver does not let it act as this side; it has to `login`. The migration waits
    /// meanwhile.
    ServiceEnded {
        /// Whose access.
        side: Side,
    },
    /// To both: neither side gave access, so that nothing can be done until one does.
    AccessNeeded,
    /// To both: there is a plan, stored with the migration.
    PlanReady,
    /// To both: an account could not be read; `plan` tries again.
    SurveyFailed {
        /// Which account.
        side: Side,
        /// Why.
        reason: Failure,
    },
    /// To both: the plan is being carried out. The progress message begins here.
    Started,
    /// To both: `pause` was said.
    Paused {
        /// By whom.
        by: By,
    },
    /// To both: the migration is paused, because the program has a mistake that it ran into again and
    /// again.
    Stumbled,
    /// To both: `resume` was said.
    Resumed {
        /// By whom.
        by: By,
    },
    /// To both: the access to an account that was lost in the middle of a run is there again, and so
    /// the run goes on.
    GoesOn,
    /// To both: the new account said `resume` after the access to the old one was lost. The run goes
    /// on with what the new one can do by itself.
    ResumedWithoutOld,
    /// To both: `cancel` was said. What was already done stays, and is in the report.
    Cancelled {
        /// By whom.
        by: By,
    },
    /// To both: everything that could be done by now is done, and the report is there.
    Finished,
    /// To both: their consent lapses before long, and the sessions are logged out.
    LapsesSoon,
    /// To both: nobody said `go` in time, and so the migration has ended.
    PlanLapsed,
    /// To everybody local whom it may concern: an admin said this.
    Announced {
        /// In these words.
        text: String,
    },
    /// To both: the new account got into these rooms, which moderators opened to it; others are
    /// still waited for.
    LetIn {
        /// The rooms.
        rooms: Vec<RoomLabel>,
    },
    /// To both: a moderator said no.
    RequestRefused {
        /// The room.
        room: RoomLabel,
        /// Who said no.
        by: OwnedUserId,
    },
    /// To both: no answer is waited for any more in these rooms.
    RequestsEnded {
        /// The rooms.
        rooms: Vec<RoomLabel>,
        /// Why.
        why: Unanswered,
    },
    /// To a moderator, about an invite request that is kept by
    /// [`moderation`](crate::moderation).
    ToModerator {
        /// The room that the new account is to be invited to.
        room_id: OwnedRoomId,
        /// What is said.
        what: ToModerator,
    },
    /// To the side that did not say it: `forget` was said, and nothing is stored any more.
    Forgotten {
        /// The account moved from.
        old: OwnedUserId,
        /// The account moved to.
        new: OwnedUserId,
    },
}

/// What a moderator is told in a direct message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToModerator {
    /// The invite request.
    Request,
    /// That it waits for an answer.
    Reminder,
    /// How it ended, in place of the request.
    Ended,
}

/// Why no answer of a room's moderators is waited for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unanswered {
    /// They did not answer in time.
    Expired,
    /// The old account is not in the room any more.
    OutOfRoom,
    /// There was nobody to be asked, or no way to ask them.
    NotAsked,
}

/// A message that carried a password or a token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecretMessage {
    /// The direct message it was sent in.
    pub room_id: OwnedRoomId,
    /// The message.
    pub event_id: OwnedEventId,
}
