//! A thread with a runtime of its own, so that a server answers also while the test's runtime is blocked or its
//! time stands still.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread::{self, JoinHandle};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Runs a server until dropped; then its connections are closed.
#[derive(Debug)]
pub(crate) struct Background {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Listens on a free loopback port and gives the listener to `serve`.
    pub(crate) fn start<F>(serve: impl FnOnce(TcpListener) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()>,
    {
        Self::listen((Ipv4Addr::LOCALHOST, 0).into(), serve)
    }

    /// As [`Self::start`], at `address`.
    pub(crate) fn listen<F>(
        address: SocketAddr,
        serve: impl FnOnce(TcpListener) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()>,
    {
        let listener = std::net::TcpListener::bind(address).expect("the address is free");
        // The usual 128 overflow under load, and then clients wait for seconds until they try again.
        rustix::net::listen(&listener, 1024).expect("a socket that listens can listen");
        listener
            .set_nonblocking(true)
            .expect("a new socket can be made non-blocking");
        let address = listener.local_addr().expect("the socket is bound");
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be made");
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("the socket is not blocking");
                tokio::select! {
                    () = serve(listener) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
