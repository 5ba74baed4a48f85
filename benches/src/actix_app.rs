//! The middlewares around an actix app with one route, called as its server calls it.

use crate::deciding::generous;
use crate::slices::measure;
use crate::table::Table;
use crate::tower_service::{Check, PEER, spent};
use crate::{Candidate, Clocks};
use actix_http::Request;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{Service, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::test::init_service;
use actix_web::{App, Error, HttpResponse, rt, web};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use tidegate::adaptive::{Fixed, LocalGuard};
use tidegate::headers::Headers;
use tidegate::{Quota, RateLimiter};
use tidegate_actix_web::{Concurrency, RateLimit, key};

/// Every candidate, for the table or a profiler.
#[must_use]
pub fn candidates(clocks: &Clocks) -> Vec<Candidate<'static>> {
    let guard = |slots| {
        Concurrency::new(LocalGuard::with_clock(
            Fixed::new(slots),
            clocks.guards.clone(),
        ))
        .extensions(false)
    };
    let rate = |quota| {
        let builder = RateLimiter::builder(quota).clock(clocks.limits.clone());
        let limiter = builder.build().expect("a limiter");
        RateLimit::new(limiter).key(key::peer()).extensions(false)
    };
    let silent = |quota: Quota| rate(quota).headers(Headers::Off);
    let list = vec![
        candidate("bare", app(), 200),
        candidate("guard", app().wrap(guard(1)), 200).over("bare"),
        candidate(
            "guard, extensions",
            app().wrap(guard(1).extensions(true)),
            200,
        )
        .over("bare"),
        candidate("guard, denied", app().wrap(guard(0)), 503)
            .times("guard")
            .at_most(1.0),
        candidate("rate", app().wrap(silent(generous())), 200)
            .over("bare")
            .at_most(0.27),
        candidate(
            "rate, extensions",
            app().wrap(silent(generous()).extensions(true)),
            200,
        )
        .over("bare"),
        candidate("rate, denied", app().wrap(silent(spent())), 429)
            .times("rate")
            .at_most(1.0),
        candidate("rate, headers", app().wrap(rate(generous())), 200).over("bare"),
        candidate("rate, headers, denied", app().wrap(rate(spent())), 429)
            .times("rate, headers")
            .at_most(1.0),
    ];
    #[cfg(feature = "peers")]
    let list = list.into_iter().chain(peers::candidates()).collect();
    list
}

/// Measures them.
#[must_use]
pub fn table() -> Table {
    Table::new("actix-web", measure(801, candidates(&Clocks::ready())))
}

/// An app with one route.
fn app() -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse,
        Error = Error,
        InitError = (),
        Service: Service<ServiceRequest, Future: Unpin>,
    >,
> {
    App::new().route("/", web::get().to(HttpResponse::Ok))
}

/// What `app` takes, when it answers with this status.
fn candidate<F, B>(name: &'static str, app: App<F>, status: u16) -> Candidate<'static>
where
    F: ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<B>,
            Error = Error,
            InitError = (),
        > + 'static,
    B: MessageBody + 'static,
{
    let system = rt::System::new();
    let service = system.block_on(init_service(app));
    let mut check = Check::default();
    Candidate::batch(name, move |calls| {
        system.block_on(async {
            for _ in 0..calls {
                let answer = service.call(request()).await.expect("an answer");
                check.see(end(answer), status);
            }
        });
    })
}

/// As a connection makes it, out of actix's pool.
fn request() -> Request {
    let mut request = Request::new();
    request.head_mut().peer_addr = Some(PEER);
    request
}

/// Does with an answer what a server does.
fn end<B: MessageBody>(answer: ServiceResponse<B>) -> u16 {
    let status = answer.status().as_u16();
    black_box(answer.headers());
    let mut body = pin!(answer.into_body());
    let cx = &mut Context::from_waker(Waker::noop());
    while !matches!(body.size(), BodySize::None | BodySize::Sized(0)) {
        let Poll::Ready(Some(Ok(part))) = body.as_mut().poll_next(cx) else {
            break;
        };
        black_box(part);
    }
    status
}

#[cfg(feature = "peers")]
mod peers {
    //! The same by actix-governor.

    use super::{app, candidate};
    use crate::Candidate;
    use actix_governor::{Governor, GovernorConfigBuilder};

    pub(super) fn candidates() -> Vec<Candidate<'static>> {
        let mut open = GovernorConfigBuilder::default();
        open.nanoseconds_per_request(1).burst_size(1_000_000);
        let mut spent = GovernorConfigBuilder::default();
        spent.seconds_per_request(60).burst_size(1);
        const HINT: &str = "neither is zero";
        let silent = |quota: &mut GovernorConfigBuilder<_, _>| {
            app().wrap(Governor::new(&quota.finish().expect(HINT)))
        };
        let telling = |quota: &mut GovernorConfigBuilder<_, _>| {
            app().wrap(Governor::new(&quota.use_headers().finish().expect(HINT)))
        };
        vec![
            candidate("actix-governor", silent(&mut open), 200).over("bare"),
            candidate("actix-governor, denied", silent(&mut spent), 429).over("bare"),
            candidate("actix-governor, headers", telling(&mut open), 200).over("bare"),
            candidate("actix-governor, headers, denied", telling(&mut spent), 429).over("bare"),
        ]
    }
}
