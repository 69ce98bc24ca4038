//! `d8 host …`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use d8_crds::values::host_name::HostName;

use super::value::{self, OutputArgs};

#[derive(Debug, Args)]
pub(crate) struct HostArgs {
    #[command(subcommand)]
    pub(crate) command: HostCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// Create the identity of a managed host, and the file that it joins with
    Enroll(HostEnrollArgs),
    /// List the managed hosts
    #[command(visible_alias = "ls")]
    List(HostListArgs),
    /// Revoke the tokens of a managed host, and create another file that it joins with
    Rotate(HostRotateArgs),
    /// Revoke the tokens of a managed host, and delete its identity
    Revoke(HostRevokeArgs),
}

impl HostCommand {
    /// Returns whether the output is text for people, and not a document or a list of names.
    pub(super) fn prints_text(&self) -> bool {
        match self {
            Self::List(args) => args.output.prints_text(),
            Self::Enroll(_) | Self::Rotate(_) | Self::Revoke(_) => true,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct HostEnrollArgs {
    /// Name of the host: a DNS label
    #[arg(value_parser = value::name::<HostName>)]
    pub(crate) name: HostName,
    /// Labels that policies select the host by
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = value::label)]
    pub(crate) labels: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) file: EnrolmentFileArgs,
}

#[derive(Debug, Args)]
pub(crate) struct HostRotateArgs {
    /// Name of the host
    #[arg(value_parser = value::name::<HostName>)]
    pub(crate) name: HostName,
    #[command(flatten)]
    pub(crate) file: EnrolmentFileArgs,
}

/// Flags of commands that write the file that a host joins with.
#[derive(Debug, Args)]
pub(crate) struct EnrolmentFileArgs {
    /// File to write [default: NAME.d8host]
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub(crate) path: Option<PathBuf>,
    /// How long the file can be used to join: 10m to 168h
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = value::token_life)]
    pub(crate) valid_for: Duration,
    /// URL of the API server for the host [default: the one in the kubeconfig]
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct HostListArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct HostRevokeArgs {
    /// Name of the host
    #[arg(value_parser = value::name::<HostName>)]
    pub(crate) name: HostName,
}
