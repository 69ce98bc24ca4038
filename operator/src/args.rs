//! The command line of `d8-operator`. Every flag has an environment variable; the flag overrides it.

use std::{net::SocketAddr, path::PathBuf};

use clap::Parser;

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

    /// Namespace of the lease and the ledgers; default: the namespace of the Pod.
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
