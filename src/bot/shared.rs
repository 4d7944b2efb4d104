//! What every part of the bot has.

use std::sync::Arc;

use super::records::Records;
use crate::{clock::SharedClock, config::Config, migration::Migrations};

/// What every part of the bot has: nothing in it talks to a homeserver as the bot.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) config: Arc<Config>,
    pub(super) migrations: Migrations,
    pub(super) records: Records,
    pub(super) clock: SharedClock,
}

impl Shared {
    /// What commands begin with.
    pub(super) fn prefix(&self) -> &str {
        self.config.bot.prefix.as_str()
    }
}
