//! `d8 cli …`: the commands that concern d8 itself.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{plugins::PluginsArgs, value::OutputArgs};

#[derive(Debug, Args)]
pub(crate) struct SelfArgs {
    #[command(subcommand)]
    pub(crate) command: SelfCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SelfCommand {
    /// Check whether a newer version is available and permitted
    Check(SelfCheckArgs),
    /// List published and installed versions
    #[command(visible_alias = "list")]
    Versions(SelfVersionsArgs),
    /// Update to the newest permitted version, or to a given one
    Update(SelfUpdateArgs),
    /// Switch to a version; works offline if the version is installed
    Use(SelfUseArgs),
    /// Show or set the fallback: another d8 executable that handles unknown commands
    Fallback(FallbackArgs),
    /// List the capabilities of this d8
    Capabilities(SelfCapabilitiesArgs),
    /// Same as `d8 plugins`
    #[command(hide = true)]
    Plugins(PluginsArgs),
}

impl SelfCommand {
    /// Returns whether the output is text for people, and not a document or a list of names.
    pub(super) fn prints_text(&self) -> bool {
        match self {
            Self::Check(args) => args.output.prints_text(),
            Self::Versions(args) => args.output.prints_text(),
            Self::Plugins(group) => group.command.prints_text(),
            Self::Update(_) | Self::Use(_) | Self::Fallback(_) | Self::Capabilities(_) => true,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct SelfCheckArgs {
    /// Exit with code 100 if `d8 cli update` would change the version
    #[arg(long)]
    pub(crate) exit_code: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SelfVersionsArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SelfUpdateArgs {
    /// Update to exactly this version; older versions and pre-releases are accepted
    #[arg(long, value_name = "VERSION")]
    pub(crate) version: Option<String>,
    /// Show what would change without changing it
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Accept that the version given with `--version` does not support policies
    #[arg(long, requires = "version")]
    pub(crate) allow_ungoverned: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SelfUseArgs {
    /// Version to switch to, with or without a leading `v`
    pub(crate) version: String,
    /// Accept a version that does not support policies
    #[arg(long)]
    pub(crate) allow_ungoverned: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct FallbackArgs {
    #[command(flatten)]
    pub(crate) show: FallbackShowArgs,
    #[command(subcommand)]
    pub(crate) command: Option<FallbackCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FallbackCommand {
    /// Show the fallback
    Show(FallbackShowArgs),
    /// Set the fallback
    Set(FallbackSetArgs),
    /// Remove the setting
    Unset,
}

#[derive(Debug, Default, Args)]
pub(crate) struct FallbackShowArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct FallbackSetArgs {
    /// Path to the executable
    pub(crate) path: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct SelfCapabilitiesArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
