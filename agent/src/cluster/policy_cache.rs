//! Caches the policies of clusters on disk. They apply while a cluster is unreachable.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use d8_crds::{
    decisions::verdict::{Host, Person, PolicySet},
    records::release::CliRelease,
    values::{limits::POLICY_CACHE_BYTES, name::Component},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{cluster_key::ClusterKey, users::Caller};
use crate::install_root::state_dir::{self, StateDir};

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
    /// Of the records that were read: the blocked versions with their layers, by component. A block holds for other
    /// versions with the same layer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub blocked: BTreeMap<String, CliRelease>,
    /// Of the copies in several roots, the one with the highest number counts. The time of a host may be wrong.
    #[serde(default)]
    serial: u64,
    /// Who the person is in this cluster, if that is kept. Not in this file, which other users may read.
    #[serde(skip)]
    pub caller: Caller,
}

impl CachedPolicies {
    const FORMAT: u32 = 1;

    /// Returns the content of a file with these policies.
    pub fn new(server: &str, confirmed: Timestamp, policies: Vec<Value>) -> Self {
        let server = server.to_owned();
        Self {
            format: Self::FORMAT,
            server,
            confirmed,
            policies,
            blocked: BTreeMap::new(),
            serial: 0,
            caller: Caller::NotAsked,
        }
    }

    /// Adds the blocked versions of the records that were read, and those of an earlier copy for other components. They
    /// are those of every person who acts on the host.
    #[must_use]
    pub fn with_blocked(
        mut self,
        host: Host<'_>,
        records: &BTreeMap<String, CliRelease>,
        earlier: Option<&Self>,
    ) -> Self {
        let set = self.policy_set();
        let policies = set.for_host(Host { person: Person::Unknown, ..host });
        let earlier = earlier.into_iter().flat_map(|earlier| &earlier.blocked);
        let others = earlier.filter(|(name, _)| !records.contains_key(*name));
        for (name, record) in records.iter().chain(others) {
            let Ok(component) = name.parse::<Component>() else { continue };
            if let Some(part) = policies.blocked_part(&component, record) {
                self.blocked.insert(name.clone(), part);
            }
        }
        self
    }

    /// Parses the cached JSON of the policies.
    pub fn policy_set(&self) -> PolicySet {
        PolicySet::from_json(&self.policies)
    }
}

/// The cached policies of clusters, in directory `policy` of a root: the one in the home directory, or another one
/// where that one cannot be written.
#[derive(Debug, Clone)]
pub struct PolicyCache {
    roots: Vec<PathBuf>,
}

/// A file exists and is not usable.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
pub struct CacheError {
    /// Path of the file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub source: io::Error,
}

impl PolicyCache {
    /// Returns the cache below these roots, the preferred one first. Ignores roots that this user must not trust. Opens
    /// no file yet.
    pub fn below(roots: impl IntoIterator<Item = PathBuf>) -> Self {
        Self {
            roots: roots.into_iter().filter(|root| state_dir::untrusted_reason(root, DIRECTORY).is_none()).collect(),
        }
    }

    /// Returns whether policies of any cluster are cached.
    pub fn any(&self) -> bool {
        // A directory that is not readable may contain policies.
        self.roots.iter().any(|root| files(root).map_or(true, |files| !files.is_empty()))
    }

    /// Reads the policies of one cluster, `None` if none are cached. Of copies in several roots, returns the one that was
    /// saved last.
    ///
    /// # Errors
    /// [`CacheError`] if a file exists and is not usable: its policies may forbid anything.
    pub fn load(&self, key: &ClusterKey) -> Result<Option<CachedPolicies>, CacheError> {
        self.load_file(&file_name(key))
    }

