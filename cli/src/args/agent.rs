//! `d8 agent …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use d8_crds::values::name::Component;

use super::value;

#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    #[command(subcommand)]
    pub(crate) command: AgentCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Make this machine a managed host, with the file that `d8 host enroll NAME` wrote
    Join(AgentJoinArgs),
    /// Keep this host on its policies: run by systemd
    Run(AgentRunArgs),
    /// Try changes again that failed
    Retry(AgentRetryArgs),
    /// Bring this host on its policies once, and report to its CliHost
    Once(AgentOnceArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AgentJoinArgs {
    /// File that `d8 host enroll NAME` or `d8 host rotate NAME` wrote
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) state: StateArgs,
    /// Replace the identity of another host that this machine has
    #[arg(long)]
    pub(crate) replace: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AgentOnceArgs {
    /// Show what would change, change and report nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) state: StateArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AgentRunArgs {
    #[command(flatten)]
    pub(crate) state: StateArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AgentRetryArgs {
    /// Name of the plugin [default: all]
    #[arg(value_parser = value::name::<Component>)]
    pub(crate) name: Option<Component>,
    #[command(flatten)]
    pub(crate) state: StateArgs,
}

/// Where the identity of the host is.
#[derive(Debug, Args)]
pub(crate) struct StateArgs {
    /// Directory with the identity of the host
    #[arg(long, value_name = "DIR", default_value = d8_agent::enrolled_host::DIRECTORY)]
    pub(crate) state_dir: PathBuf,
}
