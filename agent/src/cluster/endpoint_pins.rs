//! The pinned identity of each cluster's proxy, on disk next to the cached policies. `d8_rpp::endpoint_pin` compares
//! it with the current one before a token is sent.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use d8_crds::values::{digest::Digest, limits::RECEIPT_BYTES};
use d8_rpp::EndpointIdentity;
use serde::{Deserialize, Serialize};

use crate::{
    cluster::{cluster_key::ClusterKey, policy_cache::CacheError},
    install_root::state_dir::{self, StateDir},
};

/// Content of a file. Unknown formats are refused, and unknown fields of the proxy.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PinFile {
    format: u32,
    /// Address of the API server, for people.
    server: String,
    proxy: EndpointIdentity,
    /// Of the pins in several roots, the one with the highest number counts. The time of a host may be wrong.
    #[serde(default)]
    serial: u64,
    /// The certificates of the proxy. They are not in `proxy`, because the first d8 that pinned proxies refuses a
    /// field there that it does not know, and ignores one here. d8 wrote them into `proxy` for a while.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    certificates: BTreeMap<Digest, String>,
}

impl PinFile {
    fn new(server: &str, proxy: &EndpointIdentity, serial: u64) -> Self {
        let EndpointIdentity { host, keys, certificates } = proxy.clone();
        let proxy = EndpointIdentity { host, keys, ..EndpointIdentity::default() };
        Self { format: FORMAT, server: server.to_owned(), proxy, serial, certificates }
    }

    fn into_proxy(self) -> EndpointIdentity {
        let mut proxy = self.proxy;
        proxy.certificates.extend(self.certificates);
        proxy
    }
}

const FORMAT: u32 = 1;

/// The pinned endpoints of clusters, in directory `<root>/policy/endpoints`.
#[derive(Debug, Clone)]
pub struct EndpointPins {
    roots: Vec<PathBuf>,
}

/// The directory below a root.
const DIRECTORY: &[&str] = &["policy", "endpoints"];

impl EndpointPins {
    /// Returns the pins below these roots, the preferred one first. Ignores roots that this user must not trust. Opens
    /// no file yet.
    pub fn below(roots: impl IntoIterator<Item = PathBuf>) -> Self {
        Self {
            roots: roots.into_iter().filter(|root| state_dir::untrusted_reason(root, DIRECTORY).is_none()).collect(),
        }
    }

    /// Reads the pin of a cluster's proxy, `None` on the first contact. Of the pins in several roots, the one that was
    /// saved last counts.
    ///
    /// # Errors
    /// [`CacheError`] if there are files and none is usable. They do not count as the first contact.
    pub fn load(&self, key: &ClusterKey) -> Result<Option<EndpointIdentity>, CacheError> {
        Ok(self.newest(key)?.map(PinFile::into_proxy))
    }

    fn newest(&self, key: &ClusterKey) -> Result<Option<PinFile>, CacheError> {
        let copies = self.roots.iter().filter_map(|root| read(root, key).transpose());
        let (usable, damaged): (Vec<_>, Vec<_>) = copies.partition(Result::is_ok);
        // Of equal ones the first.
        match usable.into_iter().flatten().rev().max_by_key(|file| file.serial) {
            Some(file) => Ok(Some(file)),
            None => damaged.into_iter().next().map_or(Ok(None), |damaged| damaged.map(Some)),
        }
    }

    /// Replaces the pin, in one rename, in the first root that can be written. From then on it counts, whatever the
    /// other roots contain.
    ///
    /// # Errors
    /// No root can be written: the error of the first one.
    pub fn save(&self, key: &ClusterKey, server: &str, proxy: &EndpointIdentity) -> io::Result<()> {
        let serial = self.newest(key).ok().flatten().map_or(0, |newest| newest.serial.saturating_add(1));
        let file = PinFile::new(server, proxy, serial);
        state_dir::replace_in_first(&self.roots, DIRECTORY, &file_name(key), &serde_json::to_vec_pretty(&file)?)?;
        match self.load(key) {
            Ok(Some(loaded)) if loaded == *proxy => Ok(()),
            _ => Err(io::Error::other(format!("another pin still counts: {}", self.files(key)))),
        }
    }

    /// Returns the paths of the files of a cluster, for a message.
    fn files(&self, key: &ClusterKey) -> String {
        let path = |root: &PathBuf| root.join("policy/endpoints").join(file_name(key)).display().to_string();
        self.roots.iter().map(path).collect::<Vec<_>>().join(", ")
    }
}

fn file_name(key: &ClusterKey) -> String {
    format!("{key}.json")
}

