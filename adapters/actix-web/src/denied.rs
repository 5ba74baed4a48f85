//! A denial as an actix-web response, and as a handler's error.

use actix_web::body::BoxBody;
use actix_web::dev::ServiceRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::web::Bytes;
use actix_web::{HttpMessage, HttpResponse, ResponseError};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use tidegate::decision::Policy;
use tidegate::reject::{Denial, Form};
use tidegate::{Decision, Shed};

/// Answers a request with a [`Denial`]: for handlers that ask a guard or limiter of their own.
///
/// The denial is also in the response's extensions: middlewares around see that it is not the backend's answer.
///
/// # Examples
/// ```
/// use tidegate_actix_web::Denied;
/// use tidegate_actix_web::tidegate::adaptive::LocalGuard;
/// use tidegate_actix_web::tidegate::{ConcurrencyGuard, Criticality};
///
/// async fn report(guard: LocalGuard) -> Result<String, Denied> {
///     let lease = guard.try_acquire(Criticality::Bulk)?;
///     let report = String::from("made with the slot");
///     lease.success();
///     Ok(report)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Denied {
    denial: Denial,
    form: Form,
    responder: Responder,
}

impl Denied {
    /// The denial that a rate limit's `decision` means.
    ///
    /// # Errors
    /// `Denied` if the decision is one; to be used with `?`.
    pub fn check(decision: &Decision) -> Result<(), Self> {
        Denial::of(decision).map_or(Ok(()), |denial| Err(denial.into()))
    }

    /// What was denied, and why.
    #[must_use]
    pub const fn denial(&self) -> &Denial {
        &self.denial
    }

    /// As `responder` says it.
    pub(crate) const fn told(denial: Denial, form: Form, responder: Responder) -> Self {
        Self {
            denial,
            form,
            responder,
        }
    }
}

impl From<Denial> for Denied {
    fn from(denial: Denial) -> Self {
        Self::told(denial, Form::Problem, Responder::default())
    }
}

impl From<Shed> for Denied {
    fn from(shed: Shed) -> Self {
        Denial::overload(shed).into()
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "denied: {:?}", self.denial.reason())
    }
}

impl std::error::Error for Denied {}

impl ResponseError for Denied {
    fn status_code(&self) -> StatusCode {
        status(self.denial.status())
    }

    fn error_response(&self) -> HttpResponse {
        self.responder
            .respond(self.denial, self.form, Marking::Marked)
    }
}

type Custom = dyn Fn(&Denial) -> HttpResponse + Send + Sync;

/// How denials are written: ours, or the user's.
#[derive(Clone, Default)]
pub(crate) struct Responder {
    custom: Option<Arc<Custom>>,
    /// The problem documents of quotas' denials, by policy, which never change.
    quotas: Box<[(&'static str, Bytes)]>,
}

impl Responder {
    pub(crate) fn custom(
        respond: impl Fn(&Denial) -> HttpResponse + Send + Sync + 'static,
    ) -> Self {
        Self {
            custom: Some(Arc::new(respond)),
            quotas: Box::default(),
        }
    }

    /// Makes denials by `policies` ready.
    pub(crate) fn prepare(&mut self, policies: &[Policy]) {
        let document = |policy: &Policy| {
            let name = policy.name().as_str();
            let denial = Denial::too_large().violating(name);
            (name, text(denial.render(Form::Problem).body))
        };
        self.quotas = policies.iter().map(document).collect();
    }

    /// The document that is ready for `denial`.
    fn ready(&self, denial: &Denial) -> Option<&Bytes> {
        let policy = denial.policy()?;
        let (_, document) = self.quotas.iter().find(|(name, _)| *name == policy)?;
        Some(document)
    }

    /// The response. Marked, it has the [`Denial`] in its extensions: middlewares around must not take it for the
    /// backend's answer.
    pub(crate) fn respond(&self, denial: Denial, form: Form, marking: Marking) -> HttpResponse {
        let mut response = match (&self.custom, form) {
            (Some(respond), Form::Problem) => with_retry_after(respond(&denial), &denial),
            (None, Form::Problem) => match self.ready(&denial) {
                Some(document) => problem(&denial, document.clone()),
                None => render(&denial, form),
            },
            (_, Form::Grpc) => render(&denial, form),
        };
        if marking == Marking::Marked {
            response.extensions_mut().insert(denial);
        }
        response
    }
}

/// Whether a denial is marked for the middlewares around.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Marking {
    Marked,
    /// Saves the allocation.
    Plain,
}

impl Marking {
    /// For a middleware that may or may not use extensions, inside one that did or did not leave a slot.
    #[inline]
    pub(crate) fn of(extensions: bool, request: &ServiceRequest) -> Self {
        if extensions || request.extensions().contains::<tidegate::Slot>() {
            Self::Marked
        } else {
            Self::Plain
        }
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.custom {
            None => "problem document",
            Some(_) => "custom",
        })
    }
}

/// The usual form, put together from parts that need no parsing.
fn problem(denial: &Denial, body: Bytes) -> HttpResponse {
    let mut response = HttpResponse::with_body(status(denial.status()), BoxBody::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
    if let Some(seconds) = denial.retry_after_seconds() {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// Says when to come back, unless the response does.
fn with_retry_after(mut response: HttpResponse, denial: &Denial) -> HttpResponse {
    if let Some(seconds) = denial.retry_after_seconds()
        && !response.headers().contains_key(header::RETRY_AFTER)
    {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// Any form, as the core renders it.
fn render(denial: &Denial, form: Form) -> HttpResponse {
    let rendered = denial.render(form);
    let body = BoxBody::new(text(rendered.body));
    let mut response = HttpResponse::with_body(status(rendered.status), body);
    let headers = response.headers_mut();
    for (name, value) in rendered.headers.into_iter().flatten() {
        let value = HeaderValue::from_maybe_shared(text(value))
            .expect("a denial's headers are visible ASCII");
        headers.insert(HeaderName::from_static(name), value);
    }
    response
}

fn text(text: Cow<'static, str>) -> Bytes {
    match text {
        Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    }
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).expect("a denial's status is a status")
}

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_users_own_response_says_when_to_come_back_unless_it_does() {
        let after = |own: Option<u64>, denial| {
            let responder = Responder::custom(move |_| {
                let mut response = HttpResponse::TooManyRequests();
                if let Some(own) = own {
                    response.insert_header((header::RETRY_AFTER, own));
                }
                response.finish()
            });
            let response = responder.respond(denial, Form::Problem, Marking::Plain);
            let all: Vec<_> = response.headers().get_all(header::RETRY_AFTER).collect();
            all.iter().map(|it| it.to_str().unwrap().into()).collect()
        };
        let denial = Denial::quota(Duration::from_secs(90));
        let none: [&str; 0] = [];
        let said: Vec<String> = after(None, denial);
        assert_eq!(said, ["90"]);
        assert_eq!(after(Some(7), denial), ["7"]);
        assert_eq!(after(None, Denial::too_large()), none, "never");
    }
}
