//! Which of the texts that a layer makes are kept for ever: those of limits that a program is configured with.

use crate::Quota;
use crate::headers::RATE_LIMIT_POLICY;
use crate::intern::is_interned;
use crate::limits::{Limits, Plan};
use crate::tiers::{Tier, Tiers};
use crate::tower::RateLimitLayer;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use std::convert::Infallible;
use std::future::ready;
use tower::{Layer, ServiceExt, service_fn};

/// The policy that the only client is told of, whose limit is what `tier` says.
async fn policy(tier: fn() -> Tier) -> String {
    let plan = Plan::new().limit("planned", Quota::per_hour(987_654_321));
    let look_up = move |_| ready(Ok::<_, Infallible>(Some(tier())));
    let tiers = Tiers::builder(Limits::new(&plan.unwrap()), "planned", look_up).build();
    let layer = RateLimitLayer::tiered(tiers.unwrap(), |_| Some("client".into()));
    let handler =
        |_: Request<()>| ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())));
    let response = layer
        .layer(service_fn(handler))
        .oneshot(Request::new(()))
        .await;
    let response = response.unwrap();
    let policy = response.headers().get(RATE_LIMIT_POLICY).unwrap();
    policy.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_is_said_of_a_quota_that_was_looked_up_is_not_kept_for_ever() {
    let own = policy(|| Tier::quota(Quota::per_hour(123_456_789))).await;
    assert!(own.contains("123456789"), "{own}");
    assert!(!is_interned(&own), "{own}");
    let planned = policy(|| Tier::named("planned")).await;
    assert!(is_interned(&planned), "{planned}");
}
