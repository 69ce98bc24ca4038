//! The command line as people type it.
#![allow(clippy::doc_markdown, reason = "doc comments of arguments are their help texts")]

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{
    Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use clap_complete::engine::SubcommandCandidates;
use d8_crds::values::name::{Component, PluginName};

use crate::complete;

/// The Deckhouse command line and its plugins, delivered as policy says.
#[derive(Debug, Parser)]
#[command(name = "d8", version = crate::version::shown(), propagate_version = false, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Any installed plugin runs as `d8 <name> args…`.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command knows. A flag wins over its variable.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that people type")]
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Kubeconfig to use [env: KUBECONFIG, several files merged]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Base URL of the registry-packages-proxy, instead of asking the cluster for it
    #[arg(long, global = true, value_name = "URL", env = "D8_RPP_ENDPOINT", hide_env_values = true)]
    pub(crate) rpp_endpoint: Option<String>,
    /// CA certificates to trust for the proxy, beside the system's
    #[arg(long, global = true, value_name = "FILE", env = "D8_RPP_CA_FILE", hide_env_values = true)]
    pub(crate) rpp_ca_file: Option<PathBuf>,
    /// Do not verify the proxy's certificate
    #[arg(long, global = true)]
    pub(crate) rpp_insecure_skip_tls_verify: bool,
    /// Verify neither the proxy's nor the Kubernetes API's certificate
    #[arg(long, global = true)]
    pub(crate) insecure_skip_tls_verify: bool,
    /// Root folder of installed plugins
    #[arg(long, global = true, value_name = "DIR", env = "DECKHOUSE_CLI_PATH", hide_env_values = true)]
    pub(crate) plugins_dir: Option<PathBuf>,
    /// Waive Kubernetes, Deckhouse and module requirements [env: D8_PLUGINS_SKIP_CLUSTER_CHECKS=1]
    #[arg(long, global = true)]
    pub(crate) skip_cluster_checks: bool,
    /// How long to wait for another d8 that holds a lock; 0 fails at once
    #[arg(long, global = true, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub(crate) lock_timeout: Duration,
    /// No progress, no notes
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Show requests and decisions on stderr [env: LOG_LEVEL=debug]
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    d8_crds::values::duration::parse(text).map_err(|error| error.to_string())
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Install, update, inspect and remove plugins
    Plugins(Plugins),
    /// Check, update and switch d8 itself
    #[command(visible_alias = "dist")]
    Cli(OwnGroup),
    /// Check policies, show what they come to here, try edits, trust a proxy that changed
    Policy(Policy),
    /// Print a completion script
    Completion {
        /// The shell to print it for
        shell: clap_complete::Shell,
    },
    /// An installed plugin, with its arguments as they are
    #[command(external_subcommand)]
    Plugin(Vec<OsString>),
}

