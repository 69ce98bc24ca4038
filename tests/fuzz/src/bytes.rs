//! What comes from the proxy and from the cluster before anything of it is trusted.

use std::{collections::BTreeMap, io::Write as _};

use d8_rpp::{
    Endpoint, Prefer, Trust,
    client::discovery,
    layer::{Limits, read},
};
use flate2::{Compression, write::GzEncoder};

use crate::input::{parts, shown};

/// A layer, as it is or packed here: the first byte says.
pub(crate) fn layer(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else { return };
    let packed = if *mode == b'g' {
        rest.to_vec()
    } else {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(rest).expect("to memory");
        gzip.finish().expect("to memory")
    };
    let limits = Limits { archive: 64 << 10, executable: 8 << 10 };
    let mut sink = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    match runtime.block_on(read(packed.as_slice(), "plugin", Some("contract.yaml"), &limits, &mut sink)) {
        Ok(contents) => {
            match contents.beside {
                Ok(file) => assert!(file.is_none_or(|file| file.len() as u64 <= limits.archive)),
                Err(error) => shown(&error.to_string()),
            }
            let unpacked = contents.unpacked;
            shown(&unpacked.entry);
            assert_eq!(unpacked.size, sink.len() as u64);
            assert!(unpacked.size <= limits.executable);
        }
        Err(error) => shown(&error.to_string()),
    }
    assert!(sink.len() as u64 <= limits.executable);
}

/// The fields of the ConfigMap: `publicEndpoint`, `endpoints`, `ca.crt`.
pub(crate) fn discovery(data: &[u8]) {
    let parts = parts(data);
    for given in &parts {
        match Endpoint::explicit(given) {
            Ok(endpoint) => sound(&endpoint),
            Err(error) => shown(&error.to_string()),
        }
    }
    let fields = ["publicEndpoint", "endpoints", "ca.crt"];
    let data: BTreeMap<String, String> = fields.iter().map(|field| (*field).to_owned()).zip(parts).collect();
    for prefer in [Prefer::Public, Prefer::Internal] {
        for vouched in [false, true] {
            match discovery::read_config_map(&data, prefer, vouched) {
                Ok(Some(found)) => {
                    assert!(!found.endpoints.is_empty());
                    for endpoint in &found.endpoints {
                        sound(endpoint);
                        let nobody = matches!(endpoint.trust(), Trust::Only(authorities) if authorities.is_empty());
                        assert!(vouched || !nobody, "nobody vouches for {}", endpoint.host());
                    }
                }
                Ok(None) => {}
                Err(why) => shown(&why),
            }
        }
    }
}

/// A token is never sent over anything but TLS to a host.
fn sound(endpoint: &Endpoint) {
    let url = endpoint.url();
    assert!(url.scheme() == "https" && url.host_str().is_some_and(|host| !host.is_empty()), "{url}");
    assert!(
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.path().ends_with('/')
    );
    shown(&endpoint.host());
}
