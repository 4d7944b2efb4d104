//! How long invitations waited for the invited account's homeserver.

use std::time::Duration;

use jiff::Timestamp;

use super::bucket::between;

/// From when until when something waited.
pub(super) type Span = (Timestamp, Timestamp);

/// How long the invitations of an account waited, where several that waited at the same time count
/// once: a person is told this, and it is not to be longer than it took.
#[derive(Debug, Default)]
pub(super) struct Held {
    untaken: Duration,
    /// What is counted, each apart from the others.
    counted: Vec<Span>,
}

impl Held {
    /// Whether it was a wait for that homeserver may be known only after later ones were added.
    pub(super) fn add(&mut self, (from, until): Span) {
        let touches = |(start, end): &mut Span| *start <= until && from <= *end;
        let (mut from, mut until, mut known) = (from, until, Duration::ZERO);
        for (start, end) in self.counted.extract_if(.., touches) {
            known += between(start, end);
            (from, until) = (from.min(start), until.max(end));
        }
        self.untaken += between(from, until).saturating_sub(known);
        self.counted.push((from, until));
    }

    /// What was added since this was last asked.
    pub(super) fn take(&mut self) -> Duration {
        std::mem::take(&mut self.untaken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_at_the_same_time_count_once() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut held = Held::default();
        held.add((at(10), at(20)));
        held.add((at(12), at(18)));
        held.add((at(15), at(25)));
        assert_eq!(held.take(), Duration::from_secs(15));
        held.add((at(20), at(26)));
        held.add((at(30), at(31)));
        assert_eq!(held.take(), Duration::from_secs(2));
        held.add((at(5), at(12)));
        held.add((at(24), at(32)));
        assert_eq!(held.take(), Duration::from_secs(5 + 5));
    }
}
