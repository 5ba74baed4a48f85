//! Rate limits by method and route, as axum's router matched them.

use axum::extract::MatchedPath;
use tidegate::limits::Limits;
use tidegate::tower::RateLimitLayer;

/// A layer that asks the limiter of each request's method and route (`GET /items/{id}`), as `limits` says at that
/// moment. What has no limit passes uncounted.
///
/// For `Router::layer`: there requests that match no route have the limit of `<unmatched>`. A layer around the whole
/// router, outside of `Router::layer`, runs before routing and finds no route at all.
///
/// # Examples
/// ```
/// use axum::Router;
/// use axum::routing::get;
/// use tidegate_axum::tidegate::Quota;
/// use tidegate_axum::tidegate::limits::{Limits, Plan};
/// use tidegate_axum::{key, routed};
///
/// let plan = Plan::new()
///     .limit("reads", Quota::per_second(100))?
///     .limit("writes", Quota::per_second(5))?
///     .route("GET /items/{id}", "reads")?
///     .route("POST *", "writes")?;
/// let limits = Limits::new(&plan);
/// let app: Router = Router::new()
///     .route("/items/{id}", get(|| async { "an item" }))
///     .layer(routed(limits.clone()).key(key::peer()));
/// # let _ = app;
/// # Ok::<(), tidegate_axum::tidegate::ConfigError>(())
/// ```
#[must_use]
pub fn routed(limits: Limits) -> RateLimitLayer {
    RateLimitLayer::routed(limits, |extensions| {
        extensions.get().map(MatchedPath::as_str)
    })
}
