//! The command line of `d8-operator`. Every flag has a variable; a flag wins over its variable.

use std::{net::SocketAddr, path::PathBuf};

use clap::Parser;

/// Publishes as `CliRelease` what exists and fits this cluster, and leads the waves of `PluginPolicy` objects.
///
/// The cluster is the one of KUBECONFIG, else the one this process runs in. The first line on stdout is
/// the address that /healthz, /readyz and /metrics are served on; logs go to stderr.
#[derive(Debug, Clone, Parser)]
#[command(name = "d8-operator", version)]
pub(crate) struct Args {
    /// Address of /healthz, /readyz and /metrics; port 0 takes a free one.
    #[arg(long, env = "D8_OPERATOR_LISTEN", default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,

    /// Namespace of the lease and of the ledgers; by default the one this process runs in.
    #[arg(long, env = "D8_OPERATOR_NAMESPACE", value_name = "NAME")]
    pub(crate) namespace: Option<String>,

    /// Who this instance is in the lease, usually the Pod's name; by default a random name.
    #[arg(long, env = "D8_OPERATOR_IDENTITY", value_name = "NAME")]
    pub(crate) identity: Option<String>,

    /// URL of the registry-packages-proxy; by default it is looked up in the cluster.
    #[arg(long, env = "D8_RPP_ENDPOINT", value_name = "URL")]
    pub(crate) rpp_endpoint: Option<String>,

    /// CA certificates that may vouch for the proxy, besides the system's.
    #[arg(long, env = "D8_RPP_CA_FILE", value_name = "FILE")]
    pub(crate) rpp_ca_file: Option<PathBuf>,

    /// What is logged, in the syntax of tracing's filters.
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_name = "FILTER")]
    pub(crate) log_level: String,

    /// How it is logged.
    #[arg(long, env = "D8_OPERATOR_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
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
