//! A denial as an http 1 response.

use crate::decision::Policy;
use crate::headers;
use crate::intern::interned;
use crate::reject::{Denial, Form, ready_decimal};
use crate::slot::Slot;
use crate::tower::RequestHead;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

type Custom = dyn Fn(&Denial) -> Response<Bytes> + Send + Sync;

/// How denials are written: ours, or the user's.
#[derive(Clone, Default)]
pub(super) struct Responder {
    custom: Option<Arc<Custom>>,
    /// The problem documents of quotas' denials, by policy, which never change.
    quotas: Box<[(&'static str, &'static str)]>,
}

impl Responder {
    pub(super) fn custom(
        respond: impl Fn(&Denial) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        Self {
            custom: Some(Arc::new(respond)),
            quotas: Box::default(),
        }
    }

    /// Makes denials by `policies` ready.
    pub(super) fn prepare(&mut self, policies: &[Policy]) {
        let document = |policy: &Policy| {
            let name = policy.name().as_str();
            let denial = Denial::too_large().violating(name);
            (name, interned(&denial.problem()))
        };
        self.quotas = policies.iter().map(document).collect();
    }

    /// The document that is ready for `denial`, if that is what the client is to have.
    #[inline]
    pub(super) fn ready(&self, denial: &Denial, form: Form) -> Option<&'static str> {
        if self.custom.is_some() || form != Form::Problem {
            return None;
        }
        let policy = denial.policy()?;
        let (_, document) = self.quotas.iter().find(|(name, _)| *name == policy)?;
        Some(document)
    }

    /// The response, with the headers that `tell` adds, and its text made into a body of the layer's. Marked, it has the
    /// [`Denial`] in its extensions: layers around must not take it for the backend's answer.
    #[inline]
    pub(super) fn respond<B>(
        &self,
        denial: Denial,
        form: Form,
        marking: Marking,
        tell: impl FnOnce(&mut HeaderMap),
        body: impl FnOnce(Bytes) -> B,
    ) -> Response<B> {
        let text = match (&self.custom, form) {
            (None, Form::Problem) => match self.ready(&denial, form) {
                Some(problem) => Bytes::from_static(problem.as_bytes()),
                None => text(denial.problem()),
            },
            (Some(_), Form::Problem) | (_, Form::Grpc) => {
                let mut response = self.respond_otherwise(&denial, form, marking);
                tell(response.headers_mut());
                return response.map(body);
            }
        };
        problem(denial, marking, tell, body(text))
    }

    /// The user's own form, or gRPC's.
    #[cold]
    fn respond_otherwise(&self, denial: &Denial, form: Form, marking: Marking) -> Response<Bytes> {
        let mut response = match (&self.custom, form) {
            (Some(respond), Form::Problem) => with_retry_after(respond(denial), denial),
            (None, Form::Problem) | (_, Form::Grpc) => grpc(denial),
        };
        if marking == Marking::Marked {
            response.extensions_mut().insert(*denial);
        }
        response
    }
}

/// A problem document as a response. It is made in the place where it stays, since nothing else is returned here, from parts
/// that need no parsing.
#[inline]
pub(super) fn problem<B>(
    denial: Denial,
    marking: Marking,
    tell: impl FnOnce(&mut HeaderMap),
    body: B,
) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = match denial.status() {
        429 => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
    if let Some(seconds) = denial.retry_after_seconds() {
        headers.insert(header::RETRY_AFTER, number(seconds));
    }
    tell(headers);
    if marking == Marking::Marked {
        response.extensions_mut().insert(denial);
    }
    response
}

/// Whether a denial is marked for the layers around.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Marking {
    Marked,
    /// Saves the allocations that the first extension of a response costs.
    Plain,
}

