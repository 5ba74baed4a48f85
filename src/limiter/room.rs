//! How many keys a limiter may be told to tell apart, and over how many shards they are spread.

use crate::error::ConfigError;
use std::num::NonZeroUsize;

/// # Errors
/// [`ConfigError::MaxKeys`] for none, [`ConfigError::Setting`] for more than a process can hold.
pub(crate) fn keys(max_keys: usize) -> Result<NonZeroUsize, ConfigError> {
    if max_keys > MOST_KEYS {
        return Err(ConfigError::setting(
            "max_keys",
            max_keys,
            "choose at most 100000000; twice the clients that are active within a window is enough",
        ));
    }
    NonZeroUsize::new(max_keys).ok_or(ConfigError::MaxKeys)
}

/// How many shards there are, which are made at once: those of many keys get more keys each, not more of them.
pub(crate) const fn shards(max_keys: usize, shard_keys: usize) -> usize {
    let shards = max_keys.div_ceil(shard_keys);
    if shards < MOST_SHARDS {
        shards
    } else {
        MOST_SHARDS
    }
}

const MOST_KEYS: usize = 100_000_000;
/// 12 million keys at 768 a shard. Of a hundred million a shard has 6000, and grows by all of them at once: half a
/// millisecond.
const MOST_SHARDS: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_what_its_error_says() {
        assert_eq!(keys(0), Err(ConfigError::MaxKeys));
        assert_eq!(keys(MOST_KEYS).map(NonZeroUsize::get), Ok(100_000_000));
        for most in [MOST_KEYS + 1, usize::MAX] {
            let error = keys(most).unwrap_err().to_string();
            assert!(error.contains(&MOST_KEYS.to_string()), "{error}");
        }
    }

    #[test]
    fn what_is_made_at_once_is_bounded() {
        assert_eq!(shards(1, 768), 1);
        assert_eq!(shards(100_000, 768), 131);
        assert_eq!(shards(MOST_KEYS, 768), MOST_SHARDS);
        assert_eq!(shards(MOST_KEYS, 64), MOST_SHARDS);
    }
}
