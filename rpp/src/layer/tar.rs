//! Reads a tar entry by entry: ustar, pax, and the format of GNU. Extension headers are read with limits. An entry that
//! is not wanted is passed over, whatever it is.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_tar::{EntryType, GnuExtSparseHeader, Header};

use crate::{
    content::{BLOCK, Content, is_header},
    error::{Error, OtherEntry},
    text::one_line,
};

/// Longest name in an extension header, in bytes. Linux allows no longer paths.
const MAX_NAME: u64 = 4096;
/// Size of a pax header, in bytes. Extended attributes may be large.
const MAX_PAX: u64 = 512 << 10;
/// Bytes of a name that are shown.
const SHOWN_NAME: usize = 256;
/// Bytes that are read at a time.
const CHUNK: usize = 256 << 10;

/// An entry of a tar.
#[derive(Debug)]
pub(super) struct TarEntry {
    /// The path, as in the archive.
    pub(super) path: Vec<u8>,
    /// Size of the content in the archive, in bytes.
    pub(super) size: u64,
    /// Absent for a regular file.
    pub(super) other: Option<OtherEntry>,
}

/// Extension headers, which describe the entry that follows.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    /// Set for a sparse file in the format of pax.
    is_sparse: bool,
}

/// A tar that is being read.
pub(super) struct TarReader<R> {
    reader: R,
    /// Bytes of the current entry that were not read yet.
    left: u64,
    /// Bytes between the content and the next header.
    padding: u64,
    is_first: bool,
    buffer: Vec<u8>,
}

/// Turns an error of the reader into an [`Error`].
fn archive_error(error: &io::Error) -> Error {
    bad(one_line(error.to_string().as_bytes(), 256))
}

fn bad(why: impl Into<String>) -> Error {
    Error::Archive { why: why.into() }
}

impl<R: AsyncRead + Unpin> TarReader<R> {
    /// Reads a tar from its beginning.
    pub(super) fn new(reader: R) -> Self {
        Self { reader, left: 0, padding: 0, is_first: true, buffer: vec![0; CHUNK] }
    }

    /// Goes to the next entry, over what was not read of the current one. `None` at the end of the archive.
    pub(super) async fn next(&mut self) -> Result<Option<TarEntry>, Error> {
        let mut extensions = Extensions::default();
        loop {
            self.skip().await?;
            let Some(header) = self.header().await? else { return Ok(None) };
            let kind = header.entry_type();
            let size = header.raw_entry_size().map_err(|error| archive_error(&error))?;
            match kind {
                EntryType::GNULongName => extensions.path = Some(self.gnu_name(size).await?),
                EntryType::GNULongLink => extensions.link = Some(self.gnu_name(size).await?),
                EntryType::XHeader | EntryType::SolarisXHeader => self.pax(size, &mut extensions).await?,
                EntryType::XGlobalHeader => self.begin_content(size),
                _ => return self.begin_entry(&header, kind, size, extensions).await.map(Some),
            }
        }
    }

    /// Reads the next bytes of the current entry. Empty at its end.
    ///
    /// # Errors
    /// The archive ends in the middle of the entry.
    pub(super) async fn chunk(&mut self) -> Result<&[u8], Error> {
        let wanted = usize::try_from(self.left).map_or(CHUNK, |left| left.min(CHUNK));
        // The decoder yields few bytes at a time: the buffer is filled before it is handed out.
        self.fill(wanted).await?;
        self.left -= wanted as u64;
        Ok(&self.buffer[..wanted])
    }

    /// Reads the whole content of the current entry.
    pub(super) async fn content(&mut self) -> Result<Vec<u8>, Error> {
        let mut content = Vec::new();
        while self.left > 0 {
            content.extend_from_slice(self.chunk().await?);
        }
        Ok(content)
    }

    /// Reads to the end of the stream, also beyond the mark of the archive's end.
    pub(super) async fn drain(mut self) -> Result<(), Error> {
        while self.reader.read(&mut self.buffer).await.map_err(|error| archive_error(&error))? > 0 {}
        Ok(())
    }

