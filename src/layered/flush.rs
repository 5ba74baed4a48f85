//! Which slots have something to tell origin, and when: each once, however much was accepted meanwhile.
//!
//! A slot is queued when its first accept comes, and due one delay later; what is accepted until then goes with it. A
//! slot whose callers wait for origin is due at once, one whose message failed when the retry is.

use crate::time::LocalTime;
use std::collections::VecDeque;

/// When a slot tells what it has to tell. Kept by the slot: an entry of a queue that is not the slot's latest is void.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Pending(LocalTime);

impl Pending {
    /// There is nothing to tell.
    pub(crate) const NOTHING: Self = Self(LocalTime::NEVER);
    const AT_ONCE: Self = Self(LocalTime::ZERO);
}

/// The queues, of numbers of slots. Each is in order of its times.
#[derive(Clone, Debug, Default)]
pub(crate) struct FlushQueue {
    at_once: VecDeque<u32>,
    first: VecDeque<(LocalTime, u32)>,
    again: VecDeque<(LocalTime, u32)>,
    /// Something was queued since that was last asked.
    grew: bool,
}

impl FlushQueue {
    /// Something was accepted, or must be told for another reason.
    #[inline]
    pub(crate) fn push(&mut self, slot: u32, pending: &mut Pending, due: LocalTime) {
        if *pending == Pending::NOTHING {
            *pending = Pending(due);
            self.first.push_back((due, slot));
            self.grew = true;
        }
    }

    /// Somebody waits, or so much was accepted that it matters.
    pub(crate) fn push_at_once(&mut self, slot: u32, pending: &mut Pending) {
        if *pending != Pending::AT_ONCE {
            *pending = Pending::AT_ONCE;
            self.at_once.push_back(slot);
            self.grew = true;
        }
    }

    /// A message failed.
    pub(crate) fn push_again(&mut self, slot: u32, pending: &mut Pending, due: LocalTime) {
        if *pending == Pending::NOTHING {
            *pending = Pending(due);
            self.again.push_back((due, slot));
            self.grew = true;
        }
    }

    /// A message was refused: nothing is told before that is, whatever is queued already.
    pub(crate) fn put_off(&mut self, slot: u32, pending: &mut Pending, due: LocalTime) {
        *pending = Pending::NOTHING;
        self.push_again(slot, pending, due);
    }

    /// Whether something was queued since this was last asked.
    #[inline]
    pub(crate) const fn take_growth(&mut self) -> bool {
        std::mem::replace(&mut self.grew, false)
    }

    /// The next entry whose time has come: void, unless the slot is pending for just that.
    pub(crate) fn poll(&mut self, now: LocalTime) -> Option<(u32, Pending)> {
        if let Some(slot) = self.at_once.pop_front() {
            return Some((slot, Pending::AT_ONCE));
        }
        [&mut self.first, &mut self.again]
            .into_iter()
            .find_map(|queue| {
                let due = queue.front().is_some_and(|(due, _)| *due <= now);
                due.then(|| queue.pop_front()).flatten()
            })
            .map(|(due, slot)| (slot, Pending(due)))
    }

    /// When to come back.
    pub(crate) fn poll_timeout(&self) -> Option<LocalTime> {
        if !self.at_once.is_empty() {
            return Some(LocalTime::ZERO);
        }
        let due = |queue: &VecDeque<(LocalTime, u32)>| queue.front().map(|(due, _)| *due);
        due(&self.first).into_iter().chain(due(&self.again)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> LocalTime = LocalTime::from_nanos;

    /// The slots that are due, as a tier would find them.
    fn due(queue: &mut FlushQueue, pending: &mut [Pending], now: u64) -> Vec<u32> {
        let entries = std::iter::from_fn(|| queue.poll(AT(now)));
        let valid = entries.filter(|(slot, entry)| {
            let valid = pending[*slot as usize] == *entry;
            if valid {
                pending[*slot as usize] = Pending::NOTHING;
            }
            valid
        });
        valid.map(|(slot, _)| slot).collect()
    }

    #[test]
    fn a_slot_is_queued_once_and_comes_when_it_is_due() {
        let mut queue = FlushQueue::default();
        let mut pending = [Pending::NOTHING; 2];
        queue.push(0, &mut pending[0], AT(10));
        assert!(queue.take_growth());
        queue.push(0, &mut pending[0], AT(12));
        assert!(!queue.take_growth());
        queue.push(1, &mut pending[1], AT(11));
        assert!(queue.take_growth());
        assert_eq!(queue.poll_timeout(), Some(AT(10)));
        assert!(due(&mut queue, &mut pending, 9).is_empty());
        assert_eq!(due(&mut queue, &mut pending, 11), [0, 1]);
        assert_eq!(queue.poll_timeout(), None);
    }

    #[test]
    fn who_waits_overtakes_and_a_failure_blocks_nobody() {
        let mut queue = FlushQueue::default();
        let mut pending = [Pending::NOTHING; 3];
        queue.push_again(0, &mut pending[0], AT(300));
        queue.push(1, &mut pending[1], AT(10));
        queue.push(2, &mut pending[2], AT(20));
        queue.push_at_once(2, &mut pending[2]);
        assert_eq!(queue.poll_timeout(), Some(AT(0)));
        assert_eq!(due(&mut queue, &mut pending, 15), [2, 1]);
        queue.push(2, &mut pending[2], AT(400));
        assert_eq!(due(&mut queue, &mut pending, 300), [0], "it was told at 15");
        assert_eq!(due(&mut queue, &mut pending, 400), [2]);
    }

    #[test]
    fn what_is_put_off_is_not_told_before_though_it_was_queued_meanwhile() {
        let mut queue = FlushQueue::default();
        let mut pending = [Pending::NOTHING; 2];
        queue.push(0, &mut pending[0], AT(10));
        queue.push_at_once(1, &mut pending[1]);
        for (slot, pending) in (0..).zip(&mut pending) {
            queue.put_off(slot, pending, AT(300));
        }
        assert!(due(&mut queue, &mut pending, 299).is_empty());
        assert_eq!(due(&mut queue, &mut pending, 300), [0, 1]);
    }
}
