//! Takes the executable out of a layer (a gzip tar) while the layer is read.
//!
//! No name from the archive is used for a file. The caller's [`Sink`] gets the bytes of the entry that is
//! nearest to the root. Links, directories, `..` and absolute paths are not followed. All gzip members are read
//! and bytes after the last one are refused. The archive is read to its end: only there the executable is
//! final, and the digest of the download is known.

mod path;
mod readers;
mod sibling;
mod tar;

use std::{future::Future, io};

use d8_crds::values::limits::{ARCHIVE_BYTES, EXECUTABLE_BYTES};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use self::{
    path::EntryPath,
    readers::{CompressedReader, FirstError, GzipReader},
    sibling::SiblingFiles,
    tar::{TarEntry, TarReader},
};
use crate::{
    content::{BLOCK, Content},
    error::{ArchiveNames, Error, ErrorKind, OtherEntry},
    text::one_line,
};

/// Bytes of a path that are kept for messages.
const SHOWN_PATH: usize = 256;

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
    /// Content of the file in the executable's directory or above it, or why it is not usable.
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

/// As [`unpack`], and returns a small file named `sibling` from the executable's directory or above it.
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
    let result = read_compressed(&mut compressed, executable, sibling, limits, sink).await;
    let error = match (first_error.take(), result) {
        // The first error in the chain of readers caused the error of the archive.
        (Some(first), _) => first,
        (None, Err(error)) => error,
        (None, Ok(contents)) => return Ok(contents),
    };
    if error.kind() == ErrorKind::Archive {
        // Wrong bytes make a bad archive. If the rest of the download fails, that error is the cause.
        let rest = tokio::io::copy_buf(&mut compressed, &mut tokio::io::sink()).await;
        return Err(rest.err().and_then(|_| first_error.take()).unwrap_or(error));
    }
    Err(error)
}

/// Recognizes the format of the layer, and reads a gzip stream.
async fn read_compressed<R, S>(
    compressed: &mut CompressedReader<R>,
    executable: &str,
    sibling: Option<&'static str>,
    limits: &Limits,
    sink: &mut S,
) -> Result<LayerContents, Error>
where
    R: AsyncBufRead + Send + Unpin,
    S: Sink,
{
    let mut head = Vec::new();
    let unreadable = |error: io::Error| Error::Archive { why: one_line(error.to_string().as_bytes(), SHOWN_PATH) };
    (&mut *compressed).take(BLOCK as u64).read_to_end(&mut head).await.map_err(unreadable)?;
    let found = Content::of(&head);
    if !found.is_gzip() {
        return Err(Error::LayerFormat { found, in_gzip: false });
    }
    let error = compressed.error.clone();
    let whole = io::Cursor::new(head).chain(compressed);
    read_archive(GzipReader::new(whole, limits.archive, error), executable, sibling, limits, sink).await
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
    let mut tar = TarReader::new(unpacked);
    let mut search = ExecutableSearch::default();
    let mut siblings = SiblingFiles::new(sibling);
    while let Some(entry) = tar.next().await? {
        let Some(path) = EntryPath::parse(&entry.path) else { continue };
        if siblings.has_name_of(&path) {
            siblings.add(path, &entry, &mut tar).await?;
        } else if path.name() != executable.as_bytes() {
            search.names.add(&entry.path);
        } else if let Some(other) = entry.other {
            search.add_other(&path, other);
        } else if search.is_nearest(&path) {
            if entry.size > limits.executable {
                return Err(Error::ArchiveTooLarge { what: "the executable", limit: limits.executable });
            }
            copy(&mut tar, &entry, sink).await?;
            let shown = one_line(&entry.path, SHOWN_PATH);
            search.best = Some((path, ExecutableEntry { path: shown, size: entry.size }));
        }
    }
    // Bytes after the end-of-archive mark are read, too: the digest and the limit cover them.
    tar.drain().await?;
    let (path, executable) = search.finish(executable)?;
    Ok(LayerContents { executable, sibling: siblings.nearest(&path) })
}

/// Copies the content of an entry to a sink.
async fn copy<R, S>(tar: &mut TarReader<R>, entry: &TarEntry, sink: &mut S) -> Result<(), Error>
where
    R: AsyncRead + Send + Unpin,
    S: Sink,
{
    sink.restart().await.map_err(Error::Sink)?;
    let mut left = entry.size;
    while left > 0 {
        let chunk = tar.chunk().await?;
        left -= chunk.len() as u64;
        sink.write(chunk).await.map_err(Error::Sink)?;
    }
    Ok(())
}

/// What was found of the executable so far.
#[derive(Default)]
struct ExecutableSearch {
    /// The regular file that is nearest to the root.
    best: Option<(EntryPath, ExecutableEntry)>,
    /// An entry of the executable's name that is no regular file, the nearest one, and its depth.
    other: Option<(usize, OtherEntry)>,
    /// Names of other entries.
    names: ArchiveNames,
}

impl ExecutableSearch {
    fn is_nearest(&self, path: &EntryPath) -> bool {
        self.best.as_ref().is_none_or(|(nearest, _)| path.depth() < nearest.depth())
    }

    fn add_other(&mut self, path: &EntryPath, other: OtherEntry) {
        if self.other.as_ref().is_none_or(|(depth, _)| path.depth() < *depth) {
            self.other = Some((path.depth(), other));
        }
    }

    fn finish(self, entry: &str) -> Result<(EntryPath, ExecutableEntry), Error> {
        let missing = |found, names| Error::MissingExecutable { entry: entry.to_owned(), found, names, layers: None };
        match (self.best, self.other) {
            // A sparse file at least as near to the root is the executable, but sparse files are not supported.
            (Some((path, _)), Some((depth, other @ OtherEntry::Sparse))) if depth <= path.depth() => {
                Err(missing(Some(other), self.names))
            }
            (Some(best), _) => Ok(best),
            (None, other) => Err(missing(other.map(|(_, other)| other), self.names)),
        }
    }
}
