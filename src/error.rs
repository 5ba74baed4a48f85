//! What can be wrong with a configuration, each case with what to write instead.

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
