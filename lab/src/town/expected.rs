//! What the new account is to find in a room, and what it does find.

use std::collections::BTreeMap;

use anyhow::Result;
use ruma::{
    OwnedRoomId, OwnedUserId,
    events::{
        room::power_levels::UserPowerLevel,
        tag::{TagName, Tags},
    },
};

use crate::Account;

/// A room of Mara's, and what her new account is to find there after a migration.
#[derive(Clone, Debug)]
pub struct Place {
    /// What people call it.
    pub name: String,
    /// What is special about it, in a few words.
    pub nature: &'static str,
    /// The room.
    pub room: OwnedRoomId,
    /// What is to be so after a migration.
    pub expected: Expected,
}

/// What is to be so in a room after a migration.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// The new account is in it. Otherwise only a moderator can let it in.
    pub joined: bool,
    /// The new account's power level.
    pub power: i64,
    /// The new account's tags, with the order that each gives the room.
    pub tags: BTreeMap<TagName, Option<f64>>,
    /// Whom `m.direct` of the new account lists it under.
    pub direct_with: Option<OwnedUserId>,
    /// Why not everything can be as it was. The bot then has to name this room.
    pub lost: Option<&'static str>,
}

/// What a homeserver says, beside what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// It is as expected.
    pub holds: bool,
    /// What is so, and where that was not expected, what was.
    pub text: String,
}

/// What the new account finds in a room.
#[derive(Clone, Debug)]
pub struct Findings {
    /// Whether it is in it.
    pub joined: Finding,
    /// Its power level. `None` when it is not in the room, and is not to be.
    pub power: Option<Finding>,
    /// Its tags. `None` when there are none, and are to be none.
    pub tags: Option<Finding>,
    /// Whom it is a direct chat with. `None` when it is none, and is to be none.
    pub direct: Option<Finding>,
}

impl Findings {
    /// Everything is as expected.
    pub fn hold(&self) -> bool {
        let others = [&self.power, &self.tags, &self.direct];
        self.joined.holds && others.into_iter().flatten().all(|finding| finding.holds)
    }
}

impl Place {
    pub(super) fn new(name: &str, nature: &'static str, room: OwnedRoomId) -> Self {
        let expected = Expected {
            joined: true,
            power: 0,
            tags: BTreeMap::new(),
            direct_with: None,
            lost: None,
        };
        Self { name: name.to_owned(), nature, room, expected }
    }

    pub(super) fn power(mut self, level: i64) -> Self {
        self.expected.power = level;
        self
    }

    pub(super) fn tag(mut self, tag: TagName, order: Option<f64>) -> Self {
        self.expected.tags.insert(tag, order);
        self
    }

    pub(super) fn direct_with(mut self, other: &Account) -> Self {
        self.expected.direct_with = Some(other.user_id().to_owned());
        self
    }

    pub(super) fn out_of_reach(mut self) -> Self {
        self.expected.joined = false;
        self.lost("only a moderator can let her in")
    }

    pub(super) fn lost(mut self, why: &'static str) -> Self {
        self.expected.lost = Some(why);
        self
    }

    /// Asks the homeserver of `new` what that account finds here.
    pub async fn look(&self, new: &Account) -> Result<Findings> {
        let joined = new.joined_rooms().await?.contains(&self.room);
        let power = match joined {
            true => Some(new.power_level(&self.room, new.user_id()).await?),
            false => None,
        };
        let direct = new.direct().await?.into_iter().find(|(_, rooms)| rooms.contains(&self.room));
        Ok(Findings {
            joined: Finding::new(self.expected.joined, joined, |joined| {
                (if *joined { "in" } else { "not in" }).to_owned()
            }),
            power: self.power_finding(power),
            tags: self.tags_finding(&new.tags(&self.room).await?),
            direct: self.direct_finding(direct.map(|(other, _)| other)),
        })
    }

    fn power_finding(&self, found: Option<UserPowerLevel>) -> Option<Finding> {
        if found.is_none() && !self.expected.joined {
            return None;
        }
        let found = match found {
            Some(UserPowerLevel::Int(level)) => level.to_string(),
            Some(UserPowerLevel::Infinite) => "a creator's".to_owned(),
            _ => "none".to_owned(),
        };
        Some(Finding::new(self.expected.power.to_string(), found, String::clone))
    }

    fn tags_finding(&self, found: &Tags) -> Option<Finding> {
        let found = found.iter().map(|(name, info)| (name.clone(), info.order)).collect();
        let expected = &self.expected.tags;
        let words = |tags: &BTreeMap<TagName, Option<f64>>| {
            let words: Vec<_> = tags.iter().map(tag_words).collect();
            if words.is_empty() { "none".to_owned() } else { words.join(", ") }
        };
        let none = expected.is_empty() && BTreeMap::is_empty(&found);
        (!none).then(|| Finding::new(expected.clone(), found, words))
    }

    fn direct_finding(&self, found: Option<OwnedUserId>) -> Option<Finding> {
        let expected = &self.expected.direct_with;
        let words = |with: &Option<OwnedUserId>| {
            with.as_ref().map_or_else(
                || "not direct".to_owned(),
                |other| format!("direct with {}", other.localpart()),
            )
        };
        (expected.is_some() || found.is_some())
            .then(|| Finding::new(expected.clone(), found, words))
    }
}

impl Finding {
    fn new<T: PartialEq>(expected: T, found: T, words: impl Fn(&T) -> String) -> Self {
        let holds = expected == found;
        let text = match holds {
            true => words(&found),
            false => format!("{}, not {}", words(&found), words(&expected)),
        };
        Self { holds, text }
    }
}

fn tag_words((name, order): (&TagName, &Option<f64>)) -> String {
    let name = match name {
        TagName::Favorite => "favorite",
        TagName::LowPriority => "low priority",
        other => other.as_ref().trim_start_matches("u."),
    };
    order.map_or_else(|| name.to_owned(), |order| format!("{name} {order}"))
}
