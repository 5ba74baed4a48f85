//! I4 around a client: whatever becomes of a call, its slot is in use until then, free afterwards, and counted once.
//!
//! A hyper client behind the layer, as in the example of the same name, and a real backend on loopback. There is one
//! slot: if it did not come back the next call would be refused, and if it came back twice two would run at once.

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use std::time::Duration;
use tidegate::Outcome;
use tidegate::adaptive::LocalGuard;
use tidegate::classify::Classifier;
use tidegate::tower::concurrency::{Concurrency, ResponseBody};
use tidegate::tower::{ConcurrencyLayer, OnFull};
use tidegate_test_support::{Backend, PATIENCE, TcpProxy, free_port};
use tokio::task::JoinHandle;
use tower::{Layer, ServiceExt};

/// A guard of one slot and the client behind it.
#[derive(Clone)]
struct Calls {
    guard: LocalGuard,
    client: Concurrency<Client<HttpConnector, Empty<Bytes>>>,
}

type Answer = Result<Response<ResponseBody<Incoming>>, Error>;

impl Calls {
    fn new(on_full: OnFull) -> Self {
        let guard = LocalGuard::fixed(1);
        let layer = ConcurrencyLayer::new(guard.clone())
            .on_full(on_full)
            .classifier(Classifier::upstream());
        let client = layer.layer(Client::builder(TokioExecutor::new()).build_http());
        Self { guard, client }
    }

    async fn get(&self, url: &str, path: &str) -> Answer {
        let request = Request::get(format!("{url}{path}")).body(Empty::new());
        self.client.clone().oneshot(request.unwrap()).await
    }

    /// A call in a task of its own, which has got as far as the backend.
    async fn under_way(&self, backend: &Backend) -> JoinHandle<Answer> {
        let (begun, url) = (backend.stats().begun, backend.url());
        let calls = self.clone();
        let call = tokio::spawn(async move { calls.get(&url, "/").await });
        comes_true(|| backend.stats().begun > begun).await;
        call
    }

    fn in_flight(&self) -> u32 {
        self.guard.in_flight()
    }

    /// How many calls came to each outcome, in the order of the enum.
    fn outcomes(&self) -> [u64; 4] {
        [
            Outcome::Success,
            Outcome::Failure,
            Outcome::Overload,
            Outcome::Ignore,
        ]
        .map(|outcome| self.guard.stats().outcomes(outcome))
    }

    /// There is a slot, and not two.
    async fn has_one_slot(&self, backend: &Backend) {
        assert_eq!(self.in_flight(), 0);
        let first = self.get(&backend.url(), "/stream/5").await.unwrap();
        assert_eq!((first.status(), self.in_flight()), (StatusCode::OK, 1));
        let second = self.get(&backend.url(), "/").await.unwrap();
        assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
        first.into_body().collect().await.unwrap();
        assert_eq!(self.in_flight(), 0);
    }
}

async fn comes_true(condition: impl Fn() -> bool) {
    let reached = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reached)
        .await
        .expect("it takes too long");
}

#[tokio::test]
async fn i4_an_answer_that_is_read_dropped_or_never_begun() {
    let (backend, calls) = (Backend::start(), Calls::new(OnFull::Reject));
    let url = backend.url();

    let whole = calls.get(&url, "/").await.unwrap();
    whole.into_body().collect().await.unwrap();
    assert_eq!((calls.in_flight(), calls.outcomes()), (0, [1, 0, 0, 0]));

    let busy = calls.get(&url, "/status/503").await.unwrap();
    busy.into_body().collect().await.unwrap();
    assert_eq!((calls.in_flight(), calls.outcomes()), (0, [1, 0, 1, 0]));

    let unread = calls.get(&url, "/stream/5").await.unwrap();
    assert_eq!(calls.in_flight(), 1);
    drop(unread);
    assert_eq!(calls.in_flight(), 0);

    let mut half = calls.get(&url, "/stream/5").await.unwrap();
    half.frame().await.expect("the first chunk").unwrap();
    assert_eq!(calls.in_flight(), 1);
    drop(half);
    assert_eq!(calls.in_flight(), 0);

    let nobody = format!("http://127.0.0.1:{}", free_port());
    calls.get(&nobody, "/").await.unwrap_err();
    let counted: u64 = calls.outcomes().iter().sum();
    assert_eq!((calls.in_flight(), counted), (0, 5));
    calls.has_one_slot(&backend).await;
}

#[tokio::test]
async fn i4_a_connection_that_breaks_under_the_answer() {
    let backend = Backend::builder()
        .service_time(Duration::from_millis(50))
        .start();
    let proxy = TcpProxy::start(backend.address());
    let calls = Calls::new(OnFull::Reject);
    let url = format!("http://{}", proxy.address());
    let mut answer = calls.get(&url, "/stream/1000").await.unwrap();
    answer.frame().await.expect("the first chunk").unwrap();
    assert_eq!(calls.in_flight(), 1);
    proxy.cut();
    let broke = async { while let Some(Ok(_)) = answer.frame().await {} };
    tokio::time::timeout(PATIENCE, broke)
        .await
        .expect("it ends with the connection");
    assert_eq!(calls.in_flight(), 0, "before the body is dropped");
    drop(answer);
    calls.has_one_slot(&backend).await;
    assert_eq!(calls.outcomes().iter().sum::<u64>(), 2);
}

#[tokio::test]
async fn i4_a_caller_that_gives_up_before_there_is_an_answer() {
    let (backend, calls) = (Backend::start(), Calls::new(OnFull::Reject));
    backend.pause();
    let call = calls.under_way(&backend).await;
    assert_eq!(calls.in_flight(), 1);
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert_eq!((calls.in_flight(), calls.outcomes()), (0, [0, 0, 0, 1]));
    backend.resume();
    calls.has_one_slot(&backend).await;
}

#[tokio::test]
async fn i4_a_caller_that_gives_up_while_it_waits_for_a_slot() {
    let (backend, calls) = (Backend::start(), Calls::new(OnFull::Wait(PATIENCE)));
    backend.pause();
    let first = calls.under_way(&backend).await;
    let begun = backend.stats().begun;
    let [gives_up, waits] = [(); 2].map(|()| {
        let (calls, url) = (calls.clone(), backend.url());
        tokio::spawn(async move { calls.get(&url, "/").await })
    });
    // Each has been polled, and found no slot.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    gives_up.abort();
    assert!(gives_up.await.unwrap_err().is_cancelled());
    assert_eq!((calls.in_flight(), backend.stats().begun), (1, begun));

    backend.resume();
    let first = first.await.unwrap().unwrap();
    first.into_body().collect().await.unwrap();
    let last = tokio::time::timeout(PATIENCE, waits).await;
    let last = last.expect("the slot comes back").unwrap().unwrap();
    last.into_body().collect().await.unwrap();
    assert_eq!(calls.outcomes(), [2, 0, 0, 0]);
    assert_eq!((calls.in_flight(), backend.stats().begun), (0, begun + 1));
}
