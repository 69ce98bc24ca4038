//! The file that an admin makes for a host, and that the host joins with.
//!
//! It is a kubeconfig, so that the same code reads it as any other, and kubectl too. Extension `cli.deckhouse.io` has
//! the name of the host. Only its owner may read the file, because it is enough to act as the host.

use std::{fmt, io, os::unix::fs::PermissionsExt as _, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use d8_crds::values::{
    host_name::{HostName, NAMESPACE},
    limits,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::disk;

/// Name of the extension of a kubeconfig, and of its context.
const EXTENSION: &str = "cli.deckhouse.io";

/// Everything that a host needs to reach its cluster as itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// Name of the host.
    pub host: HostName,
    /// Name of the cluster, for messages.
    pub cluster: String,
    /// URL of the API server.
    pub server: String,
    /// Certificates that verify the API server, PEM; `None`: those of the system of the host.
    pub certificate_authority: Option<String>,
    /// Name in the certificate of the API server, if it is not the one in the URL.
    pub tls_server_name: Option<String>,
    /// Bearer token of the host's `ServiceAccount`.
    pub token: String,
    /// When the token expires.
    pub expires: Timestamp,
}

impl fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, cluster, server, expires, .. } = self;
        f.debug_struct("Enrolment")
            .field("host", host)
            .field("cluster", cluster)
            .field("server", server)
            .field("expires", expires)
            .finish_non_exhaustive()
    }
}

/// Why a file is not an enrolment.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentFileError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not one that `d8 host enroll NAME` writes.
    #[error("it is not a file that `d8 host enroll NAME` wrote: {0}")]
    Other(String),
    /// Other users can read the file, so that its token is no secret.
    #[error("other users can read it (mode {mode:04o}), so that its token is no secret")]
    Readable {
        /// The host that it is for.
        host: HostName,
        /// The mode of the file.
        mode: u32,
    },
}

impl Enrolment {
    /// Returns the content of the file.
    pub fn to_json(&self) -> Value {
        let Self { host, cluster, server, certificate_authority, tls_server_name, token, expires } = self;
        let mut settings = json!({"server": server});
        if let Some(pem) = certificate_authority {
            settings["certificate-authority-data"] = STANDARD.encode(pem).into();
        }
        if let Some(name) = tls_server_name {
            settings["tls-server-name"] = name.as_str().into();
        }
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": EXTENSION,
            "clusters": [{"name": cluster, "cluster": settings}],
            "users": [{"name": host, "user": {"token": token}}],
            "contexts": [{"name": EXTENSION, "context": {"cluster": cluster, "user": host, "namespace": NAMESPACE}}],
            "extensions": [{"name": EXTENSION, "extension": {"host": host, "expires": expires}}],
        })
    }

    /// Writes a new file that only its owner may read.
    ///
    /// # Errors
    /// The file exists, or errors of the file system.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let text = format!("{:#}\n", self.to_json());
        disk::write_new(path, text.as_bytes(), disk::PRIVATE)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        disk::sync_dir(directory.unwrap_or(Path::new(".")))
    }

    /// Reads a file that a person named.
    ///
    /// # Errors
    /// [`EnrolmentFileError`]
    pub fn read(path: &Path) -> Result<Self, EnrolmentFileError> {
        let file = d8_rpp::file::open_regular(path)?;
        let mode = file.metadata()?.permissions().mode() & 0o7777;
        let enrolment = Self::parse(&d8_rpp::file::read_at_most(file, limits::RECEIPT_BYTES)?)?;
        match mode & 0o077 {
            0 => Ok(enrolment),
            _ => Err(EnrolmentFileError::Readable { host: enrolment.host, mode }),
        }
    }

    /// Reads the content of a file.
    ///
    /// # Errors
    /// It is not the content that [`Self::to_json`] returns.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnrolmentFileError> {
        let other = |why: &str| EnrolmentFileError::Other(why.to_owned());
        let file: Value = serde_json::from_slice(bytes).map_err(|error| other(&error.to_string()))?;
        let text = |pointer: &str| file.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let field = |pointer: &str, name: &str| text(pointer).ok_or_else(|| other(&format!("it has no {name}")));
        if text("/extensions/0/name").as_deref() != Some(EXTENSION) {
            return Err(other("it has no extension cli.deckhouse.io"));
        }
        let host = field("/extensions/0/extension/host", "host")?;
        let expires = field("/extensions/0/extension/expires", "time of expiry")?;
        let authority = text("/clusters/0/cluster/certificate-authority-data");
        let decoded = |data: String| String::from_utf8(STANDARD.decode(data).ok()?).ok();
        let authority = authority.map(|data| decoded(data).ok_or(())).transpose();
        Ok(Self {
            host: host.parse().map_err(|error: d8_crds::values::name::NameError| other(&error.to_string()))?,
            cluster: field("/clusters/0/name", "cluster")?,
            server: field("/clusters/0/cluster/server", "server")?,
            certificate_authority: authority.map_err(|()| other("its certificate authority is not base64 of text"))?,
            tls_server_name: text("/clusters/0/cluster/tls-server-name"),
            token: field("/users/0/user/token", "token")?,
            expires: expires.parse().map_err(|_| other("its time of expiry is not a time"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enrolment() -> Enrolment {
        Enrolment {
            host: "bastion-1".parse().unwrap(),
            cluster: "prod".into(),
            server: "https://api.example:6443".into(),
            certificate_authority: Some("-----BEGIN CERTIFICATE-----\n".into()),
            tls_server_name: None,
            token: "secret".into(),
            expires: "2026-11-29T00:00:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let written = enrolment();
        assert_eq!(Enrolment::parse(written.to_json().to_string().as_bytes()).unwrap(), written);
        let bare = Enrolment { certificate_authority: None, tls_server_name: Some("k8s".into()), ..written };
        assert_eq!(Enrolment::parse(bare.to_json().to_string().as_bytes()).unwrap(), bare);
        assert!(!format!("{bare:?}").contains("secret"));
    }

    #[test]
    fn only_its_owner_may_read_a_file_and_none_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bastion-1.d8host");
        enrolment().write(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(enrolment().write(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(Enrolment::read(&path).unwrap(), enrolment());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let refused = Enrolment::read(&path).unwrap_err().to_string();
        assert!(refused.contains("mode 0640"), "{refused}");
    }

    #[test]
    fn other_files_are_refused() {
        let without = |pointer: &str| {
            let mut file = enrolment().to_json();
            *file.pointer_mut(pointer).unwrap() = Value::Null;
            file.to_string()
        };
        for (text, words) in [
            ("apiVersion: v1\nkind: Config\n".to_owned(), "not a file that `d8 host enroll NAME` wrote"),
            ("{}".to_owned(), "no extension"),
            (without("/users/0/user/token"), "no token"),
            (without("/clusters/0/cluster/server"), "no server"),
            (without("/extensions/0/extension/host"), "no host"),
            (enrolment().to_json().to_string().replace("bastion-1", "../x"), "host name"),
            (enrolment().to_json().to_string().replace("2026-11-29T00:00:00Z", "soon"), "not a time"),
        ] {
            let error = Enrolment::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
