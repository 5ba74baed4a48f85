//! What one decision costs, and a burst on cold nodes admits: nothing here takes a window.

use crate::bed::Bed;
use crate::case::{Case, case};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tidegate::layered::LayeredLimiter;
use tidegate::time::Clock;
use tidegate::{Key, Quota};
use tidegate_bench::work::{own_time, waited_for_a_processor};

/// Five cold nodes are asked for twice the limit each, at once.
pub(crate) async fn burst(bed: &Bed) {
    let case = case(5, 162_000, 20, 20);
    let spent = Arc::new(AtomicU64::new(0));
    let mut callers = Vec::new();
    for node in bed.nodes("burst", &case) {
        callers.extend((0..216).map(|_| {
            let (node, spent) = (node.clone(), Arc::clone(&spent));
            tokio::spawn(async move {
                if node.decide(&Key::of("bulk"), 1_500).await.is_allowed() {
                    spent.fetch_add(1_500, Ordering::Relaxed);
                }
            })
        }));
    }
    for caller in callers {
        caller.await.expect("no panic");
    }
    let spent = spent.load(Ordering::Relaxed) as f64 / f64::from(case.limit);
    let case = Case {
        what: "a burst of 1500, cold",
        bar: "<= 1.2",
        ..case
    };
    println!("{}", case.line(spent, ""));
}

/// A warm decision, and the longest of a million random keys. On a busy machine a thread waits for a processor, which is
/// told apart.
pub(crate) async fn costs(bed: &Bed) {
    const WARM: u32 = 2_000_000;
    const RANDOM: u64 = 1_000_000;
    let quota = Quota::per_hour(u32::MAX);
    let build = |name| {
        let builder = LayeredLimiter::builder(bed.origin(0, 0), name, quota);
        builder.build().expect("settings that work")
    };
    let clock = Clock::system();
    let warm = build("warm");
    let key = Key::of("warm");
    let _ = warm.decide(&key, 1).await;
    let begun = clock.now();
    for _ in 0..WARM {
        let _ = std::hint::black_box(warm.decide(&key, 1).await);
    }
    let each = clock.now().since(begun).as_nanos() / u128::from(WARM);
    println!("a warm decision: {each} ns, with the clock it reads");

    // From what is known at once, so that the time is the limiter's own and not origin's.
    let flooded = build("flooded");
    let (mut longest, mut above) = (Duration::ZERO, 0);
    let (mut longest_own, mut unexplained) = (Duration::ZERO, 0);
    let mut waited = waited_for_a_processor();
    for number in 0..RANDOM {
        if number % 100 == 0 {
            waited = waited_for_a_processor();
        }
        let (begun, own) = (clock.now(), own_time());
        let _ = std::hint::black_box(flooded.check(&Key::of(&number), 1));
        let (took, own) = (clock.now().since(begun), own_time().saturating_sub(own));
        longest = longest.max(took);
        longest_own = longest_own.max(own);
        if took > MILLISECOND {
            let before = std::mem::replace(&mut waited, waited_for_a_processor());
            above += 1;
            unexplained += u32::from(took.saturating_sub(waited - before) > MILLISECOND);
        }
    }
    let stats = flooded.stats();
    println!(
        "{RANDOM} random keys: longest {longest:?} ({longest_own:?} of work), {above} above 1 ms, {unexplained} of them not \
         for want of a processor; {} keys in {} kB, {} evicted, {} decided on a shared cell",
        stats.keys,
        stats.bytes / 1_000,
        stats.evicted,
        stats.overflowed
    );
}

const MILLISECOND: Duration = Duration::from_millis(1);
