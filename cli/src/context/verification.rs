//! Which connections of a command are not verified, and what is refused then.

use std::{fmt, path::Path};

use d8_agent::roots::HOME_ROOT;
use d8_rpp::{UnverifiedApiServer, verify_api_server};

use super::Context;
use crate::{
    args::GlobalArgs,
    terminal::failure::{Code, Failure},
};

/// A connection whose server is not verified, so that anyone may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnverifiedConnection {
    /// To the proxy, by `--rpp-insecure-skip-tls-verify`.
    ProxyByFlag,
    /// To the Kubernetes API and the proxy, by `--insecure-skip-tls-verify`.
    ClusterByFlag,
    /// To the Kubernetes API, by the kubeconfig.
    Cluster(UnverifiedApiServer),
}

impl UnverifiedConnection {
    /// Returns the connection that is not verified. `config` has the effective settings of the kubeconfig; `None`: it
    /// was not read.
    fn of(flags: &GlobalArgs, config: Option<&kube::Config>) -> Option<Self> {
        if flags.insecure_skip_tls_verify {
            return Some(Self::ClusterByFlag);
        }
        if let Some(Err(unverified)) = config.map(verify_api_server) {
            return Some(Self::Cluster(unverified));
        }
        flags.rpp_insecure_skip_tls_verify.then_some(Self::ProxyByFlag)
    }

    /// Whether it is the connection to the Kubernetes API.
    fn is_cluster(self) -> bool {
        self != Self::ProxyByFlag
    }

    /// How to verify it.
    fn fix(self) -> &'static str {
        match self {
            Self::ProxyByFlag => {
                "trust the proxy with `--rpp-ca-file FILE` instead of `--rpp-insecure-skip-tls-verify`"
            }
            Self::ClusterByFlag => {
                "set `certificate-authority` of the cluster in the kubeconfig, and omit `--insecure-skip-tls-verify`"
            }
            Self::Cluster(UnverifiedApiServer::Insecure) => {
                "set `certificate-authority` of the cluster in the kubeconfig instead of `insecure-skip-tls-verify`"
            }
            Self::Cluster(UnverifiedApiServer::PlainHttp) => {
                "set `server` of the cluster in the kubeconfig to an `https://` address"
            }
        }
    }
}

impl fmt::Display for UnverifiedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProxyByFlag => {
                f.write_str("the certificate of the proxy is not verified (`--rpp-insecure-skip-tls-verify`)")
            }
            Self::ClusterByFlag => f.write_str(
                "the certificates of the Kubernetes API and of the proxy are not verified (`--insecure-skip-tls-verify`)",
            ),
            Self::Cluster(unverified) => unverified.fmt(f),
        }
    }
}

impl Context {
    /// The connection of this command that is not verified, if there is one.
    pub(crate) fn unverified_connection(&self) -> Option<UnverifiedConnection> {
        UnverifiedConnection::of(&self.global, self.access.get().map(|access| &access.config))
    }

    /// Refuses to install into a root that other users share over a connection that is not verified.
    ///
    /// # Errors
    /// A connection is not verified, and the root is not the one in the home directory: exit 2.
    pub(crate) fn check_verified_for(&self, root: &Path) -> Result<(), Failure> {
        match self.unverified_connection() {
            Some(unverified) if !self.is_own_root(root) => Err(Failure::new(
                Code::Usage,
                format!("refused to install into {} over a connection that is not verified", root.display()),
            )
            .because(unverified.to_string())
            .advise("other users run the programs in this root", unverified.fix())),
            _ => Ok(()),
        }
    }

    /// Whether a root is the one in the home directory. The path of the home directory may contain links.
    fn is_own_root(&self, root: &Path) -> bool {
        let resolved = self.home().and_then(|home| home.canonicalize().ok()).map(|home| home.join(HOME_ROOT));
        [self.home_root(), resolved].into_iter().flatten().any(|own| own == root)
    }

    /// Refuses to store what the Kubernetes API says if that connection is not verified.
    ///
    /// # Errors
    /// It is not verified: exit 2.
    pub(crate) fn check_cluster_verified(&self, headline: &str) -> Result<(), Failure> {
        match self.unverified_cluster() {
            None => Ok(()),
            Some(unverified) => Err(Failure::new(Code::Usage, headline)
                .because(unverified.to_string())
                .advise("anyone on the network may answer for the Kubernetes API", unverified.fix())),
        }
    }

    /// The connection to the Kubernetes API, if it is not verified.
    pub(crate) fn unverified_cluster(&self) -> Option<UnverifiedConnection> {
        self.unverified_connection().filter(|unverified| unverified.is_cluster())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_setting_counts() {
        let config = |url: &str, insecure| {
            let mut config = kube::Config::new(url.parse().unwrap());
            config.accept_invalid_certs = insecure;
            config
        };
        let https = |insecure| Some(config("https://api:6443", insecure));
        let insecure = UnverifiedConnection::Cluster(UnverifiedApiServer::Insecure);
        let plain = UnverifiedConnection::Cluster(UnverifiedApiServer::PlainHttp);
        // `--insecure-skip-tls-verify`, `--rpp-insecure-skip-tls-verify`, the kubeconfig.
        for (cluster, proxy, config, expected) in [
            (false, false, None, None),
            (false, false, https(false), None),
            (false, false, https(true), Some(insecure)),
            (false, false, Some(config("http://127.0.0.1:8001", false)), Some(plain)),
            (true, false, https(true), Some(UnverifiedConnection::ClusterByFlag)),
            (true, true, None, Some(UnverifiedConnection::ClusterByFlag)),
            (false, true, https(false), Some(UnverifiedConnection::ProxyByFlag)),
            (false, true, https(true), Some(insecure)),
        ] {
            let flags = GlobalArgs {
                insecure_skip_tls_verify: cluster,
                rpp_insecure_skip_tls_verify: proxy,
                ..GlobalArgs::default()
            };
            let found = UnverifiedConnection::of(&flags, config.as_ref());
            assert_eq!(found, expected, "{cluster} {proxy} {config:?}");
        }
    }
}
