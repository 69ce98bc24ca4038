//! Reads the addresses in ConfigMap `registry-packages-proxy-config`, as the newest Deckhouse publishes them.

use std::collections::BTreeMap;

use rustls::pki_types::CertificateDer;

use super::DiscoveredEndpoints;
use crate::{
    client::endpoint::{Endpoint, Prefer, Trust},
    endpoint_pin::EndpointIdentity,
    text::json_error,
    tls,
};

/// Returns the addresses in the ConfigMap's data, `None` if it has no usable one. `verifiable`: a CA file was
/// given or verification is off, so addresses without `ca.crt` are usable.
pub fn read(
    data: &BTreeMap<String, String>,
    prefer: Prefer,
    verifiable: bool,
) -> Result<Option<DiscoveredEndpoints>, String> {
    let field = |key: &str| data.get(key).map(|text| text.trim()).filter(|text| !text.is_empty());
    let public = field("publicEndpoint")
        .map(|given| Endpoint::new(given, Trust::System).map_err(|error| format!("publicEndpoint: {error}")))
        .transpose()?;
    let authorities = match field("ca.crt") {
        Some(pem) => tls::parse_pem(pem.as_bytes()).map_err(|why| format!("`ca.crt`: {why}"))?,
        None => Vec::new(),
    };
    let internal = match field("endpoints") {
        // Without an authority their certificates cannot be verified.
        Some(list) if verifiable || !authorities.is_empty() => internal(list, &authorities)?,
        _ => Vec::new(),
    };
    let used: &[CertificateDer<'_>] = if internal.is_empty() { &[] } else { &authorities };
    let identity = EndpointIdentity { host: public.as_ref().map(Endpoint::host), ..tls::authority::identity(used) };
    let endpoints: Vec<_> = match prefer {
        Prefer::Public => public.into_iter().chain(internal).collect(),
        Prefer::Internal => internal.into_iter().chain(public).collect(),
    };
    Ok((!endpoints.is_empty()).then_some(DiscoveredEndpoints { endpoints, identity }))
}

fn internal(list: &str, authorities: &[CertificateDer<'static>]) -> Result<Vec<Endpoint>, String> {
    let hosts: Vec<String> = serde_json::from_str(list)
        .map_err(|error| format!("`endpoints` is not a JSON list of strings: {}", json_error(&error)))?;
    let endpoint = |host: &String| {
        if host.contains(['/', '@']) {
            return Err(format!("`endpoints`: {host:?} is not `host:port`"));
        }
        Endpoint::new(&format!("https://{host}"), Trust::Only(authorities.to_vec()))
            .map_err(|error| format!("`endpoints`: {error}"))
    };
    hosts.iter().map(endpoint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Data, preference, whether a CA file was given, the expected hosts (none: no usable address) or a part
    /// of the error, and the number of keys in the identity.
    type Case<'a> = (&'a [(&'a str, &'a str)], Prefer, bool, Result<&'a [&'a str], &'a str>, usize);

    fn pem() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new(vec!["ca".to_owned()]).unwrap().self_signed(&key).unwrap().pem()
    }

    #[test]
    fn addresses_of_a_config_map() {
        let (ca, two) = (pem(), pem() + &pem());
        let list = ("endpoints", r#"["10.0.0.1:4219","[::1]:4219"]"#);
        let both: &[(&str, &str)] = &[("publicEndpoint", "https://public/"), list, ("ca.crt", &ca)];
        let no_ca: &[(&str, &str)] = &[list];
        let public_no_ca: &[(&str, &str)] = &[("publicEndpoint", "https://public"), list];
        let no_list: &[(&str, &str)] = &[("publicEndpoint", "https://public:8443"), ("ca.crt", &ca)];
        let all = &["public", "10.0.0.1:4219", "[::1]:4219"][..];
        let cases: [Case<'_>; 15] = [
            (both, Prefer::Public, false, Ok(all), 1),
            (both, Prefer::Internal, false, Ok(&["10.0.0.1:4219", "[::1]:4219", "public"]), 1),
            (public_no_ca, Prefer::Internal, false, Ok(&["public"]), 0),
            (public_no_ca, Prefer::Public, true, Ok(all), 0),
            (no_list, Prefer::Internal, false, Ok(&["public:8443"]), 0),
            (&[list, ("ca.crt", &two)], Prefer::Public, false, Ok(&["10.0.0.1:4219", "[::1]:4219"]), 2),
            (&[], Prefer::Public, false, Ok(&[]), 0),
            (&[("publicEndpoint", " ")], Prefer::Public, false, Ok(&[]), 0),
            (&[("endpoints", "[]"), ("ca.crt", &ca)], Prefer::Public, false, Ok(&[]), 0),
            (no_ca, Prefer::Public, false, Ok(&[]), 0),
            (no_ca, Prefer::Public, true, Ok(&["10.0.0.1:4219", "[::1]:4219"]), 0),
            (&[("publicEndpoint", "http://public")], Prefer::Public, false, Err("publicEndpoint"), 0),
            (&[list, ("ca.crt", "nonsense")], Prefer::Public, false, Err("`ca.crt`"), 0),
            (&[("endpoints", "10.0.0.1:4219"), ("ca.crt", &ca)], Prefer::Public, false, Err("JSON list"), 0),
            (&[("endpoints", r#"["evil/x"]"#), ("ca.crt", &ca)], Prefer::Public, false, Err("evil/x"), 0),
        ];
        for (data, prefer, vouched, expected, keys) in cases {
            let data: BTreeMap<String, String> =
                data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            match (read(&data, prefer, vouched), expected) {
                (Ok(found), Ok(hosts)) => {
                    let identity = found.as_ref().map(|found| found.identity.clone()).unwrap_or_default();
                    assert_eq!(identity.keys.len(), keys, "{data:?}");
                    assert_eq!(identity.host.is_some(), data.get("publicEndpoint").is_some_and(|u| u != " "));
                    let endpoints = found.map(|found| found.endpoints).unwrap_or_default();
                    assert_eq!(endpoints.iter().map(Endpoint::host).collect::<Vec<_>>(), hosts, "{data:?}");
                    for endpoint in endpoints {
                        assert_eq!(*endpoint.trust() == Trust::System, endpoint.host().starts_with("public"));
                    }
                }
                (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
                (got, expected) => panic!("{got:?}, expected {expected:?}"),
            }
        }
    }
}
