//! An OCI image layout on disk: blobs by digest, and `index.json`, which names them `<image>:<tag>`.
//!
//! A file is complete before it gets its name: blobs and the index are renamed into place, the index under a
//! lock. A layout may come from others: links in it are not followed, and only regular files are read.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use d8_crds::values::{digest::Digest, limits::LAYOUT_INDEX_BYTES};
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::{Descriptor, INDEX};
use crate::{
    file::{FileVersion, open_beneath},
    text::json_error,
};

/// Annotation with the name of an entry in `index.json`.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const INDEX_FILE: &str = "index.json";
/// Mode of directories and of files, whatever the umask is: another user may serve the layout.
const DIRECTORY_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// An OCI image layout.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Returns the layout in this directory. The directory need not exist yet.
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Path of a blob below the root.
    fn blob_path(digest: &Digest) -> String {
        format!("blobs/sha256/{}", digest.as_str().trim_start_matches("sha256:"))
    }

    /// Opens a blob. Its content is not verified.
    pub(crate) fn open_blob(&self, digest: &Digest) -> io::Result<File> {
        open_beneath(&self.root, &Self::blob_path(digest))
    }

    /// Reads a blob of at most `limit` bytes and verifies its digest.
    pub(crate) fn read(&self, digest: &Digest, limit: usize) -> io::Result<Vec<u8>> {
        let bytes = read_bounded(self.open_blob(digest)?, &Self::blob_path(digest), limit as u64)?;
        if Digest::of(&bytes) == *digest {
            Ok(bytes)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("the content of blob {digest} has another digest")))
        }
    }

    /// Version of `index.json`, which is only ever replaced by a rename.
    pub(crate) fn index_version(&self) -> io::Result<FileVersion> {
        FileVersion::of_file(&self.open_index()?)
    }

    fn open_index(&self) -> io::Result<File> {
        open_beneath(&self.root, INDEX_FILE).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if self.root.is_dir() => io::Error::new(
                error.kind(),
                format!(
                    "{INDEX_FILE} is missing; an OCI image layout has it, with an entry for each tag whose annotation \
                     `{REF_NAME}` is the image and the tag, such as `deckhouse-cli/plugins/hello:v1.0.0`"
                ),
            ),
            _ => error,
        })
    }

    /// Reads the descriptors in `index.json`, by name. An entry that cannot be read is left out, as are those without
    /// a name.
    pub(crate) fn names(&self) -> io::Result<BTreeMap<String, Descriptor>> {
        #[derive(Deserialize)]
        struct Index {
            #[serde(default)]
            manifests: Vec<IndexEntry>,
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum IndexEntry {
            Readable(Box<Descriptor>),
            Other(IgnoredAny),
        }
        let index: Index = parse_index(&read_bounded(self.open_index()?, INDEX_FILE, LAYOUT_INDEX_BYTES)?)?;
        let named = index.manifests.into_iter().filter_map(|entry| match entry {
            IndexEntry::Readable(descriptor) => {
                let name = descriptor.annotations.as_ref()?.get(REF_NAME)?.clone();
                Some((name, *descriptor))
            }
            IndexEntry::Other(_) => None,
        });
        Ok(named.collect())
    }

    /// Creates the directories and files that every layout has.
    pub(crate) fn create(&self) -> io::Result<()> {
        create_directory(&self.root.join("blobs/sha256"))?;
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
        persist(blob, &self.root.join(Self::blob_path(digest)))
    }

    /// Writes a small blob.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(bytes);
        let mut blob = self.new_blob()?;
        blob.write_all(bytes)?;
        self.keep_blob(blob, &digest)?;
        Ok(digest)
    }

    /// Adds a descriptor under a name, replacing the one that had it. Returns the digest of that one.
    pub(crate) fn publish(&self, name: &str, mut descriptor: Descriptor) -> io::Result<Option<String>> {
        descriptor.annotations = Some(BTreeMap::from([(REF_NAME.to_owned(), name.to_owned())]));
        let entry = serde_json::to_value(descriptor)?;
        let mut before = None;
        self.change(|entries| {
            let replaced = entries.iter().find(|other| has_name(other, name));
            before = replaced.and_then(|other| other["digest"].as_str()).map(str::to_owned);
            entries.retain(|other| !has_name(other, name));
            entries.push(entry);
            true
        })?;
        Ok(before)
    }

    /// Removes a name and leaves the blobs. Returns whether the name existed.
    pub(crate) fn unpublish(&self, name: &str) -> io::Result<bool> {
        self.change(|entries| {
            let before = entries.len();
            entries.retain(|other| !has_name(other, name));
            entries.len() != before
        })
    }

    /// Changes the entries of `index.json` under the lock. Writes them if `change` returns `true`. Whatever else the
    /// file has stays as it is: other tools may have written it.
    fn change(&self, change: impl FnOnce(&mut Vec<Value>) -> bool) -> io::Result<bool> {
        let lock = File::options().create(true).truncate(false).write(true).open(self.root.join(".lock"))?;
        lock.lock()?;
        let mut index: Value = match open_beneath(&self.root, INDEX_FILE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []})
            }
            file => parse_index(&read_bounded(file?, INDEX_FILE, LAYOUT_INDEX_BYTES)?)?,
        };
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, format!("{INDEX_FILE} has no list `manifests`"));
        let entries = index.get_mut("manifests").and_then(Value::as_array_mut).ok_or_else(invalid)?;
        let changed = change(entries);
        if changed {
            self.put(&self.root.join(INDEX_FILE), &serde_json::to_vec_pretty(&index)?)?;
        }
        Ok(changed)
    }

    fn put(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".writing-").tempfile_in(&self.root)?;
        file.write_all(bytes)?;
        persist(file, path)
    }
}

