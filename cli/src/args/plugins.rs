//! `d8 plugins …`.

use clap::{Args, Subcommand};
use d8_crds::values::name::{Component, PluginName};

use super::value::{self, OutputArgs};

#[derive(Debug, Args)]
pub(crate) struct PluginsArgs {
    #[command(subcommand)]
    pub(crate) command: PluginsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PluginsCommand {
    /// Install the newest permitted version of plugins
    Install(PluginsInstallArgs),
    /// Update installed plugins to the newest permitted version; `all` also installs required plugins
    #[command(visible_alias = "upgrade")]
    Update(PluginsUpdateArgs),
    /// List installed plugins
    #[command(visible_alias = "ls")]
    List(PluginsListArgs),
    /// Explain why published versions of a plugin can or cannot be installed
    Why(PluginsWhyArgs),
    /// Remove plugins
    #[command(visible_aliases = ["uninstall", "delete"])]
    Remove(PluginsRemoveArgs),
    /// What other package managers have; d8 names its own command.
    #[command(hide = true)]
    Search {
        /// Words to search for
        words: Vec<String>,
    },
}

impl PluginsCommand {
    /// Returns whether the output is text for people, and not a document or a list of names.
    pub(super) fn prints_text(&self) -> bool {
        match self {
            Self::List(args) => args.output.prints_text(),
            Self::Why(args) => args.output.prints_text(),
            _ => true,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct PluginsInstallArgs {
    /// Names of the plugins
    #[arg(required = true, value_name = "NAME", value_parser = value::plugin_to_install)]
    pub(crate) names: Vec<PluginName>,
    /// Install exactly this version; pre-releases are accepted
    #[arg(long, value_name = "VERSION", conflicts_with = "use_major")]
    pub(crate) version: Option<String>,
    /// Download the version again even if it is installed
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
}

/// Flags of commands that plan changes of plugins.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// Use the newest version of this major version
    #[arg(long, value_name = "MAJOR")]
    pub(crate) use_major: Option<u64>,
    /// Show what would change without changing it
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Fail instead of changing other plugins that the plugin needs
    #[arg(long)]
    pub(crate) no_dependencies: bool,
    /// Install and update dependencies; this is the default
    #[arg(long, hide = true, conflicts_with = "no_dependencies")]
    pub(crate) resolve_plugins_conflicts: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PluginsUpdateArgs {
    /// Names of the plugins, or `all`
    #[arg(required = true, value_name = "NAME|all")]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
}

impl PluginsUpdateArgs {
    /// Returns whether all plugins are to be updated.
    pub(super) fn is_all(&self) -> bool {
        self.names.iter().any(|name| name == "all")
    }
}

#[derive(Debug, Args)]
pub(crate) struct PluginsListArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PluginsWhyArgs {
    /// Name of the plugin, or `d8` with `--host`
    #[arg(value_parser = value::component_to_explain)]
    pub(crate) name: Component,
    /// Version to explain [default: all published versions]
    pub(crate) version: Option<String>,
    /// Explain the verdicts for the agent of this managed host [default: for you, on this machine]
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PluginsRemoveArgs {
    /// Names of the plugins, or `all`
    #[arg(required = true, value_name = "NAME|all")]
    pub(crate) names: Vec<String>,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub(crate) yes: bool,
}
