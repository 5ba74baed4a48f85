//! What else the machine does: a figure measured on a busy one says little about what was measured.

use std::fs;

/// The load average of the last minute, where the system tells it.
#[must_use]
pub fn load_average() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}

/// Processor time so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Processor {
    busy: u64,
    all: u64,
}

impl Processor {
    /// Since the machine was started, where the system tells it.
    #[must_use]
    pub fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/stat").ok()?;
        let times: Vec<u64> = text
            .lines()
            .next()?
            .split_whitespace()
            .skip(1)
            .filter_map(|time| time.parse().ok())
            .collect();
        // user, nice, system, idle, waiting for a disk; what guests use is in the first.
        let all: u64 = times.iter().take(8).sum();
        let idle = times.get(3)? + times.get(4)?;
        Some(Self {
            busy: all - idle,
            all,
        })
    }

    /// As [`Self::read`], of `processes` alone.
    #[must_use]
    pub fn of(processes: &[u32]) -> Option<Self> {
        let mut busy = 0;
        for process in processes {
            let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
            // Behind the name, which may have spaces in it: user and system are the twelfth and thirteenth word.
            let (_, words) = text.rsplit_once(") ")?;
            let times = words.split(' ').skip(11).take(2);
            busy += times.filter_map(|it| it.parse::<u64>().ok()).sum::<u64>();
        }
        let all = Self::read()?.all;
        Some(Self { busy, all })
    }

    /// The part of it that was used since `earlier`, in percent.
    #[must_use]
    pub fn used_since(&self, earlier: &Self) -> f64 {
        let (busy, all) = (self.busy - earlier.busy, self.all - earlier.all);
        100.0 * busy as f64 / (all as f64).max(1.0)
    }
}
