//! Futures that somebody stops waiting for, and that have to come to their end all the same.

use std::pin::Pin;
use std::task::{Context, Poll};

/// A future that is dropped only when it is ready, with what it came to: before that it goes on in the background. Where
/// there is no runtime to do so on, it ends.
pub(crate) struct Finished<T: Send + 'static>(Option<Running<T>>);

type Running<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<T: Send + 'static> Finished<T> {
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Some(Box::pin(future)))
    }
}

impl<T: Send + 'static> Future for Finished<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let running = self
            .0
            .as_mut()
            .expect("it is not polled again once it is ready");
        let ready = std::task::ready!(running.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(ready)
    }
}

impl<T: Send + 'static> Drop for Finished<T> {
    fn drop(&mut self) {
        if let Some(running) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(running);
        }
    }
}
