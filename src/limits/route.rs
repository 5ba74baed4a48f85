//! A route: the template of a path, and a method or any.

use crate::error::{ConfigError, excerpt};
use std::fmt;
use std::str::FromStr;

/// As people write it: `GET /items/{id}`, `/items/{id}` for any method, `*` for all that has no route of its own.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Route {
    pub(super) template: Box<str>,
    pub(super) method: Option<Box<str>>,
}

impl Route {
    /// In place of a template: every request that has no route of its own.
    pub(super) const OTHERS: &str = "*";
    /// In place of a template: every request that the framework's router has no route for.
    pub(super) const UNMATCHED: &str = "<unmatched>";
}

impl FromStr for Route {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let mut words = text.split_whitespace();
        let (method, template) = match (words.next(), words.next(), words.next()) {
            (Some(template), None, None) => (None, template),
            (Some(method), Some(template), None) => (Some(method), template),
            _ => return Err(unreadable(text)),
        };
        // RFC 9110 9.1: methods are tokens and case-sensitive; all that are registered are in capitals.
        let capitals = |it: &str| {
            it.bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'-')
        };
        let is_path =
            template.starts_with('/') || [Self::OTHERS, Self::UNMATCHED].contains(&template);
        if !is_path || !method.is_none_or(capitals) {
            return Err(unreadable(text));
        }
        Ok(Self {
            template: template.into(),
            method: method.map(Into::into),
        })
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(method) = &self.method {
            write!(f, "{method} ")?;
        }
        f.write_str(&self.template)
    }
}

fn unreadable(text: &str) -> ConfigError {
    ConfigError::RouteText {
        text: excerpt(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_read_back_as_they_are_written() {
        for text in [
            "/",
            "/items/{id}",
            "GET /items/{id}",
            "*",
            "POST *",
            "<unmatched>",
            "VERSION-CONTROL /x",
        ] {
            assert_eq!(text.parse::<Route>().unwrap().to_string(), text);
        }
        assert_eq!("GET   /a ".parse::<Route>().unwrap().to_string(), "GET /a");
    }

    #[test]
    fn what_is_no_route_is_refused_with_what_to_write() {
        for text in [
            "",
            "items",
            "get /items",
            "GET",
            "GET items",
            "GET /a /b",
            "/items GET",
        ] {
            let error = text.parse::<Route>().unwrap_err();
            assert!(error.to_string().contains("\"GET /items/{id}\""), "{error}");
        }
    }
}
