//! Takes the executable out of a layer (a gzip tar) while the layer is read.
//!
//! No name from the archive is used for a file. The caller's [`Sink`] gets the bytes of the entry that is
//! nearest to the root. Links, directories, `..` and absolute paths are not followed. All gzip members are read
//! and bytes after the last one are refused. The archive is read to its end: only there the executable is
//! final, and the digest of the download is known.

mod entry;
mod path;
mod readers;
mod sibling;

use std::{future::Future, io};

use d8_crds::values::limits::{ARCHIVE_BYTES, EXECUTABLE_BYTES};
use futures::StreamExt as _;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
use tokio_tar::Archive;

use self::{
    entry::{archive_error, copy, extension, type_name},
    path::EntryPath,
    readers::{CompressedReader, FirstError, GzipReader},
    sibling::SiblingFiles,
};
use crate::{error::Error, text::one_line};

/// Bytes read from the archive at a time.
const CHUNK: usize = 256 << 10;

/// How much may be unpacked, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Size of the archive, unpacked.
    pub archive: u64,
    /// Size of the executable.
    pub executable: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { archive: ARCHIVE_BYTES, executable: EXECUTABLE_BYTES }
    }
}

/// The executable that was taken out of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutableEntry {
    /// Path in the archive, made printable.
    pub path: String,
    /// Size of the unpacked executable, in bytes.
    pub size: u64,
}

/// Receives the bytes of the executable.
pub trait Sink: Send {
    /// An entry begins. Bytes written before belong to an entry farther from the root and are discarded.
    fn restart(&mut self) -> impl Future<Output = io::Result<()>> + Send;
    /// The next bytes of the entry.
    fn write(&mut self, chunk: &[u8]) -> impl Future<Output = io::Result<()>> + Send;
}

impl Sink for Vec<u8> {
    async fn restart(&mut self) -> io::Result<()> {
        self.clear();
        Ok(())
    }

    async fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.extend_from_slice(chunk);
        Ok(())
    }
}

/// The owner of the file flushes and syncs it.
impl Sink for tokio::fs::File {
    async fn restart(&mut self) -> io::Result<()> {
        self.rewind().await?;
        self.set_len(0).await
    }

    async fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.write_all(chunk).await
    }
}

/// The executable of a layer, and a file that belongs to it.
#[derive(Debug)]
pub struct LayerContents {
    /// Entry that the executable was read from.
    pub executable: ExecutableEntry,
    /// Content of the file in the executable's folder or above it, or why it is not usable.
    pub sibling: Result<Option<Vec<u8>>, Error>,
}

/// Takes `executable` out of the layer that `reader` yields. Reads to the end even if the archive is bad, so
/// that wrong bytes are reported as wrong bytes and not as a bad archive.
pub async fn unpack<R, S>(reader: R, executable: &str, limits: &Limits, sink: &mut S) -> Result<ExecutableEntry, Error>
where
    R: AsyncBufRead + Send + Unpin,
    S: Sink,
{
    Ok(read(reader, executable, None, limits, sink).await?.executable)
}

/// As [`unpack`], and returns a small file named `sibling` from the executable's folder or above it.
pub async fn read<R, S>(
    reader: R,
    executable: &str,
    sibling: Option<&'static str>,
    limits: &Limits,
    sink: &mut S,
) -> Result<LayerContents, Error>
where
    R: AsyncBufRead + Send + Unpin,
    S: Sink,
{
    let first_error = FirstError::default();
    let mut compressed = CompressedReader { reader, error: first_error.clone() };
    let unpacked = GzipReader::new(&mut compressed, limits.archive, first_error.clone());
    let result = read_archive(unpacked, executable, sibling, limits, sink).await;
    let error = match (first_error.take(), result) {
        // The first error in the chain of readers caused the error of the archive.
        (Some(first), _) => first,
        (None, Err(error)) => error,
        (None, Ok(contents)) => return Ok(contents),
    };
    if matches!(error, Error::Archive { .. } | Error::MissingExecutable { .. }) {
        // Wrong bytes make a bad archive. If the rest of the download fails, that error is the cause.
        let rest = tokio::io::copy_buf(&mut compressed, &mut tokio::io::sink()).await;
        return Err(rest.err().and_then(|_| first_error.take()).unwrap_or(error));
    }
    Err(error)
}

async fn read_archive<R, S>(
    unpacked: R,
    executable: &str,
    sibling: Option<&'static str>,
    limits: &Limits,
    sink: &mut S,
) -> Result<LayerContents, Error>
where
    R: AsyncRead + Send + Unpin,
    S: Sink,
{
    let mut archive = Archive::new(unpacked);
    let mut best: Option<(EntryPath, ExecutableEntry)> = None;
    let mut other_type = None;
    let mut siblings = SiblingFiles::new(sibling);
    let mut name: Option<Vec<u8>> = None;
    let mut buffer = vec![0; CHUNK];
    {
        // Raw entries: the extension headers are read here with limits, not completely into memory.
        let mut entries = archive.entries_raw().map_err(|error| archive_error(&error))?;
        while let Some(entry) = entries.next().await {
            let mut entry = entry.map_err(|error| archive_error(&error))?;
            let kind = entry.header().entry_type();
            if let Some(given) = extension(&mut entry, kind).await? {
                name = given.or(name);
                continue;
            }
            let bytes = match name.take() {
                Some(name) => name,
                None => entry.path_bytes().map_err(|error| archive_error(&error))?.into_owned(),
            };
            let Some(path) = EntryPath::parse(&bytes) else { continue };
            if siblings.has_name_of(&path) {
                siblings.add(path, kind, &mut entry).await?;
                continue;
            }
            if path.name() != executable.as_bytes() {
                continue;
            }
            if !kind.is_file() {
                other_type = other_type.or(Some(type_name(kind)));
                continue;
            }
            if best.as_ref().is_some_and(|(nearest, _)| nearest.depth() <= path.depth()) {
                continue;
            }
            let size = entry.effective_size();
            if size > limits.executable {
                return Err(Error::ArchiveTooLarge { what: "the executable", limit: limits.executable });
            }
            copy(&mut entry, size, sink, &mut buffer).await?;
            best = Some((path, ExecutableEntry { path: one_line(&bytes, 256), size }));
        }
    }
    // Bytes after the end-of-archive mark are read, too: the digest and the limit cover them.
    let mut rest = archive.into_inner().map_err(|_| Error::Archive { why: "it is still being read".to_owned() })?;
    while rest.read(&mut buffer).await.map_err(|error| archive_error(&error))? > 0 {}
    match best {
        Some((path, executable)) => Ok(LayerContents { executable, sibling: siblings.nearest(&path) }),
        None => Err(Error::MissingExecutable { entry: executable.to_owned(), found: other_type }),
    }
}
