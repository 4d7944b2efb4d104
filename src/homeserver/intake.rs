//! How much of what homeservers answer is in memory at once.
//!
//! A homeserver says how large an answer is, and how fast it comes. All answers together draw from
//! one [`Intake`]; each has a [`Share`] of it, from the first bytes until what was made of them has
//! been read. Nobody waits for somebody else's server: where there is no room for what comes, that
//! answer is cut off that has been coming for longest, so that one that never ends holds up none.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What all answers take together at most, in bytes.
pub(super) const ALL_ANSWERS: usize = 256 << 20;

/// What is not counted of an answer, in bytes: the buffers of its connection take as much.
pub(super) const NOT_COUNTED: usize = 64 << 10;

/// The memory for answers. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Intake(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    state: Mutex<State>,
    /// Told when there may be more room.
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// How many bytes all shares have together.
    held: usize,
    last: u64,
    /// In the order in which they began.
    shares: BTreeMap<u64, Held>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    cut_off: CancellationToken,
    /// Whether all of it has come.
    is_complete: bool,
}

/// What one answer takes of an [`Intake`]. It is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Share {
    intake: Intake,
    number: u64,
    cut_off: CancellationToken,
}

/// The answer is given up, in favor of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CutOff;

impl Intake {
    /// Room for so many bytes.
    pub(super) fn of(most: usize) -> Self {
        Self(Arc::new(Inner { most, state: Mutex::default(), freed: Notify::new() }))
    }

    /// A share for an answer that begins to come.
    pub(super) fn share(&self) -> Share {
        let cut_off = CancellationToken::new();
        let mut state = self.state();
        state.last += 1;
        let number = state.last;
        state.shares.insert(number, Held { cut_off: cut_off.clone(), ..Held::default() });
        Share { intake: self.clone(), number, cut_off }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn held(&self) -> usize {
        self.state().held
    }
}

/// What came of asking for more.
enum Growth {
    Grown,
    CutOff,
    /// All that is held is of answers that are complete and being read, which is over soon.
    Wait,
}

impl State {
    fn grow(&mut self, number: u64, bytes: usize, most: usize) -> Growth {
        loop {
            if !self.shares.contains_key(&number) {
                return Growth::CutOff;
            }
            if self.held + bytes <= most {
                self.held += bytes;
                if let Some(own) = self.shares.get_mut(&number) {
                    own.bytes += bytes;
                }
                return Growth::Grown;
            }
            let is_coming = |(_, held): &(&u64, &Held)| !held.is_complete && held.bytes > 0;
            let oldest = self.shares.iter().find(is_coming).map(|(number, _)| *number);
            let waits = || self.shares.values().any(|held| held.is_complete && held.bytes > 0);
            match oldest {
                Some(oldest) if oldest != number => self.cut_off(oldest),
                _ if waits() => return Growth::Wait,
                _ => self.cut_off(number),
            }
        }
    }

    fn cut_off(&mut self, number: u64) {
        if let Some(held) = self.shares.remove(&number) {
            self.held -= held.bytes;
            held.cut_off.cancel();
        }
    }
}

impl Share {
    /// Waits until there is room for so many bytes more.
    ///
    /// # Errors
    ///
    /// [`CutOff`] when this answer has to make room for others.
    pub(super) async fn grow(&self, bytes: usize) -> Result<(), CutOff> {
        loop {
            let mut freed = pin!(self.intake.0.freed.notified());
            // From now on: what is freed between the look and the wait counts.
            freed.as_mut().enable();
            let growth = self.intake.state().grow(self.number, bytes, self.intake.0.most);
            match growth {
                Growth::Grown => return Ok(()),
                Growth::CutOff => return Err(CutOff),
                Growth::Wait => {
                    tokio::select! {
                        () = freed => {}
                        () = self.cut_off.cancelled() => return Err(CutOff),
                    }
                }
            }
        }
    }

    /// Completes when the answer has to make room for others.
    pub(super) async fn cut_off(&self) {
        self.cut_off.cancelled().await;
    }

    /// All of it has come: it is not cut off any more. Whether it was not before.
    pub(super) fn complete(&self) -> bool {
        let mut state = self.intake.state();
        let held = state.shares.get_mut(&self.number);
        held.map(|held| held.is_complete = true).is_some()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.intake.state();
        if let Some(held) = state.shares.remove(&self.number) {
            state.held -= held.bytes;
        }
        drop(state);
        self.intake.0.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_an_answer_took_is_given_back_when_it_was_read() {
        let intake = Intake::of(100);
        let share = intake.share();
        share.grow(60).await.unwrap();
        share.grow(40).await.unwrap();
        assert!(share.complete());
        assert_eq!(intake.held(), 100);
        drop(share);
        assert_eq!(intake.held(), 0);
    }

    #[tokio::test]
    async fn the_answer_that_has_been_coming_for_longest_makes_room() {
        let intake = Intake::of(100);
        let (endless, other, third) = (intake.share(), intake.share(), intake.share());
        endless.grow(60).await.unwrap();
        other.grow(40).await.unwrap();
        third.grow(50).await.unwrap();
        endless.cut_off().await;
        assert_eq!(endless.grow(1).await, Err(CutOff));
        assert!(!endless.complete());
        assert!(other.complete() && third.complete());
        assert_eq!(intake.held(), 90);
    }

    #[tokio::test]
    async fn answers_that_are_complete_are_waited_for_and_not_cut_off() {
        let intake = Intake::of(100);
        let (complete, coming) = (intake.share(), intake.share());
        complete.grow(90).await.unwrap();
        assert!(complete.complete());
        let (grown, ()) = tokio::join!(coming.grow(50), async {
            tokio::task::yield_now().await;
            assert_eq!(intake.held(), 90);
            drop(complete);
        });
        grown.unwrap();
        assert_eq!(intake.held(), 50);
    }

    #[tokio::test]
    async fn however_many_answers_come_they_take_no_more_than_there_is() {
        let intake = Intake::of(1_000);
        let shares: Vec<_> = (0..100).map(|_| intake.share()).collect();
        for _ in 0..10 {
            for share in &shares {
                let _ = share.grow(10).await;
                assert!(intake.held() <= 1_000);
            }
        }
        assert!(shares.last().unwrap().complete(), "some come through");
    }
}
