//! Rooms that are left until it is their turn in another line than the one that they began in.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::turns::Line;
use crate::homeserver::Nearness;

/// A room in a line, by its number in the plan, and whether the new account's homeserver is in it,
/// where that was found out since it was planned.
pub(super) type Place = (usize, Option<Nearness>);

/// Where rooms are left. One that is left is no more than a place in a line.
#[derive(Debug)]
pub(super) struct Later {
    ends: HashMap<Line, mpsc::UnboundedSender<Place>>,
    /// How many rooms are not through yet.
    unsettled: AtomicUsize,
    /// Cancelled when all are.
    over: CancellationToken,
}

/// The rooms that are left for one line, as they come.
pub(super) type Coming = mpsc::UnboundedReceiver<Place>;

impl Later {
    /// For so many rooms; with what comes of it, for each line that joins wait in.
    pub(super) fn of(rooms: usize) -> (Self, HashMap<Line, Coming>) {
        let (mut ends, mut lines) = (HashMap::new(), HashMap::new());
        for nearness in [Nearness::Here, Nearness::Elsewhere, Nearness::Unknown] {
            let (end, coming) = mpsc::unbounded_channel();
            ends.insert(Line::of_join(nearness), end);
            lines.insert(Line::of_join(nearness), coming);
        }
        let later = Self { ends, unsettled: rooms.into(), over: CancellationToken::new() };
        if rooms == 0 {
            later.over.cancel();
        }
        (later, lines)
    }

    /// Leaves a room until it is its turn to be joined.
    pub(super) fn leave(&self, room: usize, nearness: Nearness) {
        if let Some(line) = self.ends.get(&Line::of_join(nearness)) {
            // Whoever takes from the line goes on for as long as there are rooms.
            let _ = line.send((room, Some(nearness)));
        }
    }

    /// Notes that nothing more happens in a room.
    pub(super) fn settle(&self) {
        if self.unsettled.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.over.cancel();
        }
    }

    /// Waits until all rooms are through.
    pub(super) async fn over(&self) {
        self.over.cancelled().await;
    }
}

/// Rooms as they are left for a line.
pub(super) fn coming(line: Option<Coming>) -> impl Stream<Item = Place> {
    let line = line.map(|mut line| stream::poll_fn(move |context| line.poll_recv(context)));
    stream::iter(line).flatten()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_room_that_is_left_comes_in_its_line_and_lines_go_on_until_all_rooms_are_through() {
        let (later, mut lines) = Later::of(2);
        let [mut here, mut elsewhere] = [Nearness::Here, Nearness::Elsewhere]
            .map(|nearness| Box::pin(coming(lines.remove(&Line::of_join(nearness)))));
        later.leave(1, Nearness::Elsewhere);
        let place = (1, Some(Nearness::Elsewhere));
        assert_eq!(elsewhere.next().now_or_never(), Some(Some(place)));
        assert!(here.next().now_or_never().is_none(), "the line goes on, and is empty");
        later.settle();
        assert!(later.over().now_or_never().is_none());
        later.settle();
        assert!(later.over().now_or_never().is_some());
    }

    #[test]
    fn without_rooms_nothing_is_waited_for() {
        assert!(Later::of(0).0.over().now_or_never().is_some());
    }
}
