//! Why there was no connection, or none with an identity.

use std::{error::Error as StdError, fmt};

use crate::{
    error::Advice,
    forward_proxy::{ForwardProxy, ProxySetting},
    text::error_chain,
};

/// Why requests to the Kubernetes API carry no identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoIdentity {
    /// The kubeconfig has no credential.
    NoCredential,
    /// No credential is sent over a connection that others can read.
    PlainHttp,
}

impl fmt::Display for NoIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCredential => "the kubeconfig's user has no token",
            Self::PlainHttp => "no token is sent to an address that begins with http://",
        })
    }
}

impl NoIdentity {
    pub(super) fn advice(self) -> Advice {
        let (cause, fix) = match self {
            Self::NoCredential => (
                "the user of the context does not exist, or has no token, client certificate or credential plugin",
                "log in, or choose another context: `kubectl config get-contexts`",
            ),
            Self::PlainHttp => (
                "`server` of the cluster in the kubeconfig begins with http://, or has no scheme, which means http://",
                "set its https address: `kubectl config set-cluster NAME --server=https://HOST:6443`",
            ),
        };
        Advice { cause: cause.to_owned(), fix: fix.to_owned() }
    }
}

/// The error of a connection through an HTTP or SOCKS proxy.
#[derive(Debug, thiserror::Error)]
#[error("no connection through the {proxy}")]
pub struct ForwardProxyError {
    pub(super) proxy: ForwardProxy,
    source: Box<dyn StdError + Send + Sync>,
}

impl ForwardProxyError {
    pub(crate) fn new(proxy: ForwardProxy, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { proxy, source: source.into() }
    }

    /// Returns the error of the connection, with its causes.
    pub(super) fn why(&self) -> String {
        error_chain(&*self.source)
    }
}

/// Returns what to do if a proxy gives no connection.
pub(super) fn forward_proxy_advice(proxy: &ForwardProxy) -> Advice {
    let fix = match proxy.setting {
        ProxySetting::Variable(name) => {
            format!("correct or unset the variable `{name}`, or add the host to `NO_PROXY` to connect directly")
        }
        ProxySetting::Kubeconfig => {
            "correct or remove it: `kubectl config set-cluster NAME --proxy-url=http://PROXY:3128`".to_owned()
        }
    };
    Advice { cause: format!("the {proxy} does not answer, or refuses the connection"), fix }
}
