//! A plan as a file, and where in it something is wrong.

use crate::limits::plan::Plan;
use crate::quota::Quota;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use toml::Spanned;

impl Plan {
    /// The plan that a TOML file describes. A field that it does not know is an error, and so is a file without limits,
    /// such as one that is just being written: `limits = {}` says that there are to be none. Half a file can be a plan as
    /// well, so replace one that is watched by renaming another to it.
    ///
    /// # Errors
    /// [`FileError`] at the first thing that cannot be: where it is, and what to write instead.
    ///
    /// # Examples
    /// ```
    /// use tidegate::limits::Plan;
    ///
    /// let plan = Plan::from_toml(r#"
    ///     max_keys = 50_000        # for each limit; 100 000 if it is left out, at most 100 000 000
    ///
    ///     [limits]
    ///     reads = "100/s burst 20"
    ///     writes = { second = "5/s", hour = "1000/h sliding" }
    ///
    ///     [routes]
    ///     "GET *" = "reads"
    ///     "POST /items" = "writes"
    ///     "<unmatched>" = "writes"
    /// "#);
    /// assert!(plan.is_ok());
    ///
    /// let wrong = Plan::from_toml("[limits]\nreads = \"100 per s\"");
    /// let text = wrong.unwrap_err().to_string();
    /// assert!(text.starts_with("line 2, limits.reads: cannot read \"100 per s\" as a quota; write "));
    /// ```
    pub fn from_toml(text: &str) -> Result<Self, FileError> {
        let file: File = toml::from_str(text).map_err(|error| syntax(text, &error))?;
        let at = |span: Range<usize>, field: String| Place { text, span, field };
        let mut plan = Self::new();
        if let Some(max_keys) = file.max_keys {
            let place = at(max_keys.span(), "max_keys".into());
            plan = place.check(plan.max_keys(max_keys.into_inner()))?;
        }
        let spelled = file.limits.as_ref().map(Spanned::span);
        for (name, limit) in file.limits.map(Spanned::into_inner).unwrap_or_default() {
            let place = at(name.span(), format!("limits.{}", name.get_ref()));
            plan = match limit.get_ref() {
                Limit::One(quota) => {
                    let value = at(limit.span(), place.field.clone());
                    let quota: Quota = value.check(quota.parse())?;
                    place.check(plan.limit(name.get_ref(), quota))?
                }
                Limit::Several(each) => {
                    let mut quotas = Vec::new();
                    for (own, quota) in each {
                        let field = format!("{}.{}", place.field, own.get_ref());
                        let value = at(quota.span(), field);
                        quotas.push((&**own.get_ref(), value.check(quota.get_ref().parse())?));
                    }
                    place.check(plan.limits(name.get_ref(), quotas))?
                }
            };
        }
        for (route, limit) in file.routes {
            let field = format!("routes.{:?}", route.get_ref());
            let place = at(route.span(), field);
            plan = place.check(plan.route(route.get_ref(), limit.get_ref()))?;
        }
        let meant = |span: Range<usize>| text[span].starts_with('{');
        if plan.limits.is_empty() && !spelled.is_some_and(meant) {
            return Err(FileError {
                line: 1,
                field: "limits".into(),
                problem: "there are none, so everything would pass; write a limit, or \"limits = {}\" if that is meant"
                    .into(),
            });
        }
        Ok(plan)
    }
}

/// What is wrong with a file, and where.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}, {field}: {problem}")]
pub struct FileError {
    line: usize,
    field: Box<str>,
    problem: Box<str>,
}

impl FileError {
    /// The line, from 1.
    #[must_use]
    pub const fn line(&self) -> usize {
        self.line
    }

    /// The field, with the tables that it is in: `limits.reads`.
    #[must_use]
    pub const fn field(&self) -> &str {
        &self.field
    }

    /// What is wrong, and what to write instead.
    #[must_use]
    pub const fn problem(&self) -> &str {
        &self.problem
    }
}

/// As it is written; that it makes sense is found later.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    max_keys: Option<Spanned<usize>>,
    limits: Option<Spanned<BTreeMap<Spanned<String>, Spanned<Limit>>>>,
    #[serde(default)]
    routes: BTreeMap<Spanned<String>, Spanned<String>>,
}

enum Limit {
    One(String),
    Several(Vec<(Spanned<String>, Spanned<String>)>),
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LimitVisitor)
    }
}

/// By hand, for an untagged enum of serde's forgets where things are.
struct LimitVisitor;

impl<'de> Visitor<'de> for LimitVisitor {
    type Value = Limit;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a quota such as \"100/s burst 20\", or a table of them such as \
             { second = \"5/s\", hour = \"1000/h\" }",
        )
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Limit, E> {
        Ok(Limit::One(text.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Limit, A::Error> {
        let mut each = Vec::new();
        while let Some(entry) = map.next_entry()? {
            each.push(entry);
        }
        Ok(Limit::Several(each))
    }
}

/// Where something is in a file.
struct Place<'a> {
    text: &'a str,
    span: Range<usize>,
    field: String,
}

impl Place<'_> {
    fn check<T>(&self, result: Result<T, crate::ConfigError>) -> Result<T, FileError> {
        result.map_err(|error| FileError {
            line: line(self.text, self.span.start),
            field: self.field.as_str().into(),
            problem: error.to_string().into(),
        })
    }
}

