//! At the fence a socket's work stops: `on_upgrade` drops it and closes the socket, a task of one's own is told by its
//! token, and the slots come back.
//!
//! A fleet of one over memory. Its driver runs on a runtime of its own whose only thread is blocked for longer than
//! the lease, as a stopped process is; what it finds when it goes on is the fence.

mod support;

use axum::Router;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::any;
use http::Version;
use std::future::pending;
use std::time::Duration;
use support::{PATIENCE, comes_true, open, serve, talk};
use tidegate::fleet::{DistributedGuard, Estimate};
use tidegate::store::MemoryStore;
use tidegate::tower::ConcurrencyLayer;
use tidegate::{ConcurrencyGuard, Criticality, Shed};
use tidegate_axum::{Slot, on_upgrade, tidegate};
use tokio::io::AsyncReadExt;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

struct Fleet {
    guard: DistributedGuard,
    driver: Option<Runtime>,
}

impl Fleet {
    async fn start() -> Self {
        let driver = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let guard = DistributedGuard::builder(MemoryStore::new(), "backend")
            .node("one")
            .estimate(Estimate::Fixed(8))
            .heartbeat(Duration::from_millis(100))
            .ttl(Duration::from_millis(1_000))
            .margin(Duration::from_millis(100))
            .drain(Duration::from_millis(50))
            .runtime(driver.handle().clone())
            .build()
            .unwrap();
        guard.ready().await.unwrap();
        Self {
            guard,
            driver: Some(driver),
        }
    }

    fn in_flight(&self) -> u32 {
        self.guard.stats().in_flight
    }

    /// Stops the driver until the lease is over, and waits until it has seen that.
    async fn fence(&self) {
        let refused = || self.guard.try_acquire(Criticality::Default).err() == Some(Shed::Fenced);
        let fences = self.guard.stats().fences;
        let (go, stopped) = std::sync::mpsc::channel::<()>();
        let driver = self.driver.as_ref().expect("taken only by the drop");
        driver.spawn(async move { stopped.recv() });
        assert!(comes_true(refused).await, "still open");
        drop(go);
        assert!(comes_true(|| self.guard.stats().fences > fences).await);
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // A runtime must not be dropped where waiting is forbidden.
        if let Some(driver) = self.driver.take() {
            driver.shutdown_background();
        }
    }
}

/// Tells when it is dropped.
struct Work(UnboundedSender<&'static str>);

impl Drop for Work {
    fn drop(&mut self) {
        let _ = self.0.send("dropped");
    }
}

async fn echo(socket: &mut WebSocket) {
    if let Some(Ok(message)) = socket.recv().await {
        socket.send(message).await.unwrap();
    }
}

fn app(guard: &DistributedGuard) -> (Router, UnboundedReceiver<&'static str>) {
    let (tell, told) = unbounded_channel();
    let held = {
        let tell = tell.clone();
        async |upgrade: WebSocketUpgrade, slot: Slot| -> Response {
            on_upgrade(upgrade, &slot, |mut socket| async move {
                let _work = Work(tell);
                echo(&mut socket).await;
                pending().await
            })
        }
    };
    let by_hand = async |upgrade: WebSocketUpgrade, slot: Slot| -> Response {
        let hold = slot.hold().expect("the handler still runs");
        upgrade.on_upgrade(async move |mut socket| {
            echo(&mut socket).await;
            hold.token().cancelled().await;
            let _ = tell.send("cancelled");
        })
    };
    let app = Router::new()
        .route("/held", any(held))
        .route("/by_hand", any(by_hand))
        .layer(ConcurrencyLayer::new(guard.clone()));
    (app, told)
}

#[tokio::test]
async fn i4_a_socket_is_told_to_stop_and_its_slot_comes_back() {
    for (path, expected) in [("/held", "dropped"), ("/by_hand", "cancelled")] {
        let fleet = Fleet::start().await;
        let (app, mut told) = app(&fleet.guard);
        let address = serve(app).await;
        let mut socket = open(address, path, Version::HTTP_11).await;
        talk(&mut socket).await;
        assert_eq!(fleet.in_flight(), 1);
        assert!(told.try_recv().is_err(), "{path} stopped for nothing");

        fleet.fence().await;
        let ended = async {
            assert_eq!(told.recv().await, Some(expected));
            socket.read_to_end(&mut Vec::new()).await.unwrap();
        };
        timeout(PATIENCE, ended).await.expect("the work goes on");
        assert!(comes_true(|| fleet.in_flight() == 0).await);

        fleet.guard.ready().await.unwrap();
        let reopened = || fleet.guard.try_acquire(Criticality::Default).is_ok();
        assert!(comes_true(reopened).await);
        talk(&mut open(address, path, Version::HTTP_11).await).await;
    }
}
