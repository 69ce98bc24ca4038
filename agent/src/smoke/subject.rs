//! The executable of a smoke test, and whether it is still the file that was verified.

use std::{io, path::Path};

use super::SmokeFailure;
use crate::disk::{Checksum, FileId};

/// An executable to test: a file with known content.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    pub(super) file: &'a Path,
    /// Name that the executable is started with (`argv[0]`).
    pub(super) name: &'a str,
    id: FileId,
    content: Checksum,
}

impl<'a> Subject<'a> {
    /// Reads the content of a regular file that nothing is known about.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(file: &'a Path, name: &'a str) -> io::Result<Self> {
        Self::verified(file, name, Checksum::of(file)?)
    }

    /// Returns a file whose content was verified. It is not read.
    ///
    /// # Errors
    /// The file does not exist.
    pub(crate) fn verified(file: &'a Path, name: &'a str, content: Checksum) -> io::Result<Self> {
        let id = FileId::at(file)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { file, name, id, content })
    }

    /// Compares the path with the verified file: the same inode, the same content. The tested executable may have
    /// changed it if it ran as the owner of the file.
    ///
    /// # Errors
    /// [`SmokeFailure::Changed`] if they differ.
    pub(super) async fn check_unchanged(&self) -> Result<(), SmokeFailure> {
        let (path, content) = (self.file.to_owned(), self.content.clone());
        let compared = tokio::task::spawn_blocking(move || content.matches(&path));
        let unchanged = compared.await.map_err(io::Error::other).flatten();
        match (unchanged, FileId::at(self.file)) {
            (Ok(true), Ok(Some(found))) if found == self.id => Ok(()),
            (Ok(_), Ok(_)) => Err(SmokeFailure::Changed),
            (Err(error), _) | (_, Err(error)) => {
                Err(SmokeFailure::Setup { why: format!("cannot read the executable after the test: {error}") })
            }
        }
    }
}
