//! Answers, and who vouches for them.
//!
//! A homeserver's word counts for its own accounts and for nothing else: neither of the two accounts
//! that move, nor their homeservers, can put words into a moderator's mouth. So an [`Heard`] carries
//! its [`Witness`], and what follows from it depends on that: only what the moderator's own
//! homeserver pushed, what they said in their own chat with the bot, or what the bot sees for itself
//! in a room that it stays in, ever lets an invitation be sent. What the old account's homeserver
//! tells of them counts for that account's own request alone, and then for a no, or for thanks.

use ruma::{EventId, OwnedEventId, OwnedUserId, UserId};
use serde::{Deserialize, Serialize};

use super::Answer;
use crate::consent::Vouched;

/// Something that somebody said to an invite request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Heard {
    by: OwnedUserId,
    /// The message that it is an answer to.
    to: OwnedEventId,
    answer: Answer,
    witness: Witness,
}

/// Who vouches for it that somebody said something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Witness {
    /// Their own homeserver.
    OwnServer(Vouched),
    /// They themselves, in their own chat with the bot; and their own homeserver, if it was asked.
    OwnChat(Option<Vouched>),
    /// The bot, which stays in the room.
    Bot,
    /// The homeserver of the account that moves: it proves nothing about anybody else.
    Old,
}

impl Heard {
    /// What a moderator's own homeserver pushed.
    pub(super) fn pushed(vouched: Vouched, to: &EventId, answer: Answer) -> Self {
        let by = vouched.sender().to_owned();
        Self { by, to: to.to_owned(), answer, witness: Witness::OwnServer(vouched) }
    }

    /// What `by` said in their own chat with the bot.
    pub(super) fn in_chat(
        by: &UserId,
        to: &EventId,
        answer: Answer,
        vouched: Option<Vouched>,
    ) -> Self {
        let witness = Witness::OwnChat(vouched);
        Self { by: by.to_owned(), to: to.to_owned(), answer, witness }
    }

    /// What the bot saw itself in a room that it stays in.
    pub(super) fn by_the_bot(by: &UserId, to: &EventId, answer: Answer) -> Self {
        Self { by: by.to_owned(), to: to.to_owned(), answer, witness: Witness::Bot }
    }

    /// What the homeserver of the old account told.
    pub(super) fn told_by_old(by: OwnedUserId, to: OwnedEventId, answer: Answer) -> Self {
        Self { by, to, answer, witness: Witness::Old }
    }

    /// Who answered, so far as the witness can be believed.
    pub(super) fn by(&self) -> &OwnedUserId {
        &self.by
    }

    /// The message that it is an answer to.
    pub(super) fn to(&self) -> &EventId {
        &self.to
    }

    /// What it means.
    pub(super) fn answer(&self) -> Answer {
        self.answer
    }

    /// Who vouches for it.
    pub(super) fn witness(&self) -> &Witness {
        &self.witness
    }

    /// The proof that the moderator said it, if their own homeserver gave it.
    pub(super) fn vouched(&self) -> Option<&Vouched> {
        match &self.witness {
            Witness::OwnServer(vouched) => Some(vouched),
            Witness::OwnChat(vouched) => vouched.as_ref(),
            Witness::Bot | Witness::Old => None,
        }
    }

    /// Whether it counts for nobody's request but the one of the migration that it was told to.
    pub(super) fn is_of_one_migration(&self) -> bool {
        self.witness == Witness::Old
    }
}
