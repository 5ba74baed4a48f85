//! What the estimator remembers from plan to plan: it travels with the snapshot and comes back with the commit.

use crate::fleet::message::Pulse;
use crate::time::StoreTime;
use std::fmt;
#[cfg(any(test, feature = "redis"))]
use std::str::Split;

/// Everything that the next planner, which may be another node, must know. Integers only.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Memory {
    pub(super) control: Control,
    /// Reports count from here on: what began before tells of another limit.
    pub(super) window: StoreTime,
    /// When a node last told of an answer: of a sample or a drop.
    pub(super) answered: StoreTime,
    /// What the last window said.
    pub(super) pulse: Pulse,
    /// By incarnation, ascending.
    pub(super) nodes: Vec<NodeMemory>,
}

/// What the controller is doing, and what it knows of the backend.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Control {
    pub(super) stage: Stage,
    /// Mean latency without a queue; 0 while unknown.
    pub(super) baseline_us: u64,
    /// How many samples it is the mean of.
    pub(super) weight: u64,
    /// When it was last looked for.
    pub(super) dipped: StoreTime,
    /// It has been seen that latency does not fall below it.
    pub(super) verified: bool,
    /// The latency that ended the last climb, until a baseline tells whether that was a queue; else 0.
    pub(super) topped_us: u64,
    /// No queue was met since the limit was set by chance.
    pub(super) climbs: bool,
    /// Windows in a row with a queue that is too long.
    pub(super) hot: u64,
    /// Windows in a row in which the limit grew.
    pub(super) growing: u64,
    /// The window before the limit grew last.
    pub(super) grown: Point,
    /// Drops among a million answers that come whatever is in flight.
    pub(super) tolerated_ppm: u64,
    /// The variance of a latency, in thousandths of its mean squared; 0 while unknown.
    pub(super) variance_milli: u64,
    /// How many latencies it takes until other requests are in flight, in thousandths: one where latencies are alike, more
    /// where a few requests take most of the time; 0 while unknown.
    pub(super) renewal_milli: u64,
    /// How long a slot is kept where that is longer than its sample; else 0.
    pub(super) hold_us: u64,
    /// In the last windows, the older ones weighing less: for how long slots were kept after their samples, and the latency
    /// of these.
    pub(super) lingered_us: u64,
    pub(super) sampled_us: u64,
    /// The last window; no samples if it was under another limit.
    pub(super) last_latency_us: u64,
    pub(super) last_samples: u64,
}

/// An experiment under way, with what was before it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(super) enum Stage {
    #[default]
    Track,
    /// A cut of `limit` for the latency's sake, to be judged by what it does to the latency.
    Cut { limit: u32, before: Point },
    /// A cut of `limit` for the sake of drops, to be judged by what it does to them.
    Refused { limit: u32, before: Point },
    /// A look at the baseline: how often the limit was lowered for it, and where to go on afterwards.
    Dip {
        before: Point,
        depth: u64,
        resume: u32,
    },
}

/// A window to compare with.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Point {
    /// In flight, in thousandths.
    pub(super) milli: u64,
    pub(super) latency_us: u64,
    pub(super) samples: u64,
    /// Drops among a million answers.
    pub(super) drops_ppm: u64,
}

/// One node: the counters of its last report, and what it added to the window.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct NodeMemory {
    pub(super) incarnation: u64,
    /// When its last report came, and the share it had then.
    pub(super) heard: StoreTime,
    pub(super) share: u32,
    pub(super) last: Counters,
    pub(super) window: Counters,
    /// What was in flight on average in its last report, in thousandths.
    pub(super) milli: u64,
    /// What was in flight when it sent that report, and in the window, in slot-microseconds, as if that had moved evenly
    /// from one report to the next.
    pub(super) in_flight: u32,
    pub(super) occupied_us: u64,
    /// Slot-time that it may have used and has not told of, in slot-microseconds.
    pub(super) unbooked_us: u64,
    /// How much longer its requests usually take than the fleet's, in microseconds.
    pub(super) offset_us: i64,
}

