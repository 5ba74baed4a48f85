//! What an answer says about the backend: success, failure, overload, or nothing.

use crate::permit::Outcome;
use std::fmt;
use std::sync::Arc;

/// What came back, as far as a classifier sees it. Free of any framework's types.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Answer {
    /// A response with this HTTP status code.
    Status(u16),
    /// A gRPC call that ended with this status code.
    Grpc(u8),
    /// No response: the service returned an error, or a gRPC call ended without a status.
    Error,
}

impl Answer {
    /// From the head of a response. A gRPC call has its status there only if it has no other answer.
    #[must_use]
    pub fn of_head(status: u16, content_type: Option<&[u8]>, grpc_status: Option<&[u8]>) -> Self {
        match (content_type, grpc_status) {
            (Some(it), Some(code)) if is_grpc(it) => Self::grpc(code),
            _ => Self::Status(status),
        }
    }

    /// From the text of a `grpc-status`; what is no code counts as `2` (unknown).
    #[must_use]
    pub fn grpc(text: &[u8]) -> Self {
        let code = std::str::from_utf8(text)
            .ok()
            .and_then(|it| it.parse().ok());
        Self::Grpc(code.unwrap_or(2))
    }
}

/// When the latency sample of a request ends. It begins at the admission.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Measure {
    /// At the head of the response: what the backend needed to answer. The slot is kept until the body ends all the
    /// same. Where bodies take many times as long as heads, a limit that is found is further from the best one, and
    /// follows what changes no quicker than bodies end: a backend with 2 s of body after 50 ms serves .95 of what it can,
    /// one with 10 s .83, and when half of the capacity of the first is gone that is followed in 23 s.
    #[default]
    Head,
    /// At the end of the response body: for backends whose work is in the stream. A slow client then looks like a
    /// slow backend.
    End,
}

/// Turns answers into [`Outcome`]s.
///
/// | answer | server | upstream |
/// |---|---|---|
/// | 502, 503, 504; gRPC 4 (deadline), 14 (unavailable) | overload | overload |
/// | 429; gRPC 8 (exhausted) | ignore | overload |
/// | other 5xx; gRPC 2, 12, 13, 15 | failure | failure |
/// | other 4xx; other gRPC codes but 0 | ignore | ignore |
/// | an error instead of a response | failure | overload |
/// | the rest | success | success |
///
/// A WebSocket and an event stream give no latency sample, whatever the classifier says, and an answer that one of
/// our layers wrote is always [`Outcome::Ignore`].
///
/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Classifier(Rule);

#[derive(Clone, Default)]
enum Rule {
    #[default]
    Server,
    Upstream,
    Custom(Arc<dyn Fn(Answer) -> Outcome + Send + Sync>),
}

impl Classifier {
    /// For the layer in front of one's own handlers. The default.
    #[must_use]
    pub const fn server() -> Self {
        Self(Rule::Server)
    }

    /// For the layer around a client, or in a gateway: a 429 is the upstream's, and an error is most often a
    /// connection refused or a time-out.
    #[must_use]
    pub const fn upstream() -> Self {
        Self(Rule::Upstream)
    }

    /// As told by `rule`.
    ///
    /// # Examples
    /// ```
    /// use tidegate::Outcome;
    /// use tidegate::classify::{Answer, Classifier};
    ///
    /// // This backend answers 500 when its pool is exhausted.
    /// let classifier = Classifier::custom(|answer| match answer {
    ///     Answer::Status(500) => Outcome::Overload,
    ///     other => Classifier::server().outcome(other),
    /// });
    /// assert_eq!(classifier.outcome(Answer::Status(500)), Outcome::Overload);
    /// assert_eq!(classifier.outcome(Answer::Status(404)), Outcome::Ignore);
    /// ```
    #[must_use]
    pub fn custom(rule: impl Fn(Answer) -> Outcome + Send + Sync + 'static) -> Self {
        Self(Rule::Custom(Arc::new(rule)))
    }

