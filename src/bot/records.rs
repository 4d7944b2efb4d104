//! What the bot keeps about chats, beside the migrations themselves.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use matrix_sdk::ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedRoomOrAliasId, OwnedUserId, RoomId, UserId,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::{Mutex, MutexGuard};

use crate::{
    clock::Timestamp,
    migration::{MigrationId, PlanId, Side},
    store::{Batch, Scope, Store, StoreError, Table},
};

/// How many locks there are for people's records.
const LOCKS: usize = 32;

/// The bot's tables.
#[derive(Clone, Debug)]
pub(super) struct Records {
    store: Store,
    rooms: Table<Room>,
    people: Table<Person>,
    prompts: Table<Prompt>,
    progress: Table<ProgressMessage>,
    sync: Table<String>,
    /// One is held while a person's record is read, changed and written: not the same for all people,
    /// or many who write at once would wait for each other.
    changing: Arc<[Mutex<()>; LOCKS]>,
}

/// A room that the bot is in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Room {
    /// Whom the bot made it for, if the bot made it.
    pub(super) made_for: Option<OwnedUserId>,
    /// It was a direct message, and the bot introduced itself.
    pub(super) greeted: bool,
    /// The bot told that it does not talk here.
    pub(super) silent: bool,
    /// It stays here though it was never a direct message: it was given the power to invite, which it
    /// uses when a moderator says so. In a direct message that grew it never does.
    #[serde(default)]
    pub(super) stays: bool,
    /// When it was last told here that what was said is old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) passed_over: Option<Timestamp>,
}

/// A person who talks with the bot, or is to be talked to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Person {
    /// The direct message that they last spoke in.
    pub(super) room_id: Option<OwnedRoomId>,
    /// The rooms last listed to them, in order.
    pub(super) listed: Vec<OwnedRoomOrAliasId>,
    /// The plan shown to them last: the one that `go` means.
    pub(super) plan: Option<PlanId>,
    /// The invite requests shown to them last.
    #[serde(default)]
    pub(super) ask: Option<OwnedEventId>,
    /// What `fast` showed them last.
    #[serde(default)]
    pub(super) fast: Option<OwnedEventId>,
    /// How it stands with inviting them.
    pub(super) outreach: Outreach,
}

/// How it stands with bringing a person into a direct message that the bot made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Outreach {
    /// The room, once made.
    pub(super) room_id: Option<OwnedRoomId>,
    /// Whether it is being made: it may be there and not be written down.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) making: bool,
    /// Whether they were invited to it.
    pub(super) invited: bool,
    /// Whether they refused, which was not told yet.
    pub(super) rejected: bool,
    /// The migrations whose old account was told that they could not be asked.
    pub(super) told: BTreeSet<MigrationId>,
}

/// What a reaction to a message of the bot's means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Prompt {
    /// The question for consent.
    Consent {
        /// Of which migration.
        migration: MigrationId,
    },
    /// Invite requests, to be sent.
    Ask {
        /// Of which migration.
        migration: MigrationId,
    },
    /// What `fast` would do, to be agreed to.
    Fast {
        /// In which migration.
        migration: MigrationId,
    },
    /// An invite request, to be answered by a moderator.
    InviteRequest {
        /// Of which migration.
        migration: MigrationId,
        /// For which room.
        room: OwnedRoomId,
    },
    /// A plan, to be run.
    Plan(PlanId),
}

impl Prompt {
    fn migration(&self) -> MigrationId {
        match self {
            Self::Consent { migration }
            | Self::Ask { migration }
            | Self::Fast { migration }
            | Self::InviteRequest { migration, .. } => *migration,
            Self::Plan(plan) => plan.migration,
        }
    }
}

/// A message that is edited in place while both accounts are read, or while a plan is run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ProgressMessage {
    /// Where.
    pub(super) room_id: OwnedRoomId,
    /// Which.
    pub(super) event_id: OwnedEventId,
    /// Of which migration.
    pub(super) migration: MigrationId,
    /// For which side.
    pub(super) side: Side,
    /// Whether it tells of the reading, and not of the run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) of_reading: bool,
}

impl Records {
    pub(super) fn new(store: Store) -> Self {
        Self {
            rooms: store.table("chat_room"),
            people: store.table("chat_person"),
            prompts: store.table("chat_prompt"),
            progress: store.table("chat_progress"),
            sync: store.table("chat_sync"),
            changing: Arc::default(),
            store,
        }
    }

    pub(super) fn room(&self, room: &RoomId) -> Result<Room, StoreError> {
        Ok(self.rooms.get(room.as_str())?.unwrap_or_default())
    }

