//! Where the proxy is: an endpoint given by hand, or what the cluster says of it.
//!
//! Here are endpoints as such; `steps` asks the cluster, `config_map` reads what it publishes.

use std::fmt;

use rustls::pki_types::CertificateDer;
use url::Url;

use crate::error::Error;

/// Which of the cluster's endpoints to try first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefer {
    /// The public one: from a workstation.
    #[default]
    Public,
    /// Those inside of the cluster: from a pod.
    Internal,
}

/// Who vouches for an endpoint's certificate, beside a CA file given by hand.
#[derive(Clone, PartialEq, Eq)]
pub enum Trust {
    /// The machine's own authorities.
    System,
    /// These authorities only: those that the ConfigMap names for the endpoints inside of the cluster.
    /// Empty for a Pod that nothing but a CA file given by hand can vouch for.
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
    /// `https`, with a host, its path ending in `/`.
    url: Url,
    /// Who vouches for it.
    trust: Trust,
}

impl Endpoint {
    /// An endpoint given by hand: an `https` URL with a host. A base path is kept, a trailing `/` does
    /// not matter. The machine's own authorities vouch for it.
    pub fn explicit(given: &str) -> Result<Self, Error> {
        Self::new(given, Trust::System)
    }

    pub(crate) fn new(given: &str, trust: Trust) -> Result<Self, Error> {
        let bad = |why| Error::Endpoint { given: given.chars().take(256).collect(), why };
        let given = given.trim();
        // `https:/host` and `https:host` would be read as `https://host`.
        if !given.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://")) {
            return Err(bad("it must begin with https://"));
        }
        let mut url = Url::parse(given).map_err(|_| bad("it is not a URL with a host"))?;
        if url.scheme() != "https" || url.host_str().is_none_or(str::is_empty) || given[8..].starts_with('/') {
            return Err(bad("it is not an https URL with a host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("a user or password may not stand in it"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("`?` and `#` may not stand in it"));
        }
        let path = format!("{}/", url.path().trim_end_matches('/'));
        url.set_path(&path);
        Ok(Self { url, trust })
    }

    /// The base URL.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Who vouches for its certificate.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// `host` or `host:port`, as it is shown to people.
    pub fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_given_by_hand() {
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
