//! What is shared between processes: the name of one limit's cells.

use crate::key::Key;
use std::sync::Arc;
use std::time::Duration;

/// The cells of one namespace and window. The limit is no part of it: processes with different limits, as in the
/// middle of a deployment, count together.
#[derive(Clone, Debug)]
pub(crate) struct Space {
    /// 32 hexadecimal digits, whatever the namespace.
    pub(crate) name: Arc<str>,
    window: Duration,
}

impl Space {
    pub(crate) fn new(namespace: &str, window: Duration) -> Self {
        let nanos = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        let name = Key::of(&(namespace, nanos)).to_u128();
        Self {
            name: format!("{name:032x}").into(),
            window,
        }
    }

    /// How long a cell is kept after it was last told of: while it is the current or the previous one, and a minute.
    pub(crate) fn keep_ms(&self) -> u64 {
        let keep = self.window.saturating_mul(2) + Duration::from_secs(60);
        u64::try_from(keep.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_and_windows_do_not_share_cells() {
        let minute = Duration::from_secs(60);
        let names = [
            Space::new("a", minute),
            Space::new("a", minute / 2),
            Space::new("b", minute),
            Space::new("", minute),
            Space::new("}{", minute),
        ]
        .map(|space| space.name);
        for (at, name) in names.iter().enumerate() {
            assert_eq!(name.len(), 32);
            assert!(!names[..at].contains(name));
        }
    }
}