/// Of a report, what the estimator counts.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Counters {
    pub(super) clock_us: u64,
    pub(super) completions: u64,
    pub(super) latency_us: u64,
    /// Of the squares, the last 64 bits.
    pub(super) latency_us2: u64,
    pub(super) held_us: u64,
    pub(super) lingered_us: u64,
    pub(super) sheds: u64,
    pub(super) drops: u64,
}

impl Memory {
    pub(crate) const fn pulse(&self) -> Pulse {
        self.pulse
    }
}

/// One line: the stage, numbers of the controller, then twenty-four for each node, apart by blanks.
impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let control = &self.control;
        let (name, limit, depth, before) = match control.stage {
            Stage::Track => ("track", 0, 0, Point::default()),
            Stage::Cut { limit, before } => ("cut", limit, 0, before),
            Stage::Refused { limit, before } => ("refused", limit, 0, before),
            Stage::Dip {
                before,
                depth,
                resume,
            } => ("dip", resume, depth, before),
        };
        write!(f, "{name} {limit} {depth}")?;
        let numbers = [
            before.milli,
            before.latency_us,
            before.samples,
            before.drops_ppm,
            control.baseline_us,
            control.weight,
            control.dipped.as_micros(),
            u64::from(control.verified),
            control.topped_us,
            u64::from(control.climbs),
            control.hot,
            control.growing,
            control.grown.milli,
            control.grown.latency_us,
            control.grown.samples,
            control.grown.drops_ppm,
            control.tolerated_ppm,
            control.variance_milli,
            control.renewal_milli,
            control.hold_us,
            control.lingered_us,
            control.sampled_us,
            control.last_latency_us,
            control.last_samples,
            self.window.as_micros(),
            self.answered.as_micros(),
        ];
        for number in numbers.into_iter().chain(self.pulse.numbers()) {
            write!(f, " {number}")?;
        }
        for node in &self.nodes {
            let (incarnation, heard, share) =
                (node.incarnation, node.heard.as_micros(), node.share);
            write!(
                f,
                " {incarnation} {heard} {share} {} {} {} {} {}",
                node.milli, node.in_flight, node.occupied_us, node.unbooked_us, node.offset_us
            )?;
            for it in [node.last, node.window] {
                let (clock, completions, latency) = (it.clock_us, it.completions, it.latency_us);
                let (squares, held, lingered) = (it.latency_us2, it.held_us, it.lingered_us);
                let (sheds, drops) = (it.sheds, it.drops);
                write!(
                    f,
                    " {clock} {completions} {latency} {squares} {held} {lingered} {sheds} {drops}"
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(any(test, feature = "redis"))]
impl Memory {
    /// Reads the line back; `None` if another version has written it.
    pub(crate) fn read(line: &str) -> Option<Self> {
        let mut words = Words(line.split(' '));
        let name = words.0.next()?;
        let (limit, depth) = (u32::try_from(words.number()?).ok()?, words.number()?);
        let before = words.point()?;
        let stage = match name {
            "track" => Stage::Track,
            "cut" => Stage::Cut { limit, before },
            "refused" => Stage::Refused { limit, before },
            "dip" => Stage::Dip {
                before,
                depth,
                resume: limit,
            },
            _ => return None,
        };
        let control = Control {
            stage,
            baseline_us: words.number()?,
            weight: words.number()?,
            dipped: words.time()?,
            verified: words.number()? == 1,
            topped_us: words.number()?,
            climbs: words.number()? == 1,
            hot: words.number()?,
            growing: words.number()?,
            grown: words.point()?,
            tolerated_ppm: words.number()?,
            variance_milli: words.number()?,
            renewal_milli: words.number()?,
            hold_us: words.number()?,
            lingered_us: words.number()?,
            sampled_us: words.number()?,
            last_latency_us: words.number()?,
            last_samples: words.number()?,
        };
        let (window, answered) = (words.time()?, words.time()?);
        let mut pulse = Pulse::default().numbers();
        for number in &mut pulse {
            *number = words.number()?;
        }
        let mut nodes = Vec::new();
        while let Some(incarnation) = words.0.next() {
            nodes.push(NodeMemory {
                incarnation: incarnation.parse().ok()?,
                heard: words.time()?,
                share: u32::try_from(words.number()?).ok()?,
                milli: words.number()?,
                in_flight: u32::try_from(words.number()?).ok()?,
                occupied_us: words.number()?,
                unbooked_us: words.number()?,
                offset_us: words.0.next()?.parse().ok()?,
                last: words.counters()?,
                window: words.counters()?,
            });
        }
        Some(Self {
            control,
            window,
            answered,
            pulse: Pulse::of(pulse),
            nodes,
        })
    }
}

#[cfg(any(test, feature = "redis"))]
struct Words<'a>(Split<'a, char>);

#[cfg(any(test, feature = "redis"))]
impl Words<'_> {
    fn number(&mut self) -> Option<u64> {
        self.0.next()?.parse().ok()
    }

    fn time(&mut self) -> Option<StoreTime> {
        self.number().map(StoreTime::from_micros)
    }

    fn point(&mut self) -> Option<Point> {
        Some(Point {
            milli: self.number()?,
            latency_us: self.number()?,
            samples: self.number()?,
            drops_ppm: self.number()?,
        })
    }

    fn counters(&mut self) -> Option<Counters> {
        Some(Counters {
            clock_us: self.number()?,
            completions: self.number()?,
            latency_us: self.number()?,
            latency_us2: self.number()?,
            held_us: self.number()?,
            lingered_us: self.number()?,
            sheds: self.number()?,
            drops: self.number()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_read_back() {
        let counters = Counters {
            clock_us: 1,
            completions: 2,
            latency_us: 3,
            latency_us2: u64::MAX - 1,
            held_us: 4,
            lingered_us: 38,
            sheds: 5,
            drops: u64::MAX,
        };
        let node = NodeMemory {
            incarnation: u64::MAX,
            heard: StoreTime::from_micros(7),
            share: 6,
            last: counters,
            window: counters,
            milli: 8,
            in_flight: 32,
            occupied_us: 33,
            unbooked_us: 26,
            offset_us: -9,
        };
        let before = Point {
            milli: 1,
            latency_us: 2,
            samples: 3,
            drops_ppm: 4,
        };
        for stage in [
            Stage::Track,
            Stage::Cut { limit: 5, before },
            Stage::Refused { limit: 6, before },
            Stage::Dip {
                before,
                depth: 7,
                resume: 8,
            },
        ] {
            for nodes in [vec![], vec![node], vec![node, node]] {
                let memory = Memory {
                    control: Control {
                        stage,
                        baseline_us: 10,
                        weight: 11,
                        dipped: StoreTime::from_micros(12),
                        verified: true,
                        topped_us: 20,
                        climbs: false,
                        hot: 13,
                        growing: 14,
                        grown: Point {
                            milli: 28,
                            latency_us: 29,
                            samples: 30,
                            drops_ppm: 31,
                        },
                        tolerated_ppm: 16,
                        variance_milli: 17,
                        renewal_milli: 27,
                        hold_us: 34,
                        lingered_us: 36,
                        sampled_us: 37,
                        last_latency_us: 18,
                        last_samples: 19,
                    },
                    window: StoreTime::from_micros(15),
                    answered: StoreTime::from_micros(35),
                    pulse: Pulse::of([21, 22, 23, 24, 25]),
                    nodes,
                };
                assert_eq!(Memory::read(&memory.to_string()), Some(memory));
            }
        }
        assert_eq!(Memory::read(""), None);
        assert_eq!(Memory::read("climb 1 2"), None);
    }
}
