//! The layers around a service of one async function: make a request, clone, make ready, call, end the body.

use crate::deciding::generous;
use crate::slices::measure;
use crate::table::Table;
use crate::{Candidate, Clocks};
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Request, Response};
use std::convert::Infallible;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use tidegate::adaptive::{Fixed, LocalGuard};
use tidegate::time::Clock;
use tidegate::tower::{ConcurrencyLayer, Headers, RateLimitLayer};
use tidegate::{Quota, RateLimiter};
use tidegate_axum::key;
use tower::{Layer, Service, service_fn};

/// Every candidate, for the table or a profiler.
#[must_use]
pub fn candidates(clocks: &Clocks) -> Vec<Candidate<'static>> {
    let bare = service_fn(handler);
    let wordy = service_fn(wordy);
    let guard = |slots| guard(slots, &clocks.guards);
    let silent = |slots| guard(slots).extensions(false);
    let mut list = vec![
        candidate("bare", bare, 200),
        candidate("bare, two headers", wordy, 200),
        candidate("guard", silent(1).layer(bare), 200)
            .over("bare")
            .at_most(1.3),
        candidate("guard, extensions", guard(1).layer(bare), 200).over("bare"),
        candidate("guard, two headers", silent(1).layer(wordy), 200),
        candidate("guard, denied", silent(0).layer(bare), 503)
            .times("guard, two headers")
            .at_most(1.0),
        candidate("guard, extensions, denied", guard(0).layer(bare), 503)
            .times("guard, extensions"),
    ];
    for (names, headers, bar) in [
        (
            [
                "rate",
                "rate, extensions",
                "rate, two headers",
                "rate, denied",
                "rate, extensions, denied",
            ],
            Headers::Off,
            0.96,
        ),
        (
            [
                "rate, told",
                "rate, told, extensions",
                "rate, told, two headers",
                "rate, told, denied",
                "rate, told, extensions, denied",
            ],
            Headers::Standard,
            1.8,
        ),
    ] {
        let layer = |quota| rate(quota, &clocks.limits).headers(headers);
        let silent = |quota| layer(quota).extensions(false);
        list.extend([
            candidate(names[0], silent(generous()).layer(bare), 200)
                .over("bare")
                .at_most(bar),
            candidate(names[1], layer(generous()).layer(bare), 200).over("bare"),
            candidate(names[2], silent(generous()).layer(wordy), 200),
            candidate(names[3], silent(spent()).layer(bare), 429)
                .times(names[2])
                .at_most(1.0),
            candidate(names[4], layer(spent()).layer(bare), 429).times(names[1]),
        ]);
    }
    #[cfg(feature = "peers")]
    list.extend(peers::candidates());
    list
}

/// Measures them.
#[must_use]
pub fn table() -> Table {
    Table::new("tower", measure(801, candidates(&Clocks::ready())))
}

/// A guard with `slots` slots, for ever.
pub(crate) fn guard(slots: u32, clock: &Clock) -> ConcurrencyLayer {
    ConcurrencyLayer::new(LocalGuard::with_clock(Fixed::new(slots), clock.clone()))
}

/// A rate limit by peer address.
pub(crate) fn rate(quota: Quota, clock: &Clock) -> RateLimitLayer {
    let builder = RateLimiter::builder(quota).clock(clock.clone());
    RateLimitLayer::new(builder.build().expect("a limiter")).key(key::peer())
}

/// A quota that is spent after the first request, for a minute.
pub(crate) const fn spent() -> Quota {
    Quota::per_minute(1)
}

/// Sees to it that what was meant to be measured was: all answers but a few have the status that was expected.
#[derive(Debug, Default)]
pub(crate) struct Check {
    as_expected: u64,
    others: u64,
}

impl Check {
    #[inline]
    pub(crate) fn see(&mut self, status: u16, expected: u16) {
        if status == expected {
            self.as_expected += 1;
        } else {
            self.others += 1;
            assert!(
                self.others <= 2 + self.as_expected / 1_000,
                "answered {status}"
            );
        }
    }
}

/// The other end of every connection.
pub(crate) const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), 4711);

async fn handler(request: Request<()>) -> Result<Response<Body>, Infallible> {
    black_box(&request);
    Ok(Response::new(Body::from("hello")))
}

