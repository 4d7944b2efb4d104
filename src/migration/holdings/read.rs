//! From the answer of `/sync` to [`Holdings`].

use std::collections::BTreeMap;

use ruma::{UserId, api::client::sync::sync_events::v3, serde::Raw};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{Holdings, Piece, PushRules, RoomHoldings, RoomProfile, never_copied};

/// The largest piece of account data that is kept, in bytes. Homeservers commonly take no request
/// that is larger than a few times this; what people have is a hundredth of it.
const LARGEST_PIECE: usize = 1 << 20;

/// The largest push rules that are read, in bytes: some tens of thousands.
const LARGEST_RULES: usize = 4 << 20;

/// The most that is kept of one account, in bytes: so that an account that is full of data costs
/// the others no memory.
const LARGEST_ACCOUNT: usize = 32 << 20;

impl Holdings {
    /// Reads what `user_id` holds from its own `/sync`; the profile is to be asked for by itself.
    pub(crate) fn read(user_id: &UserId, response: &v3::Response) -> Self {
        let mut reader = Reader { room: LARGEST_ACCOUNT };
        let account_data = reader.pieces(&response.account_data.events);
        let push_rules = response
            .account_data
            .events
            .iter()
            .filter_map(|event| event.deserialize_as_unchecked::<Event<'_>>().ok())
            .find(|event| event.r#type == "m.push_rules")
            .map_or_else(|| Some(PushRules::default()), |event| read_push_rules(event.content));
        let rooms = response
            .rooms
            .join
            .iter()
            .map(|(room_id, joined)| {
                let account_data = reader.pieces(&joined.account_data.events);
                let profile = room_profile(user_id, joined);
                (room_id.clone(), RoomHoldings { account_data, profile })
            })
            .collect();
        Self { profile: None, account_data, push_rules, rooms }
    }
}

/// Nothing for rules that are too large to be read.
fn read_push_rules(content: &RawValue) -> Option<PushRules> {
    if content.get().len() > LARGEST_RULES {
        return None;
    }
    let content: Value = serde_json::from_str(content.get()).unwrap_or_default();
    Some(PushRules::read(&content["global"]))
}

#[derive(Deserialize)]
struct Event<'a> {
    r#type: String,
    #[serde(borrow)]
    content: &'a RawValue,
}

struct Reader {
    /// How many bytes may still be kept.
    room: usize,
}

impl Reader {
    fn pieces<T>(&mut self, events: &[Raw<T>]) -> BTreeMap<String, Piece> {
        events
            .iter()
            .filter_map(|event| event.deserialize_as_unchecked::<Event<'_>>().ok())
            .filter_map(|event| {
                let piece = self.keep(&event.r#type, event.content)?;
                Some((event.r#type, piece))
            })
            .collect()
    }

    fn keep(&mut self, event_type: &str, content: &RawValue) -> Option<Piece> {
        let size = content.get().len();
        let is_too_large = size > LARGEST_PIECE.min(self.room);
        // What is too large is not looked into.
        let looked_into = if is_too_large { "null" } else { content.get() };
        if never_copied(event_type, &serde_json::from_str(looked_into).ok()?) {
            return None;
        }
        if is_too_large {
            return Some(Piece::TooLarge);
        }
        self.room -= size;
        Some(Piece::Content(content.to_owned()))
    }
}

/// The profile in the newest of the member events by which the account is there. State before a
/// timeline event from elsewhere may be older than that, and have only its invitation.
fn room_profile(user_id: &UserId, joined: &v3::JoinedRoom) -> RoomProfile {
    #[derive(Deserialize)]
    struct Member<'a> {
        r#type: String,
        state_key: Option<String>,
        #[serde(borrow)]
        content: &'a RawValue,
    }
    let before = match &joined.state {
        v3::State::Before(state) | v3::State::After(state) => state.events.as_slice(),
        _ => &[],
    };
    let read = |event: &str| {
        let event: Member<'_> = serde_json::from_str(event).ok()?;
        let content: Value = serde_json::from_str(event.content.get()).ok()?;
        let is_own = event.r#type == "m.room.member"
            && event.state_key.as_deref() == Some(user_id.as_str())
            && content["membership"] == "join";
        is_own.then(|| serde_json::from_value(content).ok()).flatten()
    };
    let in_state = before.iter().map(|event| event.json().get());
    let in_timeline = joined.timeline.events.iter().map(|event| event.json().get());
    in_state.chain(in_timeline).filter_map(read).next_back().unwrap_or_default()
}
