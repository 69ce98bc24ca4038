//! How to reach the proxy: endpoint, trust, timeouts.

use std::{path::PathBuf, time::Duration};

use super::endpoint::Prefer;

/// Timeouts of one request, and how often a failed request is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Limit for TCP and TLS.
    pub connect: Duration,
    /// Limit for the headers of a response, including the connection.
    pub headers: Duration,
    /// Limit for the next bytes of a body.
    pub idle: Duration,
    /// Attempts for a request that fails because of the network or with 5xx. At least one is made.
    pub attempts: u32,
    /// Wait before the second attempt. Doubles for each further one, with jitter.
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

/// How a client reaches the proxy.
#[derive(Debug, Clone, Default)]
pub struct ClientOptions {
    /// Endpoint given explicitly. Skips discovery.
    pub endpoint: Option<String>,
    /// PEM file with authorities that are trusted for the proxy in addition to those of the endpoint.
    pub ca_file: Option<PathBuf>,
    /// Skips the verification of certificates; excludes `ca_file`. The token is then sent to any server
    /// that answers.
    pub insecure: bool,
    /// Which of the cluster's endpoints is tried first.
    pub prefer: Prefer,
    /// Timeouts and retries of requests.
    pub timeouts: Timeouts,
}
