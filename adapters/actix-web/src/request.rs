//! What middlewares look at in every request.

use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderValue};
use tidegate::reject::Form;

/// How the client wants to be told no.
#[inline]
pub(crate) fn form(request: &ServiceRequest) -> Form {
    // Every gRPC call is a POST; others are spared the look.
    if *request.method() == Method::POST {
        let content_type = request.headers().get(header::CONTENT_TYPE);
        Form::of(content_type.map(HeaderValue::as_bytes))
    } else {
        Form::Problem
    }
}
