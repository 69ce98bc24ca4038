//! Reads entries of an archive: extension headers, types and contents.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_tar::{Archive, Entry, EntryType};

use super::Sink;
use crate::{error::Error, text::one_line};

/// Longest name in an extension header, in bytes. Linux allows no longer paths.
const MAX_NAME: u64 = 4096;
/// Size of a pax header, in bytes.
const MAX_PAX: u64 = 64 << 10;

/// Turns an error of the archive's reader into an [`Error`].
pub(super) fn archive_error(error: &io::Error) -> Error {
    Error::Archive { why: one_line(error.to_string().as_bytes(), 256) }
}

/// Reads an extension header. `None` for an entry that is none, `Some(None)` for an extension that does not
/// name the entry that follows.
pub(super) async fn extension<R>(
    entry: &mut Entry<Archive<R>>,
    kind: EntryType,
) -> Result<Option<Option<Vec<u8>>>, Error>
where
    R: AsyncRead + Send + Unpin,
{
    if kind.is_gnu_longname() {
        return Ok(Some(Some(gnu_name(entry).await?)));
    }
    if kind.is_pax_local_extensions() {
        return Ok(Some(pax_name(entry).await?));
    }
    let other = kind.is_gnu_longlink() || kind.is_pax_global_extensions();
    Ok(other.then_some(None))
}

fn check_size<R>(entry: &Entry<Archive<R>>, limit: u64) -> Result<(), Error>
where
    R: AsyncRead + Send + Unpin,
{
    if entry.effective_size() > limit {
        return Err(Error::Archive { why: "an extension header is too long".to_owned() });
    }
    Ok(())
}

async fn gnu_name<R>(entry: &mut Entry<Archive<R>>) -> Result<Vec<u8>, Error>
where
    R: AsyncRead + Send + Unpin,
{
    check_size(entry, MAX_NAME)?;
    let mut name = Vec::new();
    entry.read_to_end(&mut name).await.map_err(|error| archive_error(&error))?;
    name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
    Ok(name)
}

async fn pax_name<R>(entry: &mut Entry<Archive<R>>) -> Result<Option<Vec<u8>>, Error>
where
    R: AsyncRead + Send + Unpin,
{
    check_size(entry, MAX_PAX)?;
    let mut name = None;
    let Some(records) = entry.pax_extensions().await.map_err(|error| archive_error(&error))? else {
        return Ok(None);
    };
    for record in records {
        let record = record.map_err(|error| archive_error(&error))?;
        match record.key_bytes() {
            b"path" => name = Some(record.value_bytes().to_vec()),
            // Both would make the content differ from the entry's own header.
            b"size" => return Err(Error::Archive { why: "a pax header overrides a size".to_owned() }),
            key if key.starts_with(b"GNU.sparse") => {
                return Err(Error::Archive { why: "sparse files are not supported".to_owned() });
            }
            _ => {}
        }
    }
    Ok(name)
}

/// Returns the type of an entry, for messages.
pub(super) fn type_name(kind: EntryType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_hard_link() {
        "a hard link"
    } else {
        "not a regular file"
    }
}

/// Copies the content of an entry to a sink.
pub(super) async fn copy<R, S>(
    entry: &mut Entry<Archive<R>>,
    size: u64,
    sink: &mut S,
    buffer: &mut [u8],
) -> Result<(), Error>
where
    R: AsyncRead + Send + Unpin,
    S: Sink,
{
    sink.restart().await.map_err(Error::Sink)?;
    let mut copied = 0;
    loop {
        // The decoder yields few bytes at a time: the buffer is filled before it is written.
        let mut filled = 0;
        while filled < buffer.len() {
            let read = entry.read(&mut buffer[filled..]).await.map_err(|error| archive_error(&error))?;
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
