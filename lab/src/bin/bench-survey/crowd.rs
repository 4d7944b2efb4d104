//! Who is there: a person with two accounts, and those in the rooms of the old one.

use anyhow::Result;
use futures_util::future::try_join_all;
use lab::{Account, Pair, Person};

/// How many others are on the old homeserver.
const FRIENDS: usize = 5;

/// Everybody.
pub(crate) struct Crowd {
    pub(crate) old: Account,
    /// Few enough rooms for an ordinary client.
    pub(crate) new: Person,
    /// On the old homeserver.
    pub(crate) friends: Vec<Account>,
    /// On the new homeserver.
    pub(crate) stranger: Account,
}

impl Crowd {
    /// Makes all accounts.
    pub(crate) async fn come(pair: &Pair) -> Result<Self> {
        let friend = async |number| pair.old.account(&format!("friend{number}")).await;
        let friends = try_join_all((0..FRIENDS).map(friend));
        let old = pair.old.account("old");
        let (new, stranger) = (pair.new.person("new"), pair.new.account("stranger"));
        let (old, new, friends, stranger) = tokio::try_join!(old, new, friends, stranger)?;
        Ok(Self { old, new, friends, stranger })
    }

    /// Whom the old account shares the room of this number with.
    pub(crate) fn friend(&self, number: usize) -> &Account {
        &self.friends[number / self.friends.len() % self.friends.len()]
    }
}
