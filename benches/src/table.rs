//! Figures as a table: what it takes, what that is beside something else, and whether that meets the bar.

use std::fmt;

/// One figure.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What was measured.
    pub name: &'static str,
    /// What a call costs, in the table's unit.
    pub cost: f64,
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
    unit: &'static str,
    digits: usize,
    rows: Vec<Row>,
}

impl Table {
    /// These rows, in nanoseconds.
    #[must_use]
    pub const fn new(title: &'static str, rows: Vec<Row>) -> Self {
        Self {
            title,
            unit: "ns",
            digits: 1,
            rows,
        }
    }

    /// These rows, in instructions.
    #[must_use]
    pub const fn of_instructions(title: &'static str, rows: Vec<Row>) -> Self {
        Self {
            title,
            unit: "instructions",
            digits: 0,
            rows,
        }
    }

    fn ratio(&self, row: &Row) -> Option<f64> {
        let base = |name| {
            let row = self.rows.iter().find(|row| row.name == name);
            row.unwrap_or_else(|| panic!("{name:?} was not measured"))
                .cost
        };
        match row.against {
            Against::Nothing => None,
            Against::Over(name) => Some(row.cost / base(name) - 1.0),
            Against::Times(name) => Some(row.cost / base(name)),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "### {}\n", self.title)?;
        let (unit, digits) = (self.unit, self.digits);
        writeln!(
            f,
            "| what | {unit} | ratio | bar | |\n|---|---:|---|---|---|"
        )?;
        for row in &self.rows {
            write!(f, "| {} | {:.digits$} | ", row.name, row.cost)?;
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
