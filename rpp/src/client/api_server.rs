//! Whether a kubeconfig verifies the API server.

/// Why the identity of an API server is not verified. What it answers, such as policies, records and the address of
/// the proxy, may be from anyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnverifiedApiServer {
    /// The verification of its certificate is turned off.
    #[error("the certificate of the Kubernetes API is not verified (`insecure-skip-tls-verify: true`)")]
    Insecure,
    /// It is addressed without TLS.
    #[error("the Kubernetes API is addressed by `http://`, without TLS")]
    PlainHttp,
}

/// Checks whether the identity of the API server is verified. Uses the effective setting.
///
/// # Errors
/// [`UnverifiedApiServer`] if it is not.
pub fn verify_api_server(config: &kube::Config) -> Result<(), UnverifiedApiServer> {
    if config.cluster_url.scheme_str() != Some("https") {
        Err(UnverifiedApiServer::PlainHttp)
    } else if config.accept_invalid_certs {
        Err(UnverifiedApiServer::Insecure)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_verified_tls_counts() {
        for (url, accept_invalid_certs, expected) in [
            ("https://api:6443", false, Ok(())),
            ("https://api:6443", true, Err(UnverifiedApiServer::Insecure)),
            ("http://127.0.0.1:8001", false, Err(UnverifiedApiServer::PlainHttp)),
            ("http://127.0.0.1:8001", true, Err(UnverifiedApiServer::PlainHttp)),
        ] {
            let mut config = kube::Config::new(url.parse().unwrap());
            config.accept_invalid_certs = accept_invalid_certs;
            assert_eq!(verify_api_server(&config), expected, "{url} {accept_invalid_certs}");
        }
    }
}
