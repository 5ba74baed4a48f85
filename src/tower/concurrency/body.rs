//! The response body that carries the slot to its end.

use crate::permit::Shed;
use crate::slot::{Carrier, Watch};
use crate::tower::BoxError;
use crate::tower::body::OwnOr;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A response body that gives the slot back when it ends, fails or is dropped.
///
/// Size, end, trailers and back-pressure are those of the body inside. Its error is boxed: besides the body's own
/// there is [`Shed::Fenced`], when the lease on the slot ran out while the body was still streaming.
#[derive(Debug)]
#[pin_project]
pub struct ResponseBody<B> {
    // Dropped before the slot goes back.
    #[pin]
    inner: OwnOr<B>,
    /// Boxed when the body first has to wait, so that the body can be moved as freely as the one inside.
    watch: Option<Pin<Box<Watch>>>,
    cancels: bool,
    /// A frame has come already.
    flows: bool,
    carrier: Carrier,
}

impl<B> ResponseBody<B> {
    #[inline(always)]
    pub(super) const fn carrying(inner: B, carrier: Carrier, cancels: bool) -> Self {
        Self {
            inner: OwnOr::Inner(inner),
            watch: None,
            cancels,
            flows: false,
            carrier,
        }
    }

    pub(super) const fn denied(text: Bytes) -> Self {
        Self {
            inner: OwnOr::Own(text),
            watch: None,
            cancels: false,
            flows: false,
            carrier: Carrier::empty(),
        }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data: From<Bytes>, Error: Into<BoxError>>,
{
    type Data = B::Data;
    type Error = BoxError;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut this = self.project();
        let polled = this.inner.as_mut().poll_frame(cx);
        // A body that waits may wait for long, and one that always has more may never wait.
        let lasts = match &polled {
            Poll::Pending => true,
            Poll::Ready(Some(Ok(_))) => {
                std::mem::replace(this.flows, true) && !this.inner.is_end_stream()
            }
            Poll::Ready(None | Some(Err(_))) => false,
        };
        if lasts
            && *this.cancels
            && !this.carrier.is_empty()
            && this
                .watch
                .get_or_insert_with(|| Box::pin(Watch::new()))
                .as_mut()
                .is_fenced(this.carrier, cx)
        {
            this.inner.set(OwnOr::GONE);
            this.carrier.release();
            return Poll::Ready(Some(Err(Shed::Fenced.into())));
        }
        Poll::Ready(match ready!(polled) {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    let status = trailers.get("grpc-status");
                    this.carrier
                        .trailers(status.map(http::HeaderValue::as_bytes));
                }
                if this.inner.is_end_stream() {
                    this.carrier.ended();
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                this.carrier.broke();
                Some(Err(error.into()))
            }
            None => {
                this.carrier.ended();
                None
            }
        })
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
