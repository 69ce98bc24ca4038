//! Turns bytes into small choices, and checks messages.

use d8_crds::values::text::printable_to;

/// Reads choices from the front of the bytes. After their end it returns zeros.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Returns a number less than `below`, which must not be 0.
    pub(crate) fn number(&mut self, below: usize) -> usize {
        usize::from(self.byte()) % below
    }

    /// Returns true once in `times` on average.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.number(times) == 1
    }

    /// Returns one of the values.
    pub(crate) fn pick<'t, T>(&mut self, values: &'t [T]) -> &'t T {
        &values[self.number(values.len())]
    }

    pub(crate) fn long(&mut self) -> u64 {
        (0..8).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }

    /// Returns a text of at most 255 bytes. The first byte is its length.
    pub(crate) fn text(&mut self) -> String {
        let length = usize::from(self.byte()).min(self.0.len());
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        String::from_utf8_lossy(text).into_owned()
    }
}

/// Splits bytes at zeros and returns the parts as texts.
pub(crate) fn split_at_zeros(bytes: &[u8]) -> Vec<String> {
    bytes.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

/// Checks that a message is one bounded line that does not move the cursor.
pub(crate) fn assert_printable(message: &str) {
    assert_eq!(printable_to(message, 1 << 20), message, "not printable");
    assert!(message.chars().count() <= 4096, "{} characters", message.chars().count());
}
