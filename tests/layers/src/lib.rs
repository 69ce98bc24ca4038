//! Builds layers byte by byte, for tests. Names and types of entries are not checked, so that tests can build the
//! layers of a hostile or careless publisher, too.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

/// Size of a block in a tar, in bytes.
const BLOCK: usize = 512;

/// An entry of a tar.
#[derive(Debug, Clone)]
pub struct TarEntry {
    /// Path, at most 100 bytes.
    pub name: String,
    /// Type flag of the header: `0` for a regular file.
    pub kind: u8,
    /// Target of a link.
    pub link: String,
    /// Permission bits, such as `0o755`.
    pub mode: u32,
    /// Content of a regular file; empty for others.
    pub data: Vec<u8>,
}

impl TarEntry {
    /// Returns a regular file with mode 0755.
    pub fn file(name: &str, data: impl Into<Vec<u8>>) -> Self {
        Self::of_type(name, b'0', data)
    }

    /// Returns a symbolic link `name` that leads to `target`.
    pub fn link(name: &str, target: &str) -> Self {
        Self { link: target.to_owned(), ..Self::of_type(name, b'2', "") }
    }

    /// Returns an entry with this type flag.
    pub fn of_type(name: &str, kind: u8, data: impl Into<Vec<u8>>) -> Self {
        Self { name: name.to_owned(), kind, link: String::new(), mode: 0o755, data: data.into() }
    }

    /// Returns a pax header for the entry that follows.
    pub fn pax(records: &[(&str, &str)]) -> Self {
        let line = |(key, value): &(&str, &str)| {
            let rest = format!(" {key}={value}\n");
            // The length includes its own digits.
            let length = (1..1000).find(|n: &usize| n.to_string().len() + rest.len() == *n).unwrap_or_default();
            format!("{length}{rest}")
        };
        Self::of_type("pax", b'x', records.iter().map(line).collect::<String>())
    }

    /// Returns the header and the padded content.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header().to_vec();
        bytes.extend(&self.data);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    fn header(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name.as_bytes()[..self.name.len().min(100)]);
        put(100, format!("{:07o}\0", self.mode).as_bytes());
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, format!("{:011o}\0", self.data.len()).as_bytes());
        put(136, b"00000000000\0");
        put(148, b"        ");
        put(156, &[self.kind]);
        put(157, &self.link.as_bytes()[..self.link.len().min(100)]);
        put(257, b"ustar\x0000");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

/// Returns a tar with these entries.
pub fn tar(entries: &[TarEntry]) -> Vec<u8> {
    let mut tar: Vec<u8> = entries.iter().flat_map(TarEntry::bytes).collect();
    tar.resize(tar.len() + 2 * BLOCK, 0);
    tar
}

/// Compresses the bytes as one gzip member.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to a `Vec` cannot fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

/// Returns a layer: a gzip tar with these entries.
pub fn layer(entries: &[TarEntry]) -> Vec<u8> {
    gzip(&tar(entries))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tar_reads_the_entries() {
        let bytes = layer(&[TarEntry::file("plugin", "one"), TarEntry::link("other", "/etc/passwd")]);
        let mut child = std::process::Command::new("tar")
            .arg("-tvz")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        let listed = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        let lines: Vec<_> = listed.lines().collect();
        assert!(lines[0].starts_with("-rwxr-xr-x") && lines[0].ends_with("plugin"), "{listed}");
        assert!(lines[1].starts_with('l') && lines[1].ends_with("other -> /etc/passwd"), "{listed}");
    }
}
