//! Texts that are kept once for the life of the process: names and documents that come from configuration.
//!
//! They are copied like numbers, where a counted text would have all threads count on one cache line.

use std::collections::BTreeSet;
use std::sync::Mutex;

/// `text`, for ever. Only for what a program is configured with: nothing is ever freed.
pub(crate) fn interned(text: &str) -> &'static str {
    let mut texts = TEXTS.lock().expect("nothing panics under this lock");
    if let Some(known) = texts.get(text) {
        return known;
    }
    let kept: &'static str = Box::leak(text.into());
    texts.insert(kept);
    kept
}

/// Whether `text` is kept.
#[cfg(all(test, feature = "tower"))]
pub(crate) fn is_interned(text: &str) -> bool {
    let texts = TEXTS.lock().expect("nothing panics under this lock");
    texts.contains(text)
}

static TEXTS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_kept_once() {
        let first = interned("kept once");
        assert!(std::ptr::eq(first, interned(&String::from("kept once"))));
        assert_eq!(interned("another"), "another");
    }
}