    pub(super) async fn put_room(&self, id: &RoomId, room: &Room) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        let made_for = room.made_for.as_ref();
        let about = made_for.map_or(Scope::Bot, |user| self.store.person(user.as_str()));
        batch.put_about(about, &self.rooms, id.as_str(), room)?;
        self.store.commit(batch).await
    }

    pub(super) async fn forget_room(&self, id: &RoomId) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.remove(&self.rooms, id.as_str());
        self.store.commit(batch).await
    }

    pub(super) fn person(&self, user: &UserId) -> Result<Person, StoreError> {
        Ok(self.people.get(user.as_str())?.unwrap_or_default())
    }

    /// Waits until nobody else changes this person's record.
    async fn turn(&self, user: &UserId) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        user.hash(&mut hasher);
        self.changing[hasher.finish() as usize % LOCKS].lock().await
    }

    /// Writes only when something changed.
    pub(super) async fn change_person(
        &self,
        user: &UserId,
        change: impl FnOnce(&mut Person),
    ) -> Result<(), StoreError> {
        let _turn = self.turn(user).await;
        let before = self.person(user)?;
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return Ok(());
        }
        self.put(&self.people, user.as_str(), &after).await
    }

    pub(super) fn prompt(&self, event: &EventId) -> Result<Option<Prompt>, StoreError> {
        self.prompts.get(event.as_str())
    }

    /// Remembers what a reaction to `event` means; plans and invite requests are from now on those shown
    /// last.
    pub(super) async fn put_prompt(
        &self,
        event: &EventId,
        shown_to: &UserId,
        prompt: &Prompt,
    ) -> Result<(), StoreError> {
        let _turn = self.turn(shown_to).await;
        let mut batch = Batch::new();
        let about = Scope::Migration(prompt.migration().0);
        batch.put_about(about, &self.prompts, event.as_str(), prompt)?;
        let mut person = self.person(shown_to)?;
        match prompt {
            Prompt::Plan(plan) => person.plan = Some(*plan),
            Prompt::Ask { .. } => person.ask = Some(event.to_owned()),
            Prompt::Fast { .. } => person.fast = Some(event.to_owned()),
            Prompt::Consent { .. } | Prompt::InviteRequest { .. } => {}
        }
        batch.put(&self.people, shown_to.as_str(), &person)?;
        self.store.commit(batch).await
    }

    pub(super) fn progress_messages(&self) -> Result<Vec<ProgressMessage>, StoreError> {
        self.progress.iter().map(|record| record.map(|(_, message)| message)).collect()
    }

    pub(super) async fn put_progress_message(
        &self,
        message: &ProgressMessage,
    ) -> Result<(), StoreError> {
        self.put(&self.progress, &progress_key(message.migration, message.side), message).await
    }

    pub(super) async fn end_progress_message(
        &self,
        message: &ProgressMessage,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.remove(&self.progress, &progress_key(message.migration, message.side));
        self.store.commit(batch).await
    }

    /// Up to where everything that was said is handled.
    pub(super) fn handled_until(&self) -> Result<Option<String>, StoreError> {
        self.sync.get("handled_until")
    }

    pub(super) async fn set_handled_until(&self, token: &str) -> Result<(), StoreError> {
        self.put(&self.sync, "handled_until", &token.to_owned()).await
    }

    /// Deletes what is kept about a person.
    pub(super) async fn forget_person(&self, user: &UserId) -> Result<(), StoreError> {
        let _turn = self.turn(user).await;
        let mut batch = Batch::new();
        // From here on nobody can read what the disk still has of them.
        batch.forget(self.store.person(user.as_str()));
        batch.remove(&self.people, user.as_str());
        for record in self.rooms.iter() {
            let (id, room) = record?;
            if room.made_for.as_deref() == Some(user) {
                let room = Room { made_for: None, greeted: true, ..room };
                batch.put_about(Scope::Bot, &self.rooms, &id, &room)?;
            }
        }
        self.store.commit(batch).await
    }

    /// Deletes what is kept about migrations that are not stored any more.
    pub(super) async fn drop_prompts_of_forgotten(
        &self,
        is_stored: impl Fn(MigrationId) -> bool,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        for record in self.prompts.iter() {
            let (event, prompt) = record?;
            if !is_stored(prompt.migration()) {
                batch.remove(&self.prompts, &event);
            }
        }
        for message in self.progress_messages()? {
            if !is_stored(message.migration) {
                batch.remove(&self.progress, &progress_key(message.migration, message.side));
            }
        }
        if batch.is_empty() { Ok(()) } else { self.store.commit(batch).await }
    }

    async fn put<V: Serialize + DeserializeOwned>(
        &self,
        table: &Table<V>,
        key: &str,
        value: &V,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.put(table, key, value)?;
        self.store.commit(batch).await
    }
}

fn progress_key(migration: MigrationId, side: Side) -> String {
    match side {
        Side::Old => format!("{migration}/old"),
        Side::New => format!("{migration}/new"),
    }
}

#[cfg(test)]
mod tests {
    use matrix_sdk::ruma::{event_id, room_id, user_id};

    use super::*;
    use crate::migration::PlanNumber;

    #[test]
    fn what_is_stored_keeps_its_form() {
        let person = Person {
            room_id: Some(room_id!("!chat:example.org").to_owned()),
            listed: vec![room_id!("!a:example.org").to_owned().into()],
            plan: Some(PlanId { migration: MigrationId(3), number: PlanNumber(2) }),
            ask: Some(event_id!("$ask").to_owned()),
            fast: Some(event_id!("$fast").to_owned()),
            outreach: Outreach {
                room_id: Some(room_id!("!made:example.org").to_owned()),
                making: true,
                invited: true,
                rejected: false,
                told: [MigrationId(3)].into(),
            },
        };
        let room = Room {
            made_for: Some(user_id!("@new:example.org").to_owned()),
            greeted: true,
            silent: false,
            stays: true,
            passed_over: Some(Timestamp::UNIX_EPOCH),
        };
        let progress = ProgressMessage {
            room_id: room_id!("!chat:example.org").to_owned(),
            event_id: event_id!("$progress").to_owned(),
            migration: MigrationId(3),
            side: Side::New,
            of_reading: false,
        };
        let prompts = [
            Prompt::Consent { migration: MigrationId(3) },
            Prompt::Ask { migration: MigrationId(3) },
            Prompt::Fast { migration: MigrationId(3) },
            Prompt::InviteRequest {
                migration: MigrationId(3),
                room: room_id!("!asked:example.org").to_owned(),
            },
            Prompt::Plan(PlanId { migration: MigrationId(3), number: PlanNumber(2) }),
        ];
        insta::assert_json_snapshot!((person, room, progress, prompts));
    }
}
