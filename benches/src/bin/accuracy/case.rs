//! What is measured: how many nodes, under which load, how far from their Redis.

use std::time::Duration;
use tidegate_test_support::Load;

pub(crate) const WINDOW: Duration = Duration::from_secs(10);

/// One line of the table.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) what: &'static str,
    pub(crate) bar: &'static str,
    pub(crate) nodes: usize,
    pub(crate) regions: usize,
    pub(crate) limit: u32,
    /// Tenths of the limit.
    pub(crate) load: u32,
    /// Milliseconds to origin and back.
    pub(crate) round_trip: u64,
    /// What is shown.
    pub(crate) show: Show,
}

#[derive(Clone, Copy)]
pub(crate) enum Show {
    Accuracy,
    Reads,
    Writes,
}

pub(crate) const fn case(nodes: usize, limit: u32, load: u32, round_trip: u64) -> Case {
    Case {
        what: "admitted / exact",
        bar: ".95 to 1.05",
        nodes,
        regions: 1,
        limit,
        load,
        round_trip,
        show: Show::Accuracy,
    }
}

/// Of layered limits.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for nodes in [1, 3, 5, 9] {
        for round_trip in [0, 20] {
            cases.push(case(nodes, 1_000, 20, round_trip));
        }
    }
    // Less than twice the limit.
    for (nodes, load) in [(3, 8), (3, 10), (5, 10), (5, 13), (9, 10), (9, 13)] {
        cases.push(case(nodes, 1_000, load, 20));
    }
    cases.extend(
        [(1_000, "<= 1.05"), (10_000, "<= 1.06")].map(|(limit, bar)| Case {
            bar,
            ..case(5, limit, 20, 300)
        }),
    );
    cases.push(Case {
        what: "reads / request",
        bar: "<= .05",
        show: Show::Reads,
        ..case(5, 1_000, 100, 0)
    });
    cases.push(Case {
        what: "writes / accept",
        bar: "<= .05",
        show: Show::Writes,
        ..case(5, 20_000, 20, 0)
    });
    // In the first two each region alone is below the limit.
    cases.extend([10, 16, 20, 100].map(|load| Case {
        what: "two regions, last windows",
        bar: "<= 1.05",
        regions: 2,
        ..case(3, 1_000, load, 0)
    }));
    cases
}

/// Of strict ones.
pub(crate) fn strict_cases() -> impl Iterator<Item = Case> {
    let case = |(nodes, load, round_trip)| Case {
        what: "strict, admitted / exact",
        bar: "1",
        ..case(nodes, 1_000, load, round_trip)
    };
    let cases = [
        (1, 20, 20),
        (5, 20, 0),
        (5, 20, 20),
        (5, 100, 0),
        (9, 20, 20),
        (9, 20, 300),
    ];
    cases.into_iter().map(case)
}

/// Of leased ones.
pub(crate) fn leased_cases() -> impl Iterator<Item = Case> {
    let case = |(limit, load, round_trip)| Case {
        what: "leased, admitted / exact",
        bar: "<= 1",
        ..case(5, limit, load, round_trip)
    };
    let cases = [
        (1_000, 20, 0),
        (1_000, 20, 20),
        (10_000, 20, 20),
        (10_000, 10, 20),
        (10_000, 20, 300),
    ];
    cases.into_iter().map(case)
}

impl Case {
    /// The line of the table, with a value and what else there is to say.
    pub(crate) fn line(&self, value: f64, note: &str) -> String {
        let nodes = format!("{} x {}", self.regions, self.nodes);
        let load = f64::from(self.load) / 10.0;
        format!(
            "{:28} {nodes:>6} {:>7} {load:>5}x {:>5} ms   {value:>6.3}   {}{note}",
            self.what, self.limit, self.round_trip, self.bar
        )
    }

    /// What no other case of its kind is called: those of one name count together.
    pub(crate) fn name(&self) -> String {
        format!(
            "{}-{}-{}-{}",
            self.nodes, self.limit, self.load, self.round_trip
        )
    }

    /// The load, for so many windows.
    pub(crate) const fn load(&self, windows: u32, skip: u32) -> Load {
        Load {
            limit: self.limit,
            window: WINDOW,
            requests: self.limit / 10 * self.load,
            windows,
            skip,
            nodes: self.nodes * self.regions,
        }
    }
}
