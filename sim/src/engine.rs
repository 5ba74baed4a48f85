//! The agenda: what happens when, in virtual nanoseconds, ties in the order they were written down.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Virtual time in nanoseconds from the start of a run.
pub(crate) type Nanos = u64;

pub(crate) const MS: Nanos = 1_000_000;
pub(crate) const SECOND: Nanos = 1_000_000_000;

/// Whole nanoseconds of `seconds`, which are not negative.
pub(crate) fn nanos(seconds: f64) -> Nanos {
    (seconds * 1e9).round() as Nanos
}

pub(crate) fn seconds(nanos: Nanos) -> f64 {
    nanos as f64 / 1e9
}

/// Events in the order of their time, and of their writing where times are equal.
#[derive(Debug)]
pub(crate) struct Agenda<E> {
    heap: BinaryHeap<Entry<E>>,
    written: u64,
    now: Nanos,
}

#[derive(Debug)]
struct Entry<E> {
    at: Nanos,
    number: u64,
    event: E,
}

impl<E> Agenda<E> {
    pub(crate) fn new() -> Self {
        Self {
            heap: BinaryHeap::with_capacity(1024),
            written: 0,
            now: 0,
        }
    }

    pub(crate) const fn now(&self) -> Nanos {
        self.now
    }

    /// How many events were written down so far.
    pub(crate) const fn written(&self) -> u64 {
        self.written
    }

    /// Writes `event` down for `at`; what is past happens at once.
    pub(crate) fn at(&mut self, at: Nanos, event: E) {
        self.written += 1;
        self.heap.push(Entry {
            at: at.max(self.now),
            number: self.written,
            event,
        });
    }

    /// Goes on to the next event that is not later than `end`.
    pub(crate) fn next(&mut self, end: Nanos) -> Option<E> {
        if self.heap.peek()?.at > end {
            return None;
        }
        let entry = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }
}

impl<E> Ord for Entry<E> {
    /// The heap gives its greatest: the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_the_order_of_writing() {
        let mut agenda = Agenda::new();
        for (at, event) in [(5, 'c'), (3, 'a'), (5, 'd'), (3, 'b'), (9, 'e')] {
            agenda.at(at, event);
        }
        let order: String = std::iter::from_fn(|| agenda.next(8)).collect();
        assert_eq!((order.as_str(), agenda.now()), ("abcd", 5));
        agenda.at(1, 'x');
        assert_eq!((agenda.next(9), agenda.now()), (Some('x'), 5));
    }
}