    /// What `answer` says about the backend.
    #[inline]
    #[must_use]
    pub fn outcome(&self, answer: Answer) -> Outcome {
        let upstream = match &self.0 {
            Rule::Server => false,
            Rule::Upstream => true,
            Rule::Custom(rule) => return rule(answer),
        };
        match answer {
            Answer::Status(502..=504) | Answer::Grpc(4 | 14) => Outcome::Overload,
            Answer::Status(429) | Answer::Grpc(8) | Answer::Error if upstream => Outcome::Overload,
            Answer::Status(500..) | Answer::Grpc(2 | 12 | 13 | 15) | Answer::Error => {
                Outcome::Failure
            }
            Answer::Status(400..=499) | Answer::Grpc(1..) => Outcome::Ignore,
            Answer::Status(_) | Answer::Grpc(0) => Outcome::Success,
        }
    }
}

impl fmt::Debug for Classifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Rule::Server => "Classifier::server",
            Rule::Upstream => "Classifier::upstream",
            Rule::Custom(_) => "Classifier::custom",
        })
    }
}

/// Whether an answer with this `content-type` gives a latency sample: an event stream does not, it ends when
/// somebody has had enough of it.
#[inline]
#[must_use]
pub fn gives_sample(content_type: Option<&[u8]>) -> bool {
    !content_type.is_some_and(|it| is_media_type(it, b"text/event-stream", b";"))
}

/// Whether `content_type` is that of gRPC: `application/grpc`, alone or with a `+codec`.
#[inline]
#[must_use]
pub fn is_grpc(content_type: &[u8]) -> bool {
    is_media_type(content_type, b"application/grpc", b"+;")
}

/// Whether `it` is `name`, followed by nothing or by one of `ends`.
fn is_media_type(it: &[u8], name: &[u8], ends: &[u8]) -> bool {
    let Some((head, rest)) = it.split_at_checked(name.len()) else {
        return false;
    };
    head.eq_ignore_ascii_case(name)
        && rest
            .first()
            .is_none_or(|next| ends.contains(next) || next.is_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::{Failure, Ignore, Overload, Success};

    #[test]
    fn statuses_say_what_the_table_says() {
        let (server, upstream) = (Classifier::server(), Classifier::upstream());
        for (status, at_server, at_upstream) in [
            (200, Success, Success),
            (304, Success, Success),
            (400, Ignore, Ignore),
            (404, Ignore, Ignore),
            (429, Ignore, Overload),
            (500, Failure, Failure),
            (501, Failure, Failure),
            (502, Overload, Overload),
            (503, Overload, Overload),
            (504, Overload, Overload),
            (505, Failure, Failure),
            (599, Failure, Failure),
        ] {
            assert_eq!(
                server.outcome(Answer::Status(status)),
                at_server,
                "{status}"
            );
            assert_eq!(
                upstream.outcome(Answer::Status(status)),
                at_upstream,
                "{status}"
            );
        }
        assert_eq!(server.outcome(Answer::Error), Failure);
        assert_eq!(upstream.outcome(Answer::Error), Overload);
    }

    #[test]
    fn grpc_codes_say_what_the_table_says() {
        let server = Classifier::server();
        let told: Vec<_> = (0..=16)
            .map(|code| server.outcome(Answer::Grpc(code)))
            .collect();
        let mut expected = [Ignore; 17];
        expected[0] = Success;
        for code in [2, 12, 13, 15] {
            expected[code] = Failure;
        }
        for code in [4, 14] {
            expected[code] = Overload;
        }
        assert_eq!(told, expected);
        assert_eq!(Classifier::upstream().outcome(Answer::Grpc(8)), Overload);
        assert_eq!(Answer::grpc(b"14"), Answer::Grpc(14));
        assert_eq!(Answer::grpc(b"soon"), Answer::Grpc(2));
    }

    #[test]
    fn media_types_are_recognized_with_parameters_and_in_any_case() {
        assert!(!gives_sample(Some(b"Text/Event-Stream; charset=utf-8")));
        assert!(gives_sample(Some(b"text/event-streams")));
        assert!(gives_sample(None));
        assert!(is_grpc(b"application/grpc"));
        assert!(is_grpc(b"application/grpc+proto"));
        assert!(!is_grpc(b"application/grpc-web"));
        assert!(!is_grpc(b"application/json"));
    }
}
