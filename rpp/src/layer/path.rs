//! Paths of entries in an archive.

/// The path of an entry below the root of an archive: `/x`, `./x` and `x` are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntryPath {
    directories: Vec<Vec<u8>>,
    name: Vec<u8>,
}

impl EntryPath {
    /// Parses a path. `None` for a directory, and for a path with `..`.
    pub(super) fn parse(path: &[u8]) -> Option<Self> {
        if path.ends_with(b"/") {
            return None;
        }
        let mut parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
        let name = parts.next_back()?.to_vec();
        let directories: Vec<Vec<u8>> = parts.map(<[u8]>::to_vec).collect();
        let is_parent = |part: &[u8]| part == b"..";
        (!is_parent(&name) && !directories.iter().any(|part| is_parent(part))).then_some(Self { directories, name })
    }

    /// Returns the last part of the path.
    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// Returns the number of directories above the entry.
    pub(super) fn depth(&self) -> usize {
        self.directories.len()
    }

    /// Returns whether the entry is in the directory of `other`, or in one above it.
    pub(super) fn is_in_or_above_directory_of(&self, other: &Self) -> bool {
        other.directories.starts_with(&self.directories)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_entries() {
        for (path, expected) in [
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
            let found = EntryPath::parse(path.as_bytes());
            let found = found.as_ref().map(|entry| (std::str::from_utf8(entry.name()).unwrap(), entry.depth()));
            assert_eq!(found, expected, "{path}");
        }
    }
}
