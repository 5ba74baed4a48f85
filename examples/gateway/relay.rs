//! A body passed from one task to another, whose end cannot be mistaken: a sender that vanishes is an error.

use crate::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;

/// Makes both ends. A few frames may be on the way, then the sender waits: a slow receiver slows the sender down.
pub(crate) fn relay() -> (Feed, Relay) {
    let (sender, receiver) = mpsc::channel(4);
    (Feed(sender), Relay(receiver))
}

enum Piece {
    Frame(Frame<Bytes>),
    End,
}

/// The sending end. Dropped before [`Self::end`], it breaks the body off.
pub(crate) struct Feed(mpsc::Sender<Piece>);

/// Nobody reads the body any more.
#[derive(Debug)]
pub(crate) struct Gone;

impl Feed {
    /// Waits until there is room.
    pub(crate) async fn send(&self, frame: Frame<Bytes>) -> Result<(), Gone> {
        self.0.send(Piece::Frame(frame)).await.map_err(|_| Gone)
    }

    /// The body is complete.
    pub(crate) async fn end(self) {
        // Whoever does not read it need not know.
        let _ = self.0.send(Piece::End).await;
    }

    /// Completes when nobody reads the body any more.
    pub(crate) async fn gone(&self) {
        self.0.closed().await;
    }
}

/// The receiving end.
pub(crate) struct Relay(mpsc::Receiver<Piece>);

impl Body for Relay {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(match ready!(self.0.poll_recv(cx)) {
            Some(Piece::Frame(frame)) => Some(Ok(frame)),
            Some(Piece::End) => {
                self.0.close();
                None
            }
            None => Some(Err("the answer broke off".into())),
        })
    }
}
