//! What can be wrong with a configuration, each case with what to write instead.

use std::time::Duration;

/// A configuration that cannot work, found when it is built and never later.
///
/// Every message is one sentence that ends with what to write instead.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A setting has a value that cannot work.
    #[error("{setting} cannot be {value}: {instead}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// Its value, cut to 64 characters.
        value: Box<str>,
        /// What to write instead.
        instead: &'static str,
    },
    /// A text is not a quota.
    #[error(
        "cannot read {text:?} as a quota; write how many per window, as in \"100/s\", \"1000/h\", \"5/10s\", \
         \"100/s burst 20\" or \"100/min sliding\""
    )]
    QuotaText {
        /// The text, cut to 64 characters.
        text: Box<str>,
    },
    /// A quota's window is too short or too long to count in.
    #[error(
        "a window of {window:?} cannot be counted in; choose one from 1 ms to 10 years (3652.5 days)"
    )]
    QuotaWindow {
        /// The window that was asked for.
        window: Duration,
    },
    /// A quota's burst takes too long to come back.
    #[error(
        "a burst of {burst} would take more than 15 years to refill at this rate; choose one of at most {max}"
    )]
    QuotaBurst {
        /// The burst that was asked for.
        burst: u32,
        /// The largest burst that this rate allows.
        max: u32,
    },
    /// A burst for a quota that counts in windows.
    #[error(
        "a quota that counts in windows has no burst of {burst}; leave the burst out, or the kind of the window"
    )]
    WindowBurst {
        /// The burst that was asked for.
        burst: u32,
    },
    /// A limit that is too large to keep a log of.
    #[error(
        "a log of the last {limit} units would take too much memory for each key; write \"sliding\" in place of \"log\", \
         or a limit of at most 1024"
    )]
    LogLimit {
        /// The limit that was asked for.
        limit: u32,
    },
    /// A soft limit that is not below the limit.
    #[error(
        "a limit of {limit} cannot have a soft limit of {soft}; write a number from 1 to the limit"
    )]
    SoftLimit {
        /// The soft limit that was asked for.
        soft: u32,
        /// The limit.
        limit: u32,
    },
    /// A calendar further from UTC than any clock.
    #[error(
        "a calendar cannot be {minutes} minutes from UTC; write minutes from -1080 to 1080, which is 18 hours"
    )]
    UtcOffset {
        /// The offset that was asked for.
        minutes: i16,
    },
    /// A policy's name cannot be sent in a header.
    #[error(
        "cannot use {name:?} as the name of a policy; write 1 to 64 letters, digits or any of \"-_.:/\""
    )]
    PolicyName {
        /// The name, cut to 64 characters.
        name: Box<str>,
    },
    /// Two policies of one limiter have the same name.
    #[error(
        "two policies are called {name:?}, and clients could not tell them apart; give each a name of its own"
    )]
    PolicyTwice {
        /// The name.
        name: Box<str>,
    },
    /// A keyed table without room for a key.
    #[error(
        "max_keys is 0, which would put every client into one cell; choose at least 1, or check Key::EVERYONE for \
         one cell on purpose"
    )]
    MaxKeys,
    /// The bounds of a limit are out of order, or zero.
    #[error(
        "a limit cannot start at {initial} between {min} and {max}; write 1 <= min <= initial <= max"
    )]
    LimitBounds {
        /// The lowest limit asked for.
        min: u32,
        /// The first limit asked for.
        initial: u32,
        /// The highest limit asked for.
        max: u32,
    },
    /// A factor is not a number, or outside of what makes sense.
    #[error("{what} cannot be {value}; write a number from {least} to {most}")]
    Factor {
        /// Which one.
        what: &'static str,
        /// What was asked for.
        value: Box<str>,
        /// The least that makes sense.
        least: Box<str>,
        /// The most that makes sense.
        most: Box<str>,
    },
    /// A duration is shorter or longer than makes sense.
    #[error("{what} cannot be {value:?}; write a duration from {least:?} to {most:?}")]
    Span {
        /// Which one.
        what: &'static str,
        /// What was asked for.
        value: Duration,
        /// The shortest that makes sense.
        least: Duration,
        /// The longest that makes sense.
        most: Duration,
    },
    /// A text is not a network whose proxies can be trusted.
    #[error(
        "cannot trust {text:?} as a network of proxies; write an address or a range of them, as in \"10.0.0.0/8\", \
         \"2001:db8::/32\" or \"127.0.0.1\""
    )]
    TrustedProxy {
        /// The text, cut to 64 characters.
        text: Box<str>,
    },
    /// A network that contains every address.
    #[error(
        "trusting every address lets every client choose its own; list the networks that your proxies are in, \
         as in \"10.0.0.0/8\""
    )]
    TrustEverybody,
    /// An IPv6 prefix that no client's network has.
    #[error(
        "an IPv6 prefix of {prefix} bits does not tell clients apart; choose from 16 to 128, 64 being a home's network"
    )]
    Ipv6Prefix {
        /// The prefix that was asked for.
        prefix: u8,
    },
    /// A text is not a route.
    #[error(
        "cannot read {text:?} as a route; write a method in capitals and the template of a path, as in \
         \"GET /items/{{id}}\", or one of \"/items/{{id}}\", \"POST *\", \"*\" and \"<unmatched>\""
    )]
    RouteText {
        /// The text, cut to 64 characters.
        text: Box<str>,
    },
    /// A route has two limits.
    #[error("the route {route:?} is there twice; write one limit with all its quotas")]
    RouteTwice {
        /// The route.
        route: Box<str>,
    },
    /// A route names a limit that is not there.
    #[error("there is no limit called {name:?}; add it, or write one of those there are: {known}")]
    UnknownLimit {
        /// The name, cut to 64 characters.
        name: Box<str>,
        /// The names that are there.
        known: Box<str>,
    },
    /// A limit of a plan cannot be enforced by the limiter that was made for it.
    #[error("limit {name}: {problem}")]
    Limit {
        /// Its name.
        name: Box<str>,
        /// What cannot be.
        problem: Box<Self>,
    },
    /// A number is below the least that makes sense.
    #[error("{what} are too few; write {least} or more")]
    TooFew {
        /// Of what.
        what: &'static str,
        /// The least that makes sense.
        least: u32,
    },
}

impl ConfigError {
    pub(crate) fn setting(
        setting: &'static str,
        value: impl std::fmt::Display,
        instead: &'static str,
    ) -> Self {
        Self::Setting {
            setting,
            value: excerpt(&value.to_string()),
            instead,
        }
    }
}

/// The part of a rejected text that is worth repeating in a message.
pub(crate) fn excerpt(text: &str) -> Box<str> {
    text.chars().take(64).collect()
}
