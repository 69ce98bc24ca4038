//! An OCI image layout on disk: blobs by digest, and `index.json` that names them
//! `<image>:<tag>`. What is written is complete before it is named: blobs and the index come by
//! rename, the index under a lock.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use d8_crds::values::digest::Digest;
use tempfile::NamedTempFile;

use crate::oci::{Descriptor, Document, INDEX};

/// The annotation of an entry of `index.json` that names it.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The largest `index.json` read, in bytes.
const MAX_INDEX: u64 = 64 << 20;

/// A layout.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

/// What tells one state of `index.json` from another: it is only ever replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    size: u64,
    modified: i128,
}

impl Layout {
    /// The layout below this folder, which need not exist yet.
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn index_path(&self) -> PathBuf {
        self.root.join("index.json")
    }

    /// Where a blob is.
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        let hex = digest.as_str().trim_start_matches("sha256:");
        self.root.join("blobs/sha256").join(hex)
    }

    /// A blob of at most `limit` bytes whose content has the digest it is stored under.
    pub(crate) fn read(&self, digest: &Digest, limit: usize) -> io::Result<Vec<u8>> {
        let bytes = read_bounded(&self.blob(digest), limit as u64)?;
        if Digest::of(&bytes) == *digest {
            Ok(bytes)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("blob {digest} has another digest")))
        }
    }

    /// The state of `index.json`.
    pub(crate) fn stamp(&self) -> io::Result<Stamp> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = fs::metadata(self.index_path())?;
        let modified = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Ok(Stamp { inode: metadata.ino(), size: metadata.len(), modified })
    }

    /// What is named, by name.
    pub(crate) fn names(&self) -> io::Result<BTreeMap<String, Descriptor>> {
        let bytes = read_bounded(&self.index_path(), MAX_INDEX)?;
        let index: Document = serde_json::from_slice(&bytes)?;
        let named = index.manifests.unwrap_or_default().into_iter().filter_map(|descriptor| {
            let name = descriptor.annotations.as_ref()?.get(REF_NAME)?.clone();
            Some((name, descriptor))
        });
        Ok(named.collect())
    }

    /// Makes what every layout has, if it is missing.
    pub(crate) fn create(&self) -> io::Result<()> {
        fs::create_dir_all(self.root.join("blobs/sha256"))?;
        let marker = self.root.join("oci-layout");
        if !marker.exists() {
            self.put(&marker, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        Ok(())
    }

    /// A file to write a blob into, on the blobs' own file system.
    pub(crate) fn new_blob(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix(".writing-").tempfile_in(self.root.join("blobs/sha256"))
    }

    /// Gives a written blob its name.
    pub(crate) fn keep_blob(&self, blob: NamedTempFile, digest: &Digest) -> io::Result<()> {
        persist(blob, &self.blob(digest))
    }

    /// Stores a small blob.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(bytes);
        let mut blob = self.new_blob()?;
        blob.write_all(bytes)?;
        self.keep_blob(blob, &digest)?;
        Ok(digest)
    }

    /// Names a descriptor, in place of what had that name.
    pub(crate) fn publish(&self, name: &str, mut descriptor: Descriptor) -> io::Result<()> {
        descriptor.annotations = Some(BTreeMap::from([(REF_NAME.to_owned(), name.to_owned())]));
        self.change(|names| {
            names.insert(name.to_owned(), descriptor);
            true
        })?;
        Ok(())
    }

    /// Takes a name away; the blobs stay. Whether there was one.
    pub(crate) fn unpublish(&self, name: &str) -> io::Result<bool> {
        self.change(|names| names.remove(name).is_some())
    }

    /// Changes the names under the lock. What `change` leaves as it was is not written.
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

/// Makes a written file durable, readable by all, and named.
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
