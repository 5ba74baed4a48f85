//! Which stripe a thread writes to, so that threads do not share a cache line.

#[cfg(not(tidegate_loom))]
pub(super) use self::threads::{count, of_this_thread};

#[cfg(not(tidegate_loom))]
mod threads {
    use std::cell::Cell;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A power of two, at least the number of processors, at most 32.
    pub(in crate::permit) fn count() -> usize {
        static COUNT: OnceLock<usize> = OnceLock::new();
        *COUNT.get_or_init(|| {
            let processors = std::thread::available_parallelism().map_or(4, usize::from);
            processors.next_power_of_two().min(32)
        })
    }

    /// Any number; threads that start one after the other have different ones.
    #[inline]
    pub(in crate::permit) fn of_this_thread() -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static MINE: Cell<usize> = const { Cell::new(usize::MAX) });
        MINE.with(|mine| match mine.get() {
            usize::MAX => {
                let index = NEXT.fetch_add(1, Ordering::Relaxed) & 0xffff;
                mine.set(index);
                index
            }
            index => index,
        })
    }
}

/// One stripe: loom explores the interleavings on it.
#[cfg(tidegate_loom)]
pub(super) fn count() -> usize {
    1
}

#[cfg(tidegate_loom)]
pub(super) fn of_this_thread() -> usize {
    0
}
