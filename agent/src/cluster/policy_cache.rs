//! Caches the policies of clusters on disk. They apply while a cluster is unreachable.

use std::{
    fmt, fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use d8_crds::{decisions::verdict::PolicySet, values::digest::Digest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Identifies a cluster by the URL of its API server and its CA. Usable as a file name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterKey(String);

impl fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ClusterKey {
    /// Builds the key from the kubeconfig's server and CA certificates in DER (`None`: the system's authorities).
    pub fn new(server: &str, ca: Option<&[Vec<u8>]>) -> Self {
        let mut bytes = server.trim_end_matches('/').as_bytes().to_vec();
        for certificate in ca.unwrap_or_default() {
            bytes.push(0);
            bytes.extend_from_slice(certificate);
        }
        Self(Digest::of(&bytes).short().to_owned())
    }
}

/// Content of a file. Unknown formats are refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CachedPolicies {
    format: u32,
    /// Address of the API server, for people.
    pub server: String,
    /// When the API server last returned these policies.
    pub confirmed: Timestamp,
    pub(super) policies: Vec<Value>,
}

impl CachedPolicies {
    const FORMAT: u32 = 1;

    /// Returns the content of a file with these policies.
    pub fn new(server: &str, confirmed: Timestamp, policies: Vec<Value>) -> Self {
        Self { format: Self::FORMAT, server: server.to_owned(), confirmed, policies }
    }

    /// Parses the cached JSON of the policies.
    pub fn policy_set(&self) -> PolicySet {
        PolicySet::from_json(&self.policies)
    }
}

/// The cache of policies in folder `<root>/policy`.
#[derive(Debug, Clone)]
pub struct PolicyCache {
    dir: PathBuf,
}

/// A file exists and is not usable.
#[derive(Debug, thiserror::Error)]
#[error("can't read {path}")]
pub struct CacheError {
    /// Path of the file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub source: io::Error,
}

impl PolicyCache {
    /// Returns the cache below this root. Reads nothing yet.
    pub fn at(root: &Path) -> Self {
        Self { dir: root.join("policy") }
    }

    fn file(&self, key: &ClusterKey) -> PathBuf {
        self.dir.join(format!("{}.json", key.0))
    }

    /// Returns whether policies of any cluster are cached.
    pub fn any(&self) -> bool {
        // A folder that is not readable may contain policies.
        self.files().map_or(true, |files| !files.is_empty())
    }

    /// Lists the files, sorted.
    fn files(&self) -> Result<Vec<PathBuf>, CacheError> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(CacheError { path: self.dir.clone(), source }),
        };
        let of_cluster = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            !name.starts_with('.') && name.ends_with(".json")
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(of_cluster).collect();
        paths.sort();
        Ok(paths)
    }

    /// Reads the policies of one cluster, `None` if none are cached.
    ///
    /// # Errors
    /// [`CacheError`] if the file exists and is not usable: its policies may forbid anything.
    pub fn load(&self, key: &ClusterKey) -> Result<Option<CachedPolicies>, CacheError> {
        Self::read(&self.file(key))
    }

    /// Reads the policies of all clusters.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_all(&self) -> Result<Vec<CachedPolicies>, CacheError> {
        self.files()?.iter().filter_map(|path| Self::read(path).transpose()).collect()
    }

    fn read(path: &Path) -> Result<Option<CachedPolicies>, CacheError> {
        let failed = |source| CacheError { path: path.to_owned(), source };
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let cached: CachedPolicies =
            serde_json::from_slice(&bytes).map_err(|e| failed(io::Error::new(io::ErrorKind::InvalidData, e)))?;
        if cached.format == CachedPolicies::FORMAT {
            Ok(Some(cached))
        } else {
            let text = format!("this d8 does not know format {}", cached.format);
            Err(failed(io::Error::new(io::ErrorKind::InvalidData, text)))
        }
    }

    /// Replaces the policies of a cluster, in one rename. A cluster without policies is written only if another
    /// cluster is cached, so that the policies of the other one do not apply to it.
    ///
    /// # Errors
    /// Errors of the file system. The command does not have to fail.
    pub fn save(&self, key: &ClusterKey, cached: &CachedPolicies) -> io::Result<()> {
        let path = self.file(key);
        if cached.policies.is_empty() && !self.any() {
            return Ok(());
        }
        replace(&path, &serde_json::to_vec_pretty(cached)?)
    }
}

/// Replaces a file in one rename. Creates its folder if it does not exist.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_stem()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path has no folder or no name"));
    };
    fs::DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
    let staged = dir.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let _ = fs::remove_file(&staged);
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&staged)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&staged, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&staged);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn policies_are_saved_and_loaded() {
        let root = tempfile::tempdir().unwrap();
        let cache = PolicyCache::at(root.path());
        let (a, b) = (ClusterKey::new("https://a", None), ClusterKey::new("https://b/", None));
        assert_eq!(b, ClusterKey::new("https://b", None), "a trailing slash makes no difference");
        assert_ne!(a, ClusterKey::new("https://a", Some(&[vec![1]])), "the CA is a part of the key");
        assert!(cache.load(&a).unwrap().is_none());

        cache.save(&b, &CachedPolicies::new("https://b", now(), vec![])).unwrap();
        assert!(!root.path().join("policy").exists(), "no policies, no file");

        let policy = serde_json::json!({"metadata": {"name": "p"}});
        cache.save(&a, &CachedPolicies::new("https://a", now(), vec![policy])).unwrap();
        let read = cache.load(&a).unwrap().unwrap();
        assert_eq!((read.confirmed, read.policies.len()), (now(), 1));
        assert_eq!(cache.load_all().unwrap().len(), 1);

        cache.save(&b, &CachedPolicies::new("https://b", now(), vec![])).unwrap();
        assert!(cache.load(&b).unwrap().is_some(), "a cluster without policies is saved next to one with policies");
        cache.save(&a, &CachedPolicies::new("https://a", now(), vec![])).unwrap();
        assert_eq!(cache.load(&a).unwrap().unwrap().policies.len(), 0, "deleted policies are gone");
    }

    #[test]
    fn an_unreadable_file_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let cache = PolicyCache::at(root.path());
        let key = ClusterKey::new("https://a", None);
        fs::create_dir(root.path().join("policy")).unwrap();
        for bad in ["", "{", r#"{"format":2,"server":"","confirmed":"2026-11-22T12:00:00Z","policies":[]}"#] {
            fs::write(cache.file(&key), bad).unwrap();
            assert!(cache.load(&key).is_err(), "{bad}");
            assert!(cache.load_all().is_err(), "{bad}");
        }
    }
}
