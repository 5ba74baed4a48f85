//! WebSockets that keep their slot until they are closed.

use crate::Denied;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::response::{IntoResponse, Response};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use tidegate::{Shed, Slot};

/// Upgrades the connection and runs `handle` with its socket, keeping `slot` in use until that ends.
///
/// The layer sees only the head of an upgrade; without this, or a [`Slot::hold`] of one's own moved into the
/// socket's task, the slot would go back there and sockets would not count.
///
/// At the fence, when this process's lease on its slots runs out, `handle` is dropped and the socket closed. A
/// client that goes before the upgrade is done, a panic in `handle`: the slot goes back once. Sockets give no latency
/// sample.
///
/// # Examples
/// ```
/// use axum::extract::ws::{WebSocket, WebSocketUpgrade};
/// use axum::response::Response;
/// use tidegate_axum::{Slot, on_upgrade};
///
/// async fn socket(ws: WebSocketUpgrade, slot: Slot) -> Response {
///     on_upgrade(ws, &slot, |mut socket: WebSocket| async move {
///         while let Some(Ok(message)) = socket.recv().await {
///             if socket.send(message).await.is_err() {
///                 break;
///             }
///         }
///     })
/// }
/// # let _ = axum::Router::<()>::new().route("/", axum::routing::any(socket));
/// ```
pub fn on_upgrade<F, Fut>(upgrade: WebSocketUpgrade, slot: &Slot, handle: F) -> Response
where
    F: FnOnce(WebSocket) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let Some(hold) = slot.hold() else {
        // Only if the response ended before its handler asked.
        return Denied::from(Shed::Closed).into_response();
    };
    upgrade.on_upgrade(move |socket| async move {
        let mut fence = pin!(hold.token().cancelled());
        let mut work = pin!(handle(socket));
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Pending => fence.as_mut().poll(cx),
            Poll::Ready(()) => Poll::Ready(()),
        })
        .await;
    })
}
