//! Which release this is. The word stands in the program in one place, marked, so that whoever packs or
//! examines a binary finds it without running it, and so that one kind of d8 is told from another.

use std::{hint::black_box, io::Read};

use d8_crds::values::{name::Tag, version::Version};

/// Name of the product in messages.
pub(crate) const PRODUCT: &str = "deckhouse-cli";

/// Bytes of the stamp, mark included.
const LENGTH: usize = 96;

/// What the stamp begins with. A file that holds it is a d8 of this kind.
const MARK: &[u8; 17] = b"d8 release stamp:";

/// The release, as the variable `D8_VERSION` had it when this was built, padded with zeros; empty in a
/// development build.
static STAMP: [u8; LENGTH] = stamp(match option_env!("D8_VERSION") {
    Some(version) => version.as_bytes(),
    None => b"",
});

const fn stamp(version: &[u8]) -> [u8; LENGTH] {
    assert!(version.len() < LENGTH - MARK.len(), "D8_VERSION is too long");
    let mut stamp = [0; LENGTH];
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

fn text() -> &'static str {
    // Read where it stands, not where the compiler would rather have it.
    let stamp: &'static [u8; LENGTH] = black_box(&STAMP);
    let word = &stamp[MARK.len()..];
    let end = word.iter().position(|byte| *byte == 0).unwrap_or(word.len());
    std::str::from_utf8(&word[..end]).unwrap_or_default()
}

/// The release this is; `None` for a development build, which is older than any.
pub(crate) fn release() -> Option<(Tag, Version)> {
    Some((text().parse().ok()?, Version::parse(text()).ok()?))
}

/// The same for people.
pub(crate) fn display() -> String {
    release().map_or_else(|| format!("dev ({})", env!("CARGO_PKG_VERSION")), |(tag, _)| tag.to_string())
}

/// Whether a file is a d8 of this kind: it knows policies, and hands what it has not to a fallback.
pub(crate) fn is_ours(file: &std::path::Path) -> bool {
    let stamp: &'static [u8; LENGTH] = black_box(&STAMP);
    std::fs::File::open(file).is_ok_and(|file| holds(file, &stamp[..MARK.len()]).unwrap_or(false))
}

/// Whether something holds these bytes, read piece by piece: programs are large.
fn holds(mut from: impl Read, wanted: &[u8]) -> std::io::Result<bool> {
    let finder = memchr::memmem::Finder::new(wanted);
    let mut buffer = vec![0; 256 * 1024];
    let mut kept = 0;
    loop {
        let read = match from.read(&mut buffer[kept..]) {
            Ok(0) => return Ok(false),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let end = kept + read;
        if finder.find(&buffer[..end]).is_some() {
            return Ok(true);
        }
        // It may begin at the end of this piece.
        kept = end.min(wanted.len() - 1);
        buffer.copy_within(end - kept..end, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stamped_is_read() {
        let stamp = stamp(b"v1.2.3-rc.1");
        assert!(stamp.starts_with(MARK));
        assert_eq!(&stamp[MARK.len()..MARK.len() + 12], b"v1.2.3-rc.1\0");
        assert_eq!(stamp.len(), LENGTH);
    }

    #[test]
    fn what_lies_across_two_pieces_is_found() {
        for (bytes, held) in [("xxabcxx", true), ("abc", true), ("ab", false), ("", false), ("ababab", false)] {
            for piece in 1..4 {
                let pieces = bytes.as_bytes().chunks(piece).map(std::io::Cursor::new);
                let from =
                    pieces.fold(Box::new(std::io::empty()) as Box<dyn Read>, |all, next| Box::new(all.chain(next)));
                assert_eq!(holds(from, b"abc").unwrap(), held, "{bytes} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn kinds_of_d8_are_told_apart() {
        assert!(is_ours(&std::env::current_exe().unwrap()));
        assert!(!is_ours(std::path::Path::new("/bin/sh")));
        assert!(!is_ours(std::path::Path::new("/nonexistent")));
    }
}
