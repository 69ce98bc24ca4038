//! `d8 policy …`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use d8_crds::values::name::Component;

use super::value::{self, OutputArgs};

#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    pub(crate) command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// List policies, or show the effective policy of a host
    Get(PolicyGetArgs),
    /// Show what would change on each host if the policies in files were applied
    Diff(PolicyDiffArgs),
    /// Validate policies in files without a cluster
    Check(PolicyCheckArgs),
    /// Trust a changed proxy of the cluster, after showing the old and the new one
    Trust(PolicyTrustArgs),
}

impl PolicyCommand {
    /// Returns whether the output is text for people, and not a document or a list of names.
    pub(super) fn prints_text(&self) -> bool {
        match self {
            Self::Get(args) => args.output.prints_text(),
            Self::Diff(args) => matches!(args.format, DiffFormat::Table | DiffFormat::Wide),
            Self::Check(args) => args.output.prints_text(),
            Self::Trust(_) => true,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct PolicyGetArgs {
    /// Name of the policy [default: all policies]
    #[arg(conflicts_with = "effective")]
    pub(crate) name: Option<String>,
    /// Merge all policies that select this machine, and show the origin of each field
    #[arg(long)]
    pub(crate) effective: bool,
    /// Show the effective policy of this managed host [default: this machine]
    #[arg(long, value_name = "NAME", requires = "effective")]
    pub(crate) host: Option<String>,
    /// Show this plugin only, or `d8`
    #[arg(long, value_name = "NAME", requires = "effective", value_parser = value::name::<Component>)]
    pub(crate) plugin: Option<Component>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyDiffArgs {
    /// YAML or JSON files with one or more policies; `-` reads standard input
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) files: Vec<PathBuf>,
    /// Compare as if every PluginPolicy that the files do not contain were deleted
    #[arg(long)]
    pub(crate) prune: bool,
    /// Exit with code 100 if a verdict, a version, or whether a plugin may run would change
    #[arg(long)]
    pub(crate) exit_code: bool,
    /// Output format; `wide` names every host
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) format: DiffFormat,
}

/// Output formats of `d8 policy diff`. The variants have no doc comments, because these would be printed in every help
/// text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum DiffFormat {
    #[default]
    Table,
    Wide,
    Json,
    Yaml,
    Name,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyCheckArgs {
    /// YAML or JSON files with one or more policies; `-` reads standard input
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyTrustArgs {
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub(crate) yes: bool,
}
