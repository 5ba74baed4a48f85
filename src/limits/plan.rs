//! What limits there are, and for which routes: a description, that enforces nothing yet.

use crate::decision::{Policy, PolicyName};
use crate::error::ConfigError;
use crate::limiter::room;
use crate::limits::NamedLimit;
use crate::limits::route::Route;
use crate::quota::Quota;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;

/// Which limits there are, and which routes they are for.
///
/// A route is a method and the template of a path: `GET /items/{id}`. Requests look for their limit in this order:
///
/// 1. their method and template; a `HEAD` without a route of its own is a `GET`
/// 2. their template (`/items/{id}`)
/// 3. their method (`POST *`)
/// 4. `*`
///
/// What is found nowhere has no limit. Requests that the framework's router has no route for have the template
/// `<unmatched>`, all together. Routes that name the same limit share its counts.
///
/// # Defaults
/// No limits, no routes, 100 000 keys for each limit.
///
/// # Examples
/// ```
/// use tidegate::Quota;
/// use tidegate::limits::{Limits, Plan};
///
/// let plan = Plan::new()
///     .limit("reads", Quota::per_second(100).burst(20))?
///     .limits("writes", [("second", Quota::per_second(5)), ("hour", Quota::per_hour(1000))])?
///     .route("GET *", "reads")?
///     .route("POST /items", "writes")?
///     .route("<unmatched>", "writes")?;
/// let limits = Limits::new(&plan);
/// # let _ = limits;
/// # Ok::<(), tidegate::ConfigError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use = "a plan is enforced by nobody before `Limits` has it"]
pub struct Plan {
    pub(super) limits: BTreeMap<Box<str>, Box<[Policy]>>,
    pub(super) routes: BTreeMap<Route, Box<str>>,
    pub(super) max_keys: NonZeroUsize,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            limits: BTreeMap::new(),
            routes: BTreeMap::new(),
            max_keys: Self::MAX_KEYS,
        }
    }
}

impl Plan {
    const MAX_KEYS: NonZeroUsize = NonZeroUsize::new(100_000).unwrap();

    /// No limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// A limit, under a name that clients see too.
    ///
    /// # Errors
    /// [`ConfigError::PolicyName`] unless the name is 1 to 64 letters, digits or any of `-_.:/`,
    /// [`ConfigError::PolicyTwice`] if there is one of that name.
    pub fn limit(self, name: &str, quota: Quota) -> Result<Self, ConfigError> {
        let policy = Policy::new(PolicyName::new(name)?, quota);
        self.with(name, [policy].into())
    }

    /// A limit of several quotas, all of which have to allow a request. Clients see their names behind the limit's and
    /// a dot: `writes.hour`.
    ///
    /// # Errors
    /// As [`Self::limit`], and [`ConfigError::TooFew`] if there are no quotas.
    pub fn limits<'a>(
        self,
        name: &str,
        quotas: impl IntoIterator<Item = (&'a str, Quota)>,
    ) -> Result<Self, ConfigError> {
        let mut policies: Vec<Policy> = Vec::new();
        for (own, quota) in quotas {
            let full = PolicyName::new(&format!("{name}.{own}"))?;
            if policies.iter().any(|known| known.name() == full) {
                return Err(twice(full.as_str()));
            }
            policies.push(Policy::new(full, quota));
        }
        if policies.is_empty() {
            return Err(ConfigError::TooFew {
                what: "the quotas of a limit",
                least: 1,
            });
        }
        self.with(name, policies.into())
    }

    /// Sends the requests of `route` to the limit called `limit`, which has to be there already.
    ///
    /// # Errors
    /// [`ConfigError::RouteText`] if it is no route, [`ConfigError::RouteTwice`] if it has a limit,
    /// [`ConfigError::UnknownLimit`] if there is no such limit.
    pub fn route(mut self, route: &str, limit: &str) -> Result<Self, ConfigError> {
        let route: Route = route.parse()?;
        if !self.limits.contains_key(limit) {
            return Err(ConfigError::UnknownLimit {
                name: crate::error::excerpt(limit),
                known: self.names(),
            });
        }
        if self.routes.contains_key(&route) {
            return Err(ConfigError::RouteTwice {
                route: route.to_string().into(),
            });
        }
        self.routes.insert(route, limit.into());
        Ok(self)
    }

    /// The most keys that each limit tells apart: see [`RateLimiterBuilder::max_keys`].
    ///
    /// [`RateLimiterBuilder::max_keys`]: crate::limiter::RateLimiterBuilder::max_keys
    ///
    /// # Errors
    /// [`ConfigError::MaxKeys`] if there is no room for one, [`ConfigError::Setting`] for more than 100 000 000.
    pub fn max_keys(mut self, max_keys: usize) -> Result<Self, ConfigError> {
        self.max_keys = room::keys(max_keys)?;
        Ok(self)
    }

    /// The limits, in the order of their names.
    pub(super) fn each(&self) -> impl Iterator<Item = NamedLimit<'_>> {
        self.limits.iter().map(|(name, policies)| NamedLimit {
            name,
            policies,
            max_keys: self.max_keys,
        })
    }

    fn with(mut self, name: &str, policies: Box<[Policy]>) -> Result<Self, ConfigError> {
        if self.limits.contains_key(name) {
            return Err(twice(name));
        }
        self.limits.insert(name.into(), policies);
        Ok(self)
    }

    pub(crate) fn names(&self) -> Box<str> {
        if self.limits.is_empty() {
            return "none".into();
        }
        let names: Vec<&str> = self.limits.keys().map(|name| &**name).collect();
        names.join(", ").into()
    }
}

fn twice(name: &str) -> ConfigError {
    ConfigError::PolicyTwice { name: name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_refuses_what_cannot_work() {
        let quota = Quota::per_second(1);
        let plan = || Plan::new().limit("a", quota).unwrap();
        let errors = [
            plan().limit("a", quota),
            plan().limit("b c", quota),
            plan().limits("b", []),
            plan().limits("b", [("x", quota), ("x", quota)]),
            plan().limits("a", [("x", quota)]),
            plan().route("/x", "b"),
            plan().route("x", "a"),
            plan().route("/x", "a").unwrap().route("/x", "a"),
            plan().max_keys(0),
            plan().max_keys(9_000_000_000_000_000_000),
        ];
        for result in errors {
            let _ = result.unwrap_err();
        }
        let unknown = plan().route("/x", "b").unwrap_err().to_string();
        assert!(
            unknown.contains("\"b\"") && unknown.ends_with("are: a"),
            "{unknown}"
        );
    }
}
