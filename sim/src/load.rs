//! The load: when the next request comes, and at which node.

use crate::engine::{MS, Nanos, nanos, seconds};
use crate::profile::Profile;
use crate::random::{Stream, exponential, stream};
use fastrand::Rng;

/// The rate is read again at least so often; exact for steps, fine enough for waves.
const READING: Nanos = 20 * MS;

/// How the load is spread over the nodes that are up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Spread {
    Equal,
    /// `part` of the load on the first `of` of the nodes, at least one.
    Skew {
        part: f64,
        of: f64,
    },
    /// Node k in proportion to 1 / k^s.
    Zipf(f64),
    /// `part` of the load on one node, another one every so often.
    Hot {
        part: f64,
        every: Nanos,
    },
}

impl Spread {
    /// Each node's part of the load, which add up to 1.
    pub(crate) fn parts(self, nodes: usize, now: Nanos) -> Vec<f64> {
        let mut parts: Vec<f64> = match self {
            Self::Equal => vec![1.0; nodes],
            Self::Skew { part, of } => {
                let few = ((nodes as f64 * of).round() as usize).max(1).min(nodes);
                let rest = (nodes - few).max(1) as f64;
                let part_of = |node| {
                    if node < few {
                        part / few as f64
                    } else {
                        (1.0 - part) / rest
                    }
                };
                (0..nodes).map(part_of).collect()
            }
            Self::Zipf(s) => (1..=nodes).map(|k| (k as f64).powf(-s)).collect(),
            Self::Hot { part, every } => {
                let hot = (now / every) as usize % nodes.max(1);
                let rest = (1.0 - part) / (nodes - 1).max(1) as f64;
                (0..nodes)
                    .map(|node| if node == hot { part } else { rest })
                    .collect()
            }
        };
        let sum: f64 = parts.iter().sum();
        if sum > 0.0 {
            parts.iter_mut().for_each(|part| *part /= sum);
            parts
        } else {
            // Those who would have it all are not there.
            vec![1.0 / nodes as f64; nodes]
        }
    }

    /// When the parts change by themselves.
    pub(crate) const fn next_change(self, now: Nanos) -> Option<Nanos> {
        match self {
            Self::Hot { every, .. } => Some((now / every + 1) * every),
            Self::Equal | Self::Skew { .. } | Self::Zipf(_) => None,
        }
    }
}

/// Bursts: the rate is multiplied by `factor` for exponential times of mean `on`, between exponential times of `off`
/// (a Markov-modulated Poisson process of two states).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bursts {
    pub(crate) on: Nanos,
    pub(crate) off: Nanos,
    pub(crate) factor: f64,
}

/// A daily ramp in small: the rate moves as a sine by this part of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Wave {
    pub(crate) period: Nanos,
    pub(crate) depth: f64,
}

impl Wave {
    /// What the rate is multiplied by.
    pub(crate) fn factor(self, now: Nanos) -> f64 {
        let phase = seconds(now) / seconds(self.period) * std::f64::consts::TAU;
        1.0 + self.depth * phase.sin()
    }
}

/// When requests come: a Poisson process whose rate changes.
#[derive(Debug)]
pub(crate) struct Arrivals {
    level: Profile,
    /// Requests a second at level 1.
    unit: f64,
    wave: Option<Wave>,
    bursts: Option<Bursts>,
    bursting: bool,
    turns_at: Nanos,
    rng: Rng,
    burst_rng: Rng,
}

impl Arrivals {
    pub(crate) fn new(
        level: Profile,
        unit: f64,
        wave: Option<Wave>,
        bursts: Option<Bursts>,
        seed: u64,
    ) -> Self {
        let mut arrivals = Self {
            level,
            unit,
            wave,
            bursts,
            // The first turn is into the quiet state.
            bursting: true,
            turns_at: 0,
            rng: stream(seed, Stream::Arrivals),
            burst_rng: stream(seed, Stream::Bursts),
        };
        arrivals.turn(0);
        arrivals
    }

