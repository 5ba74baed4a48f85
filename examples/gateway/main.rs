//! A reverse proxy that admits no more than a whole fleet of itself has agreed on.
//!
//! `cargo run --release --example gateway -- --upstream http://127.0.0.1:9000 --estimate fixed:24`, as often as you
//! like with `--store redis://..`, a `--listen` and a `--node` for each; `--help` tells the rest. `GET /stats` shows
//! what one of them is doing, as JSON or, in a browser, as a page.
//!
//! ```text
//!  client ──► with_axum / with_actix ──► proxy ──► guard.try_acquire ── no slot ──► 503, Retry-After; with --queue
//!               429 above the quota                     │ lease                 after a wait for one
//!                                                       ▼
//!                                      exchange, a task of its own ──► upstream ──► backend
//!                       relay ◄── answer ──┘ holds the lease until the backend is done
//! ```
//!
//! | file | what |
//! |---|---|
//! | `options` | the command line |
//! | `node` | the guard, and what is said about it |
//! | `proxy` | from a request to its answer |
//! | `exchange` | one request at the backend, with the lease |
//! | `client` | whoever waits for the answer |
//! | `relay` | a body whose end cannot be mistaken |
//! | `upstream` | connections to the backend, silent after the fence |
//! | `headers` | what may not pass a proxy, and what one adds |
//! | `stats`, `page.html` | what is told about it all |
//! | `with_axum`, `with_actix` | the two servers |

mod client;
mod exchange;
mod headers;
mod node;
mod options;
mod proxy;
mod relay;
mod stats;
mod upstream;
mod with_actix;
mod with_axum;

use crate::node::Node;
use crate::options::{Framework, Options};
use crate::proxy::Proxy;
use crate::stats::Stats;
use clap::Parser;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use tidegate::RateLimiter;
use tokio::net::TcpSocket;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What both servers need.
struct Gateway {
    proxy: Proxy,
    limiter: Option<RateLimiter>,
    stats: Stats,
    stop: CancellationToken,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("gateway: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), BoxError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let node = Node::start(options)?;
    let listener = listen(options.listen)
        .map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
    let address = listener.local_addr()?;

    let proxy = Proxy::new(options, node.guard().cloned());
    let gateway = Arc::new(Gateway {
        limiter: options.limiter(),
        stats: Stats::new(options, node.guard().cloned(), proxy.counts()),
        proxy,
        stop: CancellationToken::new(),
    });
    let server = async {
        match options.framework {
            Framework::Axum => with_axum::serve(listener, Arc::clone(&gateway)).await,
            Framework::Actix => {
                let patience = options.drain_timeout;
                with_actix::serve(listener, Arc::clone(&gateway), patience).await
            }
        }
    };
    let mut server = pin!(server);
    println!("listening on http://{address}");

    let ended = tokio::select! {
        ended = &mut server => return Err(ended.err().map_or_else(|| "the server ended".into(), Into::into)),
        refused = node.watch() => Err(refused),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    println!("draining");
    gateway.stop.cancel();
    // What runs has the time to drain, and the last answers as long again to reach their clients.
    let served = tokio::time::timeout(options.drain_timeout * 2, server);
    let (served, left) = tokio::join!(served, node.leave());
    ended?;
    left?;
    served.map_err(|_| "some clients did not take their answers in time")??;
    println!("left");
    Ok(())
}

/// Connections that may wait to be accepted. The usual 128 overflow in a burst, and then clients wait for seconds until
/// they try again.
const BACKLOG: u32 = 1024;

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}
