//! Bytes as small decisions, and what every message must be.

use d8_crds::values::text::printable_to;

/// Reads decisions off the front of the bytes; after their end all is zero.
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

    /// Less than `below`, which is not 0.
    pub(crate) fn number(&mut self, below: usize) -> usize {
        usize::from(self.byte()) % below
    }

    /// Once in `times`.
    pub(crate) fn rarely(&mut self, times: usize) -> bool {
        self.number(times) == 1
    }

    pub(crate) fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.number(of.len())]
    }

    pub(crate) fn long(&mut self) -> u64 {
        (0..8).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }

    /// A text of at most 255 bytes, its length first.
    pub(crate) fn text(&mut self) -> String {
        let length = usize::from(self.byte()).min(self.0.len());
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        String::from_utf8_lossy(text).into_owned()
    }
}

/// The parts between zero bytes, as texts.
pub(crate) fn parts(bytes: &[u8]) -> Vec<String> {
    bytes.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

/// What people are shown is one line, bounded, and moves no cursor.
pub(crate) fn shown(message: &str) {
    assert_eq!(printable_to(message, 1 << 20), message, "not fit for a terminal");
    assert!(message.chars().count() <= 4096, "{} characters", message.chars().count());
}
