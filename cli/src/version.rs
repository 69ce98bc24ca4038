//! The release of this d8. The version is stamped into the executable in one place, behind a mark, so that tools can
//! read it without running the file and can recognise a d8 of this implementation.

use std::{hint::black_box, io::Read, path::Path};

use d8_crds::values::{name::Tag, version::Version};

/// Name of the product in messages.
pub(crate) const PRODUCT: &str = "deckhouse-cli";

/// Length of the stamp in bytes, including the mark.
const STAMP_LENGTH: usize = 96;

/// First bytes of the stamp.
const MARK: &[u8; 17] = b"d8 release stamp:";

/// The mark, then the value of `D8_VERSION` at build time, padded with zeros. Without `D8_VERSION` (a development
/// build) the version is empty.
static STAMP: [u8; STAMP_LENGTH] = stamp(match option_env!("D8_VERSION") {
    Some(version) => version.as_bytes(),
    None => b"",
});

const fn stamp(version: &[u8]) -> [u8; STAMP_LENGTH] {
    assert!(version.len() < STAMP_LENGTH - MARK.len(), "D8_VERSION is too long");
    let mut stamp = [0; STAMP_LENGTH];
    let mut i = 0;
    while i < MARK.len() {
        stamp[i] = MARK[i];
        i += 1;
    }
    while i < MARK.len() + version.len() {
        stamp[i] = version[i - MARK.len()];
        i += 1;
    }
    stamp
}

fn stamped_version() -> &'static str {
    // Keeps the compiler from inlining the stamp, so that it exists once in the executable.
    let stamp: &'static [u8; STAMP_LENGTH] = black_box(&STAMP);
    let version = &stamp[MARK.len()..];
    let end = version.iter().position(|byte| *byte == 0).unwrap_or(version.len());
    std::str::from_utf8(&version[..end]).unwrap_or_default()
}

/// Returns the release of this d8; `None` for a development build.
pub(crate) fn release() -> Option<(Tag, Version)> {
    Some((stamped_version().parse().ok()?, Version::parse(stamped_version()).ok()?))
}

/// Returns the version of this d8 as people see it.
pub(crate) fn display() -> String {
    release().map_or_else(|| format!("dev ({})", env!("CARGO_PKG_VERSION")), |(tag, _)| tag.to_string())
}

/// Returns whether a file is a d8 of this implementation, which supports policies and has a fallback. The d8 written in
/// Go has neither.
pub(crate) fn has_stamp(file: &Path) -> bool {
    let stamp: &'static [u8; STAMP_LENGTH] = black_box(&STAMP);
    d8_rpp::file::open_regular(file).is_ok_and(|file| contains(file, &stamp[..MARK.len()]).unwrap_or(false))
}

/// Returns whether `source` contains `needle`. Reads in blocks, because executables are large.
fn contains(mut source: impl Read, needle: &[u8]) -> std::io::Result<bool> {
    let finder = memchr::memmem::Finder::new(needle);
    let mut buffer = vec![0; 256 * 1024];
    let mut filled = 0;
    loop {
        let read = match source.read(&mut buffer[filled..]) {
            Ok(0) => return Ok(false),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let end = filled + read;
        if finder.find(&buffer[..end]).is_some() {
            return Ok(true);
        }
        // The needle may start at the end of this block.
        filled = end.min(needle.len() - 1);
        buffer.copy_within(end - filled..end, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamp_layout() {
        let stamp = stamp(b"v1.2.3-rc.1");
        assert!(stamp.starts_with(MARK));
        assert_eq!(&stamp[MARK.len()..MARK.len() + 12], b"v1.2.3-rc.1\0");
        assert_eq!(stamp.len(), STAMP_LENGTH);
    }

    #[test]
    fn finds_a_needle_across_blocks() {
        for (bytes, want) in [("xxabcxx", true), ("abc", true), ("ab", false), ("", false), ("ababab", false)] {
            for size in 1..4 {
                let blocks = bytes.as_bytes().chunks(size).map(std::io::Cursor::new);
                let source =
                    blocks.fold(Box::new(std::io::empty()) as Box<dyn Read>, |all, next| Box::new(all.chain(next)));
                assert_eq!(contains(source, b"abc").unwrap(), want, "{bytes} in blocks of {size}");
            }
        }
    }

    #[test]
    fn recognises_the_stamp() {
        assert!(has_stamp(&std::env::current_exe().unwrap()));
        assert!(!has_stamp(Path::new("/bin/sh")));
        assert!(!has_stamp(Path::new("/nonexistent")));
    }
}
