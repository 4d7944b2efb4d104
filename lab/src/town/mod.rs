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
use crate::Pair;

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

    /// Whether Mara's accounts still have what nobody may take from them.
    pub async fn kept(&self) -> Result<[Finding; 2]> {
        let People { old, new, lena, .. } = &self.people;
        let (in_rooms, direct) = tokio::try_join!(old.joined_rooms(), new.direct())?;
        let stays = self.had.is_subset(&in_rooms);
        let marked = direct.get(lena.user_id()).is_some_and(|rooms| rooms.contains(&self.own));
        let is = |holds| if holds { "is" } else { "is not" };
        Ok([
            Finding {
                holds: stays,
                text: format!("The old account {} still in all its rooms.", is(stays)),
            },
            Finding {
                holds: marked,
                text: format!("The new account's own direct chat {} still marked.", is(marked)),
            },
        ])
    }
}
