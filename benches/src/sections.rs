//! The tables that have candidates, by the names under which they are asked for.

use crate::slices::Candidate;
use crate::table::Table;
use crate::{Clocks, actix_app, axum_router, deciding, permit, tower_service, warm};

/// One of the tables.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Measures it.
    pub table: fn() -> Table,
    with: fn(&Clocks, &mut Act<'_>),
}

/// What is done with candidates.
type Act<'a> = dyn FnMut(Vec<Candidate<'_>>) + 'a;

/// All of them.
pub const SECTIONS: [Section; 6] = [
    Section {
        name: "permit",
        table: permit::table,
        with: |clocks, act| act(permit::candidates(clocks)),
    },
    Section {
        name: "deciding",
        table: deciding::table,
        with: |clocks, act| act(deciding::candidates(clocks, &deciding::Names::new())),
    },
    Section {
        name: "warm",
        table: warm::table,
        with: |clocks, act| {
            let bed = warm::Bed::start();
            act(bed
                .iter()
                .flat_map(|bed| warm::candidates(clocks, bed))
                .collect());
        },
    },
    Section {
        name: "tower",
        table: tower_service::table,
        with: |clocks, act| act(tower_service::candidates(clocks)),
    },
    Section {
        name: "axum",
        table: axum_router::table,
        with: |clocks, act| act(axum_router::candidates(clocks)),
    },
    Section {
        name: "actix",
        table: actix_app::table,
        with: |clocks, act| act(actix_app::candidates(clocks)),
    },
];

impl Section {
    /// The one that is called so.
    #[must_use]
    pub fn called(name: &str) -> Option<&'static Self> {
        SECTIONS.iter().find(|section| section.name == name)
    }

    /// Shows its candidates, on clocks that stand still: for a profiler.
    pub fn with_candidates(&self, mut act: impl FnMut(Vec<Candidate<'_>>)) {
        (self.with)(&Clocks::standing(), &mut act);
    }
}
