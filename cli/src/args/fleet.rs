//! `d8 fleet …`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use d8_crds::values::name::Component;

use super::value;

#[derive(Debug, Args)]
pub(crate) struct FleetArgs {
    #[command(subcommand)]
    pub(crate) command: FleetCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FleetCommand {
    /// Show what managed hosts run, where policies lead them, and which hosts need attention
    Status(FleetStatusArgs),
    /// Write the same as a page that a browser shows without a network
    Report(FleetReportArgs),
}

impl FleetCommand {
    /// Returns whether the output is text for people, and not a document or a list of names.
    pub(super) fn prints_text(&self) -> bool {
        match self {
            Self::Status(args) => args.format == FleetFormat::Table,
            Self::Report(_) => true,
        }
    }
}

/// Output formats of `d8 fleet status`. The variants have no doc comments, because these would be printed in every help
/// text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum FleetFormat {
    #[default]
    Table,
    Json,
    Csv,
}

/// Flags that choose what of a fleet is shown.
#[derive(Debug, Args)]
pub(crate) struct FleetSelectionArgs {
    /// Plugins to show, or `d8` [default: all]
    #[arg(value_name = "NAME", value_parser = value::name::<Component>)]
    pub(crate) components: Vec<Component>,
    /// Show the hosts with these labels, for example role=bastion,site!=a
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct FleetStatusArgs {
    #[command(flatten)]
    pub(crate) selection: FleetSelectionArgs,
    /// Show each host, with its active version, its target and what it takes next
    #[arg(long)]
    pub(crate) wide: bool,
    /// Output format
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) format: FleetFormat,
}

#[derive(Debug, Args)]
pub(crate) struct FleetReportArgs {
    #[command(flatten)]
    pub(crate) selection: FleetSelectionArgs,
    /// File to write; an older report there is replaced
    #[arg(long, value_name = "FILE")]
    pub(crate) html: PathBuf,
}
