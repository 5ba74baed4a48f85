//! What rules that look at a request see of it: everything but the body.

use crate::reject::Form;
use http::{Extensions, HeaderMap, Method, Request, Uri, Version, header};

/// A request without its body. Borrowed, so that looking costs nothing.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    method: &'a Method,
    uri: &'a Uri,
    version: Version,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
}

impl<'a> RequestHead<'a> {
    /// The head of `request`.
    #[inline]
    #[must_use]
    pub fn of<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> &'a Method {
        self.method
    }

    /// The target. Inside a nested axum router the nested part of the path.
    #[must_use]
    pub const fn uri(&self) -> &'a Uri {
        self.uri
    }

    /// The version of HTTP.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// All headers.
    #[must_use]
    pub const fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// What layers and the server attached to the request.
    #[must_use]
    pub const fn extensions(&self) -> &'a Extensions {
        self.extensions
    }

    /// How the client wants to be told no.
    pub(crate) fn form(&self) -> Form {
        // Every gRPC call is a POST; others are spared the look.
        if self.method == Method::POST {
            let content_type = self.headers.get(header::CONTENT_TYPE);
            Form::of(content_type.map(http::HeaderValue::as_bytes))
        } else {
            Form::Problem
        }
    }
}
