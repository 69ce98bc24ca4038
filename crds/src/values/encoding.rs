//! Reads the text of files that people write with an editor of their choice.
//!
//! UTF-8, with or without a byte order mark, and UTF-16 with one. Other encodings cannot be detected reliably, so
//! they are refused with the position of the first invalid byte.

use std::borrow::Cow;

/// Why bytes are not text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// A byte that is not UTF-8, as in Latin-1 and other encodings with one byte for each character.
    #[error(
        "it is not UTF-8: byte 0x{byte:02x} in line {line}; save it as UTF-8, for example `iconv -f ISO-8859-1 -t UTF-8 FILE`"
    )]
    NotUtf8 {
        /// The first wrong byte.
        byte: u8,
        /// Its line, from 1.
        line: usize,
    },
    /// UTF-16 without a byte order mark.
    #[error(
        "it looks like UTF-16 without a byte order mark; save it as UTF-8, for example `iconv -f {name} -t UTF-8 FILE`"
    )]
    Utf16WithoutMark {
        /// Name of the encoding for iconv.
        name: &'static str,
    },
    /// The byte order mark says UTF-16, and the rest is not.
    #[error("its byte order mark says UTF-16, and the rest is not UTF-16; save it as UTF-8")]
    BrokenUtf16,
}

/// Decodes the content of a file. Removes the byte order mark.
///
/// # Errors
/// [`EncodingError`] names the encoding and the fix.
pub fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, EncodingError> {
    match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => utf8(rest),
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0, ascii, 0, ..] if *ascii != 0 => Err(EncodingError::Utf16WithoutMark { name: "UTF-16BE" }),
        [ascii, 0, other, 0, ..] if *ascii != 0 && *other != 0 => {
            Err(EncodingError::Utf16WithoutMark { name: "UTF-16LE" })
        }
        _ => utf8(bytes),
    }
}

fn utf8(bytes: &[u8]) -> Result<Cow<'_, str>, EncodingError> {
    std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|error| {
        let (good, rest) = bytes.split_at(error.valid_up_to());
        let line = good.split(|byte| *byte == b'\n').count();
        EncodingError::NotUtf8 { byte: rest.first().copied().unwrap_or_default(), line }
    })
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<Cow<'static, str>, EncodingError> {
    let (units, []) = bytes.as_chunks::<2>() else { return Err(EncodingError::BrokenUtf16) };
    let text = char::decode_utf16(units.iter().map(|pair| unit(*pair))).collect::<Result<String, _>>();
    text.map(Cow::Owned).map_err(|_| EncodingError::BrokenUtf16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16_of(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        std::iter::once('\u{feff}').chain(text.chars()).collect::<String>().encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn encodings() {
        let text = "name: привет\n";
        let odd = [utf16_of("ab", u16::to_le_bytes), vec![0x61]].concat();
        let surrogate = [0xFF, 0xFE, 0x00, 0xD8];
        for (bytes, expected) in [
            (text.as_bytes().to_vec(), Ok(text)),
            ([&b"\xEF\xBB\xBF"[..], text.as_bytes()].concat(), Ok(text)),
            (utf16_of(text, u16::to_le_bytes), Ok(text)),
            (utf16_of(text, u16::to_be_bytes), Ok(text)),
            (Vec::new(), Ok("")),
            (b"\xFF\xFE".to_vec(), Ok("")),
            (odd, Err(EncodingError::BrokenUtf16)),
            (surrogate.to_vec(), Err(EncodingError::BrokenUtf16)),
            (b"a\nb: caf\xe9\n".to_vec(), Err(EncodingError::NotUtf8 { byte: 0xe9, line: 2 })),
            (b"a\0b\0".to_vec(), Err(EncodingError::Utf16WithoutMark { name: "UTF-16LE" })),
            (b"\0a\0b".to_vec(), Err(EncodingError::Utf16WithoutMark { name: "UTF-16BE" })),
        ] {
            assert_eq!(decode(&bytes).as_deref().map_err(Clone::clone), expected, "{bytes:?}");
        }
    }
}
