//! The policies as last confirmed, on disk: what decides while the cluster is away.

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

/// Which cluster: its server's URL and the CA it is known by. A file name, safe by construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterKey(String);

impl fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ClusterKey {
    /// From the kubeconfig's server and its CA certificates in DER (none: the system's roots).
    pub fn new(server: &str, ca: Option<&[Vec<u8>]>) -> Self {
        let mut bytes = server.trim_end_matches('/').as_bytes().to_vec();
        for certificate in ca.unwrap_or_default() {
            bytes.push(0);
            bytes.extend_from_slice(certificate);
        }
        Self(Digest::of(&bytes).short().to_owned())
    }
}

/// The file's content. Unknown fields are kept out, unknown formats refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CachedPolicies {
    format: u32,
    /// The server they were read from, for people.
    pub server: String,
    /// When the API server last confirmed them.
    pub confirmed: Timestamp,
    pub(super) policies: Vec<Value>,
}

impl CachedPolicies {
    const FORMAT: u32 = 1;

    /// A copy of these policies.
    pub fn new(server: &str, confirmed: Timestamp, policies: Vec<Value>) -> Self {
        Self { format: Self::FORMAT, server: server.to_owned(), confirmed, policies }
    }

    /// The policies, ready to judge.
    pub fn policy_set(&self) -> PolicySet {
        PolicySet::from_json(&self.policies)
    }
}

/// The folder `<root>/policy`.
#[derive(Debug, Clone)]
pub struct PolicyCache {
    dir: PathBuf,
}

/// A copy that is there and cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("what is kept in {path} cannot be read")]
pub struct CacheError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub source: io::Error,
}

impl PolicyCache {
    /// Under this root. No IO.
    pub fn at(root: &Path) -> Self {
        Self { dir: root.join("policy") }
    }

    fn file(&self, key: &ClusterKey) -> PathBuf {
        self.dir.join(format!("{}.json", key.0))
    }

    /// Whether anything is kept at all.
    pub fn any(&self) -> bool {
        // What cannot be looked into may hold something.
        self.files().map_or(true, |files| !files.is_empty())
    }

    /// The files in it, in order.
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

    /// What is kept of one cluster.
    ///
    /// # Errors
    /// [`CacheError`] if there is a file and it cannot be used: a policy that cannot be read may
    /// have forbidden anything.
    pub fn load(&self, key: &ClusterKey) -> Result<Option<CachedPolicies>, CacheError> {
        Self::read(&self.file(key))
    }

    /// What is kept of all clusters.
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
            let text = format!("format {} is not known to this d8", cached.format);
            Err(failed(io::Error::new(io::ErrorKind::InvalidData, text)))
        }
    }

    /// Keeps what a cluster said, in one rename. Once any cluster with policies is known, one without
    /// is kept, too: what the others forbid does not count against it. Before that nothing is written.
    ///
    /// # Errors
    /// Whatever the file system says; the command at hand need not fail for it.
    pub fn save(&self, key: &ClusterKey, cached: &CachedPolicies) -> io::Result<()> {
        let path = self.file(key);
        if cached.policies.is_empty() && !self.any() {
            return Ok(());
        }
        replace(&path, &serde_json::to_vec_pretty(cached)?)
    }
}

/// Puts a file in place of what has its name, in one rename; its folder is made if it is missing.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_stem()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it has no folder or no name"));
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
    fn kept_and_read_again() {
        let root = tempfile::tempdir().unwrap();
        let cache = PolicyCache::at(root.path());
        let (a, b) = (ClusterKey::new("https://a", None), ClusterKey::new("https://b/", None));
        assert_eq!(b, ClusterKey::new("https://b", None), "a trailing slash is no other cluster");
        assert_ne!(a, ClusterKey::new("https://a", Some(&[vec![1]])), "another CA is another cluster");
        assert!(cache.load(&a).unwrap().is_none());

        cache.save(&b, &CachedPolicies::new("https://b", now(), vec![])).unwrap();
        assert!(!root.path().join("policy").exists(), "nothing to keep leaves nothing");

        let policy = serde_json::json!({"metadata": {"name": "p"}});
        cache.save(&a, &CachedPolicies::new("https://a", now(), vec![policy])).unwrap();
        let read = cache.load(&a).unwrap().unwrap();
        assert_eq!((read.confirmed, read.policies.len()), (now(), 1));
        assert_eq!(cache.load_all().unwrap().len(), 1);

        cache.save(&b, &CachedPolicies::new("https://b", now(), vec![])).unwrap();
        assert!(cache.load(&b).unwrap().is_some(), "beside one with policies, one without is known");
        cache.save(&a, &CachedPolicies::new("https://a", now(), vec![])).unwrap();
        assert_eq!(cache.load(&a).unwrap().unwrap().policies.len(), 0, "policies that went away are gone");
    }

    #[test]
    fn what_cannot_be_read_is_an_error_not_an_absence() {
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
