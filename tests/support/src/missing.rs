//! What is needed and not installed: what needs it is skipped, and says so, or fails where that is forbidden.

use std::io::{Write, stderr};
use std::{env, fmt, thread};

/// Something that is not installed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub struct Missing {
    what: &'static str,
    remedy: &'static str,
    is_required: bool,
}

impl Missing {
    pub(crate) fn redis() -> Self {
        let remedy = "./scripts/test installs it";
        Self::new("redis-server", remedy, nothing_may_be_skipped())
    }

    /// It steps the clocks of servers on Linux alone.
    pub(crate) fn faketime() -> Self {
        let is_required = cfg!(target_os = "linux") && nothing_may_be_skipped();
        Self::new("libfaketime", "apt-get install libfaketime", is_required)
    }

    const fn new(what: &'static str, remedy: &'static str, is_required: bool) -> Self {
        Self {
            what,
            remedy,
            is_required,
        }
    }

    /// Whether `TIDEGATE_REQUIRE_SERVERS=1` forbids to go on without it.
    #[must_use]
    pub const fn is_required(self) -> bool {
        self.is_required
    }

    /// Says on stderr that the test of this thread is skipped.
    ///
    /// # Panics
    /// If it is required.
    pub fn skip(self) {
        assert!(!self.is_required, "{self}");
        let current = thread::current();
        let test = current.name().unwrap_or("a test");
        // To the stream itself: what a passing test prints through macros is swallowed.
        let _ = writeln!(stderr(), "SKIPPED, {self}: {test}");
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, remedy) = (self.what, self.remedy);
        write!(f, "{what} is not installed ({remedy})")?;
        if self.is_required {
            f.write_str(", and TIDEGATE_REQUIRE_SERVERS=1 forbids to go on without it")?;
        }
        Ok(())
    }
}

fn nothing_may_be_skipped() -> bool {
    env::var_os("TIDEGATE_REQUIRE_SERVERS").is_some_and(|set| set == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_skipped_is() {
        let missing = Missing::new("a thing", "find it", false);
        assert_eq!(missing.to_string(), "a thing is not installed (find it)");
        missing.skip();
    }

    #[test]
    #[should_panic = "a thing is not installed (find it), and TIDEGATE_REQUIRE_SERVERS=1 forbids"]
    fn what_is_required_fails() {
        Missing::new("a thing", "find it", true).skip();
    }
}
