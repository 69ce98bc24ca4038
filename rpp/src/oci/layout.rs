//! An OCI image layout on disk: blobs by digest, and `index.json`, which names them `<image>:<tag>`.
//!
//! A file is complete before it gets its name: blobs and the index are renamed into place, the index under a
//! lock.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use d8_crds::values::{digest::Digest, limits::LAYOUT_INDEX_BYTES};
use tempfile::NamedTempFile;

use super::{Descriptor, Document, INDEX};
use crate::file::FileVersion;

/// Annotation with the name of an entry in `index.json`.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// An OCI image layout.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Returns the layout in this folder. The folder need not exist yet.
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn index_path(&self) -> PathBuf {
        self.root.join("index.json")
    }

    /// Returns the path of a blob.
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        let hex = digest.as_str().trim_start_matches("sha256:");
        self.root.join("blobs/sha256").join(hex)
    }

    /// Reads a blob of at most `limit` bytes and verifies its digest.
    pub(crate) fn read(&self, digest: &Digest, limit: usize) -> io::Result<Vec<u8>> {
        let bytes = read_bounded(&self.blob(digest), limit as u64)?;
        if Digest::of(&bytes) == *digest {
            Ok(bytes)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("the content of blob {digest} has another digest")))
        }
    }

    /// Version of `index.json`, which is only ever replaced by a rename.
    pub(crate) fn index_version(&self) -> io::Result<FileVersion> {
        FileVersion::of(&self.index_path())
    }

    /// Reads the descriptors in `index.json`, by name.
    pub(crate) fn names(&self) -> io::Result<BTreeMap<String, Descriptor>> {
        let bytes = read_bounded(&self.index_path(), LAYOUT_INDEX_BYTES)?;
        let index: Document = serde_json::from_slice(&bytes)?;
        let named = index.manifests.unwrap_or_default().into_iter().filter_map(|descriptor| {
            let name = descriptor.annotations.as_ref()?.get(REF_NAME)?.clone();
            Some((name, descriptor))
        });
        Ok(named.collect())
    }

    /// Creates the folders and files that every layout has.
    pub(crate) fn create(&self) -> io::Result<()> {
        fs::create_dir_all(self.root.join("blobs/sha256"))?;
        let marker = self.root.join("oci-layout");
        if !marker.exists() {
            self.put(&marker, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        Ok(())
    }

    /// Creates a temporary file for a blob, on the file system of the blobs.
    pub(crate) fn new_blob(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix(".writing-").tempfile_in(self.root.join("blobs/sha256"))
    }

    /// Renames a written blob to its digest.
    pub(crate) fn keep_blob(&self, blob: NamedTempFile, digest: &Digest) -> io::Result<()> {
        persist(blob, &self.blob(digest))
    }

    /// Writes a small blob.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(bytes);
        let mut blob = self.new_blob()?;
        blob.write_all(bytes)?;
        self.keep_blob(blob, &digest)?;
        Ok(digest)
    }

    /// Adds a descriptor under a name, replacing the one that had it.
    pub(crate) fn publish(&self, name: &str, mut descriptor: Descriptor) -> io::Result<()> {
        descriptor.annotations = Some(BTreeMap::from([(REF_NAME.to_owned(), name.to_owned())]));
        self.change(|names| {
            names.insert(name.to_owned(), descriptor);
            true
        })?;
        Ok(())
    }

    /// Removes a name and leaves the blobs. Returns whether the name existed.
    pub(crate) fn unpublish(&self, name: &str) -> io::Result<bool> {
        self.change(|names| names.remove(name).is_some())
    }

    /// Changes the names under the lock. Writes them if `change` returns `true`.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Descriptor>) -> bool) -> io::Result<bool> {
        let lock = File::options().create(true).truncate(false).write(true).open(self.root.join(".lock"))?;
        lock.lock()?;
        let mut names = match self.names() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            names => names?,
        };
        let changed = change(&mut names);
        if changed {
            let index = Document {
                schema_version: 2,
                media_type: INDEX.to_owned(),
                manifests: Some(names.into_values().collect()),
                ..Document::default()
            };
            self.put(&self.index_path(), &serde_json::to_vec_pretty(&index)?)?;
        }
        Ok(changed)
    }

    fn put(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".writing-").tempfile_in(&self.root)?;
        file.write_all(bytes)?;
        persist(file, path)
    }
}

/// Makes a written file readable by all, syncs it, and renames it.
fn persist(file: NamedTempFile, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{} is too large", path.display())));
    }
    Ok(bytes)
}
