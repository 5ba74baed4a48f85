//! The response body that carries the slot to its end.

use crate::body::OwnOr;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;
use pin_project::pin_project;
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use tidegate::Shed;
use tidegate::slot::{Carrier, Watch};

/// A response body that gives the slot back when it ends, fails or is dropped.
///
/// Size, chunks and back-pressure are those of the body inside. Its error is boxed: besides the body's own there is
/// [`Shed::Fenced`], when the lease on the slot ran out while the body was still streaming.
#[derive(Debug)]
#[pin_project]
pub struct ResponseBody<B> {
    // Dropped before the slot goes back.
    #[pin]
    inner: OwnOr<B>,
    /// Boxed when it is first needed, so that the body can be moved as freely as the one inside.
    watch: Option<Pin<Box<Watch>>>,
    cancels: bool,
    /// A chunk has passed.
    flows: bool,
    carrier: Carrier,
}

impl<B> ResponseBody<B> {
    #[inline]
    pub(super) const fn carrying(body: B, carrier: Carrier, cancels: bool) -> Self {
        Self {
            inner: OwnOr::Inner(body),
            watch: None,
            cancels,
            flows: false,
            carrier,
        }
    }

    pub(super) const fn denied(body: BoxBody) -> Self {
        Self {
            inner: OwnOr::Own(body),
            watch: None,
            cancels: false,
            flows: false,
            carrier: Carrier::empty(),
        }
    }
}

impl<B: MessageBody> MessageBody for ResponseBody<B> {
    type Error = Box<dyn Error>;

    #[inline]
    fn size(&self) -> BodySize {
        self.inner.size()
    }

    #[inline]
    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Box<dyn Error>>>> {
        let mut this = self.project();
        let polled = this.inner.as_mut().poll_next(cx);
        // A body that waits may wait for long, and one that always has more may never wait.
        let lasts = match &polled {
            Poll::Pending => true,
            Poll::Ready(Some(Ok(_))) => std::mem::replace(this.flows, true),
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
            this.inner.set(OwnOr::gone());
            this.carrier.release();
            return Poll::Ready(Some(Err(Shed::Fenced.into())));
        }
        match &polled {
            Poll::Ready(None) => this.carrier.ended(),
            Poll::Ready(Some(Err(_))) => this.carrier.broke(),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled
    }

    /// Only without a slot: the bytes alone would leave it behind.
    #[inline]
    fn try_into_bytes(self) -> Result<Bytes, Self> {
        if self.carrier.is_empty() {
            self.inner.try_into_bytes().map_err(|inner| Self {
                inner,
                watch: self.watch,
                cancels: self.cancels,
                flows: self.flows,
                carrier: self.carrier,
            })
        } else {
            Err(self)
        }
    }
}
