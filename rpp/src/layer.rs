//! Takes the one executable out of a layer (a gzip tar) as it streams by.
//!
//! Nothing is ever written under a name that stands in the archive: the caller's [`Sink`] gets the
//! bytes of the entry that is nearest to the root, and links, directories, `..` and absolute paths
//! lead nowhere. All gzip members are read and garbage behind the last is refused; the archive is read
//! to its end, as only there the choice stands and the digest of the download is known.

mod path;
mod readers;
mod sibling;

use std::{future::Future, io};

use futures::StreamExt as _;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
use tokio_tar::{Archive, Entry, EntryType};

use self::{
    path::Place,
    readers::{Cause, Inflated, Source},
    sibling::Beside,
};
use crate::{error::Error, text::one_line};

/// Bytes taken out of the archive at a time.
const CHUNK: usize = 256 << 10;
/// The longest name an extension may give an entry, in bytes. Linux has no longer paths.
const MAX_NAME: u64 = 4096;
/// The longest pax header read, in bytes.
const MAX_PAX: u64 = 64 << 10;

/// How much may be unpacked, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The whole archive, unpacked.
    pub archive: u64,
    /// The executable.
    pub executable: u64,
}

impl Default for Limits {
    /// 1 GiB an archive, 512 MiB a binary.
    fn default() -> Self {
        Self { archive: 1 << 30, executable: 512 << 20 }
    }
}

/// What was taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// The name it had in the archive, made safe to show.
    pub entry: String,
    /// Its size, in bytes.
    pub size: u64,
}

/// Where the executable goes.
pub trait Sink: Send {
    /// An entry begins: what was written before belonged to one farther from the root, and goes.
    fn restart(&mut self) -> impl Future<Output = io::Result<()>> + Send;
    /// More of the entry.
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

/// The file is flushed and synced by its owner.
impl Sink for tokio::fs::File {
    async fn restart(&mut self) -> io::Result<()> {
        self.rewind().await?;
        self.set_len(0).await
    }

    async fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.write_all(chunk).await
    }
}

/// What a layer holds.
#[derive(Debug)]
pub struct Contents {
    /// The executable.
    pub unpacked: Unpacked,
    /// The text file beside it, whatever the order in the archive; or why what is there is none.
    pub beside: Result<Option<Vec<u8>>, Error>,
}

/// Unpacks `executable` out of the layer that `reader` yields. Reads the reader to its end also when
/// the archive is bad, so that wrong bytes are reported as that and not as a bad archive.
pub async fn unpack<R, S>(reader: R, executable: &str, limits: &Limits, sink: &mut S) -> Result<Unpacked, Error>
where
    R: AsyncBufRead + Send + Unpin,
    S: Sink,
{
    Ok(read(reader, executable, None, limits, sink).await?.unpacked)
}

/// As [`unpack`], and takes a small file with it that lies beside the executable.
pub async fn read<R, S>(
    reader: R,
    executable: &str,
    beside: Option<&'static str>,
    limits: &Limits,
    sink: &mut S,
) -> Result<Contents, Error>
where
    R: AsyncBufRead + Send + Unpin,
    S: Sink,
{
    let cause = Cause::default();
    let mut source = Source { reader, cause: cause.clone() };
    let inflated = Inflated::new(&mut source, limits.archive, cause.clone());
    let result = read_archive(inflated, executable, beside, limits, sink).await;
    let error = match (cause.take(), result) {
        // What failed first is what happened; what the archive's reader makes of it is an echo.
        (Some(cause), _) => cause,
        (None, Err(error)) => error,
        (None, Ok(contents)) => return Ok(contents),
    };
    if matches!(error, Error::Archive { .. } | Error::MissingExecutable { .. }) {
        // Wrong bytes make a bad archive: if the rest of the download says they are wrong, that is the error.
        let rest = tokio::io::copy_buf(&mut source, &mut tokio::io::sink()).await;
        return Err(rest.err().and_then(|_| cause.take()).unwrap_or(error));
    }
    Err(error)
}