fn has_name(entry: &Value, name: &str) -> bool {
    entry["annotations"][REF_NAME] == name
}

/// Creates a directory and those above it that are missing.
fn create_directory(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_directory(parent)?;
    }
    match fs::create_dir(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(DIRECTORY_MODE)),
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes a written file readable by all, syncs it, and renames it.
fn persist(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().set_permissions(fs::Permissions::from_mode(FILE_MODE))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// # Errors
/// The bytes are not the JSON of an index.
fn parse_index<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{INDEX_FILE} is not an image index: {}", json_error(&error)),
        )
    })
}

fn read_bounded(file: File, name: &str, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{name} is larger than {limit} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn layout() -> (tempfile::TempDir, Layout) {
        let directory = tempfile::TempDir::new().unwrap();
        let layout = Layout::at(directory.path());
        layout.create().unwrap();
        (directory, layout)
    }

    #[test]
    fn entries_of_others_stay() {
        let (directory, layout) = layout();
        let index = json!({"schemaVersion": 2, "annotations": {"a": "b"}, "manifests": [
            {"digest": "sha256:1", "size": 1}, {"odd": true}, 7,
            {"digest": "sha256:2", "size": 2, "annotations": {REF_NAME: "x:v1"}},
        ]});
        fs::write(directory.path().join(INDEX_FILE), index.to_string()).unwrap();
        let descriptor = Descriptor {
            media_type: String::new(),
            digest: Digest::of(b"x").to_string(),
            size: 1,
            platform: None,
            annotations: None,
        };
        layout.publish("x:v1", descriptor).unwrap();
        let names = layout.names().unwrap();
        assert_eq!(names.keys().collect::<Vec<_>>(), ["x:v1"]);
        assert_eq!(names["x:v1"].digest, Digest::of(b"x").to_string());
        assert!(layout.unpublish("x:v1").unwrap());
        assert!(!layout.unpublish("x:v1").unwrap());
        let written: Value = serde_json::from_slice(&fs::read(directory.path().join(INDEX_FILE)).unwrap()).unwrap();
        assert_eq!(written["annotations"], index["annotations"]);
        assert_eq!(written["manifests"].as_array().unwrap()[..], index["manifests"].as_array().unwrap()[..3]);
    }

    /// What is planted, how, and a part of the error.
    type Plant<'a> = (&'a str, Box<dyn Fn() + 'a>, &'a str);

    #[test]
    fn only_regular_files_of_the_layout_are_read() {
        let (directory, layout) = layout();
        let outside = tempfile::NamedTempFile::new().unwrap();
        fs::write(&outside, "{}").unwrap();
        let digest = Digest::of(b"{}");
        let blob = directory.path().join(Layout::blob_path(&digest));
        let blobs = directory.path().join("blobs/sha256");
        let reset = || {
            let _ = fs::remove_file(&blob).or_else(|_| fs::remove_dir(&blob));
        };
        let read = || layout.read(&digest, 100).map_err(|error| error.to_string());
        fs::write(&blob, "{}").unwrap();
        assert_eq!(read().as_deref(), Ok(&b"{}"[..]));
        let plants: [Plant<'_>; 6] = [
            ("a link out", Box::new(|| std::os::unix::fs::symlink(outside.path(), &blob).unwrap()), "is a link"),
            ("a pipe", Box::new(|| make_pipe(&blob)), "not a regular file"),
            ("a directory", Box::new(|| fs::create_dir(&blob).unwrap()), "not a regular file"),
            ("another content", Box::new(|| fs::write(&blob, "{ }").unwrap()), "another digest"),
            ("a large one", Box::new(|| fs::write(&blob, [b' '; 101]).unwrap()), "larger than 100 bytes"),
            (
                "a linked directory",
                Box::new(|| {
                    let other = directory.path().join("elsewhere");
                    fs::rename(&blobs, &other).unwrap();
                    std::os::unix::fs::symlink(&other, &blobs).unwrap();
                }),
                "is a link",
            ),
        ];
        for (what, plant, message) in plants {
            reset();
            plant();
            let error = read().unwrap_err();
            assert!(error.contains(message), "{what}: {error}");
        }
    }

    fn make_pipe(path: &Path) {
        let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
        assert!(made.success());
    }
}
