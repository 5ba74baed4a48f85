//! The layers around an axum router with one route, called as a server calls it.

use crate::deciding::generous;
use crate::slices::measure;
use crate::table::Table;
use crate::tower_service::{Check, PEER, TEXT, end, guard, rate, spent};
use crate::{Candidate, Clocks};
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::routing::get;
use http::Request;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use tidegate::tower::Headers;
use tower::Service;

/// Every candidate, for the table or a profiler.
#[must_use]
pub fn candidates(clocks: &Clocks) -> Vec<Candidate<'static>> {
    let guard = |slots| guard(slots, &clocks.guards);
    let rate = |quota| rate(quota, &clocks.limits);
    let silent = |quota| rate(quota).headers(Headers::Off).extensions(false);
    let told = |quota| rate(quota).extensions(false);
    let list = vec![
        candidate("bare", bare(), 200),
        candidate("guard", bare().layer(guard(1).extensions(false)), 200).over("bare"),
        candidate("guard, extensions", bare().layer(guard(1)), 200).over("bare"),
        candidate(
            "guard, two headers",
            wordy().layer(guard(1).extensions(false)),
            200,
        ),
        candidate(
            "guard, denied",
            bare().layer(guard(0).extensions(false)),
            503,
        )
        .times("guard, two headers")
        .at_most(1.0),
        candidate("rate", bare().layer(silent(generous())), 200).over("bare"),
        candidate("rate, two headers", wordy().layer(silent(generous())), 200),
        candidate("rate, denied", bare().layer(silent(spent())), 429)
            .times("rate, two headers")
            .at_most(1.0),
        candidate("rate, told", bare().layer(told(generous())), 200).over("bare"),
        candidate(
            "rate, told, two headers",
            wordy().layer(told(generous())),
            200,
        ),
        candidate("rate, told, denied", bare().layer(told(spent())), 429)
            .times("rate, told, two headers")
            .at_most(1.0),
        candidate(
            "rate, told, extensions",
            bare().layer(rate(generous())),
            200,
        )
        .over("bare"),
        candidate(
            "both, told, extensions",
            bare().layer((rate(generous()), guard(1))),
            200,
        )
        .over("bare"),
    ];
    #[cfg(feature = "peers")]
    let list = list.into_iter().chain(peers::candidates()).collect();
    list
}

/// Measures them.
#[must_use]
pub fn table() -> Table {
    Table::new("axum", measure(801, candidates(&Clocks::ready())))
}

fn bare() -> Router {
    Router::new().route("/", get(async || ()))
}

/// Answers with as many headers and as much text as a denial has.
fn wordy() -> Router {
    let headers = [(CONTENT_TYPE, "application/json"), (RETRY_AFTER, "1")];
    Router::new().route("/", get(async move || (headers, black_box(TEXT))))
}

/// What `router` takes, when it answers with this status.
fn candidate(name: &'static str, router: Router, status: u16) -> Candidate<'static> {
    let mut check = Check::default();
    Candidate::new(name, move || check.see(answer(black_box(&router)), status))
}

fn answer(router: &Router) -> u16 {
    let cx = &mut Context::from_waker(Waker::noop());
    let mut request = Request::new(Body::empty());
    request.extensions_mut().insert(ConnectInfo(PEER));
    let mut router = router.clone();
    match pin!(router.call(request)).poll(cx) {
        Poll::Ready(Ok(response)) => end(response, cx),
        Poll::Pending => panic!("a router that has to wait"),
    }
}

#[cfg(feature = "peers")]
mod peers {
    //! The same by tower_governor.

    use super::{bare, candidate};
    use crate::Candidate;
    use tower_governor::GovernorLayer;
    use tower_governor::governor::GovernorConfigBuilder;

    pub(super) fn candidates() -> Vec<Candidate<'static>> {
        let mut open = GovernorConfigBuilder::default();
        open.per_nanosecond(1).burst_size(1_000_000);
        let mut spent = GovernorConfigBuilder::default();
        spent.per_second(60).burst_size(1);
        const HINT: &str = "neither is zero";
        let silent = |quota: &mut GovernorConfigBuilder<_, _>| {
            bare().layer(GovernorLayer::new(quota.finish().expect(HINT)))
        };
        let telling = |quota: &mut GovernorConfigBuilder<_, _>| {
            bare().layer(GovernorLayer::new(
                quota.use_headers().finish().expect(HINT),
            ))
        };
        vec![
            candidate("tower_governor", silent(&mut open), 200).over("bare"),
            candidate("tower_governor, denied", silent(&mut spent), 429).over("bare"),
            candidate("tower_governor, headers", telling(&mut open), 200).over("bare"),
            candidate("tower_governor, headers, denied", telling(&mut spent), 429).over("bare"),
        ]
    }
}