    /// Reads the policies of all clusters.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_all(&self) -> Result<Vec<CachedPolicies>, CacheError> {
        let mut names = BTreeSet::new();
        for root in &self.roots {
            names.extend(files(root)?);
        }
        names.iter().filter_map(|name| self.load_file(name).transpose()).collect()
    }

    fn load_file(&self, name: &str) -> Result<Option<CachedPolicies>, CacheError> {
        let copies: Result<Vec<_>, _> = self.roots.iter().filter_map(|root| read(root, name).transpose()).collect();
        // Copies of versions without numbers have the number 0. Of equal ones the first.
        Ok(copies?.into_iter().rev().max_by_key(|cached| (cached.serial, cached.confirmed)))
    }

    /// Replaces the policies of a cluster, in one rename, in the first root that can be written. A cluster without
    /// policies is written only if another cluster is cached, so that the policies of the other one do not apply to it.
    ///
    /// # Errors
    /// No root can be written: the error of the first one. The command does not have to fail.
    pub fn save(&self, key: &ClusterKey, cached: &CachedPolicies) -> io::Result<()> {
        if cached.policies.is_empty() && !self.any() {
            return Ok(());
        }
        // A copy that cannot be read is an error of `load`, not of this.
        let copies = self.roots.iter().filter_map(|root| read(root, &file_name(key)).ok().flatten());
        let serial = copies.map(|copy| copy.serial.saturating_add(1)).max().unwrap_or_default();
        let content = serde_json::to_vec_pretty(&CachedPolicies { serial, ..cached.clone() })?;
        if content.len() as u64 > POLICY_CACHE_BYTES {
            return Err(io::Error::other(format!("the policies are larger than {POLICY_CACHE_BYTES} bytes")));
        }
        state_dir::replace_in_first(&self.roots, DIRECTORY, &file_name(key), &content)
    }
}

// After a run that could not renew the policies, the next ones do not try for a while, so that a person without the
// cluster does not wait at each run.
impl PolicyCache {
    /// Returns when a run last failed to renew the policies of a cluster.
    pub fn failed_renewal(&self, key: &ClusterKey) -> Option<Timestamp> {
        let read = |root: &PathBuf| {
            let bytes = open(root).ok()??.read(&failure_name(key), MAX_TIME_BYTES).ok()??;
            String::from_utf8(bytes).ok()?.trim().parse().ok()
        };
        self.roots.iter().find_map(read)
    }

    /// Notes that a run failed to renew the policies of a cluster. Without a root that can be written, the next run
    /// tries again.
    pub fn note_failed_renewal(&self, key: &ClusterKey, now: Timestamp) {
        let written =
            state_dir::replace_in_first(&self.roots, DIRECTORY, &failure_name(key), now.to_string().as_bytes());
        if let Err(error) = written {
            tracing::debug!(%error, "a failed renewal is not noted");
        }
    }
}

/// Bytes of a file with a time, at most.
const MAX_TIME_BYTES: u64 = 64;

fn failure_name(key: &ClusterKey) -> String {
    format!(".failed-renewal-{key}")
}

/// The directory below a root.
const DIRECTORY: &[&str] = &["policy"];

fn file_name(key: &ClusterKey) -> String {
    format!("{key}.json")
}

fn error_at(path: PathBuf) -> impl FnOnce(io::Error) -> CacheError {
    |source| CacheError { path, source }
}

fn open(root: &Path) -> Result<Option<StateDir>, CacheError> {
    StateDir::open(root, DIRECTORY).map_err(error_at(root.join("policy")))
}

/// Lists the names of the files in a root, sorted.
fn files(root: &Path) -> Result<Vec<String>, CacheError> {
    let Some(dir) = open(root)? else { return Ok(Vec::new()) };
    let mut names = dir.names().map_err(error_at(root.join("policy")))?;
    names.retain(|name| {
        !name.starts_with('.') && Path::new(name).extension().is_some_and(|extension| extension == "json")
    });
    Ok(names)
}

