//! A small file in the directory of the executable, or above it. Which executable counts is known only at the end
//! of the archive, so all files of that name are kept until then, up to a limit.

use d8_crds::values::limits::CONTRACT_BYTES;
use tokio::io::AsyncRead;

use super::{
    path::EntryPath,
    tar::{TarEntry, TarReader},
};
use crate::error::Error;

/// Files of that name that are kept.
const MAX_FILES: usize = 16;

/// The files of one name in an archive.
#[derive(Debug)]
pub(super) struct SiblingFiles {
    name: Option<&'static str>,
    found: Vec<(EntryPath, Result<Vec<u8>, String>)>,
}

impl SiblingFiles {
    /// Looks for files of this name, for none with `None`.
    pub(super) fn new(name: Option<&'static str>) -> Self {
        Self { name, found: Vec::new() }
    }

    /// Returns whether the entry has the name.
    pub(super) fn has_name_of(&self, path: &EntryPath) -> bool {
        self.name.is_some_and(|name| name.as_bytes() == path.name())
    }

    /// Keeps an entry. Of two entries with the same path the last one counts, as when the archive is unpacked.
    pub(super) async fn add<R: AsyncRead + Unpin>(
        &mut self,
        path: EntryPath,
        entry: &TarEntry,
        tar: &mut TarReader<R>,
    ) -> Result<(), Error> {
        let content = if let Some(other) = &entry.other {
            Err(format!("it is {other}"))
        } else if entry.size > CONTRACT_BYTES as u64 {
            Err(format!("it is larger than {CONTRACT_BYTES} bytes"))
        } else {
            Ok(tar.content().await?)
        };
        self.found.retain(|(other, _)| *other != path);
        self.found.push((path, content));
        if self.found.len() > MAX_FILES {
            let name = self.name.unwrap_or_default();
            return Err(Error::Archive { why: format!("it has more than {MAX_FILES} files named {name}") });
        }
        Ok(())
    }

    /// Returns the file in the directory of `executable`, else the nearest one above.
    pub(super) fn nearest(self, executable: &EntryPath) -> Result<Option<Vec<u8>>, Error> {
        let above = self.found.into_iter().filter(|(other, _)| other.is_in_or_above_directory_of(executable));
        match above.max_by_key(|(other, _)| other.depth()) {
            None => Ok(None),
            Some((_, Ok(content))) => Ok(Some(content)),
            Some((_, Err(why))) => Err(Error::Archive { why: format!("{}: {why}", self.name.unwrap_or_default()) }),
        }
    }
}
