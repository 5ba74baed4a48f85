//! What a Redis error means for a fleet, and what to do about it.

use crate::store::{StoreError, StoreErrorKind};
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// The error as users meet it; `what` names the script or command.
pub(super) fn trouble(error: RedisError, what: &str) -> StoreError {
    let text = error.to_string();
    let code = error.code().unwrap_or_default();
    let says = |word: &str| code == word || text.contains(word);
    let (kind, detail) = if error.kind() == ErrorKind::AuthenticationFailed
        || ["NOAUTH", "WRONGPASS", "NOPERM"].into_iter().any(says)
        || error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
    {
        let what = "the Redis refuses this user or password: check them in its address";
        (StoreErrorKind::Denied, format!("{what} ({text})"))
    } else if error.kind() == ErrorKind::RESP3NotSupported
        || says("NOPROTO")
        || says("unknown command 'HELLO'")
    {
        (
            StoreErrorKind::Unsupported,
            format!("the Redis is too old: a fleet needs 6.2 or newer ({text})"),
        )
    } else if says("READONLY") {
        (
            StoreErrorKind::ReadOnly,
            "the Redis is a read-only replica: give the address of the primary".to_owned(),
        )
    } else if says("MISCONF") || says("OOM") || says("NOREPLICAS") {
        (
            StoreErrorKind::ReadOnly,
            format!("the Redis takes no writes ({text})"),
        )
    } else if error.is_timeout() {
        (
            StoreErrorKind::Timeout,
            format!("the Redis did not answer {what} in time"),
        )
    } else if error.is_io_error() || error.is_connection_dropped() || error.is_connection_refusal()
    {
        (
            StoreErrorKind::Unreachable,
            format!("the Redis cannot be reached ({text})"),
        )
    } else if matches!(
        error.kind(),
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType
    ) {
        (
            StoreErrorKind::Protocol,
            format!("the answer to {what} is not a Redis's ({text})"),
        )
    } else {
        (
            StoreErrorKind::Rejected,
            format!("the Redis refuses {what} ({text})"),
        )
    };
    StoreError::new(kind, detail).with_source(error)
}
