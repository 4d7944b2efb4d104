//! The two chats, shown as they go on.

use std::{
    collections::BTreeMap,
    io, mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Result;
use lab::{Chat, Message, Person};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};

use crate::{
    said::Said,
    screen::{Lane, Screen},
};

/// How fast people read, and for how long at most they are waited for.
const READING: Duration = Duration::from_millis(12);
const LONGEST: Duration = Duration::from_secs(4);

/// What comes within this time is shown together, that of the old account first.
const AT_ONCE: Duration = Duration::from_millis(600);

/// Shows what is said in the chats that it follows. Everything that is shown meanwhile goes through
/// here, so that it is shown in order.
pub(crate) struct Stage {
    state: Mutex<State>,
}

struct State {
    screen: Screen,
    followed: Vec<Followed>,
    said: Said,
    /// How many letters were shown since Mara last spoke.
    unread: usize,
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
#[derive(Clone, Default)]
struct Shown {
    body: String,
    reactions: usize,
    redacted: bool,
}

impl Stage {
    pub(crate) fn new(screen: Screen) -> Self {
        let state = State { screen, followed: Vec::new(), said: Said::default(), unread: 0 };
        Self { state: Mutex::new(state) }
    }

    /// Shows what is not shown yet.
    pub(crate) fn end(self) -> (Screen, Result<()>) {
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let shown = state.catch_up();
        (state.screen, shown.map_err(Into::into))
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

    /// Shows what the clients of these two see, as they see it. Returns only with an error.
    pub(crate) async fn watch(&self, old: &Person, new: &Person) -> Result<()> {
        let (mut old, mut new) = (old.news(), new.news());
        loop {
            tokio::select! {
                news = old.come() => news?,
                news = new.come() => news?,
            }
            pause(AT_ONCE).await;
            self.lock().catch_up()?;
        }
    }

    /// Begins the next part.
    pub(crate) fn heading(&self, text: &str) -> Result<()> {
        let mut state = self.lock();
        state.catch_up()?;
        Ok(state.screen.heading(text)?)
    }

    /// Shows something that Mara does.
    pub(crate) async fn act(&self, lane: Lane, what: &str) -> Result<()> {
        self.let_read().await?;
        Ok(self.lock().screen.remark(lane, what)?)
    }

    /// Mara says something.
    pub(crate) async fn say(&self, lane: Lane, chat: &Chat, text: &str) -> Result<()> {
        self.say_secret(lane, chat, text, "").await?;
        Ok(())
    }

    /// Mara says something that ends with a secret.
    pub(crate) async fn say_secret(
        &self,
        lane: Lane,
        chat: &Chat,
        text: &str,
        secret: &str,
    ) -> Result<OwnedEventId> {
        self.let_read().await?;
        let dots = if secret.is_empty() { "" } else { "••••••••" };
        self.lock().screen.speech(lane, "Mara", &format!("{text}{dots}"))?;
        chat.say(&format!("{text}{secret}")).await
    }

    /// Gives a watcher the time for what was shown that somebody who chats would take.
    async fn let_read(&self) -> Result<()> {
        let (unread, watched) = {
            let mut state = self.lock();
            state.catch_up()?;
            (mem::take(&mut state.unread), state.screen.is_watched())
        };
        if watched {
            let reading = READING.saturating_mul(u32::try_from(unread).unwrap_or(u32::MAX));
            pause(reading.min(LONGEST)).await;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::disallowed_methods, reason = "somebody watches, and takes time to read")]
async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}

impl State {
    /// Shows what is new in the chats.
    fn catch_up(&mut self) -> io::Result<()> {
        let Self { screen, followed, said, unread } = self;
        for chat in followed {
            // What cannot be read yet is waited for, so that all is shown in order.
            let messages = chat.person.messages(&chat.room);
            for message in messages.into_iter().take_while(|message| !message.sealed) {
                let before = chat.known(&message);
                if message.sender == chat.bot {
                    *unread += chat.show_speech(&message, before.as_ref(), said, screen)?;
                    chat.show_offers(&message, before.as_ref(), screen)?;
                } else if message.redacted && before.is_some_and(|before| !before.redacted) {
                    screen.remark(chat.lane, "(Mara's message with the password is deleted.)")?;
                }
            }
        }
        Ok(())
    }
}

impl Followed {
    /// Takes down a message as it is now, and returns what of it was shown already.
    fn known(&mut self, message: &Message) -> Option<Shown> {
        let shown = Shown {
            body: message.body.clone(),
            reactions: message.reactions.len(),
            redacted: message.redacted,
        };
        self.shown.insert(message.event_id.clone(), shown)
    }

    /// Shows what the bot says, or how it changed what it had said. Returns how much is to be read.
    fn show_speech(
        &self,
        message: &Message,
        before: Option<&Shown>,
        said: &mut Said,
        screen: &mut Screen,
    ) -> io::Result<usize> {
        let text = match (before, &message.file) {
            (None, Some(file)) => format!("📎 {}", file.name),
            (None, None) => said.shortened(self.lane, &message.body),
            (Some(before), _) if before.body != message.body => {
                if let Some(change) = said.change(&before.body, &message.body) {
                    screen.update(self.lane, &change)?;
                }
                return Ok(0);
            }
            (Some(_), _) => return Ok(0),
        };
        screen.speech(self.lane, "Tern", &text)?;
        Ok(text.chars().count())
    }

    /// Shows what the bot offers to be tapped.
    fn show_offers(
        &self,
        message: &Message,
        before: Option<&Shown>,
        screen: &mut Screen,
    ) -> io::Result<()> {
        let seen = before.map_or(0, |before| before.reactions);
        let offers = message.reactions.iter().skip(seen).filter(|(who, _)| *who == self.bot);
        let offers: Vec<_> = offers.map(|(_, key)| key.as_str()).collect();
        if !offers.is_empty() {
            screen.remark(self.lane, &format!("Tern puts {} under it.", offers.join(" and ")))?;
        }
        Ok(())
    }
}
