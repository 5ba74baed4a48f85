//! The response body behind a rate limit: the service's, or the text of a denial.

use crate::tower::body::OwnOr;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The service's response body, or the text of a denial. Errors are the service's.
#[derive(Debug)]
#[pin_project]
pub struct ResponseBody<B>(#[pin] OwnOr<B>);

impl<B> ResponseBody<B> {
    pub(super) const fn inner(body: B) -> Self {
        Self(OwnOr::Inner(body))
    }

    pub(super) const fn denied(text: Bytes) -> Self {
        Self(OwnOr::Own(text))
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data: From<Bytes>>,
{
    type Data = B::Data;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().0.poll_frame(cx)
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
