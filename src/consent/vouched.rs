//! Events that the homeserver of their own sender vouches for.
//!
//! A homeserver's word counts for its own accounts and for nothing else. What one account's
//! homeserver, or the bot's, tells of another account proves nothing about that one; what the
//! account's own homeserver pushes, authenticated by the registration that covers the account, does.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{clock::SharedClock, web::Pushed};

/// How many events are remembered, of those that were pushed and of those that were heard.
const REMEMBERED: usize = 8192;

/// Events by which people say something.
const SAID: [&str; 3] = ["m.reaction", "m.room.encrypted", "m.room.message"];

/// That `sender` sent this event in this room: their own homeserver pushed it. There is no other way
/// to one than [`of`](Self::of), and what it was kept from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Vouched {
    sender: OwnedUserId,
    room_id: OwnedRoomId,
    event_id: OwnedEventId,
}

impl Vouched {
    /// The proof, if the registration that this was pushed by covers the sender.
    pub(crate) fn of(pushed: &Pushed<'_>) -> Option<Self> {
        let envelope = &pushed.envelope;
        let event_id = envelope.event_id.clone()?;
        pushed.by.covers(&envelope.sender).then(|| Self {
            sender: envelope.sender.clone(),
            room_id: envelope.room_id.clone(),
            event_id,
        })
    }

    /// Who sent it.
    pub(crate) fn sender(&self) -> &UserId {
        &self.sender
    }
}

/// What was pushed lately of what people say, beside what the bot's own homeserver told of the same
/// events. In memory alone, and bounded: what is not found here any more is said once more.
#[derive(Debug)]
pub(crate) struct Vouchers {
    recent: Mutex<Recent>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Recent {
    /// By sender too: what one homeserver pushes is in no other's way.
    pushed: Ring<(OwnedEventId, OwnedUserId), (Vouched, Content)>,
    heard: Ring<OwnedEventId, Content>,
}

/// What is remembered of the content of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// It was encrypted: nobody but who sent it could have written it.
    Sealed,
    /// A mark of it.
    Plain(String),
    /// It is none that can be compared.
    Unknown,
}

impl Content {
    /// Whether both are the same, so that nobody put other words into an event on its way.
    fn is_same(&self, other: &Self) -> bool {
        self == other && *self != Self::Unknown
    }
}

