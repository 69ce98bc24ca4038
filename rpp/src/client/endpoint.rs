//! Addresses of the proxy, and which certificates are trusted for them.

use std::fmt;

use d8_crds::values::digest::Digest;
use rustls::pki_types::CertificateDer;
use url::Url;

use crate::{error::Error, tls::authority};

/// Which of the cluster's endpoints is tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefer {
    /// The public endpoint, for workstations.
    #[default]
    Public,
    /// The endpoints inside of the cluster, for Pods.
    Internal,
}

/// The authorities that are trusted for an endpoint, in addition to those of an explicit CA file.
#[derive(Clone, PartialEq, Eq)]
pub enum Trust {
    /// The authorities of the system.
    System,
    /// Only these authorities: those that the ConfigMap names for the endpoints inside of the cluster.
    /// Empty for a Pod, whose certificate only an explicit CA file can verify.
    Only(Vec<CertificateDer<'static>>),
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("System"),
            Self::Only(authorities) => write!(f, "Only({} certificates)", authorities.len()),
        }
    }
}

/// One address of the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `https`, with a host; its path ends in `/`.
    url: Url,
    trust: Trust,
}

impl Endpoint {
    /// Reads an endpoint that was given explicitly: an `https` URL with a host. Keeps a base path; a
    /// trailing `/` makes no difference. Trusts the authorities of the system.
    pub fn explicit(given: &str) -> Result<Self, Error> {
        Self::new(given, Trust::System)
    }

    pub(crate) fn new(given: &str, trust: Trust) -> Result<Self, Error> {
        let bad = |why| Error::Endpoint { given: given.chars().take(256).collect(), why };
        let given = given.trim();
        // The parser reads `https:/host` and `https:host` as `https://host`.
        if !given.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://")) {
            return Err(bad("it must begin with https://"));
        }
        let mut url = Url::parse(given).map_err(|_| bad("it is not a URL with a host"))?;
        if url.scheme() != "https" || url.host_str().is_none_or(str::is_empty) || given[8..].starts_with('/') {
            return Err(bad("it is not an https URL with a host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("it must not contain a user name or a password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("it must not contain `?` or `#`"));
        }
        let path = format!("{}/", url.path().trim_end_matches('/'));
        url.set_path(&path);
        Ok(Self { url, trust })
    }

    /// Base URL, ending in `/`.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The authorities that are trusted for this endpoint.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The authorities that the cluster announces for this endpoint.
    pub(super) fn authorities(&self) -> &[CertificateDer<'static>] {
        match &self.trust {
            Trust::System => &[],
            Trust::Only(authorities) => authorities,
        }
    }

    /// Removes the authorities whose keys are not trusted.
    pub(super) fn retain_authorities(&mut self, is_trusted: impl Fn(&Digest) -> bool) {
        if let Trust::Only(authorities) = &mut self.trust {
            authorities.retain(|one| authority::key_digest(one).is_some_and(|key| is_trusted(&key)));
        }
    }

    /// Returns `host` or `host:port`, for messages.
    pub fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explicit_endpoints() {
        for (given, url) in [
            ("https://host", Some("https://host/")),
            ("https://host:4219/", Some("https://host:4219/")),
            ("https://host/base/path/", Some("https://host/base/path/")),
            ("HTTPS://Host/base", Some("https://host/base/")),
            ("https://[::1]:4219", Some("https://[::1]:4219/")),
            (" https://host ", Some("https://host/")),
            ("http://host", None),
            ("host", None),
            ("host:4219", None),
            ("https://", None),
            ("https:///path", None),
            ("https:host", None),
            ("https://user:pw@host", None),
            ("https://host?x", None),
            ("https://host#x", None),
            ("", None),
        ] {
            let endpoint = Endpoint::explicit(given);
            assert_eq!(endpoint.as_ref().ok().map(|e| e.url().as_str()), url, "{given:?}: {endpoint:?}");
            if let Err(error) = endpoint {
                assert_eq!(error.kind(), crate::ErrorKind::Usage);
                assert_eq!(error.advice().len(), 1);
            }
        }
    }
}