/// An answer with as many headers and as much text as a denial has.
async fn wordy(request: Request<()>) -> Result<Response<Body>, Infallible> {
    black_box(&request);
    let mut response = Response::new(Body::from(black_box(TEXT)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    Ok(response)
}

pub(crate) const TEXT: &str = match std::str::from_utf8(&[b'x'; 200]) {
    Ok(text) => text,
    Err(_) => "",
};

/// What `service` takes, when it answers with this status.
fn candidate<S, B>(name: &'static str, service: S, status: u16) -> Candidate<'static>
where
    S: Service<Request<()>, Response = Response<B>> + Clone + 'static,
    B: http_body::Body,
{
    let mut check = Check::default();
    Candidate::new(name, move || check.see(answer(black_box(&service)), status))
}

fn answer<S, B>(service: &S) -> u16
where
    S: Service<Request<()>, Response = Response<B>> + Clone,
    B: http_body::Body,
{
    let cx = &mut Context::from_waker(Waker::noop());
    let mut service = service.clone();
    assert!(
        service.poll_ready(cx).is_ready(),
        "a service that has to wait"
    );
    match pin!(service.call(request())).poll(cx) {
        Poll::Ready(Ok(response)) => end(response, cx),
        _ => panic!("a service that has to wait, or fails"),
    }
}

fn request() -> Request<()> {
    let mut request = Request::new(());
    request.extensions_mut().insert(ConnectInfo(PEER));
    request
}

/// Does with an answer what a server does.
pub(crate) fn end<B: http_body::Body>(response: Response<B>, cx: &mut Context<'_>) -> u16 {
    let status = response.status().as_u16();
    black_box(response.headers());
    let mut body = pin!(response.into_body());
    while !body.is_end_stream() {
        let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(cx) else {
            break;
        };
        black_box(frame.data_ref().is_some());
    }
    status
}

#[cfg(feature = "peers")]
mod peers {
    //! The same by others.

    use super::{candidate, handler, request};
    use crate::Candidate;
    use std::time::Duration;
    use tower::limit::{ConcurrencyLimitLayer, RateLimitLayer};
    use tower::{Layer, Service, ServiceExt, service_fn};
    use tower_acc::Vegas;
    use tower_governor::GovernorLayer;
    use tower_governor::governor::GovernorConfigBuilder;

    pub(super) fn candidates() -> Vec<Candidate<'static>> {
        let bare = service_fn(handler);
        let open = || {
            let mut builder = GovernorConfigBuilder::default();
            builder.per_nanosecond(1).burst_size(1_000_000);
            builder
        };
        let spent = || {
            let mut builder = GovernorConfigBuilder::default();
            builder.per_second(60).burst_size(1);
            builder
        };
        const HINT: &str = "neither is zero";
        let silent = |mut it: Builder| GovernorLayer::new(it.finish().expect(HINT)).layer(bare);
        let telling = |mut it: Builder| {
            GovernorLayer::new(it.use_headers().finish().expect(HINT)).layer(bare)
        };
        vec![
            candidate(
                "tower ConcurrencyLimit",
                ConcurrencyLimitLayer::new(100).layer(bare),
                200,
            )
            .over("bare"),
            candidate(
                "tower-acc Vegas",
                tower_acc::ConcurrencyLimitLayer::new(Vegas::default()).layer(bare),
                200,
            )
            .over("bare"),
            candidate("tower_governor", silent(open()), 200).over("bare"),
            candidate("tower_governor, denied", silent(spent()), 429).over("bare"),
            candidate("tower_governor, headers", telling(open()), 200).over("bare"),
            candidate("tower_governor, headers, denied", telling(spent()), 429).over("bare"),
            buffered().over("bare"),
        ]
    }

    type Builder = GovernorConfigBuilder<
        tower_governor::key_extractor::PeerIpKeyExtractor,
        governor::middleware::NoOpMiddleware<governor::clock::QuantaInstant>,
    >;

    /// tower's own rate limit cannot be cloned, so it needs a buffer, and that a task.
    fn buffered() -> Candidate<'static> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let service = runtime.block_on(async {
            let limited =
                RateLimitLayer::new(u64::MAX, Duration::from_secs(1)).layer(service_fn(handler));
            tower::buffer::Buffer::new(limited, 64)
        });
        Candidate::batch("tower Buffer + RateLimit", move |calls| {
            runtime.block_on(async {
                for _ in 0..calls {
                    let mut service = service.clone();
                    let ready = service.ready().await.expect("the worker lives");
                    let _ = ready.call(request()).await;
                }
            });
        })
    }
}