impl Marking {
    /// For a layer that may or may not use extensions, inside one that did or did not leave a [`Slot`].
    #[inline]
    pub(super) fn of(extensions: bool, head: &RequestHead<'_>) -> Self {
        if extensions || head.extensions().get::<Slot>().is_some() {
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

/// A denial as a response, for handlers and frameworks that say no themselves.
///
/// The [`Denial`] is also in the response's extensions: layers around see that it is not the backend's answer.
#[must_use]
pub fn denial_response(denial: Denial, form: Form) -> Response<Bytes> {
    Responder::default().respond(denial, form, Marking::Marked, |_| {}, |text| text)
}

/// Says when to come back, unless the response does.
fn with_retry_after(mut response: Response<Bytes>, denial: &Denial) -> Response<Bytes> {
    if let Some(seconds) = denial.retry_after_seconds() {
        let after = response.headers_mut().entry(header::RETRY_AFTER);
        after.or_insert_with(|| number(seconds));
    }
    response
}

fn grpc(denial: &Denial) -> Response<Bytes> {
    let rendered = denial.render(Form::Grpc);
    let mut response = Response::new(text(rendered.body));
    *response.status_mut() =
        StatusCode::from_u16(rendered.status).expect("a denial's status is a status");
    for (name, value) in rendered.headers.into_iter().flatten() {
        let value = HeaderValue::from_maybe_shared(text(value))
            .expect("a denial's headers are visible ASCII");
        response
            .headers_mut()
            .insert(HeaderName::from_static(name), value);
    }
    response
}

fn text(text: Cow<'static, str>) -> Bytes {
    match text {
        Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    }
}

/// `seconds` as a value; those of the first minute, which nearly every denial has, are ready.
fn number(seconds: u64) -> HeaderValue {
    match ready_decimal(seconds) {
        Some(text) => HeaderValue::from_static(text),
        None => HeaderValue::from_bytes(headers::number(seconds).as_bytes())
            .expect("digits are visible ASCII"),
    }
}

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_denial_becomes_a_marked_response() {
        let denial = Denial::quota(Duration::from_secs(90)).violating("writes");
        let response = Responder::default().respond(
            denial,
            Form::Problem,
            Marking::Marked,
            |_| {},
            |text| text,
        );
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "90");
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        assert_eq!(response.extensions().get::<Denial>(), Some(&denial));
        let body = std::str::from_utf8(response.body()).unwrap();
        assert!(body.contains(r#""violated-policies":["writes"]"#), "{body}");
    }

    #[test]
    fn the_users_own_response_says_when_to_come_back_unless_it_does() {
        let responder = |own: Option<&'static str>| {
            Responder::custom(move |_| {
                let mut response = Response::new(Bytes::from_static(b"no"));
                if let Some(own) = own {
                    let headers = response.headers_mut();
                    headers.insert(header::RETRY_AFTER, HeaderValue::from_static(own));
                }
                response
            })
        };
        let after = |own, denial| {
            let marking = Marking::Plain;
            let response =
                responder(own).respond(denial, Form::Problem, marking, |_| {}, |text| text);
            let all = response.headers().get_all(header::RETRY_AFTER);
            let all: Vec<String> = all
                .iter()
                .map(|value| value.to_str().unwrap().into())
                .collect();
            all.join(",")
        };
        let denial = Denial::quota(Duration::from_secs(90));
        assert_eq!(after(None, denial), "90");
        assert_eq!(after(Some("7"), denial), "7");
        assert_eq!(after(None, Denial::too_large()), "", "never");
    }

    #[test]
    fn the_users_own_response_is_marked_too_and_leaves_grpc_alone() {
        let responder = Responder::custom(|denial| {
            Response::builder()
                .status(denial.status())
                .body(Bytes::from_static(b"no"))
                .unwrap()
        });
        let response = responder.respond(
            Denial::too_large(),
            Form::Problem,
            Marking::Marked,
            |_| {},
            |text| text,
        );
        assert_eq!(
            (response.status().as_u16(), &response.body()[..]),
            (429, &b"no"[..])
        );
        assert!(response.extensions().get::<Denial>().is_some());
        let response = responder.respond(
            Denial::too_large(),
            Form::Grpc,
            Marking::Plain,
            |_| {},
            |text| text,
        );
        assert_eq!(response.headers()["grpc-status"], "8");
        assert!(response.extensions().is_empty());
    }
}
