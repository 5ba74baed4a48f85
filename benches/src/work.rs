//! What a thread has worked, and how long it waited for a processor: told apart, since a busy machine lengthens all that is
//! timed by the clock.

use std::time::Duration;

/// What this thread has worked, the kernel's work for it included, such as that of a page that is touched first.
#[must_use]
pub fn own_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}

/// How long this thread was ready to work while others did, as Linux counts it; nothing elsewhere.
#[must_use]
pub fn waited_for_a_processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = stat.split(' ').nth(1).and_then(|text| text.parse().ok());
    Duration::from_nanos(waited.unwrap_or_default())
}
