//! A response body that is either the service's own or a short text of ours.

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The service's body, or the text of a denial.
#[derive(Debug)]
#[pin_project(project = OwnOrProject)]
pub(super) enum OwnOr<B> {
    /// The service's.
    Inner(#[pin] B),
    /// Ours; empty when it was sent.
    Own(Bytes),
}

impl<B> OwnOr<B> {
    pub(super) const GONE: Self = Self::Own(Bytes::new());
}

impl<B> Body for OwnOr<B>
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
        match self.project() {
            OwnOrProject::Inner(body) => body.poll_frame(cx),
            OwnOrProject::Own(text) => Poll::Ready(if text.has_remaining() {
                Some(Ok(Frame::data(std::mem::take(text).into())))
            } else {
                None
            }),
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Inner(body) => body.is_end_stream(),
            Self::Own(text) => text.is_empty(),
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Inner(body) => body.size_hint(),
            Self::Own(text) => SizeHint::with_exact(text.len() as u64),
        }
    }
}
