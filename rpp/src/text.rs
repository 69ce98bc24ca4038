//! Words of servers, made safe to show: one line, no control characters, bounded.

/// As much of a server's words as is shown, in bytes.
pub(crate) const MAX_WORDS: usize = 256;

/// The text on one line: control and format characters become blanks, runs of blanks one, at most
/// `max` bytes.
pub(crate) fn one_line(bytes: &[u8], max: usize) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(max.saturating_mul(4))]);
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || is_hidden(c)).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let mut end = line.len().min(max);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    line
}

/// Characters that steer a terminal or reorder what it shows.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_one_harmless_line() {
        let cases: [(&[u8], usize, &str); 6] = [
            (b"not found\n", 256, "not found"),
            (b"a\r\n\tb", 256, "a b"),
            (b"\x1b[31mred\x07", 256, "[31mred"),
            ("a\u{202e}b".as_bytes(), 256, "a b"),
            ("ééé".as_bytes(), 3, "é"),
            (b"\xff\xfe", 256, "\u{fffd}\u{fffd}"),
        ];
        for (bytes, max, expected) in cases {
            assert_eq!(one_line(bytes, max), expected);
        }
        assert_eq!(one_line(&[b'x'; 10_000], MAX_WORDS).len(), MAX_WORDS);
    }
}
