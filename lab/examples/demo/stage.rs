//! The two chats, shown as they go on.

use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Result;
use lab::{Chat, Message, Person};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};

use crate::screen::{Lane, Screen};

/// How fast people read, and for how long at most they are waited for.
const READING: Duration = Duration::from_millis(12);
const LONGEST: Duration = Duration::from_secs(4);

/// Shows what is said in the chats that it follows. Everything that is shown goes through here, so
/// that it is shown in order.
pub(crate) struct Stage {
    state: Mutex<State>,
}

struct State {
    screen: Screen,
    followed: Vec<Followed>,
    /// How many letters were shown since somebody last spoke.
    unread: u32,
}

/// A chat that is shown.
struct Followed {
    lane: Lane,
    person: Person,
    room: OwnedRoomId,
    bot: OwnedUserId,
    shown: BTreeMap<OwnedEventId, Shown>,
}

/// What of a message was shown already.
#[derive(Default)]
struct Shown {
    body: String,
    reactions: usize,
    redacted: bool,
}

impl Stage {
    pub(crate) fn new(screen: Screen) -> Self {
        Self { state: Mutex::new(State { screen, followed: Vec::new(), unread: 0 }) }
    }

    pub(crate) fn into_screen(self) -> Screen {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).screen
    }

    /// Shows from now on what the bot says in `chat`.
    pub(crate) fn follow(&self, lane: Lane, chat: &Chat) {
        self.lock().followed.push(Followed {
            lane,
            person: chat.person().clone(),
            room: chat.room_id().to_owned(),
            bot: chat.other().to_owned(),
            shown: BTreeMap::new(),
        });
    }

    /// Shows what the clients of these two see, as they see it, and returns only with an error.
    pub(crate) async fn watch(&self, old: &Person, new: &Person) -> Result<()> {
        let (mut old, mut new) = (old.news(), new.news());
        loop {
            tokio::select! {
                news = old.come() => news?,
                news = new.come() => news?,
            }
            self.lock().catch_up()?;
        }
    }

    pub(crate) fn heading(&self, text: &str) -> Result<()> {
        let mut state = self.lock();
        state.catch_up()?;
        Ok(state.screen.heading(text)?)
    }

    /// Something that Mara does.
    pub(crate) async fn act(&self, lane: Lane, what: &str) -> Result<()> {
        self.let_read().await?;
        Ok(self.lock().screen.remark(lane, what)?)
    }

    /// Mara says something.
    pub(crate) async fn say(&self, lane: Lane, chat: &Chat, text: &str) -> Result<()> {
        self.let_read().await?;
        self.lock().screen.speech(lane, "Mara", text)?;
        chat.say(text).await?;
        Ok(())
    }

    /// Mara says something that nobody is to see on the screen.
    pub(crate) async fn say_secret(
        &self,
        lane: Lane,
        chat: &Chat,
        text: &str,
        secret: &str,
    ) -> Result<OwnedEventId> {
        self.let_read().await?;
        self.lock().screen.speech(lane, "Mara", &format!("{text} ••••••••"))?;
        chat.say(&format!("{text} {secret}")).await
    }

    /// Gives the watcher time for what was shown, as somebody who chats would take.
    async fn let_read(&self) -> Result<()> {
        let (unread, watched) = {
            let mut state = self.lock();
            state.catch_up()?;
            (std::mem::take(&mut state.unread), state.screen.is_watched())
        };
        if watched {
            pause((READING * unread).min(LONGEST)).await;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::disallowed_methods, reason = "people take time to read")]
async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}

impl State {
    fn catch_up(&mut self) -> io::Result<()> {
        for followed in &mut self.followed {
            // What cannot be read yet is waited for, so that all is shown in order.
            let messages = followed.person.messages(&followed.room);
            for message in messages.into_iter().take_while(|message| !message.sealed) {
                self.unread += followed.show(&message, &mut self.screen)?;
            }
        }
        Ok(())
    }
}

impl Followed {
    /// Shows what is new about a message, and returns how long it is.
    fn show(&mut self, message: &Message, screen: &mut Screen) -> io::Result<u32> {
        let bots = message.sender == self.bot;
        let known = self.shown.remove(&message.event_id);
        let first = known.is_none();
        let before = known.unwrap_or_default();
        let mut length = 0;
        if bots && first {
            length = message.body.chars().count();
            match &message.file {
                Some(file) => screen.speech(self.lane, "Tern", &format!("📎 {}", file.name))?,
                None => screen.speech(self.lane, "Tern", &message.body)?,
            }
        } else if bots && before.body != message.body {
            screen.update(self.lane, &difference(&before.body, &message.body))?;
        }
        let reactions = message.reactions.iter().skip(before.reactions);
        let offered: Vec<_> =
            reactions.filter(|(who, _)| *who == self.bot).map(|(_, key)| key.as_str()).collect();
        if !offered.is_empty() {
            screen.remark(self.lane, &format!("Tern puts {} under it.", offered.join(" and ")))?;
        }
        if message.redacted && !before.redacted && !bots {
            screen.remark(self.lane, "(Mara's message with the secret is deleted.)")?;
        }
        let shown = Shown {
            body: message.body.clone(),
            reactions: message.reactions.len(),
            redacted: message.redacted,
        };
        self.shown.insert(message.event_id.clone(), shown);
        Ok(u32::try_from(length).unwrap_or(u32::MAX))
    }
}

/// The lines that an edit changed.
fn difference(before: &str, after: &str) -> String {
    let changed = after.lines().filter(|line| !before.lines().any(|known| known == *line));
    changed.collect::<Vec<_>>().join(" ")
}
