//! A header value, made without an allocation where it is short.

use std::fmt;

/// A header value: printable ASCII, inline up to 126 bytes, which is one policy of any name or several of usual ones.
#[derive(Clone)]
pub struct FieldValue(Store);

#[derive(Clone)]
enum Store {
    Inline { length: u8, bytes: [u8; INLINE] },
    Heap(String),
}

const INLINE: usize = 126;

/// The digits of the numbers below 100.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

impl Default for FieldValue {
    fn default() -> Self {
        Self::new()
    }
}

impl FieldValue {
    #[inline]
    pub(super) const fn new() -> Self {
        Self(Store::Inline {
            length: 0,
            bytes: [0; INLINE],
        })
    }

    /// The value as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Store::Inline { .. } => {
                std::str::from_utf8(self.as_bytes()).expect("only text is ever pushed")
            }
            Store::Heap(text) => text,
        }
    }

    /// The value as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Store::Inline { length, bytes } => &bytes[..usize::from(*length)],
            Store::Heap(text) => text.as_bytes(),
        }
    }

    /// Begins a list item. Policy names need no escaping.
    pub(super) fn item(&mut self, name: &str) {
        if !self.as_bytes().is_empty() {
            self.push(", ");
        }
        self.push("\"");
        self.push(name);
        self.push("\"");
    }

    #[inline]
    pub(super) fn parameter(&mut self, key: &str, value: u64) {
        self.push(key);
        self.number(value);
    }

    #[inline]
    pub(super) fn number(&mut self, number: u64) {
        // As seconds and what is left of a small quota often are.
        if number < 10
            && let Some(free) = self.free(1)
        {
            free[0] = b'0' + number as u8;
            return;
        }
        self.long_number(number);
    }

    fn long_number(&mut self, mut number: u64) {
        let digits = 1 + number.checked_ilog10().unwrap_or(0) as usize;
        if let Some(free) = self.free(digits) {
            // Two at a time, from the last.
            let mut pairs = free.rchunks_exact_mut(2);
            for pair in &mut pairs {
                pair.copy_from_slice(&PAIRS[(number % 100) as usize]);
                number /= 100;
            }
            if let [first] = pairs.into_remainder() {
                *first = b'0' + number as u8;
            }
        } else {
            self.spill(&number.to_string());
        }
    }

    /// Appends text that is known to be ASCII, without looking at it again.
    #[inline]
    pub(super) fn push(&mut self, text: &str) {
        match self.free(text.len()) {
            Some(free) => free.copy_from_slice(text.as_bytes()),
            None => self.spill(text),
        }
    }

    /// Takes the next `count` bytes to write to, if they are left inline.
    #[inline]
    fn free(&mut self, count: usize) -> Option<&mut [u8]> {
        let Store::Inline { length, bytes } = &mut self.0 else {
            return None;
        };
        let from = usize::from(*length);
        let free = bytes.get_mut(from..from + count)?;
        *length += count as u8;
        Some(free)
    }

    /// Appends text for which there is no room inline.
    #[cold]
    fn spill(&mut self, text: &str) {
        if let Store::Inline { .. } = self.0 {
            let mut heap = String::with_capacity(4 * INLINE);
            heap.push_str(self.as_str());
            self.0 = Store::Heap(heap);
        }
        if let Store::Heap(heap) = &mut self.0 {
            heap.push_str(text);
        }
    }
}

impl AsRef<[u8]> for FieldValue {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Debug for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
