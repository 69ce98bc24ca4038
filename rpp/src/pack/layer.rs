//! Writes a layer: a gzip tar with the executable and the contract, without owners and times.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use d8_crds::values::digest::Digest;
use flate2::{Compression, GzBuilder};

use crate::{
    oci::{hash_writer::HashWriter, layout::Layout},
    protocol::image::CONTRACT_FILE,
};

/// Size of a block in a tar, in bytes.
const BLOCK: usize = 512;

/// A layer that was written to a layout.
pub(super) struct WrittenLayer {
    /// Digest of the compressed bytes.
    pub(super) compressed: Digest,
    /// Digest of the tar.
    pub(super) unpacked: Digest,
    /// Size in bytes, compressed.
    pub(super) size: u64,
}

/// Writes the executable as `entry`, and the contract after it if there is one.
pub(super) fn write(
    layout: &Layout,
    entry: &str,
    executable: &Path,
    contract: Option<&str>,
) -> io::Result<WrittenLayer> {
    let file = File::open(executable)?;
    let size = file.metadata()?.len();
    let blob = HashWriter::new(io::BufWriter::new(layout.new_blob()?));
    // No name, no time, an unknown system: the bytes do not depend on the machine.
    let gzip = GzBuilder::new().mtime(0).operating_system(255).write(blob, Compression::default());
    let mut tar = HashWriter::new(gzip);
    let copied = write_entry(&mut tar, entry, 0o755, size, &mut file.take(size))?;
    if copied != size {
        return Err(io::Error::other(format!("{} changed while it was read", executable.display())));
    }
    if let Some(contract) = contract {
        write_entry(&mut tar, CONTRACT_FILE, 0o644, contract.len() as u64, &mut contract.as_bytes())?;
    }
    tar.write_all(&[0; 2 * BLOCK])?;
    let (gzip, unpacked, _) = tar.finish();
    let (blob, compressed, size) = gzip.finish()?.finish();
    let blob = blob.into_inner().map_err(io::IntoInnerError::into_error)?;
    layout.keep_blob(blob, &compressed)?;
    Ok(WrittenLayer { compressed, unpacked, size })
}

/// Writes a regular file to a tar. Returns how many bytes were copied.
fn write_entry(tar: &mut impl Write, name: &str, mode: u32, size: u64, content: &mut impl Read) -> io::Result<u64> {
    let mut header = tokio_tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_entry_type(tokio_tar::EntryType::Regular);
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    tar.write_all(header.as_bytes())?;
    let copied = io::copy(content, tar)?;
    let padding = usize::try_from(size % BLOCK as u64).map_or(0, |rest| (BLOCK - rest) % BLOCK);
    tar.write_all(&[0; BLOCK][..padding])?;
    Ok(copied)
}
