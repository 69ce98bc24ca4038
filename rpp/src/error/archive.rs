//! What an archive has instead of the executable, and how messages show it.

use std::fmt;

use crate::{content::Content, text::one_line};

/// Names of other entries that are kept.
const MAX_NAMES: usize = 4;
/// Bytes of a name that are kept.
const MAX_NAME: usize = 64;

/// An entry with the name of the executable that is not a regular file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OtherEntry {
    /// A sparse file: the archive has only parts of it.
    Sparse,
    /// A hard link, and its target.
    HardLink(String),
    /// A symbolic link, and its target.
    Symlink(String),
    /// A directory with this name.
    Directory,
    /// A device, a pipe or an unknown type.
    Special,
}

impl fmt::Display for OtherEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sparse => f.write_str("a sparse file"),
            Self::HardLink(target) => write!(f, "a hard link to `{target}`"),
            Self::Symlink(target) => write!(f, "a symbolic link to `{target}`"),
            Self::Directory => f.write_str("a directory"),
            Self::Special => f.write_str("not a regular file"),
        }
    }
}

/// The first names in an archive, and the number of the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArchiveNames {
    first: Vec<String>,
    more: usize,
}

impl ArchiveNames {
    /// Adds the name of an entry.
    pub(crate) fn add(&mut self, name: &[u8]) {
        if self.first.len() < MAX_NAMES {
            self.first.push(one_line(name, MAX_NAME));
        } else {
            self.more += 1;
        }
    }
}

impl fmt::Display for ArchiveNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.first.iter().map(|name| format!("`{name}`")).collect();
        match (names.is_empty(), self.more) {
            (true, _) => f.write_str("no files"),
            (false, 0) => f.write_str(&names.join(", ")),
            (false, more) => write!(f, "{} and {more} more", names.join(", ")),
        }
    }
}

/// Shows the format of a layer that is no gzip tar.
pub(super) struct Format<'a> {
    pub(super) found: &'a Content,
    pub(super) in_gzip: bool,
}

impl fmt::Display for Format<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { found, in_gzip } = self;
        if *in_gzip { write!(f, "a gzip stream without a tar, its content is {found}") } else { found.fmt(f) }
    }
}

/// Shows what an archive has instead of the executable.
pub(super) struct Missing<'a> {
    pub(super) entry: &'a str,
    pub(super) found: Option<&'a OtherEntry>,
    pub(super) names: &'a ArchiveNames,
    pub(super) layers: Option<usize>,
}

impl fmt::Display for Missing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entry, found, names, layers } = self;
        match found {
            Some(OtherEntry::Special) => write!(f, "entry `{entry}` is not a regular file")?,
            Some(other) => write!(f, "entry `{entry}` is {other}, not a regular file")?,
            None => write!(f, "entry `{entry}` is missing; the archive has {names}")?,
        }
        match layers {
            Some(layers) if *layers > 1 => write!(f, "; the image has {layers} layers, and only the last one counts"),
            _ => Ok(()),
        }
    }
}
