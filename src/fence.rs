//! The fence as work in progress sees it: a token cancelled when this process's lease on its slots ran out.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Cancelled when the process lost its lease while the work it guards was going on.
///
/// Cheap to clone. One token serves every request of a lease period.
#[derive(Clone)]
pub struct FenceToken(CancellationToken);

impl FenceToken {
    /// Whether the lease ran out.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Completes when the lease runs out; never for a guard without a fleet.
    pub fn cancelled(&self) -> Cancelled {
        Cancelled(self.0.clone().cancelled_owned())
    }

    /// The token of work that no lease guards.
    pub(crate) fn never() -> Self {
        Self(CancellationToken::new())
    }

    pub(crate) fn cancelled_already() -> Self {
        let token = CancellationToken::new();
        token.cancel();
        Self(token)
    }
}

impl fmt::Debug for FenceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FenceToken")
            .field("cancelled", &self.is_cancelled())
            .finish()
    }
}

/// Completes when the lease ran out. Made by [`FenceToken::cancelled`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
#[pin_project::pin_project]
pub struct Cancelled(#[pin] WaitForCancellationFutureOwned);

impl Future for Cancelled {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().0.poll(cx)
    }
}

/// The token of the present lease period, renewed when a period ends.
#[derive(Debug, Default)]
pub(crate) struct Fence(Mutex<CancellationToken>);

impl Fence {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn token(&self) -> FenceToken {
        FenceToken(
            self.0
                .lock()
                .expect("nothing panics under this lock")
                .clone(),
        )
    }

    /// Cancels the present token and puts a new one in its place.
    pub(crate) fn cancel(&self) {
        let ended = std::mem::take(&mut *self.0.lock().expect("nothing panics under this lock"));
        ended.cancel();
    }
}
