//! Where an entry of an archive lies.

/// The path of an entry below the root: `/x`, `./x` and `x` are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    folders: Vec<Vec<u8>>,
    name: Vec<u8>,
}

impl Place {
    /// Reads a path; nothing for a folder's, and for one that goes up anywhere.
    pub(super) fn of(path: &[u8]) -> Option<Self> {
        if path.ends_with(b"/") {
            return None;
        }
        let mut parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
        let name = parts.next_back()?.to_vec();
        let folders: Vec<Vec<u8>> = parts.map(<[u8]>::to_vec).collect();
        let goes_up = |part: &[u8]| part == b"..";
        (!goes_up(&name) && !folders.iter().any(|part| goes_up(part))).then_some(Self { folders, name })
    }

    /// Its last part.
    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// How many folders it lies in.
    pub(super) fn depth(&self) -> usize {
        self.folders.len()
    }

    /// Whether its folder is this one's, or one above it.
    pub(super) fn is_beside_or_above(&self, other: &Self) -> bool {
        other.folders.starts_with(&self.folders)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        for (path, place) in [
            ("x", Some(("x", 0))),
            ("./x", Some(("x", 0))),
            ("/x", Some(("x", 0))),
            ("a//./b/x", Some(("x", 2))),
            ("a/", None),
            ("", None),
            (".", None),
            ("..", None),
            ("../x", None),
            ("a/../x", None),
        ] {
            let found = Place::of(path.as_bytes());
            let found = found.as_ref().map(|place| (std::str::from_utf8(place.name()).unwrap(), place.depth()));
            assert_eq!(found, place, "{path}");
        }
    }
}
