//! What is remembered of each cluster's proxy, on disk beside the policies: `d8_rpp::endpoint_pin` judges by
//! it where a token may go.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use d8_rpp::EndpointIdentity;
use serde::{Deserialize, Serialize};

use crate::cluster::policy_cache::{CacheError, ClusterKey, replace};

/// The file's content. Unknown fields are kept out, unknown formats refused.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    format: u32,
    /// The API server, for people.
    server: String,
    proxy: EndpointIdentity,
}

const FORMAT: u32 = 1;

/// The folder `<root>/policy/endpoints`.
#[derive(Debug, Clone)]
pub struct EndpointPins {
    dir: PathBuf,
}

impl EndpointPins {
    /// Under this root. No IO.
    pub fn at(root: &Path) -> Self {
        Self { dir: root.join("policy/endpoints") }
    }

    fn file(&self, key: &ClusterKey) -> PathBuf {
        self.dir.join(format!("{key}.json"))
    }

    /// What is remembered of a cluster's proxy.
    ///
    /// # Errors
    /// [`CacheError`] if there is a file and it cannot be used: it is not taken for a first meeting.
    pub fn load(&self, key: &ClusterKey) -> Result<Option<EndpointIdentity>, CacheError> {
        let path = self.file(key);
        let failed = |source| CacheError { path: path.clone(), source };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let invalid = |error: String| failed(io::Error::new(io::ErrorKind::InvalidData, error));
        let file: File = serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
        if file.format == FORMAT {
            Ok(Some(file.proxy))
        } else {
            Err(invalid(format!("format {} is not known to this d8", file.format)))
        }
    }

    /// Remembers it from now on, in one rename.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn save(&self, key: &ClusterKey, server: &str, proxy: &EndpointIdentity) -> io::Result<()> {
        let file = File { format: FORMAT, server: server.to_owned(), proxy: proxy.clone() };
        replace(&self.file(key), &serde_json::to_vec_pretty(&file)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::PolicyCache;

    #[test]
    fn remembered_and_read_again() {
        let root = tempfile::tempdir().unwrap();
        let endpoints = EndpointPins::at(root.path());
        let key = ClusterKey::new("https://a", None);
        assert_eq!(endpoints.load(&key).unwrap(), None);
        let proxy = EndpointIdentity { host: Some("packages.example.com".to_owned()), ..EndpointIdentity::default() };
        endpoints.save(&key, "https://a", &proxy).unwrap();
        assert_eq!(endpoints.load(&key).unwrap(), Some(proxy));
        assert_eq!(endpoints.load(&ClusterKey::new("https://b", None)).unwrap(), None);
        assert!(!PolicyCache::at(root.path()).any(), "it says nothing of policies");
        for bad in ["", "{}", r#"{"format":2,"server":"","proxy":{}}"#, r#"{"format":1,"server":"","proxy":{"x":1}}"#] {
            fs::write(endpoints.file(&key), bad).unwrap();
            assert!(endpoints.load(&key).is_err(), "{bad}");
        }
    }
}
