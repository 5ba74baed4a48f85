//! What went wrong between a node and its store.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// A store did not do what was asked, or the answer was lost. What was asked may have happened.
#[derive(Clone, Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    detail: Box<str>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// What kind of trouble.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// No connection, or it broke.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// The store refuses the user or password.
    Denied,
    /// The store takes no writes: a replica, or out of memory or disk.
    ReadOnly,
    /// The server is too old.
    Unsupported,
    /// The answer has another shape than it should.
    Protocol,
    /// Anything else the store says no to.
    Rejected,
}

impl StoreError {
    pub(crate) fn new(kind: StoreErrorKind, detail: impl Into<Box<str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            source: None,
        }
    }

    #[cfg(feature = "redis")]
    pub(crate) fn with_source(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// What kind of trouble.
    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Whether waiting cannot help: somebody must change the configuration.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        match self.kind {
            StoreErrorKind::Denied | StoreErrorKind::Unsupported | StoreErrorKind::Protocol => true,
            StoreErrorKind::Unreachable
            | StoreErrorKind::Timeout
            | StoreErrorKind::ReadOnly
            | StoreErrorKind::Rejected => false,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn Error + 'static))
    }
}