    /// Fills the first `wanted` bytes of the buffer.
    async fn fill(&mut self, wanted: usize) -> Result<(), Error> {
        match self.reader.read_exact(&mut self.buffer[..wanted]).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(bad("unexpected EOF: it ends in the middle of an entry"))
            }
            Err(error) => Err(archive_error(&error)),
        }
    }

    /// Skips what is left of the current entry, and its padding.
    async fn skip(&mut self) -> Result<(), Error> {
        while self.left > 0 {
            self.chunk().await?;
        }
        self.left = std::mem::take(&mut self.padding);
        if self.left > 0 {
            self.chunk().await?;
        }
        Ok(())
    }

    /// Reads a header. `None` at the end of the stream and at the archive's mark of its end.
    async fn header(&mut self) -> Result<Option<Header>, Error> {
        let mut header = Header::new_old();
        let mut filled = 0;
        while filled < BLOCK {
            let rest = &mut header.as_mut_bytes()[filled..];
            match self.reader.read(rest).await.map_err(|error| archive_error(&error))? {
                0 => break,
                read => filled += read,
            }
        }
        let is_first = std::mem::take(&mut self.is_first);
        let bytes = &header.as_bytes()[..filled];
        if filled == 0 || (filled == BLOCK && bytes.iter().all(|byte| *byte == 0)) {
            return Ok(None);
        }
        if filled == BLOCK && is_header(bytes) {
            return Ok(Some(header));
        }
        Err(if is_first {
            Error::LayerFormat { found: Content::of(bytes), in_gzip: true }
        } else if filled < BLOCK {
            bad("unexpected EOF: it ends in the middle of a header")
        } else {
            bad("the header of an entry is damaged: its checksum is wrong")
        })
    }

    fn begin_content(&mut self, size: u64) {
        self.left = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    async fn begin_entry(
        &mut self,
        header: &Header,
        kind: EntryType,
        size: u64,
        extensions: Extensions,
    ) -> Result<TarEntry, Error> {
        if kind == EntryType::GNUSparse {
            self.skip_sparse_map(header).await?;
        }
        let target = || {
            let link = extensions.link.clone().or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
            one_line(&link.unwrap_or_default(), SHOWN_NAME)
        };
        let other = match kind {
            EntryType::Regular | EntryType::Continuous if extensions.is_sparse => Some(OtherEntry::Sparse),
            EntryType::Regular | EntryType::Continuous => None,
            EntryType::GNUSparse => Some(OtherEntry::Sparse),
            EntryType::Link => Some(OtherEntry::HardLink(target())),
            EntryType::Symlink => Some(OtherEntry::Symlink(target())),
            EntryType::Directory => Some(OtherEntry::Directory),
            _ => Some(OtherEntry::Special),
        };
        // Entries of these types have no content; their size is ignored, as Go's archive/tar, docker and containerd do.
        let has_content = !matches!(
            kind,
            EntryType::Link
                | EntryType::Symlink
                | EntryType::Directory
                | EntryType::Char
                | EntryType::Block
                | EntryType::Fifo
        );
        let size = if has_content { extensions.size.unwrap_or(size) } else { 0 };
        self.begin_content(size);
        let path = extensions.path.unwrap_or_else(|| header.path_bytes().into_owned());
        Ok(TarEntry { path, size, other })
    }

    /// Skips the blocks between the header of a sparse file and its content, which continue the map of its parts.
    async fn skip_sparse_map(&mut self, header: &Header) -> Result<(), Error> {
        let mut is_extended = header.as_gnu().is_some_and(tokio_tar::GnuHeader::is_extended);
        while is_extended {
            self.fill(BLOCK).await?;
            let mut map = GnuExtSparseHeader::new();
            map.as_mut_bytes().copy_from_slice(&self.buffer[..BLOCK]);
            is_extended = map.is_extended();
        }
        Ok(())
    }

    /// Reads the content of an extension header.
    async fn extension(&mut self, size: u64, limit: u64) -> Result<Vec<u8>, Error> {
        if size > limit {
            return Err(bad("an extension header is too long"));
        }
        self.begin_content(size);
        self.content().await
    }

    async fn gnu_name(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        let mut name = self.extension(size, MAX_NAME).await?;
        name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
        Ok(name)
    }

    async fn pax(&mut self, size: u64, extensions: &mut Extensions) -> Result<(), Error> {
        let records = self.extension(size, MAX_PAX).await?;
        let mut sparse_name = None;
        let mut rest = &records[..];
        while !rest.is_empty() {
            let (key, value, after) = pax_record(rest).ok_or_else(|| bad("a pax header is malformed"))?;
            match key {
                b"path" => extensions.path = Some(value.to_vec()),
                b"linkpath" => extensions.link = Some(value.to_vec()),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    extensions.size = Some(size.ok_or_else(|| bad("the size in a pax header is no number"))?);
                }
                b"GNU.sparse.name" => sparse_name = Some(value.to_vec()),
                _ => {}
            }
            extensions.is_sparse |= key.starts_with(b"GNU.sparse.");
            rest = after;
        }
        // The path of a sparse file is a placeholder.
        extensions.path = sparse_name.or(extensions.path.take());
        Ok(())
    }
}

/// Splits the first record off: `LENGTH KEY=VALUE` and a line end. Returns key, value and the rest.
fn pax_record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = records.iter().position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&records[..blank]).ok()?.parse().ok()?;
    let record = records.get(blank + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &records[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_a_pax_header() {
        type Record<'a> = Option<(&'a [u8], &'a [u8], &'a [u8])>;
        let cases: [(&[u8], Record<'_>); 7] = [
            (b"9 size=1\nrest", Some((b"size", b"1", b"rest"))),
            (b"11 x=a\nb=c\n", Some((b"x", b"a\nb=c", b""))),
            (b"6 x=\n", None),
            (b"5 x=\n", Some((b"x", b"", b""))),
            (b"99 x=a\n", None),
            (b"18446744073709551616 x=a\n", None),
            (b"2 x=a\n", None),
        ];
        for (records, expected) in cases {
            assert_eq!(pax_record(records), expected, "{:?}", String::from_utf8_lossy(records));
        }
    }
}
