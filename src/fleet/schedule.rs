//! When a node beats: one beat out at a time, with a time-out, jitter and back-off.

use crate::time::LocalTime;
use std::time::Duration;

/// Early beats are at least this far apart.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// So many failures in a row may be lost messages; more are a store that is away.
const LOST: u32 = 8;

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Schedule {
    heartbeat: Duration,
    outstanding: Option<(u64, LocalTime)>,
    /// How long an answer is waited for: half a heartbeat, and up to a whole one while the store is slow.
    patience: Duration,
    last_sent: LocalTime,
    next_beat: LocalTime,
    failures: u32,
    jitter: u64,
}

impl Schedule {
    /// The first beat is due `now`. `seed` is random.
    pub(crate) fn new(heartbeat: Duration, seed: u64, now: LocalTime) -> Self {
        Self {
            heartbeat,
            outstanding: None,
            patience: heartbeat / 2,
            last_sent: LocalTime::ZERO,
            next_beat: now,
            failures: 0,
            // A xorshift must not start at zero.
            jitter: seed | 1,
        }
    }

    /// The beat that is out.
    pub(crate) fn awaited(&self) -> Option<u64> {
        self.outstanding.map(|(sequence, _)| sequence)
    }

    /// The same beat out, `now` being `to`, and no other plans.
    #[cfg(all(test, feature = "fleet"))]
    pub(crate) fn forget(&mut self, now: LocalTime, to: LocalTime) {
        let outstanding = self
            .outstanding
            .map(|(sequence, sent)| (sequence, to.saturating_sub(now.since(sent))));
        *self = Self {
            outstanding,
            ..Self::new(self.heartbeat, 0, LocalTime::NEVER)
        };
    }

    /// The number of the beat that is out.
    #[cfg(all(test, feature = "fleet"))]
    pub(crate) fn awaited_mut(&mut self) -> Option<&mut u64> {
        self.outstanding.as_mut().map(|(sequence, _)| sequence)
    }

    /// Whether the beat that is out has taken too long.
    pub(crate) fn is_late(&self, now: LocalTime) -> bool {
        self.outstanding.is_some() && now >= self.poll_timeout()
    }

    /// Whether it is time for a beat.
    pub(crate) fn is_due(&self, now: LocalTime) -> bool {
        self.outstanding.is_none() && now >= self.next_beat
    }

    /// When to come back.
    #[must_use]
    pub(crate) fn poll_timeout(&self) -> LocalTime {
        self.outstanding.map_or(self.next_beat, |(_, sent)| {
            sent.saturating_add(self.patience)
        })
    }

    /// Beat `sequence` is out.
    pub(crate) fn handle_sent(&mut self, now: LocalTime, sequence: u64) {
        self.outstanding = Some((sequence, now));
        self.last_sent = now;
    }

    /// The beat that is out did not come back; answers whether there was one. The next one follows after a back-off of up
    /// to two heartbeats; where a lease hangs on it after `soon`, until so many have failed that the store is away.
    pub(crate) fn handle_failure(&mut self, now: LocalTime, soon: Option<Duration>) -> bool {
        let Some((_, sent)) = self.outstanding.take() else {
            return false;
        };
        if self.failures > 0 && now.since(sent) >= self.patience {
            // One may be lost. The second was perhaps about to come.
            self.patience = self.heartbeat;
        }
        self.failures = self.failures.saturating_add(1);
        let doubled = self.heartbeat / 8 * (1 << self.failures.min(4));
        let wait = match soon {
            Some(soon) if self.failures <= LOST => doubled.min(soon),
            _ => doubled,
        };
        self.next_beat = now.saturating_add(self.jittered(wait));
        true
    }

    /// Beat `sequence` was answered `now`, the next one follows at `pace`; answers when it was sent, if it is the one
    /// that was out.
    pub(crate) fn handle_answer(
        &mut self,
        now: LocalTime,
        sequence: u64,
        pace: Duration,
    ) -> Option<LocalTime> {
        let (_, sent) = self.outstanding.filter(|(out, _)| *out == sequence)?;
        self.outstanding = None;
        self.patience = (2 * now.since(sent)).clamp(self.heartbeat / 2, self.heartbeat);
        self.failures = 0;
        self.next_beat = sent.saturating_add(self.jittered(pace));
        Some(sent)
    }

    /// Beat at `at` if not before.
    pub(crate) fn beat_by(&mut self, at: LocalTime) {
        self.next_beat = self.next_beat.min(at);
    }

    /// Beat as soon as may be.
    pub(crate) fn beat_soon(&mut self) {
        self.beat_by(self.last_sent.saturating_add(DEBOUNCE));
    }

    /// Beat early, as one of many nodes that may want to at this moment: last beats are spread over a heartbeat, and so
    /// many keep to 10 000 beats a second.
    pub(crate) fn beat_among(&mut self, nodes: u32) {
        let apart = (Duration::from_micros(100) * nodes).max(DEBOUNCE);
        self.beat_by(self.last_sent.saturating_add(apart));
    }

    /// Beat `wait` from now if not before.
    pub(crate) fn beat_within(&mut self, now: LocalTime, wait: Duration) {
        self.beat_by(now.saturating_add(wait.max(DEBOUNCE)));
    }

    /// Beat `wait` from now and not before.
    pub(crate) fn beat_after(&mut self, now: LocalTime, wait: Duration) {
        self.next_beat = now.saturating_add(wait.max(DEBOUNCE));
    }

