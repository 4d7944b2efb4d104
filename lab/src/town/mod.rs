//! A small town: a person with two accounts, the people she knows, and the rooms they meet in.
//!
//! Mara has had her old account for years and wants to move to a new one on another homeserver. Her
//! rooms are of every kind that matters to a migration, and each [`Place`] says what her new
//! account is to find there afterwards.

mod expected;
mod people;
mod rooms;

use std::collections::BTreeSet;

use anyhow::Result;
use ruma::OwnedRoomId;

pub use self::{
    expected::{Expected, Finding, Findings, Place},
    people::People,
};
use crate::{Account, Pair};

/// Mara, the people she knows, and her rooms.
#[derive(Debug)]
pub struct Town {
    /// Mara and her friends.
    pub people: People,
    /// The rooms of Mara's old account.
    pub places: Vec<Place>,
    /// What her old account was in at first.
    had: BTreeSet<OwnedRoomId>,
    /// The direct chat that her new account has already, with Lena.
    own: OwnedRoomId,
}

impl Town {
    /// Makes all accounts and rooms. `prefix` begins every localpart and alias, so that more than
    /// one town fits onto a pair of homeservers.
    pub async fn settle(pair: &Pair, prefix: &str) -> Result<Self> {
        let people = People::come(pair, prefix).await?;
        let (places, own) = rooms::open(&people, prefix).await?;
        let had = people.old.joined_rooms().await?;
        Ok(Self { people, places, had, own })
    }

    /// What was taken from Mara's accounts that nobody may take: nothing, if all is well.
    pub async fn losses(&self) -> Result<Vec<String>> {
        let (old, new): (&Account, &Account) = (&self.people.old, &self.people.new);
        let left = old.joined_rooms().await?;
        let mut losses: Vec<_> = self
            .had
            .difference(&left)
            .map(|room| format!("the old account is no longer in {room}"))
            .collect();
        let lena = self.people.lena.user_id();
        if !new.direct().await?.get(lena).is_some_and(|rooms| rooms.contains(&self.own)) {
            losses.push("the new account's own direct chat with Lena is no longer marked".into());
        }
        Ok(losses)
    }
}
