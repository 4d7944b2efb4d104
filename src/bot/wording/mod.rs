//! Every sentence that the bot says, and nothing else.
//!
//! The reader is worried, and reads on a phone: short paragraphs that say what happened, what it
//! means for them, and what to type next.

mod admin;
mod fast;
mod files;
mod greetings;
mod help;
mod holdings;
mod labels;
mod message;
mod mistakes;
mod moderators;
mod notes;
mod notices;
mod plan;
mod progress;
mod refusals;
mod report;
mod requests;
mod rooms;
#[cfg(test)]
pub(in crate::bot) mod tests;
mod value;

pub(in crate::bot) use self::value::clean_name;
pub(super) use self::{
    admin::*,
    fast::{fast_needless, fast_offer, outdated_fast},
    files::{csv_header, held_for, labels_of_counts, outcome_words, reason_words, step_words},
    greetings::*,
    help::{Help, command_row, for_command as help_for, list as help_list, texts as help_texts},
    holdings::{holding_label, holding_outcome_words},
    labels::room_name,
    message::Message,
    mistakes::mistake,
    moderators::{
        ModeratorWords, asking_moderator_reason, chat_reply, no_request_to_stop, stopped,
    },
    notices::{Facts, SecretFate, notice, redact_reason},
    plan::{
        plan, plan_changed, plan_holdings_changed, plan_instead, plan_preferring, plan_with_fast,
        rooms_counted,
    },
    progress::{asked, progress, reading, status},
    refusals::refusal,
    report::report,
    requests::{outdated_requests, own_words, proposal, request_words, requests_sent},
    rooms::{by_hand, rooms_list},
};
