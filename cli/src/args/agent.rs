//! `d8 agent …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use d8_agent::{agent_config, enrolled_host};
use d8_crds::values::name::Component;

use super::value::{self, OutputArgs};

#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    #[command(subcommand)]
    pub(crate) command: AgentCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Make this machine a managed host, with the file that `d8 host enroll NAME` wrote
    Join(AgentJoinArgs),
    /// Show what the agent does on this host, and why
    Status(AgentStatusArgs),
    /// Show what the agent would change now, and change nothing
    Plan(AgentPlaceArgs),
    /// Bring this host on its policies once, and report to its CliHost
    Once(AgentPlaceArgs),
    /// Try changes again that failed
    Retry(AgentRetryArgs),
    /// Keep this host on its policies: run by systemd
    Run(AgentPlaceArgs),
    /// Go back to the d8 before the last switch of the agent, if the new one did not start: run by systemd
    Recover(AgentPlaceArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AgentJoinArgs {
    /// File that `d8 host enroll NAME` or `d8 host rotate NAME` wrote
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) place: AgentPlaceArgs,
    /// Replace the identity of another host that this machine has
    #[arg(long)]
    pub(crate) replace: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AgentStatusArgs {
    #[command(flatten)]
    pub(crate) place: AgentPlaceArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AgentRetryArgs {
    /// Name of the plugin, or d8 [default: all]
    #[arg(value_parser = value::name::<Component>)]
    pub(crate) name: Option<Component>,
    #[command(flatten)]
    pub(crate) place: AgentPlaceArgs,
}

/// Where the identity and the configuration of the host are.
#[derive(Debug, Clone, Args)]
pub(crate) struct AgentPlaceArgs {
    /// Directory with the identity of the host
    #[arg(long, value_name = "DIR", default_value = enrolled_host::DIRECTORY)]
    pub(crate) state_dir: PathBuf,
    /// File with the configuration of the host
    #[arg(long, value_name = "FILE", default_value = agent_config::FILE)]
    pub(crate) config: PathBuf,
}
