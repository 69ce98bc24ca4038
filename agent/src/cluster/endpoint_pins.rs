//! The pinned identity of each cluster's proxy, on disk next to the cached policies. `d8_rpp::endpoint_pin` compares
//! it with the current one before a token is sent.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use d8_rpp::EndpointIdentity;
use serde::{Deserialize, Serialize};

use crate::cluster::policy_cache::{CacheError, ClusterKey, replace};

/// Content of a file. Unknown fields and formats are refused.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PinFile {
    format: u32,
    /// Address of the API server, for people.
    server: String,
    proxy: EndpointIdentity,
}

const FORMAT: u32 = 1;

/// The pinned endpoints of clusters, in folder `<root>/policy/endpoints`.
#[derive(Debug, Clone)]
pub struct EndpointPins {
    dir: PathBuf,
}

impl EndpointPins {
    /// Returns the pins below this root. Reads nothing yet.
    pub fn at(root: &Path) -> Self {
        Self { dir: root.join("policy/endpoints") }
    }

    fn file(&self, key: &ClusterKey) -> PathBuf {
        self.dir.join(format!("{key}.json"))
    }

    /// Reads the pin of a cluster's proxy, `None` on the first contact.
    ///
    /// # Errors
    /// [`CacheError`] if the file exists and is not usable. It does not count as the first contact.
    pub fn load(&self, key: &ClusterKey) -> Result<Option<EndpointIdentity>, CacheError> {
        let path = self.file(key);
        let failed = |source| CacheError { path: path.clone(), source };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let invalid = |error: String| failed(io::Error::new(io::ErrorKind::InvalidData, error));
        let file: PinFile = serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
        if file.format == FORMAT {
            Ok(Some(file.proxy))
        } else {
            Err(invalid(format!("this d8 does not know format {}", file.format)))
        }
    }

    /// Replaces the pin, in one rename.
    ///
    /// # Errors
    /// Errors of the file system.
    pub fn save(&self, key: &ClusterKey, server: &str, proxy: &EndpointIdentity) -> io::Result<()> {
        let file = PinFile { format: FORMAT, server: server.to_owned(), proxy: proxy.clone() };
        replace(&self.file(key), &serde_json::to_vec_pretty(&file)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::PolicyCache;

    #[test]
    fn pins_are_saved_and_loaded() {
        let root = tempfile::tempdir().unwrap();
        let endpoints = EndpointPins::at(root.path());
        let key = ClusterKey::new("https://a", None);
        assert_eq!(endpoints.load(&key).unwrap(), None);
        let proxy = EndpointIdentity { host: Some("packages.example.com".to_owned()), ..EndpointIdentity::default() };
        endpoints.save(&key, "https://a", &proxy).unwrap();
        assert_eq!(endpoints.load(&key).unwrap(), Some(proxy));
        assert_eq!(endpoints.load(&ClusterKey::new("https://b", None)).unwrap(), None);
        assert!(!PolicyCache::at(root.path()).any(), "a pin is not a policy");
        for bad in ["", "{}", r#"{"format":2,"server":"","proxy":{}}"#, r#"{"format":1,"server":"","proxy":{"x":1}}"#] {
            fs::write(endpoints.file(&key), bad).unwrap();
            assert!(endpoints.load(&key).is_err(), "{bad}");
        }
    }
}
