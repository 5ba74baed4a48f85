//! A denial as an http 1 response.

use crate::reject::{Denial, Form};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

type Custom = dyn Fn(&Denial) -> Response<Bytes> + Send + Sync;

/// How denials are written: ours, or the user's.
#[derive(Clone, Default)]
pub(super) struct Responder(Option<Arc<Custom>>);

impl Responder {
    pub(super) fn custom(
        respond: impl Fn(&Denial) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        Self(Some(Arc::new(respond)))
    }

    /// The response, marked with the [`Denial`] in its extensions: layers around must not take it for the
    /// backend's answer.
    pub(super) fn respond(&self, denial: Denial, form: Form) -> Response<Bytes> {
        match (&self.0, form) {
            (Some(respond), Form::Problem) => mark(respond(&denial), denial),
            (Some(_), Form::Grpc) | (None, _) => denial_response(denial, form),
        }
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
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
    let rendered = denial.render(form);
    let mut response = Response::new(match rendered.body {
        Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    });
    *response.status_mut() =
        StatusCode::from_u16(rendered.status).expect("a denial's status is a status");
    let mut headers = HeaderMap::with_capacity(6);
    for (name, value) in rendered.headers.into_iter().flatten() {
        let value = match value {
            Cow::Borrowed(text) => HeaderValue::from_static(text),
            Cow::Owned(text) => HeaderValue::from_maybe_shared(Bytes::from(text))
                .expect("a denial's headers are visible ASCII"),
        };
        headers.append(HeaderName::from_static(name), value);
    }
    *response.headers_mut() = headers;
    mark(response, denial)
}

fn mark(mut response: Response<Bytes>, denial: Denial) -> Response<Bytes> {
    response.extensions_mut().insert(denial);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_denial_becomes_a_marked_response() {
        let denial = Denial::quota(Duration::from_secs(90)).violating("writes");
        let response = Responder::default().respond(denial, Form::Problem);
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
    fn the_users_own_response_is_marked_too_and_leaves_grpc_alone() {
        let responder = Responder::custom(|denial| {
            Response::builder()
                .status(denial.status())
                .body(Bytes::from_static(b"no"))
                .unwrap()
        });
        let response = responder.respond(Denial::too_large(), Form::Problem);
        assert_eq!(
            (response.status().as_u16(), &response.body()[..]),
            (429, &b"no"[..])
        );
        assert!(response.extensions().get::<Denial>().is_some());
        let response = responder.respond(Denial::too_large(), Form::Grpc);
        assert_eq!(response.headers()["grpc-status"], "8");
    }
}
