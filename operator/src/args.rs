//! The command line of `d8-operator`. Every flag has an environment variable; the flag overrides it.

use std::{net::SocketAddr, path::PathBuf};

use clap::Parser;
use d8_crds::values::digest::Digest;

/// Publishes available and fitting versions as `CliRelease` records, and runs the waves of `PluginPolicy` objects.
///
/// The operator uses the cluster of KUBECONFIG, or the cluster it runs in. The first line on stdout is the address of
/// /healthz, /readyz and /metrics. Logs go to stderr.
#[derive(Debug, Clone, Parser)]
#[command(name = "d8-operator", version)]
pub(crate) struct Args {
    /// Address of /healthz, /readyz and /metrics; port 0 selects a free port.
    #[arg(long, env = "D8_OPERATOR_LISTEN", default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,

    /// Namespace of the lease, the ledgers and the pin of the proxy; default: the namespace of the Pod.
    #[arg(long, env = "D8_OPERATOR_NAMESPACE", value_name = "NAME")]
    pub(crate) namespace: Option<String>,

    /// Name of this instance in the lease, usually the name of the Pod; default: a random name.
    #[arg(long, env = "D8_OPERATOR_IDENTITY", value_name = "NAME")]
    pub(crate) identity: Option<String>,

    /// URL of the registry-packages-proxy; default: looked up in the cluster.
    #[arg(long, env = "D8_RPP_ENDPOINT", value_name = "URL")]
    pub(crate) rpp_endpoint: Option<String>,

    /// File with CA certificates of the proxy, used in addition to the system's.
    #[arg(long, env = "D8_RPP_CA_FILE", value_name = "FILE")]
    pub(crate) rpp_ca_file: Option<PathBuf>,

    /// Key of the CA of the proxy, `sha256:` and 64 hex digits; may be repeated. Only these keys verify the proxy that
    /// the cluster announces; default: the keys announced on the first contact.
    #[arg(long, env = "D8_OPERATOR_RPP_KEYS", value_name = "SHA256", value_delimiter = ',')]
    pub(crate) rpp_key: Vec<Digest>,

    /// Host of the public endpoint of the proxy, with its port if that is not 443; default: the host announced on the
    /// first contact.
    #[arg(long, env = "D8_OPERATOR_RPP_HOST", value_name = "HOST")]
    pub(crate) rpp_host: Option<String>,

    /// Log filter, in the syntax of the `tracing` crate.
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_name = "FILTER")]
    pub(crate) log_level: String,

    /// Log format.
    #[arg(long, env = "D8_OPERATOR_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
}

/// Format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
