//! Recognizes what bytes are by their beginning: a gzip stream, a tar, or what a layer may be by mistake.

use std::fmt;

use tokio_tar::Header;

use crate::text::one_line;

/// Size of a block in a tar, in bytes. [`Content::of`] needs no more.
pub(crate) const BLOCK: usize = 512;
/// Bytes that are shown of a content without a known format.
const SHOWN_BYTES: usize = 8;
/// Bytes that are shown of the first line of a script.
const SHOWN_LINE: usize = 64;

/// Formats by their first bytes.
const FORMATS: [(&[u8], &str); 18] = [
    (b"\x1f\x8b", "a gzip stream"),
    (b"\x28\xb5\x2f\xfd", "a zstd stream"),
    (b"\xfd7zXZ\0", "an xz stream"),
    (b"BZh", "a bzip2 stream"),
    (b"\x04\x22\x4d\x18", "an lz4 stream"),
    (b"\x5d\0\0", "an lzma stream"),
    (b"\x78\x01", "a zlib stream"),
    (b"\x78\x9c", "a zlib stream"),
    (b"\x78\xda", "a zlib stream"),
    (b"PK\x03\x04", "a zip archive"),
    (b"hsqs", "a squashfs image"),
    (b"0707", "a cpio archive"),
    (b"\x7fELF", "an ELF program"),
    (b"\xcf\xfa\xed\xfe", "a Mach-O program"),
    (b"\xca\xfe\xba\xbe", "a Mach-O program"),
    (b"MZ", "a Windows program"),
    (b"\0asm", "a WebAssembly module"),
    (b"\xef\xbb\xbf", "a text"),
];

/// What bytes are, by their beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// There are no bytes.
    Empty,
    /// A known format, with its article.
    Format(&'static str),
    /// A tar without compression.
    Tar,
    /// A program with an interpreter, and its first line.
    Script(String),
    /// Nothing known, and the first bytes.
    Unknown(Vec<u8>),
}

impl Content {
    /// Recognizes bytes by their beginning.
    pub(crate) fn of(head: &[u8]) -> Self {
        if head.is_empty() {
            return Self::Empty;
        }
        if head.starts_with(b"#!") {
            let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
            return Self::Script(one_line(line, SHOWN_LINE));
        }
        if let Some((_, name)) = FORMATS.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Self::Format(name);
        }
        if head.len() >= BLOCK && is_header(&head[..BLOCK]) {
            return Self::Tar;
        }
        match head.trim_ascii_start().first() {
            Some(b'<') => Self::Format("an HTML or XML page"),
            Some(b'{' | b'[') => Self::Format("a JSON document"),
            _ => Self::Unknown(head[..head.len().min(SHOWN_BYTES)].to_vec()),
        }
    }

    /// Returns whether the bytes begin a gzip stream.
    pub(crate) fn is_gzip(&self) -> bool {
        *self == Self::Format(FORMATS[0].1)
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty"),
            Self::Format(name) => f.write_str(name),
            Self::Tar => f.write_str("a tar without compression"),
            Self::Script(line) => write!(f, "a script that begins with `{line}`"),
            Self::Unknown(bytes) => {
                f.write_str("of an unknown format that begins with the bytes")?;
                bytes.iter().try_for_each(|byte| write!(f, " {byte:02x}"))
            }
        }
    }
}

/// Returns whether a block is the header of an entry: its checksum is right, and it is not all zeros.
pub(crate) fn is_header(block: &[u8]) -> bool {
    let sum = |from: usize, to: usize| block[from..to].iter().map(|byte| u32::from(*byte)).sum::<u32>();
    // The checksum counts its own field as eight blanks.
    let expected = sum(0, 148) + 8 * u32::from(b' ') + sum(156, BLOCK);
    block.iter().any(|byte| *byte != 0) && Header::from_byte_slice(block).cksum().is_ok_and(|sum| sum == expected)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn contents_by_their_first_bytes() {
        let mut tar = tokio_tar::Header::new_ustar();
        tar.set_path("plugin").unwrap();
        tar.set_size(0);
        tar.set_cksum();
        let cases: [(&[u8], &str); 12] = [
            (b"", "empty"),
            (b"\x28\xb5\x2f\xfd\xa0", "a zstd stream"),
            (b"\x1f\x8b\x08", "a gzip stream"),
            (b"\x7fELF\x02", "an ELF program"),
            (b"#!/bin/sh\necho", "a script that begins with `#!/bin/sh`"),
            (b"#!/bin/\x1b[31msh", "a script that begins with `#!/bin/\\u{1b}[31msh`"),
            (b"PK\x03\x04", "a zip archive"),
            (b"\n <html>", "an HTML or XML page"),
            (b"{\"errors\":", "a JSON document"),
            (b"ab", "of an unknown format that begins with the bytes 61 62"),
            (&[0; BLOCK], "of an unknown format that begins with the bytes 00 00 00 00 00 00 00 00"),
            (tar.as_bytes(), "a tar without compression"),
        ];
        for (bytes, shown) in cases {
            assert_eq!(Content::of(bytes).to_string(), shown, "{:?}", &bytes[..bytes.len().min(16)]);
        }
    }
}
