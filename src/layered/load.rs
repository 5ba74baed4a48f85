//! What the task takes from the tiers of some keys in one go: little enough for a caller who waits for their lock.

use crate::layered::exchange::{FlushLine, PublishLine, ReadLine};
use crate::layered::tier::Tier;
use crate::layered::tiers::Tiers;
use crate::time::LocalTime;

/// The most steps under one lock; each looks at one slot.
pub(crate) const MOST_STEPS: usize = 64;

/// Lines to be sent. Allocated before a lock is taken.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) reads: Vec<ReadLine>,
    pub(crate) flushes: Vec<FlushLine>,
}

/// Whether there may be more for the task to take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Progress {
    Done,
    More,
}

impl Load {
    pub(crate) fn new() -> Self {
        Self {
            reads: Vec::with_capacity(MOST_STEPS),
            // A slot may have something to tell of two windows.
            flushes: Vec::with_capacity(2 * MOST_STEPS),
        }
    }
}

impl Tiers {
    /// Takes what is to be read, and what is to be told by `until`.
    pub(crate) fn poll_load(&mut self, load: &mut Load, until: LocalTime) -> Progress {
        self.in_steps(|tier| {
            if let Some(line) = tier.poll_read() {
                load.reads.push(line);
            } else if let Some(lines) = tier.poll_flush(until) {
                load.flushes.extend(lines.into_iter().flatten());
            } else {
                return Progress::Done;
            }
            Progress::More
        })
    }

    /// Refuses what is to be read; nobody is to be asked.
    pub(crate) fn refuse_reads(&mut self, now: LocalTime) -> Progress {
        self.in_steps(|tier| match tier.poll_read() {
            Some(line) => {
                tier.handle_read_failure(&line, now);
                Progress::More
            }
            None => Progress::Done,
        })
    }

    /// Takes what other regions should hear of, until there are `most` lines or one more.
    pub(crate) fn poll_publications(
        &mut self,
        lines: &mut Vec<PublishLine>,
        most: usize,
    ) -> Progress {
        self.in_steps(|tier| {
            if lines.len() < most
                && let Some(more) = tier.poll_publish()
            {
                lines.extend(more.into_iter().flatten());
                Progress::More
            } else {
                Progress::Done
            }
        })
    }

    fn in_steps(&mut self, mut step: impl FnMut(&mut Tier) -> Progress) -> Progress {
        let mut steps = 0;
        for tier in self.iter_mut() {
            while step(tier) == Progress::More {
                steps += 1;
                if steps == MOST_STEPS {
                    return Progress::More;
                }
            }
        }
        Progress::Done
    }
}
