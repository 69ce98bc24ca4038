//! Text from servers and archives, made safe to show on one line.

use d8_crds::values::text::{printable_to, without_type_names};

/// Bytes of a server's message that are shown.
pub(crate) const MAX_MESSAGE: usize = 256;

/// Returns at most `max` bytes of the text as one line. Line ends and runs of blanks become one blank,
/// control characters are escaped.
pub(crate) fn one_line(bytes: &[u8], max: usize) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(max)]);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    printable_to(&line, max).into_owned()
}

/// Returns why a text of JSON cannot be read, on one line.
pub(crate) fn json_error(error: &serde_json::Error) -> String {
    one_line(without_type_names(&error.to_string()).as_bytes(), MAX_MESSAGE)
}

/// Returns an error and the errors that caused it on one line. A refusal by the Kubernetes API is its message: the
/// library adds a dump of the object.
pub fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = String::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let refusal = match cause.downcast_ref::<kube::Error>() {
            Some(kube::Error::Api(status)) => Some(format!("{} (status {})", status.message, status.code)),
            _ => None,
        };
        next = if refusal.is_some() { None } else { cause.source() };
        let message = refusal.unwrap_or_else(|| without_type_names(&cause.to_string()).into_owned());
        // Many errors repeat the message of their cause.
        if !line.contains(&message) {
            let separator = if line.is_empty() { "" } else { ": " };
            line = format!("{line}{separator}{message}");
        }
    }
    one_line(line.as_bytes(), 512)
}

/// Finds an error of a type in a chain of errors. `source` of an IO error skips the error that it wraps.
pub(crate) fn find<'a, T: std::error::Error + 'static>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner as &(dyn std::error::Error + 'static)),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_one_printable_line() {
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
        assert_eq!(one_line(&[b'x'; 10_000], MAX_MESSAGE).len(), MAX_MESSAGE);
    }
}
