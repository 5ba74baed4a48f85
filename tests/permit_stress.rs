//! Many threads on one guard: never more at once than the limit, and every count adds up in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use tidegate::adaptive::{Fixed, LimitAlgorithm, LocalGuard, Window};
use tidegate::time::Clock;
use tidegate::{ConcurrencyGuard, Criticality, Outcome, Shed};

const OUTCOMES: [Outcome; 4] = [
    Outcome::Success,
    Outcome::Failure,
    Outcome::Overload,
    Outcome::Ignore,
];

/// Counts who is in, and remembers the most.
#[derive(Debug, Default)]
struct Room {
    inside: AtomicU32,
    most: AtomicU32,
}

impl Room {
    fn visit(&self) {
        let inside = 1 + self.inside.fetch_add(1, Ordering::SeqCst);
        self.most.fetch_max(inside, Ordering::SeqCst);
        thread::yield_now();
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

fn on_threads(threads: u64, work: impl Fn(fastrand::Rng) + Sync) {
    thread::scope(|scope| {
        for seed in 0..threads {
            let work = &work;
            scope.spawn(move || work(fastrand::Rng::with_seed(seed)));
        }
    });
}

#[test]
fn never_more_than_the_limit_and_every_slot_comes_back() {
    let guard = LocalGuard::fixed(3);
    let (room, admitted, refused) = (Room::default(), AtomicU64::new(0), AtomicU64::new(0));
    on_threads(6, |mut random| {
        for _ in 0..10_000 {
            let class = Criticality::ALL[random.usize(..4)];
            let Ok(mut lease) = guard.try_acquire(class) else {
                refused.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            admitted.fetch_add(1, Ordering::Relaxed);
            room.visit();
            match random.usize(..6) {
                4 => lease.observe(Outcome::Success),
                5 => drop(lease),
                outcome => lease.finish(OUTCOMES[outcome]),
            }
        }
    });
    let stats = guard.stats();
    let settled: u64 = OUTCOMES
        .iter()
        .map(|outcome| stats.outcomes(*outcome))
        .sum();
    let shed: u64 = Shed::ALL.iter().map(|reason| stats.sheds(*reason)).sum();
    assert_eq!(stats.in_flight(), 0);
    assert_eq!(
        (settled, shed),
        (admitted.into_inner(), refused.into_inner())
    );
    assert_eq!(settled + shed, 60_000);
    assert!(room.most.into_inner() <= 3);
    assert!(stats.peak_in_flight() <= 3);
}

/// Goes up and down between 1 and 5.
#[derive(Debug)]
struct Tide(u32);

impl LimitAlgorithm for Tide {
    fn limit(&self) -> u32 {
        1 + self.0 % 5
    }

    fn update(&mut self, _: &Window) -> u32 {
        self.0 += 3;
        self.limit()
    }
}

#[test]
fn never_more_than_the_highest_limit_while_it_moves() {
    let (clock, lever) = Clock::manual();
    let guard = LocalGuard::builder(Tide(0))
        .clock(clock)
        .window(Duration::from_millis(1));
    let guard = guard.min_samples(1).build().unwrap();
    let room = Room::default();
    on_threads(6, |_| {
        for _ in 0..10_000 {
            if let Ok(lease) = guard.try_acquire(Criticality::Default) {
                lever.advance(Duration::from_micros(400));
                room.visit();
                lease.success();
            }
        }
    });
    assert_eq!(guard.in_flight(), 0);
    assert!(room.most.into_inner() <= 5);
}

#[cfg(feature = "fleet")]
#[test]
fn nobody_who_waits_is_forgotten() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let guard = LocalGuard::new(Fixed::new(3));
        let room = Arc::new(Room::default());
        let tasks: Vec<_> = (0..24)
            .map(|seed| {
                let (guard, room) = (guard.clone(), Arc::clone(&room));
                tokio::spawn(async move {
                    let mut random = fastrand::Rng::with_seed(seed);
                    let mut served = 0;
                    for _ in 0..500 {
                        let class = Criticality::ALL[random.usize(..4)];
                        let waiting = guard.acquire(class, Duration::from_secs(600));
                        if random.u8(..4) == 0 {
                            // Gives up at some moment of the wait.
                            let patience = random.usize(..4);
                            tokio::select! {
                                biased;
                                () = yield_often(patience) => {}
                                lease = waiting => drop(lease),
                            }
                            continue;
                        }
                        let lease = waiting.await.expect("there is time enough");
                        room.visit();
                        tokio::task::yield_now().await;
                        lease.success();
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        let mut served = 0;
        for task in tasks {
            let all = tokio::time::timeout(Duration::from_secs(120), task);
            served += all.await.expect("somebody waits for ever").unwrap();
        }
        let stats = guard.stats();
        assert_eq!(
            (stats.outcomes(Outcome::Success), stats.in_flight()),
            (served, 0)
        );
        assert!(room.most.load(Ordering::SeqCst) <= 3);
    });
}

#[cfg(feature = "fleet")]
async fn yield_often(times: usize) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}
