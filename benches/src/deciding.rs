//! A rate limit alone: one key, 100 000 keys of 24 bytes, two threads, beside governor.

use crate::slices::measure;
use crate::table::Table;
use crate::{Candidate, Clocks};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use tidegate::{Key, Quota, RateLimiter};

/// How many keys there are where there are many.
const KEYS: usize = 100_000;

/// Every candidate, for the table or a profiler.
#[must_use]
pub fn candidates<'a>(clocks: &Clocks, names: &'a Names) -> Vec<Candidate<'a>> {
    let limiter = |quota| {
        // Twice as many keys as there are, as its documentation says.
        let builder = RateLimiter::builder(quota).max_keys(2 * KEYS);
        builder
            .clock(clocks.limits.clone())
            .build()
            .expect("a limiter")
    };
    let open = || limiter(generous());
    let (one, passes) = (open(), open());
    let (closed, refuses) = (limiter(Quota::per_hour(1)), limiter(Quota::per_hour(1)));
    let keyed = open();
    let shared = open();
    let denied = limiter(Quota::per_hour(1));
    let _ = closed.check(&Key::EVERYONE, 1);
    let _ = refuses.check(&Key::EVERYONE, 1);
    let text = names.at(0).as_str();
    let _ = denied.check(&Key::of(text), 1);
    for name in names.shuffled() {
        let key = Key::of(name.as_str());
        let _ = (keyed.check(&key, 1), shared.check(&key, 1));
    }
    let mut list = vec![
        Candidate::new("one key", move || one.check(&Key::EVERYONE, 1)),
        Candidate::new("one key, denied", move || closed.check(&Key::EVERYONE, 1)),
        // As much as a peer's check is asked; the others read the whole decision, as its `told` does: what is left, and
        // how long to wait.
        Candidate::new("one key, yes or no", move || {
            passes.check(&Key::EVERYONE, 1).is_allowed()
        }),
        Candidate::new("one key, denied, yes or no", move || {
            refuses.check(&Key::EVERYONE, 1).is_allowed()
        }),
        Candidate::new("100 000 texts", move || {
            keyed.check(&Key::of(names.next().as_str()), 1)
        }),
        Candidate::new("one text", {
            let limiter = open();
            move || limiter.check(&Key::of(text), 1)
        }),
        Candidate::new("one text, denied", move || denied.check(&Key::of(text), 1)),
        Candidate::on_two("100 000 texts, 2 threads", move || {
            shared.check(&Key::of(names.next().as_str()), 1)
        }),
    ];
    #[cfg(feature = "peers")]
    {
        let bars = [
            ("governor, one key, told", 1.0),
            ("governor, one key, denied, told", 1.0),
            ("governor, one key", 1.0),
            ("governor, one key, denied", 1.0),
            ("governor, 100 000 texts", 0.7),
            ("governor, one text", 1.0),
            ("governor, one text, denied", 1.0),
            ("governor, 100 000 texts, 2 threads", 0.7),
        ];
        list = list
            .into_iter()
            .zip(bars)
            .map(|(it, (peer, bar))| it.times(peer).at_most(bar))
            .collect();
        list.extend(peers::candidates(names));
    }
    let clock = clocks.limits.clone();
    list.push(Candidate::new("a clock reading", move || clock.now()));
    list
}

/// Measures them.
#[must_use]
pub fn table() -> Table {
    let names = Names::new();
    Table::new(
        "deciding alone",
        measure(501, candidates(&Clocks::ready(), &names)),
    )
}

/// A quota that nobody reaches here.
#[must_use]
pub const fn generous() -> Quota {
    Quota::per_second(1_000_000_000).burst(1_000_000)
}

/// Texts of 24 bytes.
#[derive(Debug)]
pub struct Names(Vec<String>);

impl Names {
    /// As many as there are keys.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "takes 3 MB")]
    pub fn new() -> Self {
        Self(
            (0..KEYS)
                .map(|number| format!("customer-{number:015}"))
                .collect(),
        )
    }

    fn at(&self, number: usize) -> &String {
        &self.0[number]
    }

    /// One after another: what is asked for is at hand, as the name in a request is. Threads begin in different places.
    fn next(&self) -> &String {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static AT: Cell<usize> =
            Cell::new(THREADS.fetch_add(1, Ordering::Relaxed) * KEYS / 3 % KEYS));
        let at = (AT.get() + 1) % KEYS;
        AT.set(at);
        self.at(at)
    }

    /// All of them, far from the order in which they are asked for.
    fn shuffled(&self) -> impl Iterator<Item = &String> {
        // A step that has no factor in common with the number of keys.
        (0..KEYS).map(|number| self.at(number * 61_803 % KEYS))
    }
}

#[cfg(feature = "peers")]
mod peers {
    //! The same by governor.

    use super::Names;
    use crate::Candidate;
    use governor::clock::{Clock, DefaultClock};
    use governor::middleware::StateInformationMiddleware;
    use governor::{Quota, RateLimiter};
    use std::num::NonZeroU32;

    pub(super) fn candidates(names: &Names) -> Vec<Candidate<'_>> {
        let generous = || {
            let units = |number| NonZeroU32::new(number).expect("not zero");
            Quota::per_second(units(1_000_000_000)).allow_burst(units(1_000_000))
        };
        let hourly = || Quota::per_hour(NonZeroU32::MIN);
        let one = RateLimiter::direct(generous());
        let closed = RateLimiter::direct(hourly());
        let _ = closed.check();
        let told = RateLimiter::direct(generous()).with_middleware::<StateInformationMiddleware>();
        let told_no = RateLimiter::direct(hourly());
        let _ = told_no.check();
        let clock = DefaultClock::default();
        let (keyed, single, shared, denied) = (
            RateLimiter::keyed(generous()),
            RateLimiter::keyed(generous()),
            RateLimiter::keyed(generous()),
            RateLimiter::keyed(hourly()),
        );
        let text = names.at(0);
        let _ = denied.check_key(text);
        for name in names.shuffled() {
            let _ = shared.check_key(name);
            let _ = keyed.check_key(name);
        }
        vec![
            Candidate::new("governor, one key", move || one.check().is_ok()),
            Candidate::new("governor, one key, denied", move || closed.check().is_ok()),
            Candidate::new("governor, one key, told", move || {
                told.check().map(|state| state.remaining_burst_capacity())
            }),
            Candidate::new("governor, one key, denied, told", move || {
                told_no
                    .check()
                    .map_err(|until| until.wait_time_from(clock.now()))
            }),
            Candidate::new("governor, 100 000 texts", move || {
                keyed.check_key(names.next()).is_ok()
            }),
            Candidate::new("governor, one text", move || single.check_key(text).is_ok()),
            Candidate::new("governor, one text, denied", move || {
                denied.check_key(text).is_ok()
            }),
            Candidate::on_two("governor, 100 000 texts, 2 threads", move || {
                shared.check_key(names.next()).is_ok()
            }),
        ]
    }
}