/// The last of what was put in.
#[derive(Debug)]
struct Ring<K, V> {
    values: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K, V> Default for Ring<K, V> {
    fn default() -> Self {
        Self { values: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Clone + Eq + Hash, V> Ring<K, V> {
    fn put(&mut self, key: K, value: V) {
        if self.values.insert(key.clone(), value).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.values.remove(&oldest);
        }
    }
}

impl Default for Vouchers {
    fn default() -> Self {
        Self { recent: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Vouchers {
    /// Takes note of an event that somebody's homeserver pushed, if it is one of their own by which
    /// they said something. `mark` makes a mark of a content.
    pub(crate) fn pushed(&self, pushed: &Pushed<'_>, mark: impl Fn(&str) -> Option<String>) {
        let kind = &*pushed.envelope.event_type;
        if !SAID.contains(&kind) || pushed.envelope.state_key.is_some() {
            return;
        }
        let Some(vouched) = Vouched::of(pushed) else { return };
        let content = match kind {
            "m.room.encrypted" => Content::Sealed,
            _ => mark(pushed.raw_content()).map_or(Content::Unknown, Content::Plain),
        };
        let key = (vouched.event_id.clone(), vouched.sender.clone());
        self.recent().pushed.put(key, (vouched, content));
        self.changed.send_modify(|count| *count += 1);
    }

    /// Takes note of what the bot's own homeserver told of an event.
    pub(crate) fn heard(&self, event: &EventId, content: Content) {
        self.recent().heard.put(event.to_owned(), content);
    }

    /// The proof that this was said, if the sender's own homeserver pushed it, and it is the same as
    /// what the bot's own homeserver told.
    pub(crate) fn vouch(&self, by: &UserId, room: &RoomId, event: &EventId) -> Option<Vouched> {
        let recent = self.recent();
        let (vouched, content) = recent.pushed.values.get(&(event.to_owned(), by.to_owned()))?;
        let is_same = recent.heard.values.get(event)?.is_same(content);
        (is_same && vouched.room_id == room).then(|| vouched.clone())
    }

    /// The same, waited for.
    pub(crate) async fn wait(
        &self,
        (by, room, event): (&UserId, &RoomId, &EventId),
        clock: &SharedClock,
        patience: Duration,
    ) -> Option<Vouched> {
        let mut changed = self.changed.subscribe();
        let mut over = clock.sleep(patience);
        loop {
            changed.mark_unchanged();
            if let Some(vouched) = self.vouch(by, room, event) {
                return Some(vouched);
            }
            tokio::select! {
                _ = changed.changed() => {}
                () = &mut over => return None,
            }
        }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use ruma::{event_id, room_id, user_id};
    use serde_json::value::RawValue;

    use super::*;
    use crate::{appservice::Appservice, web::Envelope};

    fn registration(server: &str) -> Appservice {
        let text = "{id: tern, url: null, as_token: as, hs_token: hs, sender_localpart: tern, \
                    namespaces: {users: [{exclusive: false, regex: '@ann.*'}]}}";
        Appservice::parse(server.try_into().unwrap(), text).unwrap()
    }

    fn push(vouchers: &Vouchers, server: &str, sender: &UserId, kind: &str, content: &str) {
        let (by, content) =
            (registration(server), RawValue::from_string(content.to_owned()).unwrap());
        let envelope = Envelope {
            event_type: kind.to_owned().into(),
            room_id: room_id!("!chat:b").to_owned(),
            sender: sender.to_owned(),
            state_key: None,
            event_id: Some(event_id!("$said").to_owned()),
        };
        let pushed = Pushed::new(&by, envelope, &content);
        vouchers.pushed(&pushed, |content| Some(content.to_owned()));
    }

    fn vouch(vouchers: &Vouchers, by: &UserId, room: &RoomId) -> bool {
        vouchers.vouch(by, room, event_id!("$said")).is_some()
    }

    #[test]
    fn only_the_senders_own_homeserver_vouches_for_what_they_said() {
        let (ann, chat) = (user_id!("@ann:a"), room_id!("!chat:b"));
        let heard = || {
            let vouchers = Vouchers::default();
            vouchers.heard(event_id!("$said"), Content::Plain("accept".to_owned()));
            vouchers
        };
        let message = "m.room.message";
        let vouchers = heard();
        assert!(!vouch(&vouchers, ann, chat), "nobody pushed it");
        push(&vouchers, "b", ann, message, "\"accept\"");
        assert!(!vouch(&vouchers, ann, chat), "another homeserver pushed it");
        push(&vouchers, "a", user_id!("@bob:a"), message, "\"accept\"");
        assert!(
            !vouch(&vouchers, user_id!("@bob:a"), chat),
            "the registration covers no such user"
        );
        vouchers.heard(event_id!("$said"), Content::Plain("\"accept\"".to_owned()));
        push(&vouchers, "a", ann, message, "\"accept\"");
        assert!(vouch(&vouchers, ann, chat));
        assert!(!vouch(&vouchers, ann, room_id!("!other:b")), "it was said elsewhere");
        assert!(!vouch(&vouchers, user_id!("@ann2:a"), chat), "somebody else said it");
    }

    #[test]
    fn other_words_in_the_same_event_are_not_vouched_for() {
        let (ann, chat) = (user_id!("@ann:a"), room_id!("!chat:b"));
        let vouchers = Vouchers::default();
        push(&vouchers, "a", ann, "m.room.message", "\"help\"");
        assert!(!vouch(&vouchers, ann, chat), "the bot was not told of it");
        vouchers.heard(event_id!("$said"), Content::Plain("\"accept\"".to_owned()));
        assert!(!vouch(&vouchers, ann, chat));
        vouchers.heard(event_id!("$said"), Content::Unknown);
        assert!(!vouch(&vouchers, ann, chat));
        vouchers.heard(event_id!("$said"), Content::Sealed);
        assert!(!vouch(&vouchers, ann, chat), "what was said in plain was no secret");
        push(&vouchers, "a", ann, "m.room.encrypted", "{}");
        assert!(vouch(&vouchers, ann, chat));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut ring = Ring::default();
        for number in 0..2 * REMEMBERED {
            ring.put(number, ());
        }
        assert_eq!((ring.values.len(), ring.order.len()), (REMEMBERED, REMEMBERED));
    }
}