    /// When the next request comes after `now`; `None` if none comes before `end`.
    pub(crate) fn after(&mut self, mut now: Nanos, end: Nanos) -> Option<Nanos> {
        while now < end {
            self.turn(now);
            let rate = self.rate(now);
            // Without memory: what did not come until the next reading is drawn anew.
            let reading = ((now / READING + 1) * READING).min(self.turns_at);
            let gap = if rate > 0.0 {
                nanos(exponential(&mut self.rng) / rate)
            } else {
                Nanos::MAX
            };
            if gap < reading - now {
                return Some(now + gap);
            }
            now = reading;
        }
        None
    }

    fn rate(&self, now: Nanos) -> f64 {
        let mut rate = self.unit * self.level.at(now);
        if let Some(wave) = self.wave {
            rate *= wave.factor(now);
        }
        match self.bursts {
            Some(bursts) if self.bursting => rate * bursts.factor,
            _ => rate,
        }
    }

    fn turn(&mut self, now: Nanos) {
        let Some(bursts) = self.bursts else {
            self.turns_at = Nanos::MAX;
            return;
        };
        while self.turns_at <= now {
            self.bursting = !self.bursting;
            let mean = if self.bursting { bursts.on } else { bursts.off };
            let length = exponential(&mut self.burst_rng) * mean as f64;
            self.turns_at += (length as Nanos).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SECOND;

    fn count(mut arrivals: Arrivals, from: Nanos, end: Nanos) -> usize {
        let mut at = from;
        let mut count = 0;
        while let Some(next) = arrivals.after(at, end) {
            (at, count) = (next, count + 1);
        }
        count
    }

    #[test]
    fn the_rate_is_the_level_times_the_unit() {
        let level = Profile::new(&[(0.0, 2.0, 0.0), (50.0, 0.0, 0.0)], 100 * SECOND).unwrap();
        let arrivals = Arrivals::new(level, 1000.0, None, None, 3);
        let count = count(arrivals, 0, 100 * SECOND);
        assert!((99_000..101_000).contains(&count), "{count}");
    }

    #[test]
    fn bursts_multiply_the_rate_for_their_part_of_the_time() {
        let bursts = Bursts {
            on: SECOND,
            off: 3 * SECOND,
            factor: 5.0,
        };
        let arrivals = Arrivals::new(Profile::constant(1.0), 100.0, None, Some(bursts), 3);
        // 100 * (3 + 5) / 4 a second.
        let count = count(arrivals, 0, 4000 * SECOND);
        assert!((760_000..840_000).contains(&count), "{count}");
    }

    #[test]
    fn parts_are_what_the_spread_says() {
        let close = |parts: Vec<f64>, wanted: &[f64]| {
            let same = parts.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-9);
            assert!(
                same && parts.len() == wanted.len(),
                "{parts:?} is not {wanted:?}"
            );
        };
        close(Spread::Equal.parts(4, 0), &[0.25; 4]);
        close(Spread::Skew { part: 0.9, of: 0.1 }.parts(1, 0), &[1.0]);
        close(Spread::Skew { part: 0.9, of: 0.1 }.parts(0, 0), &[]);
        close(Spread::Skew { part: 0.0, of: 1.0 }.parts(2, 0), &[0.5; 2]);
        close(
            Spread::Skew { part: 0.9, of: 0.5 }.parts(4, 0),
            &[0.45, 0.45, 0.05, 0.05],
        );
        close(
            Spread::Zipf(1.0).parts(3, 0),
            &[6.0 / 11.0, 3.0 / 11.0, 2.0 / 11.0],
        );
        let hot = Spread::Hot {
            part: 0.8,
            every: SECOND,
        };
        close(hot.parts(3, 4 * SECOND), &[0.1, 0.8, 0.1]);
        assert_eq!(hot.next_change(SECOND), Some(2 * SECOND));
    }
}
