//! A denial as a handler's answer.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use tidegate::reject::{Denial, Form};
use tidegate::tower::denial_response;
use tidegate::{Decision, Shed};

/// Answers a request with a [`Denial`]: for handlers that ask a guard or limiter of their own.
///
/// # Examples
/// ```
/// use tidegate_axum::Denied;
/// use tidegate_axum::tidegate::adaptive::LocalGuard;
/// use tidegate_axum::tidegate::{ConcurrencyGuard, Criticality};
///
/// async fn report(guard: LocalGuard) -> Result<String, Denied> {
///     let lease = guard.try_acquire(Criticality::Bulk)?;
///     let report = String::from("made with the slot");
///     lease.success();
///     Ok(report)
/// }
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Denied(pub Denial);

impl Denied {
    /// The denial that a rate limit's `decision` means.
    ///
    /// # Errors
    /// `Denied` if the decision is one; to be used with `?`.
    pub fn check(decision: &Decision) -> Result<(), Self> {
        Denial::of(decision).map_or(Ok(()), |denial| Err(Self(denial)))
    }
}

impl From<Denial> for Denied {
    fn from(denial: Denial) -> Self {
        Self(denial)
    }
}

impl From<Shed> for Denied {
    fn from(shed: Shed) -> Self {
        Self(Denial::overload(shed))
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        denial_response(self.0, Form::Problem).map(Body::from)
    }
}
