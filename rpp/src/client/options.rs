//! How to reach the proxy: endpoint, trust, timeouts.

use std::{path::PathBuf, time::Duration};

use crate::client::endpoint::Prefer;

/// How long to wait and how often to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For TCP and TLS.
    pub connect: Duration,
    /// For the headers of an answer, the connection included.
    pub headers: Duration,
    /// For the next bytes of a body.
    pub idle: Duration,
    /// Retry of a request that failed by the network or with 5xx; at least one.
    pub attempts: u32,
    /// The pause before the second try; doubled for each further one, with jitter.
    pub backoff: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            headers: Duration::from_secs(30),
            idle: Duration::from_mins(1),
            attempts: 3,
            backoff: Duration::from_millis(250),
        }
    }
}

/// How to reach the proxy.
#[derive(Debug, Clone, Default)]
pub struct ClientOptions {
    /// An endpoint given by hand; skips discovery.
    pub endpoint: Option<String>,
    /// Certificates of authorities that vouch for the proxy beside the usual ones.
    pub ca_file: Option<PathBuf>,
    /// Verify nothing. Excludes `ca_file`. The token is then sent to whoever answers.
    pub insecure: bool,
    /// Which endpoint of a cluster to try first.
    pub prefer: Prefer,
    /// How long to wait and how often to try.
    pub timeouts: Timeouts,
}
