//! When to believe what a file says.

/// What was read of a file, and what is believed of it: only what was read twice in a row. An editor that empties a
/// file before it writes it, or takes it away before it puts another one there, does both between two looks.
pub(crate) struct Watch {
    /// What is believed.
    known: Result<String, String>,
    last: Result<String, String>,
}

/// What is new of a file.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum News {
    None,
    /// It says something else.
    Text(String),
    /// It cannot be read any more.
    Gone(String),
}

impl Watch {
    pub(crate) fn new(known: String) -> Self {
        Self {
            last: Ok(known.clone()),
            known: Ok(known),
        }
    }

    /// What a look at the file has brought. Compared as a whole: a time of change is too coarse for two changes in a row.
    pub(crate) fn handle(&mut self, read: Result<String, String>) -> News {
        let settled = read == self.last;
        self.last = read;
        if !settled || self.last == self.known {
            return News::None;
        }
        self.known = self.last.clone();
        match self.known.clone() {
            Ok(text) => News::Text(text),
            Err(error) => News::Gone(error),
        }
    }
}
