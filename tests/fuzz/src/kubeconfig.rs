//! Kubeconfigs, and the texts in them: tokens, certificates and proxies.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use d8_rpp::{ClusterAccess, Error, Identity, forward_proxy::ProxyEnvironment};
use serde_json::{Value, json};

use crate::input::{assert_printable, split_at_zeros};

/// The content of a kubeconfig.
pub(crate) fn kubeconfig(data: &[u8]) {
    check(ClusterAccess::of_text(data).map(drop));
}

/// The authorities, the client certificate and its key, in this order.
pub(crate) fn certificates(data: &[u8]) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let parts: Vec<_> = data.split(|byte| *byte == 0).map(|part| STANDARD.encode(part)).collect();
    let part = |index: usize| parts.get(index).cloned().unwrap_or_default();
    let cluster = json!({"server": "https://127.0.0.1:1", "certificate-authority-data": part(0)});
    let user = json!({"client-certificate-data": part(1), "client-key-data": part(2)});
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    check(access(&cluster, &user).and_then(|access| runtime.block_on(access.client()).map(drop)));
}

/// Tokens: inline, and as a header for the proxy.
pub(crate) fn token(data: &[u8]) {
    for text in split_at_zeros(data) {
        let cluster = json!({"server": "https://127.0.0.1:1"});
        check(access(&cluster, &json!({"token": text})).map(drop));
        check(Identity::token(&text).map(drop));
    }
}

/// A proxy, the list of direct hosts, and a host.
pub(crate) fn no_proxy(data: &[u8]) {
    let parts = split_at_zeros(data);
    let part = |index: usize| parts.get(index).map(String::as_str);
    let environment = ProxyEnvironment::new(part(0), part(0), part(1));
    let host = part(2).unwrap_or("api.example");
    for port in [80, 443, 6443] {
        let url = |scheme| environment.for_host(scheme, host, port).map(|proxy| proxy.url.clone());
        assert_eq!(url("https"), url("http"));
        assert_eq!(environment.for_host("https", "127.0.0.1", port), None);
    }
}

fn access(cluster: &Value, user: &Value) -> Result<ClusterAccess, Error> {
    let config = json!({
        "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "u", "user": user}],
    });
    ClusterAccess::of_text(config.to_string())
}

fn check(result: Result<(), Error>) {
    if let Err(error) = result {
        assert_printable(&error.to_string());
        for advice in error.advice() {
            assert_printable(&advice.cause);
            assert_printable(&advice.fix);
        }
    }
}
