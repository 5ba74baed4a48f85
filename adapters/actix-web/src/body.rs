//! A response body that is either the service's own or that of a denial.

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;
use pin_project::pin_project;
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The service's body, or that of a denial.
#[derive(Debug)]
#[pin_project(project = OwnOrProject)]
pub(crate) enum OwnOr<B> {
    /// The service's.
    Inner(#[pin] B),
    /// Ours or the user's.
    Own(BoxBody),
}

impl<B> OwnOr<B> {
    /// In place of a body that was cut off.
    pub(crate) fn gone() -> Self {
        Self::Own(BoxBody::new(()))
    }
}

impl<B: MessageBody> MessageBody for OwnOr<B> {
    type Error = Box<dyn Error>;

    #[inline]
    fn size(&self) -> BodySize {
        match self {
            Self::Inner(body) => body.size(),
            Self::Own(body) => body.size(),
        }
    }

    #[inline]
    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Box<dyn Error>>>> {
        match self.project() {
            OwnOrProject::Inner(body) => body.poll_next(cx).map_err(Into::into),
            OwnOrProject::Own(body) => body.as_pin_mut().poll_next(cx),
        }
    }

    #[inline]
    fn try_into_bytes(self) -> Result<Bytes, Self> {
        match self {
            Self::Inner(body) => body.try_into_bytes().map_err(Self::Inner),
            Self::Own(body) => body.try_into_bytes().map_err(Self::Own),
        }
    }
}