async fn read_archive<R, S>(
    inflated: R,
    executable: &str,
    beside: Option<&'static str>,
    limits: &Limits,
    sink: &mut S,
) -> Result<Contents, Error>
where
    R: AsyncRead + Send + Unpin,
    S: Sink,
{
    let mut archive = Archive::new(inflated);
    let mut best: Option<(Place, Unpacked)> = None;
    let mut found = None;
    let mut beside = Beside::new(beside);
    let mut name: Option<Vec<u8>> = None;
    let mut buffer = vec![0; CHUNK];
    {
        // Raw: extensions are read here, bounded, instead of whole into memory.
        let mut entries = archive.entries_raw().map_err(|error| bad(&error))?;
        while let Some(entry) = entries.next().await {
            let mut entry = entry.map_err(|error| bad(&error))?;
            let kind = entry.header().entry_type();
            if let Some(given) = extension(&mut entry, kind).await? {
                name = given.or(name);
                continue;
            }
            let path = match name.take() {
                Some(name) => name,
                None => entry.path_bytes().map_err(|error| bad(&error))?.into_owned(),
            };
            let Some(place) = Place::of(&path) else { continue };
            if beside.takes(&place) {
                beside.take(place, kind, &mut entry).await?;
                continue;
            }
            if place.name() != executable.as_bytes() {
                continue;
            }
            if !kind.is_file() {
                found = found.or(Some(describe(kind)));
                continue;
            }
            if best.as_ref().is_some_and(|(nearest, _)| nearest.depth() <= place.depth()) {
                continue;
            }
            let size = entry.effective_size();
            if size > limits.executable {
                return Err(Error::ArchiveTooLarge { what: "the executable", limit: limits.executable });
            }
            copy(&mut entry, size, sink, &mut buffer).await?;
            best = Some((place, Unpacked { entry: one_line(&path, 256), size }));
        }
    }
    // What follows the end-of-archive mark is read too: the digest covers it, and so does the limit.
    let mut rest = archive.into_inner().map_err(|_| Error::Archive { why: "it is still being read".to_owned() })?;
    while rest.read(&mut buffer).await.map_err(|error| bad(&error))? > 0 {}
    match best {
        Some((place, unpacked)) => Ok(Contents { unpacked, beside: beside.of(&place) }),
        None => Err(Error::MissingExecutable { entry: executable.to_owned(), found }),
    }
}

fn bad(error: &io::Error) -> Error {
    Error::Archive { why: one_line(error.to_string().as_bytes(), 256) }
}

/// What an extension says of the entry behind it: `None` for what is an entry itself, `Some(None)`
/// for an extension that names nothing.
async fn extension<R>(entry: &mut Entry<Archive<R>>, kind: EntryType) -> Result<Option<Option<Vec<u8>>>, Error>
where
    R: AsyncRead + Send + Unpin,
{
    let size = entry.effective_size();
    let within = |limit: u64| {
        if size > limit { Err(Error::Archive { why: "an extension header is too long".to_owned() }) } else { Ok(()) }
    };
    if kind.is_gnu_longname() {
        within(MAX_NAME)?;
        let mut name = Vec::new();
        entry.read_to_end(&mut name).await.map_err(|error| bad(&error))?;
        name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
        return Ok(Some(Some(name)));
    }
    if kind.is_pax_local_extensions() {
        within(MAX_PAX)?;
        let mut name = None;
        if let Some(records) = entry.pax_extensions().await.map_err(|error| bad(&error))? {
            for record in records {
                let record = record.map_err(|error| bad(&error))?;
                match record.key_bytes() {
                    b"path" => name = Some(record.value_bytes().to_vec()),
                    // Either would make the entry another one than its own header says.
                    b"size" => return Err(Error::Archive { why: "a pax header overrides a size".to_owned() }),
                    key if key.starts_with(b"GNU.sparse") => {
                        return Err(Error::Archive { why: "sparse files are not supported".to_owned() });
                    }
                    _ => {}
                }
            }
        }
        return Ok(Some(name));
    }
    let other = kind.is_gnu_longlink() || kind.is_pax_global_extensions();
    Ok(other.then_some(None))
}

fn describe(kind: EntryType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_hard_link() {
        "a hard link"
    } else {
        "no regular file"
    }
}

async fn copy<R, S>(entry: &mut Entry<Archive<R>>, size: u64, sink: &mut S, buffer: &mut [u8]) -> Result<(), Error>
where
    R: AsyncRead + Send + Unpin,
    S: Sink,
{
    sink.restart().await.map_err(Error::Sink)?;
    let mut copied = 0;
    loop {
        // Filled up before it is written: the decoder yields little at a time.
        let mut filled = 0;
        while filled < buffer.len() {
            let read = entry.read(&mut buffer[filled..]).await.map_err(|error| bad(&error))?;
            if read == 0 {
                break;
            }
            filled += read;
        }
        if filled == 0 {
            break;
        }
        sink.write(&buffer[..filled]).await.map_err(Error::Sink)?;
        copied += filled as u64;
    }
    if copied == size { Ok(()) } else { Err(Error::Archive { why: "it ends in the middle of an entry".to_owned() }) }
}
