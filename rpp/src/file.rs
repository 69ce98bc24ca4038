//! Reads files on blocking threads, and detects that a file was replaced.

use std::{fs::File, io, path::Path, sync::Arc};

use bytes::Bytes;
use futures::{Stream, stream};

/// Bytes in one chunk of a file that a client downloads.
pub(crate) const CHUNK: usize = 256 << 10;

/// Reads a small file. Anything but a regular file is refused before it is opened: a named pipe would be waited for
/// without end.
pub(crate) fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// Reads the next chunk of a file: from `offset` to `end`, at most `chunk` bytes.
pub(crate) async fn read_chunk(file: &Arc<File>, offset: u64, end: u64, chunk: usize) -> io::Result<Bytes> {
    let length = usize::try_from(end - offset).map_or(chunk, |left| left.min(chunk));
    let file = Arc::clone(file);
    let read = tokio::task::spawn_blocking(move || {
        use std::os::unix::fs::FileExt as _;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, offset).map(|()| Bytes::from(bytes))
    });
    read.await.map_err(io::Error::other)?
}

/// Streams the first `size` bytes of a file, `chunk` bytes at a time.
pub(crate) fn stream(
    file: Arc<File>,
    size: u64,
    chunk: usize,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::try_unfold((file, 0), move |(file, offset)| async move {
        if offset == size {
            return Ok(None);
        }
        let bytes = read_chunk(&file, offset, size, chunk).await?;
        let next = offset + bytes.len() as u64;
        Ok(Some((bytes, (file, next))))
    })
}

/// Identifies one version of a file. Another version differs if the file was replaced by a rename or
/// through a link, as Kubernetes replaces mounted files.
#[cfg(feature = "server")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileVersion {
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds of the last change.
    modified: (i64, i64),
}

#[cfg(feature = "server")]
impl FileVersion {
    /// Reads the version of the file that `path` leads to.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = std::fs::metadata(path)?;
        Ok(Self { inode: metadata.ino(), size: metadata.len(), modified: (metadata.mtime(), metadata.mtime_nsec()) })
    }
}
