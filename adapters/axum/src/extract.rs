//! The slot as an argument of a handler.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use std::convert::Infallible;
use std::fmt;
use std::ops::Deref;

/// The request's [`tidegate::Slot`]: what was decided, when to stop, a hold beyond the response.
///
/// Taken as `Option<Slot>` it is `None` where no layer of tidegate is around the route.
///
/// # Examples
/// ```
/// use tidegate_axum::Slot;
///
/// async fn handler(slot: Slot) -> String {
///     match slot.rate() {
///         Some(rate) => format!("{} left", rate.remaining()),
///         None => String::from("as much as you like"),
///     }
/// }
/// # let _ = axum::Router::<()>::new().route("/", axum::routing::get(handler));
/// ```
#[derive(Clone, Debug)]
pub struct Slot(pub tidegate::Slot);

impl Deref for Slot {
    type Target = tidegate::Slot;

    fn deref(&self) -> &tidegate::Slot {
        &self.0
    }
}

impl<S: Sync> FromRequestParts<S> for Slot {
    type Rejection = MissingSlot;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, MissingSlot> {
        find(parts).ok_or(MissingSlot(()))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Slot {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(find(parts))
    }
}

fn find(parts: &Parts) -> Option<Slot> {
    parts.extensions.get().cloned().map(Slot)
}

/// A handler wants a [`Slot`] and no layer gave it one: a mistake of the program, answered with 500.
#[derive(Clone, Copy, Debug)]
pub struct MissingSlot(());

impl fmt::Display for MissingSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the handler takes a Slot, but no ConcurrencyLayer or RateLimitLayer with `extensions(true)` is around its \
             route",
        )
    }
}

impl std::error::Error for MissingSlot {}

impl IntoResponse for MissingSlot {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}
