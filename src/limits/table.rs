//! Which limit a request has: a look-up of its template, and then of its method.

use crate::limiter::AnyLimiter;
use crate::limits::plan::Plan;
use crate::limits::route::Route;
use std::collections::{BTreeMap, HashMap};

/// A plan with the limiters that enforce it.
#[derive(Debug)]
pub(super) struct Table {
    /// Grows with every plan.
    pub(super) version: u64,
    pub(super) plan: Plan,
    pub(super) limiters: Box<[AnyLimiter]>,
    /// Of the limits, in order.
    names: Box<[Box<str>]>,
    routes: HashMap<Box<str>, Methods>,
}

/// The limits of a template.
#[derive(Debug, Default)]
struct Methods {
    each: Vec<(Box<str>, usize)>,
    any: Option<usize>,
}

impl Methods {
    fn find(&self, method: &str) -> Option<usize> {
        let own = |method: &str| {
            let mut each = self.each.iter();
            Some(each.find(|(it, _)| **it == *method)?.1)
        };
        let own = match method {
            // A router answers it by the route for GET.
            "HEAD" => own("HEAD").or_else(|| own("GET")),
            _ => own(method),
        };
        own.or(self.any)
    }
}

impl Table {
    /// The plan's limits with their limiters, in the order of their names.
    pub(super) fn new(version: u64, plan: Plan, limiters: Box<[AnyLimiter]>) -> Self {
        let places: BTreeMap<_, _> = plan.limits.keys().zip(0..).collect();
        let mut routes: HashMap<Box<str>, Methods> = HashMap::new();
        for (route, limit) in &plan.routes {
            let methods = routes.entry(route.template.clone()).or_default();
            let place = places[limit];
            match &route.method {
                Some(method) => methods.each.push((method.clone(), place)),
                None => methods.any = Some(place),
            }
        }
        Self {
            version,
            limiters,
            names: plan.limits.keys().cloned().collect(),
            routes,
            plan,
        }
    }

    /// The place of the limit for a request, unless it has none.
    #[inline]
    pub(super) fn find(&self, method: &str, template: Option<&str>) -> Option<usize> {
        let find = |template| self.routes.get(template)?.find(method);
        find(template.unwrap_or(Route::UNMATCHED)).or_else(|| find(Route::OTHERS))
    }

    /// The place of the limit called `name`.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.names.binary_search_by(|it| (**it).cmp(name)).ok()
    }

    /// The limiter called `name`.
    pub(super) fn limiter(&self, name: &str) -> Option<&AnyLimiter> {
        Some(&self.limiters[self.place(name)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limiter::RateLimiter;
    use crate::quota::Quota;

    #[test]
    fn a_request_has_the_limit_of_its_route_its_template_its_method_or_the_rest() {
        let names = ["any", "get", "others", "posts", "unmatched"];
        let mut plan = Plan::new();
        for name in names {
            plan = plan.limit(name, Quota::per_second(1)).unwrap();
        }
        for (route, limit) in [
            ("GET /items/{id}", "get"),
            ("/items/{id}", "any"),
            ("POST *", "posts"),
            ("<unmatched>", "unmatched"),
        ] {
            plan = plan.route(route, limit).unwrap();
        }
        let whole = plan.clone().route("*", "others").unwrap();
        let limiter = || RateLimiter::new(Quota::per_second(1)).into();
        let new = |plan| Table::new(1, plan, names.map(|_| limiter()).into());
        let (table, whole) = (new(plan), new(whole));
        for (method, template, limit) in [
            ("GET", Some("/items/{id}"), Some("get")),
            ("HEAD", Some("/items/{id}"), Some("get")),
            ("POST", Some("/items/{id}"), Some("any")),
            ("POST", Some("/other"), Some("posts")),
            ("GET", Some("/other"), None),
            ("GET", None, Some("unmatched")),
            ("POST", None, Some("unmatched")),
        ] {
            let name = |place: usize| names[place];
            assert_eq!(table.find(method, template).map(name), limit);
            let limit = limit.or(Some("others"));
            assert_eq!(whole.find(method, template).map(name), limit);
        }
    }
}
