//! What the new account lacks of what the old one holds: a pure function of both.

use std::collections::BTreeSet;

use ruma::OwnedRoomId;
use serde::{Deserialize, Serialize};

use super::{
    Copies, Holding, Holdings, Lack, Piece, RoomHoldings, RoomProfile, Trio, images,
    merge::merge,
    profile::{self, compare, compare_in_room, compare_names, copied},
    push_rules::KINDS,
};
use crate::migration::Options;

/// One thing that the old account holds and the new one does not have in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedHolding {
    /// Which thing.
    pub holding: Holding,
    /// How many parts of it only the old account has: people, rules, emotes.
    pub adds: usize,
    /// How many parts of it both accounts have, each its own.
    pub differs: usize,
    /// What is done about it.
    pub treatment: Treatment,
}

impl PlannedHolding {
    /// Applies what the person chose.
    pub(crate) fn choose(&mut self, options: &Options) {
        if self.treatment == Treatment::TooLarge {
            return;
        }
        if options.skipped_holdings.contains(&self.holding.kind()) {
            self.treatment = Treatment::Skip;
        } else if options.prefer_old && self.differs > 0 {
            self.treatment = Treatment::Replace;
        }
    }

    /// When it is to be copied: whether also in place of what the new account has.
    pub(crate) fn prefers_old(&self) -> Option<bool> {
        match self.treatment {
            Treatment::Add => Some(false),
            Treatment::Replace => Some(true),
            Treatment::KeepOwn | Treatment::Skip | Treatment::TooLarge | Treatment::Unreadable => {
                None
            }
        }
    }

    /// How many parts of it are treated so.
    pub fn parts(&self) -> usize {
        match self.treatment {
            Treatment::Add => self.adds,
            Treatment::KeepOwn => self.differs,
            Treatment::Replace | Treatment::Skip | Treatment::TooLarge | Treatment::Unreadable => {
                self.adds + self.differs
            }
        }
    }
}

/// What is done about a holding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Treatment {
    /// The new account gets what it lacks. What it has itself stays.
    Add,
    /// The new account gets what the old one has, also in place of its own, as the person asked.
    Replace,
    /// Nothing: the new account has its own, and that stays.
    KeepOwn,
    /// Nothing, as the person asked.
    Skip,
    /// Nothing: it is too large.
    TooLarge,
    /// Nothing: one of the homeservers did not tell it.
    Unreadable,
}

/// What a plan for the holdings is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Comparison<'a> {
    pub(crate) trio: Trio<'a>,
    pub(crate) old: &'a Holdings,
    pub(crate) new: &'a Holdings,
    /// Files that were copied before.
    pub(crate) copies: &'a Copies,
    /// The rooms to which the new account is to come.
    pub(crate) rooms: &'a BTreeSet<OwnedRoomId>,
}

/// Names everything that the old account holds and the new one does not have in the same way.
pub(crate) fn plan(comparison: &Comparison<'_>) -> Vec<PlannedHolding> {
    let mut found = Findings::default();
    comparison.profile(&mut found);
    comparison.push_rules(&mut found);
    comparison.account_data(&mut found);
    comparison.rooms(&mut found);
    found.0
}

#[derive(Debug, Default)]
struct Findings(Vec<PlannedHolding>);

impl Findings {
    fn add(&mut self, holding: Holding, lack: Lack) {
        let Lack { adds, differs } = lack;
        let treatment = match (adds, differs) {
            (0, 0) => return,
            (0, _) => Treatment::KeepOwn,
            _ => Treatment::Add,
        };
        self.0.push(PlannedHolding { holding, adds, differs, treatment });
    }

    fn add_untouched(&mut self, holding: Holding, treatment: Treatment) {
        self.0.push(PlannedHolding { holding, adds: 1, differs: 0, treatment });
    }
}

impl Comparison<'_> {
    fn profile(&self, found: &mut Findings) {
        let (Some(old), Some(new)) = (&self.old.profile, &self.new.profile) else {
            return found.add_untouched(Holding::Profile, Treatment::Unreadable);
        };
        let named_in_rooms = self
            .new
            .rooms
            .values()
            .any(|room| room.profile.beside(new, self.trio.new) != RoomProfile::default());
        // A changed name or avatar is put into every room, over what the new account is called
        // there: where that is its own, both count as its own.
        let guarded = |lack: Lack| {
            if named_in_rooms { Lack { adds: 0, differs: lack.adds + lack.differs } } else { lack }
        };
        found.add(Holding::DisplayName, guarded(compare_names(old, new, self.trio)));
        let old_avatar = profile::avatar(old).map(|uri| copied(uri, self.copies));
        found.add(Holding::Avatar, guarded(compare(old_avatar, profile::avatar(new))));
        for name in profile::other_fields(old) {
            let lack = compare(profile::field(old, name), profile::field(new, name));
            found.add(Holding::ProfileField(name.clone()), lack);
        }
    }

    fn push_rules(&self, found: &mut Findings) {
        let (Some(old), Some(new)) = (&self.old.push_rules, &self.new.push_rules) else {
            return found.add_untouched(Holding::PredefinedPushRules, Treatment::TooLarge);
        };
        found.add(Holding::PredefinedPushRules, new.lack_of_predefined(old));
        for kind in KINDS {
            let lack = new.lack(old, &kind, self.trio);
            found.add(Holding::PushRules(kind), lack);
        }
    }

    fn account_data(&self, found: &mut Findings) {
        for (event_type, old) in &self.old.account_data {
            let new = self.new.account_data.get(event_type);
            self.piece(event_type, old, new, Holding::AccountData(event_type.clone()), found);
        }
    }

    fn rooms(&self, found: &mut Findings) {
        let nothing = RoomHoldings::default();
        let here = |(room_id, _): &(&OwnedRoomId, _)| self.rooms.contains(*room_id);
        for (room_id, old) in self.old.rooms.iter().filter(here) {
            let new = self.new.rooms.get(room_id).unwrap_or(&nothing);
            found.add(Holding::RoomProfile(room_id.clone()), self.room_profile(old, new));
            for (event_type, piece) in &old.account_data {
                let (room_id, event_type) = (room_id.clone(), event_type.clone());
                let new = new.account_data.get(&event_type);
                let holding = Holding::RoomAccountData { room_id, event_type: event_type.clone() };
                self.piece(&event_type, piece, new, holding, found);
            }
        }
    }

    fn room_profile(&self, old: &RoomHoldings, new: &RoomHoldings) -> Lack {
        let (Some(old_profile), Some(new_profile)) = (&self.old.profile, &self.new.profile) else {
            return Lack::default();
        };
        let theirs = old.profile.beside(old_profile, self.trio.old);
        let own = new.profile.beside(new_profile, self.trio.new);
        compare_in_room(&theirs, &new.profile, &own, self.copies)
    }

    fn piece(
        &self,
        event_type: &str,
        old: &Piece,
        new: Option<&Piece>,
        holding: Holding,
        found: &mut Findings,
    ) {
        if matches!((old, new), (Piece::TooLarge, _) | (_, Some(Piece::TooLarge))) {
            return found.add_untouched(holding, Treatment::TooLarge);
        }
        let Some(mut old) = old.content() else { return };
        let mut new = new.and_then(Piece::content).unwrap_or_default();
        if images::is_pack(event_type) {
            images::replace(&mut old, self.copies);
            images::replace(&mut new, self.copies);
        }
        let (_, lack) = merge(event_type, self.trio, old, new, false);
        found.add(holding, lack);
    }
}
