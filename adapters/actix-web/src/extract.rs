//! The slot as an argument of a handler.

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest, ResponseError};
use std::fmt;
use std::future::{Ready, ready};
use std::ops::Deref;

/// The request's [`tidegate::Slot`]: what was decided, when to stop, a hold beyond the response.
///
/// Taken as `Option<Slot>` it is `None` where no middleware of tidegate is around the route.
///
/// # Examples
/// ```
/// use tidegate_actix_web::Slot;
///
/// async fn handler(slot: Slot) -> String {
///     match slot.rate() {
///         Some(rate) => format!("{} left", rate.remaining()),
///         None => String::from("as much as you like"),
///     }
/// }
/// # let _ = actix_web::App::new().route("/", actix_web::web::get().to(handler));
/// ```
#[derive(Clone, Debug)]
pub struct Slot(pub tidegate::Slot);

impl Deref for Slot {
    type Target = tidegate::Slot;

    fn deref(&self) -> &tidegate::Slot {
        &self.0
    }
}

impl FromRequest for Slot {
    type Error = MissingSlot;
    type Future = Ready<Result<Self, MissingSlot>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let slot = request.extensions().get().cloned();
        ready(slot.map(Self).ok_or(MissingSlot(())))
    }
}

/// A handler wants a [`Slot`] and no middleware gave it one: a mistake of the program, answered with 500.
#[derive(Clone, Copy, Debug)]
pub struct MissingSlot(());

impl fmt::Display for MissingSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the handler takes a Slot, but no Concurrency or RateLimit with `extensions(true)` is wrapped around its route",
        )
    }
}

impl std::error::Error for MissingSlot {}

impl ResponseError for MissingSlot {}