/// What the reader of TOML found; it knows where, but not in which field: that of the line, in the table whose header is
/// above it.
fn syntax(text: &str, error: &toml::de::Error) -> FileError {
    let start = error.span().map_or(text.len(), |span| span.start);
    let mut begin = start.min(text.len());
    while !text.is_char_boundary(begin) {
        begin -= 1;
    }
    let begin = text[..begin].rfind('\n').map_or(0, |end| end + 1);
    let written = text[begin..].lines().next().unwrap_or("").trim();
    let key = written.split(['=', '#']).next().unwrap_or("").trim();
    let field = match table(&text[..begin]) {
        _ if key.is_empty() => "end of file".into(),
        Some(table) if !key.starts_with('[') => format!("{table}.{key}"),
        _ => key.into(),
    };
    FileError {
        line: line(text, start),
        field: crate::error::excerpt(&field),
        problem: error.message().trim().replace('\n', "; ").into(),
    }
}

/// The table that the last header in `text` opens.
fn table(text: &str) -> Option<&str> {
    let header = text
        .lines()
        .rev()
        .find_map(|it| it.trim().strip_prefix('['))?;
    Some(header.split(']').next()?.trim())
}

fn line(text: &str, at: usize) -> usize {
    let before = &text.as_bytes()[..at.min(text.len())];
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_the_plan_that_code_would_make() {
        let text = "max_keys = 9\n[limits]\na = \"5/s\"\n[limits.b]\nx = \"1/s log\"\ny = \"9/month\"\n\
                    [routes]\n\"GET /a\" = \"a\"\n\"*\" = \"b\"\n";
        let quotas =
            [("x", "1/s log"), ("y", "9/month")].map(|(own, it)| (own, it.parse().unwrap()));
        let plan = Plan::new().limit("a", Quota::per_second(5)).unwrap();
        let plan = plan.limits("b", quotas).unwrap();
        let plan = plan.route("GET /a", "a").unwrap();
        let plan = plan.route("*", "b").unwrap().max_keys(9).unwrap();
        assert_eq!(Plan::from_toml(text).unwrap(), plan);
        assert_eq!(Plan::from_toml("limits = {}").unwrap(), Plan::new());
    }

    #[test]
    fn no_limits_have_to_be_meant() {
        for text in [
            "",
            "\n# soon\n",
            "[limits]\n",
            "max_keys = 9\n",
            "[routes]\n",
        ] {
            let error = Plan::from_toml(text).unwrap_err();
            assert_eq!((error.line(), error.field()), (1, "limits"), "{text:?}");
            assert!(error.problem().contains("\"limits = {}\""), "{error}");
        }
        for text in ["limits = {}", "limits = { }\nmax_keys = 9\n"] {
            assert!(Plan::from_toml(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn an_error_says_line_field_and_what_to_write() {
        for (text, place, instead) in [
            ("\nmax_keys = 0", "line 2, max_keys: ", "choose at least 1"),
            ("\nmax_keys = -1", "line 2, max_keys: ", "-1"),
            (
                "\nmax_keys = 9000000000000000000",
                "line 2, max_keys: ",
                "choose at most 100000000",
            ),
            (
                "max_keys = \"many\"",
                "line 1, max_keys: ",
                "expected usize",
            ),
            (
                "max_kesy = 5",
                "line 1, max_kesy: ",
                "expected one of `max_keys`, `limits`, `routes`",
            ),
            ("\n[limit]\na = \"5/s\"", "line 2, [limit]: ", "`limits`"),
            (
                "[limits]\n\na = \"5 per s\"",
                "line 3, limits.a: ",
                "\"100/s\"",
            ),
            (
                "[limits]\na = 5",
                "line 2, limits.a: ",
                "expected a quota such as \"100/s burst 20\"",
            ),
            (
                "[limits]\n\"a b\" = \"5/s\"",
                "line 2, limits.a b: ",
                "letters",
            ),
            (
                "[limits]\na = {}",
                "line 2, limits.a: ",
                "the quotas of a limit are too few; write 1 or more",
            ),
            (
                "[limits]\na = \"5/s\"\n[limits.b] # two\nx = 5",
                "line 4, limits.b.x: ",
                "expected a string",
            ),
            (
                "[routes]\n\"GET /x\" = 5",
                "line 2, routes.\"GET /x\": ",
                "expected a string",
            ),
            (
                "[limits]\na = { x = \"5/s\",\n y = \"z\" }",
                "line 3, limits.a.y: ",
                "\"100/s\"",
            ),
            (
                "[limits]\na = \"5/s\"\na = \"6/s\"",
                "line 3, limits.a: ",
                "duplicate key",
            ),
            (
                "[routes]\n\"/x\" = \"a\"",
                "line 2, routes.\"/x\": ",
                "there is no limit called \"a\"",
            ),
            (
                "[limits]\na = \"5/s\"\n[routes]\n\"get /x\" = \"a\"",
                "line 4, routes.\"get /x\": ",
                "\"GET /items/{id}\"",
            ),
            (
                "[limits]\na = \"5/s\"\nb = \"5/999us\"",
                "line 3, limits.b: ",
                "a window of 999µs cannot be counted in; choose one from 1 ms to 10 years",
            ),
            (
                "[limits]\na = { x = \"5/s\",\n y = \"5/3653d\" }",
                "line 3, limits.a.y: ",
                "choose one from 1 ms to 10 years",
            ),
            ("[limits", "line 1, [limits: ", "]"),
        ] {
            let said = Plan::from_toml(text).unwrap_err().to_string();
            assert!(said.starts_with(place), "{text:?}: {said}");
            assert!(said[place.len()..].contains(instead), "{text:?}: {said}");
            assert!(!said.contains('\n'), "{said}");
        }
    }
}
