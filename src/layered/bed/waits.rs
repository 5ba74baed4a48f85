//! How long who is denied has to wait: as long as is told, and no less.

use super::{SECOND, setup};
use crate::decision::Decision;
use crate::key::Key;
use crate::layered::cell::Told;
use crate::layered::exchange::{ReadLine, Totals};
use crate::layered::link::Link;
use crate::layered::origin::OriginCell;
use crate::layered::tier::{Answer, Tier};
use crate::layered::time::Moment;
use crate::layered::window::SlidingWindow;
use crate::limiter::count::Booking;
use crate::time::LocalTime;
use std::collections::BTreeMap;
use std::time::Duration;

const KEY: Key = Key::EVERYONE;
const WINDOW: u64 = 10 * SECOND;
/// The name of all other nodes at origin.
const OTHERS: u64 = 1;

/// A node whose origin answers at once and says that this takes a while.
struct Node {
    tier: Tier,
    origin: BTreeMap<u64, OriginCell>,
    now: Moment,
    /// When what is known here was true.
    synced_at: LocalTime,
}

impl Node {
    fn new(limit: u32, round_trip: Duration) -> Self {
        let window = SlidingWindow::new(limit, WINDOW);
        Self {
            tier: Tier::new(setup(window, 9)),
            origin: BTreeMap::new(),
            now: Moment {
                local: LocalTime::from_nanos(SECOND),
                shared: 1_000 * WINDOW,
                link: Link::Up,
                round_trip,
            },
            synced_at: LocalTime::ZERO,
        }
    }

    fn pass(&mut self, nanos: u64) {
        let span = Duration::from_nanos(nanos);
        self.now.local = self.now.local.saturating_add(span);
        self.now.shared += nanos;
    }

    /// The other nodes use as much of this window.
    fn others_use(&mut self, units: u32) {
        let cell = self.origin.entry(self.now.shared / WINDOW).or_default();
        let told = Told {
            accepted: units,
            acknowledged: 0,
            known: 0,
        };
        cell.tell(OTHERS, told);
    }

    /// Answers all that is asked and told.
    fn settle(&mut self) {
        let sent = self.now.local;
        while let Some(lines) = self.tier.poll_flush(LocalTime::NEVER) {
            for line in lines.into_iter().flatten() {
                let cell = self.origin.entry(line.sequence).or_default();
                let total = cell.tell(line.holder, line.told);
                self.tier.handle_flush(&line, total, sent);
                self.synced_at = sent;
            }
        }
        while let Some(line) = self.tier.poll_read() {
            self.read(&line);
        }
    }

    fn read(&mut self, line: &ReadLine) {
        let total = |sequence| self.origin.get(&sequence).map_or(0, OriginCell::total);
        let totals = Totals {
            current: total(line.sequence),
            previous: line.previous.then(|| total(line.sequence - 1)),
        };
        let sent = self.now.local;
        self.tier.handle_read(line, totals, sent, &self.now);
        self.synced_at = sent;
    }

    /// Knows all that is to be known.
    fn hear(&mut self) {
        self.settle();
        self.read(&ReadLine {
            policy: 0,
            key: KEY,
            sequence: self.now.shared / WINDOW,
            previous: true,
        });
    }

    fn decide(&mut self, cost: u32) -> Decision {
        loop {
            match self.tier.decide(KEY, cost, Booking::Spent, &self.now) {
                Answer::Decided { decision, .. } => return decision,
                Answer::Wait => self.settle(),
            }
        }
    }
}

#[test]
fn who_is_denied_passes_after_the_wait_that_was_told_and_no_sooner() {
    let mut rng = fastrand::Rng::with_seed(7);
    let (mut exact, mut only_unheard, mut over_a_line) = (0, 0, 0);
    for _ in 0..20_000 {
        let limit = [9, 10, 100, 1_000, 12_345][rng.usize(..5)];
        let round_trip = Duration::from_millis([0, 20, 300, 2_000][rng.usize(..4)]);
        let mut node = Node::new(limit, round_trip);
        let lag = node.tier.setup.lag(&node.now);
        node.others_use(rng.u32(..=limit));
        let _ = node.decide(1);
        for _ in 0..rng.u32(..4) {
            let _ = node.decide(rng.u32(1..=limit));
        }
        node.settle();
        node.pass(rng.u64(..WINDOW + WINDOW / 8));
        node.others_use(rng.u32(..=limit));
        let _ = node.decide(rng.u32(1..=limit.div_ceil(4)));
        node.hear();
        node.pass(rng.u64(..WINDOW / 8));

        let left = node.tier.ask(KEY, 0, &node.now).remaining().max(1);
        let cost = [1, left, rng.u32(1..=limit), limit][rng.usize(..4)];
        let known = node.tier.ask(KEY, cost, &node.now);
        let denied = node.decide(cost);
        let Some(wait) = denied.retry_after() else {
            continue;
        };
        let wait = wait.as_nanos() as u64;
        let least = known.retry_after().unwrap_or_default().as_nanos() as u64;
        let case = format!("{cost} of {limit}, {round_trip:?}: {denied:?} {known:?}");
        // What is not heard of keeps nobody out for longer than it takes to hear of it, in two windows.
        assert!((least..=least + 2 * lag).contains(&wait), "{case}");
        if cost >= limit.div_ceil(8) {
            assert_eq!(wait, least, "{case}");
        }
        assert_eq!(denied.reset_after(), known.reset_after(), "{case}");
        only_unheard += u32::from(known.is_allowed());
        over_a_line += u32::from(node.now.shared % WINDOW + wait > WINDOW);
        node.pass(wait - 1);
        // Of what is known better than by then less may be unheard.
        if node.now.local.since(node.synced_at).as_nanos() as u64 >= lag {
            exact += 1;
            assert!(!node.decide(cost).is_allowed(), "{case}");
        }
        node.pass(1);
        assert!(node.decide(cost).is_allowed(), "{case}");
    }
    // All of it happens.
    let happened = [exact, only_unheard, over_a_line];
    assert!(happened.iter().all(|times| *times > 50), "{happened:?}");
}

/// What nobody has heard of is not counted as spent in this window, from where it would come back in the next one.
#[test]
fn a_cost_of_all_the_limit_waits_until_the_window_before_is_gone() {
    let mut node = Node::new(1_000, Duration::from_millis(100));
    node.others_use(1_000);
    assert!(!node.decide(1).is_allowed());
    node.pass(WINDOW + SECOND / 10);
    let denied = node.decide(1_000);
    let wait = denied.retry_after().expect("it is denied");
    // Of a thousand units the last is gone ten milliseconds before the window ends.
    assert_eq!(wait.as_millis(), 9_890);
    assert_eq!(denied.reset_after(), wait);
}
