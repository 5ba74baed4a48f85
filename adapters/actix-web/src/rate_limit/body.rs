//! The response body behind a rate limit: the service's, or that of a denial.

use crate::body::OwnOr;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;
use pin_project::pin_project;
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The service's response body, or that of a denial.
#[derive(Debug)]
#[pin_project]
pub struct ResponseBody<B>(#[pin] OwnOr<B>);

impl<B> ResponseBody<B> {
    #[inline]
    pub(super) const fn inner(body: B) -> Self {
        Self(OwnOr::Inner(body))
    }

    pub(super) const fn denied(body: BoxBody) -> Self {
        Self(OwnOr::Own(body))
    }
}

impl<B: MessageBody> MessageBody for ResponseBody<B> {
    type Error = Box<dyn Error>;

    #[inline]
    fn size(&self) -> BodySize {
        self.0.size()
    }

    #[inline]
    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Box<dyn Error>>>> {
        self.project().0.poll_next(cx)
    }

    #[inline]
    fn try_into_bytes(self) -> Result<Bytes, Self> {
        self.0.try_into_bytes().map_err(Self)
    }
}