/// Reads the pin in a root, `None` if there is none.
fn read(root: &Path, key: &ClusterKey) -> Result<Option<PinFile>, CacheError> {
    let name = file_name(key);
    let failed = |source| CacheError { path: root.join("policy/endpoints").join(&name), source };
    let Some(dir) = StateDir::open(root, DIRECTORY).map_err(failed)? else { return Ok(None) };
    let Some(bytes) = dir.read(&name, RECEIPT_BYTES).map_err(failed)? else { return Ok(None) };
    let invalid = |error: String| failed(io::Error::new(io::ErrorKind::InvalidData, error));
    let file: PinFile = serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
    if file.format == FORMAT {
        Ok(Some(file))
    } else {
        Err(invalid(format!("this d8 does not know format {}", file.format)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::PolicyCache;

    #[test]
    fn a_damaged_pin_hides_no_usable_one_and_is_not_the_first_contact() {
        let directory = tempfile::tempdir().unwrap();
        let (home, shared) = (directory.path().join("home"), directory.path().join("shared"));
        let key = ClusterKey::new("https://a", None);
        let proxy = |host: &str| EndpointIdentity { host: Some(host.to_owned()), ..EndpointIdentity::default() };
        let both = EndpointPins::below([home.clone(), shared.clone()]);
        EndpointPins::below([shared.clone()]).save(&key, "https://a", &proxy("shared.example.com")).unwrap();
        both.save(&key, "https://a", &proxy("home.example.com")).unwrap();
        assert_eq!(both.load(&key).unwrap(), Some(proxy("home.example.com")), "the last one counts");
        std::fs::write(home.join("policy/endpoints").join(file_name(&key)), "").unwrap();
        assert_eq!(both.load(&key).unwrap(), Some(proxy("shared.example.com")));
        std::fs::remove_dir_all(&shared).unwrap();
        assert!(both.load(&key).is_err());
        both.save(&key, "https://a", &proxy("new.example.com")).unwrap();
        assert_eq!(both.load(&key).unwrap(), Some(proxy("new.example.com")));
    }

    #[test]
    fn pins_are_saved_and_loaded() {
        let root = tempfile::tempdir().unwrap();
        let endpoints = EndpointPins::below([root.path().to_owned()]);
        let key = ClusterKey::new("https://a", None);
        assert_eq!(endpoints.load(&key).unwrap(), None);
        let proxy = EndpointIdentity { host: Some("packages.example.com".to_owned()), ..EndpointIdentity::default() };
        endpoints.save(&key, "https://a", &proxy).unwrap();
        assert_eq!(endpoints.load(&key).unwrap(), Some(proxy));
        assert_eq!(endpoints.load(&ClusterKey::new("https://b", None)).unwrap(), None);
        assert!(!PolicyCache::below([root.path().to_owned()]).any(), "a pin is not a policy");
        for bad in ["", "{}", r#"{"format":2,"server":"","proxy":{}}"#, r#"{"format":1,"server":"","proxy":{"x":1}}"#] {
            std::fs::write(root.path().join("policy/endpoints").join(file_name(&key)), bad).unwrap();
            assert!(endpoints.load(&key).is_err(), "{bad}");
        }
    }

    /// What the first d8 that pinned proxies reads.
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct FirstPinFile {
        format: u32,
        server: String,
        proxy: FirstIdentity,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct FirstIdentity {
        #[serde(default)]
        host: Option<String>,
        #[serde(default)]
        keys: Vec<String>,
    }

    #[test]
    fn older_and_newer_versions_read_each_others_pins() {
        let root = tempfile::tempdir().unwrap();
        let endpoints = EndpointPins::below([root.path().to_owned()]);
        let key = ClusterKey::new("https://a", None);
        let (host, authority) = ("packages.example.com".to_owned(), Digest::of(b"key"));
        let without = EndpointIdentity {
            host: Some(host.clone()),
            keys: [authority.clone()].into(),
            ..EndpointIdentity::default()
        };
        let certificates = [(authority.clone(), "MII=".to_owned())].into();
        let with = EndpointIdentity { certificates, ..without.clone() };

        endpoints.save(&key, "https://a", &with).unwrap();
        let path = root.path().join("policy/endpoints").join(file_name(&key));
        let first: FirstPinFile = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let proxy = FirstIdentity { host: Some(host), keys: vec![authority.to_string()] };
        assert_eq!(first, FirstPinFile { format: 1, server: "https://a".to_owned(), proxy });

        let start = format!(
            r#"{{"format": 1, "server": "https://a", "proxy": {{"host": "packages.example.com", "keys": ["{authority}"]"#
        );
        let certificates = format!(r#""certificates": {{"{authority}": "MII="}}"#);
        for (what, rest, expected) in [
            ("without certificates", "}}".to_owned(), &without),
            ("certificates of the proxy", format!(", {certificates}}}}}"), &with),
            ("certificates beside the proxy", format!("}}, {certificates}}}"), &with),
        ] {
            std::fs::write(&path, start.clone() + &rest).unwrap();
            assert_eq!(endpoints.load(&key).unwrap().as_ref(), Some(expected), "{what}");
        }
    }
}
