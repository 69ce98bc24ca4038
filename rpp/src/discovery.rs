//! Where the proxy is: an endpoint given by hand, or the ConfigMap that Deckhouse publishes.

use std::{fmt, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use rustls::pki_types::CertificateDer;
use url::Url;

use crate::{error::Error, identity::explain, tls};

/// The namespace the proxy runs in.
pub const NAMESPACE: &str = "d8-cloud-instance-manager";
/// The ConfigMap that says where it is.
pub const CONFIG_MAP: &str = "registry-packages-proxy-config";
/// The Deployment whose subresource stands for the right to download.
pub const DEPLOYMENT: &str = "registry-packages-proxy";
/// That subresource.
pub const SUBRESOURCE: &str = "cli-binary";

/// How long the Kubernetes API may take to say where the proxy is.
const PATIENCE: Duration = Duration::from_secs(30);

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

    fn new(given: &str, trust: Trust) -> Result<Self, Error> {
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

/// Finds the proxy through the Kubernetes API. `server` is the API server's address, for messages.
///
/// What stops discovery is an error that says so; an endpoint is never guessed.
pub async fn find(client: &kube::Client, server: &str, prefer: Prefer) -> Result<Vec<Endpoint>, Error> {
    let failed = |why: String| Error::Discovery { server: server.to_owned(), why };
    let maps = Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE);
    let map = match tokio::time::timeout(PATIENCE, maps.get(CONFIG_MAP)).await {
        Err(_) => return Err(failed(format!("the Kubernetes API did not answer within {} s", PATIENCE.as_secs()))),
        Ok(Ok(map)) => map,
        Ok(Err(kube::Error::Api(status))) => {
            return Err(match status.code {
                401 => Error::ClusterUnauthorized { server: server.to_owned() },
                403 => failed(format!("ConfigMap {NAMESPACE}/{CONFIG_MAP} may not be read with this identity")),
                404 => failed(format!("there is no ConfigMap {NAMESPACE}/{CONFIG_MAP}")),
                _ => failed(explain(&kube::Error::Api(status))),
            });
        }
        Ok(Err(kube::Error::Auth(error))) => return Err(Error::Identity { why: explain(&error) }),
        Ok(Err(error)) => return Err(failed(explain(&error))),
    };
    read(&map, prefer).map_err(|why| failed(format!("ConfigMap {NAMESPACE}/{CONFIG_MAP}: {why}")))
}

/// The endpoints a ConfigMap names, in the order to try them.
fn read(map: &ConfigMap, prefer: Prefer) -> Result<Vec<Endpoint>, String> {
    let field = |key: &str| {
        map.data.as_ref().and_then(|data| data.get(key)).map(|text| text.trim()).filter(|text| !text.is_empty())
    };
    let public = field("publicEndpoint")
        .map(|given| Endpoint::new(given, Trust::System).map_err(|error| format!("publicEndpoint: {error}")))
        .transpose()?;
    let internal = match (field("endpoints"), field("ca.crt")) {
        (None, _) => Vec::new(),
        (Some(list), Some(pem)) => internal(list, pem)?,
        // Without an authority nothing could vouch for them; the public one needs none.
        (Some(_), None) if public.is_some() => Vec::new(),
        (Some(_), None) => return Err("`endpoints` without `ca.crt`, and no `publicEndpoint`".to_owned()),
    };
    let endpoints: Vec<_> = match prefer {
        Prefer::Public => public.into_iter().chain(internal).collect(),
        Prefer::Internal => internal.into_iter().chain(public).collect(),
    };
    if endpoints.is_empty() { Err("it names no address".to_owned()) } else { Ok(endpoints) }
}

fn internal(list: &str, pem: &str) -> Result<Vec<Endpoint>, String> {
    let hosts: Vec<String> =
        serde_json::from_str(list).map_err(|error| format!("`endpoints` is not a JSON list of texts: {error}"))?;
    let authorities = tls::parse_pem(pem.as_bytes()).map_err(|why| format!("`ca.crt`: {why}"))?;
    let endpoint = |host: &String| {
        if host.contains(['/', '@']) {
            return Err(format!("`endpoints`: {host:?} is not `host:port`"));
        }
        Endpoint::new(&format!("https://{host}"), Trust::Only(authorities.clone()))
            .map_err(|error| format!("`endpoints`: {error}"))
    };
    hosts.iter().map(endpoint).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Data of the map, what is preferred, the hosts expected or words of the error.
    type Case<'a> = (&'a [(&'a str, &'a str)], Prefer, Result<&'a [&'a str], &'a str>);

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

    fn pem() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new(vec!["ca".to_owned()]).unwrap().self_signed(&key).unwrap().pem()
    }

    #[test]
    fn what_a_config_map_says() {
        let ca = pem();
        let both: &[(&str, &str)] = &[
            ("publicEndpoint", "https://public/"),
            ("endpoints", r#"["10.0.0.1:4219","[::1]:4219"]"#),
            ("ca.crt", &ca),
        ];
        let no_ca: &[(&str, &str)] = &[("endpoints", r#"["10.0.0.1:4219"]"#)];
        let bad_ca: &[(&str, &str)] = &[("endpoints", r#"["10.0.0.1:4219"]"#), ("ca.crt", "nonsense")];
        let bad_list: &[(&str, &str)] = &[("endpoints", "10.0.0.1:4219"), ("ca.crt", &ca)];
        let bad_host: &[(&str, &str)] = &[("endpoints", r#"["evil/x"]"#), ("ca.crt", &ca)];
        let public_no_ca: &[(&str, &str)] =
            &[("publicEndpoint", "https://public"), ("endpoints", r#"["10.0.0.1:4219"]"#)];
        let cases: [Case<'_>; 9] = [
            (both, Prefer::Public, Ok(&["public", "10.0.0.1:4219", "[::1]:4219"])),
            (both, Prefer::Internal, Ok(&["10.0.0.1:4219", "[::1]:4219", "public"])),
            (public_no_ca, Prefer::Internal, Ok(&["public"])),
            (&[], Prefer::Public, Err("names no address")),
            (&[("publicEndpoint", "http://public")], Prefer::Public, Err("publicEndpoint")),
            (no_ca, Prefer::Public, Err("without `ca.crt`")),
            (bad_ca, Prefer::Public, Err("`ca.crt`")),
            (bad_list, Prefer::Public, Err("JSON list")),
            (bad_host, Prefer::Public, Err("evil/x")),
        ];
        for (data, prefer, expected) in cases {
            let data: BTreeMap<String, String> =
                data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            let map = ConfigMap { data: Some(data), ..ConfigMap::default() };
            match (read(&map, prefer), expected) {
                (Ok(found), Ok(hosts)) => {
                    assert_eq!(found.iter().map(Endpoint::host).collect::<Vec<_>>(), hosts);
                    for endpoint in found {
                        assert_eq!(*endpoint.trust() == Trust::System, endpoint.host() == "public");
                    }
                }
                (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
                (got, expected) => panic!("{got:?}, expected {expected:?}"),
            }
        }
    }
}