#[derive(Debug, Args)]
pub(crate) struct OwnGroup {
    #[command(subcommand)]
    pub(crate) command: OwnCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OwnCommand {
    /// Say whether a newer version is there and may be had
    Check(CliCheck),
    /// List what is published and what is installed
    #[command(visible_alias = "list")]
    Versions(CliVersions),
    /// Move to the newest version that is permitted, or to one that is named
    Update(CliUpdate),
    /// Switch to a version; offline if it is installed
    Use(CliUse),
    /// Show or set the d8, such as the former one, that gets the commands which this one has not
    Fallback(Fallback),
    /// Say what this d8 can do that others may not
    Capabilities(Capabilities),
    /// Another name of `d8 plugins`
    #[command(hide = true)]
    Plugins(Plugins),
}

#[derive(Debug, Args)]
pub(crate) struct CliCheck {
    /// Exit with 100 if there is something newer to move to
    #[arg(long)]
    pub(crate) exit_code: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct CliVersions {
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct CliUpdate {
    /// Exactly this version, an older one or a pre-release too
    #[arg(long, value_name = "VERSION")]
    pub(crate) version: Option<String>,
    /// Say what would be done, do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Accept a version that does not know policies where one speaks
    #[arg(long)]
    pub(crate) allow_ungoverned: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CliUse {
    /// The version, with or without `v`
    #[arg(add = complete::of_stored())]
    pub(crate) version: String,
    /// Accept a version that does not know policies where one speaks
    #[arg(long)]
    pub(crate) allow_ungoverned: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Fallback {
    #[command(flatten)]
    pub(crate) show: FallbackShow,
    #[command(subcommand)]
    pub(crate) command: Option<FallbackCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FallbackCommand {
    /// Say which it is
    Show(FallbackShow),
    /// Set it
    Set(FallbackSet),
    /// Forget it
    Unset,
}

#[derive(Debug, Default, Args)]
pub(crate) struct FallbackShow {
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct FallbackSet {
    /// The program
    pub(crate) path: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Capabilities {
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Policy {
    #[command(subcommand)]
    pub(crate) command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// List the policies, or say what they come to on one host
    Get(PolicyGet),
    /// Say what would change on which host if the policies in files were applied
    Diff(PolicyDiff),
    /// Say whether policies in a file are valid, and what may not be meant; asks no cluster
    Check(PolicyCheck),
    /// Accept the proxy that the cluster names now in place of the one remembered, after showing both
    Trust(PolicyTrust),
}

#[derive(Debug, Args)]
pub(crate) struct PolicyTrust {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyDiff {
    /// Files, YAML or JSON, several documents and lists too; `-` is standard input
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) files: Vec<PathBuf>,
    /// Exit with 100 if anything would move
    #[arg(long)]
    pub(crate) exit_code: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyGet {
    /// One policy; absent: all
    #[arg(conflicts_with = "effective")]
    pub(crate) name: Option<String>,
    /// What all of them come to on this machine, and whose word each field is
    #[arg(long)]
    pub(crate) effective: bool,
    /// On this managed host instead of this machine
    #[arg(long, value_name = "NAME", requires = "effective")]
    pub(crate) host: Option<String>,
    /// Of this plugin only, or of `d8`
    #[arg(long, value_name = "NAME", requires = "effective", value_parser = component)]
    pub(crate) plugin: Option<Component>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyCheck {
    /// The file, YAML or JSON, several documents too; `-` is standard input
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Plugins {
    #[command(subcommand)]
    pub(crate) command: PluginsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PluginsCommand {
    /// Install plugins: the newest version that is published, fits the cluster and is permitted
    Install(Install),
    /// Move installed plugins to the newest version that fits and is permitted
    Update(Update),
    /// List what is installed
    List(List),
    /// Say of every published version whether it may be installed here, and why not
    Why(Why),
    /// Remove plugins
    #[command(visible_aliases = ["uninstall", "delete"])]
    Remove(Remove),
}

#[derive(Debug, Args)]
pub(crate) struct Install {
    /// The plugins' names
    #[arg(required = true, value_name = "NAME", value_parser = plugin_name, add = complete::of_plugins())]
    pub(crate) names: Vec<PluginName>,
    /// Exactly this version, pre-releases too
    #[arg(long, value_name = "VERSION", conflicts_with = "use_major")]
    pub(crate) version: Option<String>,
    /// Download again even if that version is installed
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) planned: Planned,
}

/// How a change is planned, whatever it is that changes.
#[derive(Debug, Args)]
pub(crate) struct Planned {
    /// The newest version of this major
    #[arg(long, value_name = "N")]
    pub(crate) use_major: Option<u64>,
    /// Say what would be done, do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Refuse instead of bringing in the plugins that one needs
    #[arg(long)]
    pub(crate) no_dependencies: bool,
    /// Bring in the plugins that one needs, which is the default
    #[arg(long, hide = true, conflicts_with = "no_dependencies")]
    pub(crate) resolve_plugins_conflicts: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Update {
    /// The plugins' names, or `all`
    #[arg(required = true, value_name = "NAME|all", add = complete::of_plugins_or_all())]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) planned: Planned,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Why {
    /// The plugin's name
    #[arg(value_parser = plugin_name, add = complete::of_plugins())]
    pub(crate) name: PluginName,
    /// One version; absent: every published one
    pub(crate) version: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The plugins' names, or `all`
    #[arg(required = true, value_name = "NAME|all", add = complete::of_plugins_or_all())]
    pub(crate) names: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Output {
    /// Print it for a program to read: json, yaml, or name; for people: table
    #[arg(short, long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    #[arg(value_parser = format_parser(), hide_possible_values = true)]
    pub(crate) output: Shown,
}

/// None: for people. Under a name of its own, for an `Option` would be an argument without a value.
pub(crate) type Shown = Option<Format>;

/// How a document is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// Names only, one a line
    Name,
}

fn format_parser() -> impl TypedValueParser<Value = Shown> {
    PossibleValuesParser::new(["table", "json", "yaml", "name"]).map(|word| match word.as_str() {
        "json" => Some(Format::Json),
        "yaml" => Some(Format::Yaml),
        "name" => Some(Format::Name),
        _ => None,
    })
}

fn component(text: &str) -> Result<Component, String> {
    text.parse().map_err(|error: d8_crds::values::name::NameError| error.to_string())
}

pub(crate) fn plugin_name(text: &str) -> Result<PluginName, String> {
    text.parse().map_err(|error: d8_crds::values::name::NameError| error.to_string())
}

/// The whole command tree: `_` and `-` are the same in flag names.
pub(crate) fn command() -> clap::Command {
    underscores(Cli::command()).add(SubcommandCandidates::new(complete::plugins))
}

fn underscores(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg| match arg.get_long() {
            Some(long) if long.contains('-') => {
                let alias = long.replace('-', "_");
                arg.alias(alias)
            }
            _ => arg,
        })
        .mut_subcommands(underscores)
}

/// Reads the command line.
///
/// # Errors
/// clap's: wrong usage, or a request for help or the version.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    Cli::from_arg_matches(&command().try_get_matches_from(args)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_tree_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn a_plugins_arguments_go_through_verbatim() {
        for line in ["d8 hello", "d8 hello -- -h --version -x", "d8 hello --help", "d8 -q hello -q --quiet plugins"] {
            let Command::Plugin(words) = parsed(line).unwrap().command else { panic!("{line}") };
            let words: Vec<_> = words.iter().map(|w| w.to_string_lossy().into_owned()).collect();
            let want = line.split_once("hello").map(|(_, rest)| format!("hello{rest}")).unwrap();
            assert_eq!(words.join(" "), want);
        }
    }

    #[test]
    fn underscores_are_dashes() {
        let cli = parsed("d8 --plugins_dir /x plugins install a --use_major 2").unwrap();
        assert_eq!(cli.global.plugins_dir.unwrap(), PathBuf::from("/x"));
    }

    #[test]
    fn wrong_usage() {
        for line in [
            "d8 plugins install",
            "d8 plugins install ../x",
            "d8 plugins install a --version 1 --use-major 2",
            "d8 plugins frobnicate",
            "d8 plugins list --lock-timeout soon",
        ] {
            assert_eq!(parsed(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
