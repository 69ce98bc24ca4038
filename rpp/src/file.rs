//! Opens and reads files that a person or a deployment names: bounded, and without waiting for a pipe where a file is
//! expected. Opens files below a directory without following links. Reads files on blocking threads, and detects that a
//! file was replaced.

use std::{fs::File, io, path::Path, sync::Arc};

use bytes::Bytes;
use futures::{Stream, stream};

/// Bytes in one chunk of a file that a client downloads.
pub(crate) const CHUNK: usize = 256 << 10;

/// Opens a regular file that a person or a deployment named. Follows links, because Kubernetes mounts files through
/// them. Does not wait for the other end of a named pipe.
///
/// # Errors
/// It is not a regular file, and errors of the file system.
pub fn open_regular(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let not_regular = || io::Error::other("it is not a regular file");
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(|error| {
        // A socket.
        if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) { not_regular() } else { error }
    })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_regular()) }
}

/// Reads a regular file of at most `limit` bytes, as [`open_regular`] opens it.
///
/// # Errors
/// As [`open_regular`], and the file is larger.
pub fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_at_most(open_regular(path)?, limit)
}

/// Reads all of a file, a pipe or a terminal that a person named, at most `limit` bytes. Waits for the other end of a
/// pipe, so an asynchronous caller uses a thread that it does not have to join.
///
/// # Errors
/// Errors of the file system, and the content is larger.
pub fn read_any(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_at_most(File::open(path)?, limit)
}

/// Reads at most `limit` bytes, to the end.
///
/// # Errors
/// Errors of the reader, and it has more bytes.
pub fn read_at_most(reader: impl io::Read, limit: u64) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    reader.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is larger than {limit} bytes")));
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

#[cfg(feature = "server")]
pub(crate) use self::on_disk::{FileVersion, open_beneath};

#[cfg(feature = "server")]
mod on_disk {
    use std::{fs::File, io, os::unix::fs::MetadataExt as _, path::Path};

    use rustix::fs::{Mode, OFlags, openat};

    /// Identifies one version of a file. Another version differs if the file was replaced by a rename or
    /// through a link, as Kubernetes replaces mounted files.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct FileVersion {
        device: u64,
        inode: u64,
        size: u64,
        /// Seconds and nanoseconds of the last change of the content.
        modified: (i64, i64),
        /// Seconds and nanoseconds of the last change of the file. No program can set it.
        changed: (i64, i64),
    }

    impl FileVersion {
        /// Reads the version of the file that `path` leads to.
        pub(crate) fn of(path: &Path) -> io::Result<Self> {
            Ok(Self::of_metadata(&std::fs::metadata(path)?))
        }

        /// Reads the version of an open file.
        pub(crate) fn of_file(file: &File) -> io::Result<Self> {
            Ok(Self::of_metadata(&file.metadata()?))
        }

        fn of_metadata(metadata: &std::fs::Metadata) -> Self {
            Self {
                device: metadata.dev(),
                inode: metadata.ino(),
                size: metadata.len(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            }
        }
    }

    /// Opens a regular file below a directory for reading. Follows no links below the directory, and does not wait for
    /// the other end of a pipe.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if a part of the path is a link, or the file is not regular. Errors name the
    /// path below the directory.
    pub(crate) fn open_beneath(directory: &Path, path: &str) -> io::Result<File> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{path}: {error}"));
        let refused = |why: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{path}: {why}"));
        let safe = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut at = File::open(directory)?;
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            let kind = if parts.peek().is_some() { OFlags::DIRECTORY } else { OFlags::empty() };
            at = match openat(&at, part, safe | kind, Mode::empty()) {
                Ok(next) => next.into(),
                Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
                    return Err(refused("a part of this path is a link or not a directory, which is not followed"));
                }
                // What a socket answers.
                Err(rustix::io::Errno::NXIO) => return Err(refused("it is not a regular file")),
                Err(error) => return Err(named(error.into())),
            };
        }
        if at.metadata().map_err(named)?.is_file() { Ok(at) } else { Err(refused("it is not a regular file")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_opened() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("file"), "text").unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), fifo, mode, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        for name in ["file", "link"] {
            assert_eq!(read_regular(&path(name), 4).unwrap(), b"text", "{name}");
            assert_eq!(read_any(&path(name), 4).unwrap(), b"text", "{name}");
            for refused in [read_regular(&path(name), 3), read_any(&path(name), 3)] {
                assert!(refused.unwrap_err().to_string().contains("larger than 3 bytes"), "{name}");
            }
        }
        for name in ["fifo", "socket", "."] {
            let error = read_regular(&path(name), 4).unwrap_err().to_string();
            assert_eq!(error, "it is not a regular file", "{name}");
        }
        assert_eq!(read_regular(&path("missing"), 4).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(read_any(Path::new("/dev/zero"), 1000).unwrap_err().to_string().contains("larger"));
    }
}
