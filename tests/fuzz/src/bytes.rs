//! Untrusted data from the proxy and from the cluster.

use std::{collections::BTreeMap, io::Write as _};

use d8_rpp::{
    Endpoint, Prefer, Trust,
    client::discovery,
    layer::{Limits, read},
};
use flate2::{Compression, write::GzEncoder};

use crate::input::{assert_printable, split_at_zeros};

/// A layer. The first byte selects whether the rest is already compressed.
pub(crate) fn layer(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else { return };
    let compressed = if *mode == b'g' {
        rest.to_vec()
    } else {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(rest).expect("to memory");
        gzip.finish().expect("to memory")
    };
    let limits = Limits { archive: 64 << 10, executable: 8 << 10 };
    let mut sink = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    match runtime.block_on(read(compressed.as_slice(), "plugin", Some("contract.yaml"), &limits, &mut sink)) {
        Ok(contents) => {
            match contents.sibling {
                Ok(file) => assert!(file.is_none_or(|file| file.len() as u64 <= limits.archive)),
                Err(error) => assert_printable(&error.to_string()),
            }
            let executable = contents.executable;
            assert_printable(&executable.path);
            assert_eq!(executable.size, sink.len() as u64);
            assert!(executable.size <= limits.executable);
        }
        Err(error) => assert_printable(&error.to_string()),
    }
    assert!(sink.len() as u64 <= limits.executable);
}

/// The fields of the proxy's ConfigMap: `publicEndpoint`, `endpoints`, `ca.crt`.
pub(crate) fn discovery(data: &[u8]) {
    let parts = split_at_zeros(data);
    for given in &parts {
        match Endpoint::explicit(given) {
            Ok(endpoint) => check_endpoint(&endpoint),
            Err(error) => assert_printable(&error.to_string()),
        }
    }
    let fields = ["publicEndpoint", "endpoints", "ca.crt"];
    let data: BTreeMap<String, String> = fields.iter().map(|field| (*field).to_owned()).zip(parts).collect();
    for prefer in [Prefer::Public, Prefer::Internal] {
        for trusted in [false, true] {
            match discovery::read_config_map(&data, prefer, trusted) {
                Ok(Some(found)) => {
                    assert!(!found.endpoints.is_empty());
                    for endpoint in &found.endpoints {
                        check_endpoint(endpoint);
                        let no_authority =
                            matches!(endpoint.trust(), Trust::Only(authorities) if authorities.is_empty());
                        assert!(trusted || !no_authority, "no CA certificate for {}", endpoint.host());
                    }
                    let announced = found.identity.clone();
                    assert!(found.check("https://api", Some(&announced)).is_ok(), "{announced} differs from itself");
                }
                Ok(None) => {}
                Err(why) => assert_printable(&why),
            }
        }
    }
}

/// Checks that a token is sent only over TLS and only to a host.
fn check_endpoint(endpoint: &Endpoint) {
    let url = endpoint.url();
    assert!(url.scheme() == "https" && url.host_str().is_some_and(|host| !host.is_empty()), "{url}");
    assert!(
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.path().ends_with('/')
    );
    assert_printable(&endpoint.host());
}