/// Reads a file in a root, `None` if it does not exist.
fn read(root: &Path, name: &str) -> Result<Option<CachedPolicies>, CacheError> {
    let Some(dir) = open(root)? else { return Ok(None) };
    let failed = |source| CacheError { path: dir.path_of(name), source };
    let invalid = |error: String| failed(io::Error::new(io::ErrorKind::InvalidData, error));
    let Some(bytes) = dir.read(name, POLICY_CACHE_BYTES).map_err(failed)? else { return Ok(None) };
    let cached: CachedPolicies = serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
    if cached.format == CachedPolicies::FORMAT {
        Ok(Some(cached))
    } else {
        Err(invalid(format!("this d8 does not know format {}", cached.format)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn cache_in(root: &Path) -> PolicyCache {
        PolicyCache::below([root.to_owned()])
    }

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn policies_are_saved_and_loaded() {
        let root = tempfile::tempdir().unwrap();
        let cache = cache_in(root.path());
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
        let cache = cache_in(root.path());
        let key = ClusterKey::new("https://a", None);
        fs::create_dir(root.path().join("policy")).unwrap();
        for bad in ["", "{", r#"{"format":2,"server":"","confirmed":"2026-11-22T12:00:00Z","policies":[]}"#] {
            fs::write(root.path().join("policy").join(file_name(&key)), bad).unwrap();
            assert!(cache.load(&key).is_err(), "{bad}");
            assert!(cache.load_all().is_err(), "{bad}");
        }
    }

    #[test]
    fn of_copies_without_numbers_the_one_that_was_confirmed_last_counts() {
        let directory = tempfile::tempdir().unwrap();
        let roots = ["home", "shared"].map(|name| directory.path().join(name));
        let key = ClusterKey::new("https://a", None);
        let write = |root: &Path, confirmed: &str| {
            let copy = serde_json::json!({"format": 1, "server": "https://a", "confirmed": confirmed, "policies": []});
            fs::create_dir_all(root.join("policy")).unwrap();
            fs::write(root.join("policy").join(file_name(&key)), copy.to_string()).unwrap();
        };
        let (old, new) = ("2026-10-22T12:00:00Z", "2026-11-22T12:00:00Z");
        for [home, shared] in [[old, new], [new, old]] {
            write(&roots[0], home);
            write(&roots[1], shared);
            let loaded = PolicyCache::below(roots.clone()).load(&key).unwrap().unwrap();
            assert_eq!(loaded.confirmed, now(), "home {home}, shared {shared}");
        }
    }

    #[test]
    fn the_second_root_is_used_where_the_first_cannot_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let (home, shared) = (directory.path().join("home"), directory.path().join("shared"));
        fs::write(&home, "a file in place of the root").unwrap();
        let cache = PolicyCache::below([home.clone(), shared.clone()]);
        let key = ClusterKey::new("https://a", None);
        let cached = |confirmed: &str, name: &str| {
            let policy = serde_json::json!({"metadata": {"name": name}});
            CachedPolicies::new("https://a", confirmed.parse().unwrap(), vec![policy])
        };
        cache.save(&key, &cached("2026-11-22T12:00:00Z", "first")).unwrap();
        assert!(shared.join("policy").join(file_name(&key)).exists());
        assert_eq!(cache.load_all().unwrap().len(), 1);

        // Later the first one can be written again: the copy that was saved last counts, whatever the time of the host
        // was.
        fs::remove_file(&home).unwrap();
        cache.save(&key, &cached("2026-11-22T11:00:00Z", "second")).unwrap();
        assert!(home.join("policy").join(file_name(&key)).exists());
        let loaded = cache.load(&key).unwrap().unwrap();
        assert_eq!(loaded.policies[0]["metadata"]["name"], "second");
        assert_eq!(cache.load_all().unwrap().len(), 1, "two copies of one cluster are one");

        fs::remove_dir_all(&home).unwrap();
        fs::remove_dir_all(&shared).unwrap();
        fs::write(&home, "").unwrap();
        fs::write(&shared, "").unwrap();
        let error = cache.save(&key, &cached("2026-11-22T12:00:00Z", "p")).unwrap_err().to_string();
        assert!(error.contains("home/policy: "), "{error}");
    }
}
