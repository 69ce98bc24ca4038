//! Words of servers and archives, made safe to show on one line.

use d8_crds::values::text::printable_to;

/// As much of a server's words as is shown, in bytes.
pub(crate) const MAX_WORDS: usize = 256;

/// At most `max` bytes of the text as one line: line ends and runs of blanks become one blank, what
/// steers a terminal is escaped.
pub(crate) fn one_line(bytes: &[u8], max: usize) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(max)]);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    printable_to(&line, max).into_owned()
}

/// The chain of an error's causes on one line.
pub(crate) fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Many errors repeat their cause's words.
        if !line.contains(&cause_text) {
            line.push_str(": ");
            line.push_str(&cause_text);
        }
        next = cause.source();
    }
    one_line(line.as_bytes(), 512)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_one_harmless_line() {
        let cases: [(&[u8], usize, &str); 5] = [
            (b"not found\n", 256, "not found"),
            (b"a\r\n\tb", 256, "a b"),
            (b"\x1b[31mred\x07", 256, "\\u{1b}[31mred\\u{7}"),
            (b"abcdef", 3, "abc"),
            (b"\xff\xfe", 256, "\u{fffd}\u{fffd}"),
        ];
        for (bytes, max, expected) in cases {
            assert_eq!(one_line(bytes, max), expected);
        }
        assert_eq!(one_line(&[b'x'; 10_000], MAX_WORDS).len(), MAX_WORDS);
    }
}