    /// 0.9 to 1.1 of `wait`, so that a fleet does not beat in step.
    fn jittered(&mut self, wait: Duration) -> Duration {
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 7;
        self.jitter ^= self.jitter << 17;
        wait * 9 / 10 + wait / 5 * u32::try_from(self.jitter % 1024).unwrap_or(0) / 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const HEARTBEAT: Duration = Duration::from_millis(400);

    fn at(ms: u64) -> LocalTime {
        LocalTime::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn one_beat_is_out_at_a_time_and_for_half_a_heartbeat() {
        let mut schedule = Schedule::new(HEARTBEAT, 1, at(5));
        assert!(!schedule.is_due(at(4)) && schedule.is_due(at(5)));
        schedule.handle_sent(at(5), 1);
        schedule.beat_by(at(5));
        assert!(!schedule.is_due(at(100)));
        assert_eq!(schedule.poll_timeout(), at(205));
        assert!(!schedule.is_late(at(204)) && schedule.is_late(at(205)));
        assert_eq!(schedule.handle_answer(at(6), 2, HEARTBEAT), None);
        assert_eq!(schedule.handle_answer(at(6), 1, HEARTBEAT), Some(at(5)));
        assert_eq!(schedule.handle_answer(at(6), 1, HEARTBEAT), None);
        assert!(!schedule.handle_failure(at(6), None));
    }

    #[test]
    fn a_slow_store_is_waited_for_and_a_quick_one_no_longer() {
        let mut schedule = Schedule::new(HEARTBEAT, 1, at(0));
        let mut waits = |sequence, answered: Option<u64>| {
            schedule.handle_sent(at(0), sequence);
            let waits = schedule.poll_timeout();
            match answered {
                Some(after) => drop(schedule.handle_answer(at(after), sequence, HEARTBEAT)),
                None => drop(schedule.handle_failure(waits, None)),
            }
            waits
        };
        assert_eq!(waits(1, None), at(200));
        assert_eq!(waits(2, None), at(200), "one may be lost");
        assert_eq!(waits(3, None), at(400));
        assert_eq!(waits(4, Some(150)), at(400));
        assert_eq!(waits(5, Some(50)), at(300));
        assert_eq!(waits(6, Some(50)), at(200));
        // Refused at once: nobody was about to answer.
        for sequence in 7..10 {
            schedule.handle_sent(at(0), sequence);
            schedule.handle_failure(at(1), None);
        }
        schedule.handle_sent(at(0), 10);
        assert_eq!(schedule.poll_timeout(), at(200));
    }

    #[test]
    fn beats_keep_their_pace_within_a_tenth() {
        let mut schedule = Schedule::new(HEARTBEAT, 99, at(0));
        for sequence in 1..100 {
            schedule.handle_sent(at(1000), sequence);
            schedule.handle_answer(at(1000), sequence, HEARTBEAT);
            let next = schedule.poll_timeout();
            assert!(next >= at(1360) && next <= at(1440), "{next:?}");
        }
    }

    #[test]
    fn failures_put_the_next_beat_off_to_two_heartbeats_at_most() {
        let mut schedule = Schedule::new(HEARTBEAT, 7, at(0));
        for (sequence, wait) in [100, 200, 400, 800, 800, 800].into_iter().enumerate() {
            schedule.handle_sent(at(0), sequence as u64);
            assert!(schedule.handle_failure(at(0), None));
            let put_off = schedule.poll_timeout().since(at(0));
            assert!(
                put_off >= wait * MS * 9 / 10 && put_off <= wait * MS * 11 / 10,
                "{put_off:?}"
            );
        }
        schedule.handle_sent(at(0), 9);
        schedule.handle_answer(at(0), 9, HEARTBEAT);
        schedule.handle_sent(at(0), 10);
        schedule.handle_failure(at(0), None);
        assert!(schedule.poll_timeout() <= at(110));
    }

    /// Of a store that refuses at once: the most that it is asked.
    #[test]
    fn where_a_lease_hangs_on_it_a_few_failures_put_the_next_beat_off_no_further_than_soon() {
        let soon = HEARTBEAT / 4;
        let mut schedule = Schedule::new(HEARTBEAT, 7, at(0));
        for failure in 1..=20 {
            schedule.handle_sent(at(0), failure);
            assert!(schedule.handle_failure(at(0), Some(soon)));
            let put_off = schedule.poll_timeout().since(at(0));
            let wait = if failure <= u64::from(LOST) {
                soon
            } else {
                2 * HEARTBEAT
            };
            assert!(put_off >= wait * 9 / 10 && put_off <= wait * 11 / 10);
        }
        schedule.handle_sent(at(0), 21);
        schedule.handle_answer(at(0), 21, HEARTBEAT);
        // In a fleet so large that soon is late, nobody waits longer than it would without.
        schedule.handle_sent(at(0), 22);
        schedule.handle_failure(at(0), Some(5 * HEARTBEAT));
        assert!(schedule.poll_timeout() <= at(110));
    }

    #[test]
    fn early_beats_are_apart() {
        let mut schedule = Schedule::new(HEARTBEAT, 7, at(0));
        schedule.handle_sent(at(0), 1);
        schedule.handle_answer(at(0), 1, HEARTBEAT);
        schedule.beat_soon();
        assert_eq!(schedule.poll_timeout(), at(20));
        schedule.beat_among(10_000);
        assert_eq!(schedule.poll_timeout(), at(20), "not later");
        schedule.beat_within(at(10), 5 * MS);
        assert_eq!(schedule.poll_timeout(), at(20));
        schedule.beat_after(at(10), 90 * MS);
        assert_eq!(schedule.poll_timeout(), at(100));
    }
}
