//! Figures as a table: what it takes, what that is beside something else, and whether that meets the bar.

use std::fmt;

/// One figure.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What was measured.
    pub name: &'static str,
    /// Nanoseconds a call.
    pub ns: f64,
    /// What it is held against.
    pub against: Against,
    /// What that ratio should not exceed.
    pub bar: Option<f64>,
}

/// What a figure is held against: the row of that name.
#[derive(Clone, Copy, Debug)]
pub enum Against {
    /// Nothing: others are held against it.
    Nothing,
    /// The part that it takes more.
    Over(&'static str),
    /// How many times as much it takes.
    Times(&'static str),
}

/// Rows under a title, as Markdown.
#[derive(Debug)]
pub struct Table {
    title: &'static str,
    rows: Vec<Row>,
}

impl Table {
    /// These rows.
    #[must_use]
    pub const fn new(title: &'static str, rows: Vec<Row>) -> Self {
        Self { title, rows }
    }

    fn ratio(&self, row: &Row) -> Option<f64> {
        let base = |name| {
            let row = self.rows.iter().find(|row| row.name == name);
            row.unwrap_or_else(|| panic!("{name:?} was not measured"))
                .ns
        };
        match row.against {
            Against::Nothing => None,
            Against::Over(name) => Some(row.ns / base(name) - 1.0),
            Against::Times(name) => Some(row.ns / base(name)),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "### {}\n", self.title)?;
        writeln!(f, "| what | ns | ratio | bar | |\n|---|---:|---|---|---|")?;
        for row in &self.rows {
            write!(f, "| {} | {:.1} | ", row.name, row.ns)?;
            let ratio = self.ratio(row);
            match (row.against, ratio) {
                (Against::Over(name), Some(ratio)) => write!(f, "{name} + {ratio:.2} x"),
                (Against::Times(name), Some(ratio)) => write!(f, "{ratio:.2} x {name}"),
                _ => Ok(()),
            }?;
            match (ratio, row.bar) {
                (Some(ratio), Some(bar)) => {
                    let word = if ratio <= bar { "met" } else { "MISSED" };
                    writeln!(f, " | {bar} | {word} |")?;
                }
                _ => writeln!(f, " | | |")?,
            }
        }
        Ok(())
    }
}
