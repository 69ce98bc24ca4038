//! Grammar of the command line. One submodule for each command group.
//!
//! Doc comments of fields and variants are help texts.
#![allow(clippy::doc_markdown, reason = "doc comments of arguments are their help texts")]

mod agent;
mod fleet;
mod host;
mod plugins;
mod policy;
mod self_update;
pub(crate) mod value;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub(crate) use self::{
    agent::{AgentArgs, AgentCommand, AgentJoinArgs, AgentPlaceArgs, AgentRetryArgs, AgentStatusArgs},
    fleet::{FleetArgs, FleetCommand, FleetFormat, FleetReportArgs, FleetSelectionArgs, FleetStatusArgs},
    host::{EnrolmentFileArgs, HostArgs, HostCommand, HostEnrollArgs, HostListArgs, HostRevokeArgs, HostRotateArgs},
    plugins::{
        PluginsArgs, PluginsCommand, PluginsInstallArgs, PluginsListArgs, PluginsRemoveArgs, PluginsUpdateArgs,
        PluginsWhyArgs,
    },
    policy::{DiffFormat, PolicyArgs, PolicyCheckArgs, PolicyCommand, PolicyDiffArgs, PolicyGetArgs, PolicyTrustArgs},
    self_update::{
        FallbackArgs, FallbackCommand, FallbackSetArgs, FallbackShowArgs, SelfArgs, SelfCapabilitiesArgs,
        SelfCheckArgs, SelfCommand, SelfUpdateArgs, SelfUseArgs, SelfVersionsArgs,
    },
};

/// Deckhouse command-line tool and plugin manager
#[derive(Debug, Parser)]
#[command(name = "d8", version = crate::version::display(), propagate_version = false, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Run an installed plugin: d8 <PLUGIN> [ARGS]...")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command. A flag overrides its environment variable.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that people type")]
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Kubeconfig file [env: KUBECONFIG, several files are merged]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context in the kubeconfig to use
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Base URL of the registry-packages-proxy; skips discovery through the cluster [env: D8_RPP_ENDPOINT]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) rpp_endpoint: Option<String>,
    /// CA certificates to trust for the proxy, in addition to those of the system [env: D8_RPP_CA_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) rpp_ca_file: Option<PathBuf>,
    /// Do not verify the certificate of the proxy
    #[arg(long, global = true)]
    pub(crate) rpp_insecure_skip_tls_verify: bool,
    /// Do not verify the certificates of the proxy and of the Kubernetes API
    #[arg(long, global = true)]
    pub(crate) insecure_skip_tls_verify: bool,
    /// Root directory of installed plugins [env: DECKHOUSE_CLI_PATH]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) plugins_dir: Option<PathBuf>,
    /// Skip the checks of Kubernetes, Deckhouse and module requirements [env: D8_PLUGINS_SKIP_CLUSTER_CHECKS=1]
    #[arg(long, global = true)]
    pub(crate) skip_cluster_checks: bool,
    /// How long to wait for a lock that another d8 process holds; 0 fails immediately
    #[arg(long, global = true, value_name = "DURATION", default_value = "60s", value_parser = value::duration)]
    pub(crate) lock_timeout: Duration,
    /// Do not print progress and notes
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Log requests and decisions to stderr [env: LOG_LEVEL=debug]
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
}

impl GlobalArgs {
    /// Returns what the environment says, without flags.
    pub(crate) fn of_environment() -> Self {
        Self::default().with_environment(|name| std::env::var_os(name))
    }

    /// Returns the flags, completed by the environment. The parser does not read these variables, because its usage
    /// lines would then show flags that nobody typed. An empty variable is an unset one.
    fn with_environment(mut self, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str| set(name).map(PathBuf::from);
        self.plugins_dir = self.plugins_dir.or_else(|| path("DECKHOUSE_CLI_PATH"));
        self.rpp_ca_file = self.rpp_ca_file.or_else(|| path("D8_RPP_CA_FILE"));
        self.rpp_endpoint =
            self.rpp_endpoint.or_else(|| set("D8_RPP_ENDPOINT").map(|url| url.to_string_lossy().into_owned()));
        self
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Install, update, list and remove plugins
    Plugins(PluginsArgs),
    /// Check, update and switch the version of d8 itself
    #[command(visible_alias = "dist")]
    Cli(SelfArgs),
    /// Show, check and compare plugin policies
    Policy(PolicyArgs),
    /// Create, list and revoke the identities of managed hosts
    Host(HostArgs),
    /// Show what managed hosts run, and what holds newer versions back
    Fleet(FleetArgs),
    /// Make this machine a managed host, and keep it on its policies
    Agent(AgentArgs),
    /// Print a shell completion script
    Completion {
        /// Shell to print the script for
        shell: clap_complete::Shell,
    },
    /// An installed plugin; its arguments are passed through unchanged.
    #[command(external_subcommand)]
    Plugin(Vec<OsString>),
}

impl Command {
    /// Returns whether the output is text for people, and not a document or a list of names.
    pub(crate) fn prints_text(&self) -> bool {
        match self {
            Self::Plugins(group) => group.command.prints_text(),
            Self::Cli(group) => group.command.prints_text(),
            Self::Policy(group) => group.command.prints_text(),
            Self::Host(group) => group.command.prints_text(),
            Self::Fleet(group) => group.command.prints_text(),
            // `agent` reads the cluster that a file names. The output of a run is the plugin's.
            Self::Agent(_) | Self::Completion { .. } | Self::Plugin(_) => false,
        }
    }

    /// Returns whether the command names the required plugins that are not installed (`docs/policies.md`, rule 24). A run
    /// stays quiet, and `update all` reports them itself.
    pub(crate) fn names_required_plugins(&self) -> bool {
        let of_plugins = |command: &PluginsCommand| match command {
            PluginsCommand::Update(args) => !args.is_all(),
            _ => true,
        };
        match self {
            Self::Plugins(group) | Self::Cli(SelfArgs { command: SelfCommand::Plugins(group), .. }) => {
                of_plugins(&group.command)
            }
            Self::Cli(_) | Self::Policy(_) => true,
            Self::Host(_) | Self::Fleet(_) | Self::Agent(_) | Self::Completion { .. } | Self::Plugin(_) => false,
        }
    }
}

/// Returns the command that was typed with a flag before its first word, which is a global flag. `pass_through` is the
/// number of words at the end that belong to a plugin: they are not repeated, because they may be secrets.
pub(crate) fn typed_with(flag: &str, typed: &[OsString], pass_through: usize) -> String {
    let own = typed.get(1..typed.len().saturating_sub(pass_through)).unwrap_or_default();
    let words = own.iter().map(|word| value::shell_word(&word.to_string_lossy()));
    let more = (pass_through > 0).then(|| "…".to_owned());
    ["d8".to_owned(), flag.to_owned()].into_iter().chain(words).chain(more).collect::<Vec<_>>().join(" ")
}

/// Returns the command that was typed with `--skip-cluster-checks`. `pass_through` is as in [`typed_with`].
pub(crate) fn skipping_cluster_checks(pass_through: usize) -> String {
    typed_with("--skip-cluster-checks", &std::env::args_os().collect::<Vec<_>>(), pass_through)
}

/// Returns the whole command tree. Flag names accept `_` for `-`.
pub(crate) fn command() -> clap::Command {
    accept_underscores(Cli::command())
}

fn accept_underscores(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg| match arg.get_long() {
            Some(long) if long.contains('-') => {
                let alias = long.replace('-', "_");
                arg.alias(alias)
            }
            _ => arg,
        })
        .mut_subcommands(accept_underscores)
}

/// Returns the words of this process: those of `d8 agent` if it was started as `d8-agent`.
pub(crate) fn of_process() -> Vec<OsString> {
    of_program(std::env::args_os().collect())
}

fn of_program(mut words: Vec<OsString>) -> Vec<OsString> {
    let is_agent = words.first().is_some_and(|program| Path::new(program).file_name() == Some("d8-agent".as_ref()));
    let asks_version = words.get(1).is_some_and(|word| word == "--version" || word == "-V");
    if is_agent && !asks_version {
        words.insert(1, "agent".into());
    }
    words
}

/// Parses the command line.
///
/// # Errors
/// Wrong usage, or a request for help or the version.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut cli = Cli::from_arg_matches(&command().try_get_matches_from(args)?)?;
    cli.global = cli.global.with_environment(|name| std::env::var_os(name));
    Ok(cli)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_command_tree_is_valid() {
        command().debug_assert();
    }

    #[test]
    fn plugin_arguments_are_passed_through() {
        for line in ["d8 hello", "d8 hello -- -h --version -x", "d8 hello --help", "d8 -q hello -q --quiet plugins"] {
            let Command::Plugin(words) = parsed(line).unwrap().command else { panic!("{line}") };
            let words: Vec<_> = words.iter().map(|w| w.to_string_lossy().into_owned()).collect();
            let want = line.split_once("hello").map(|(_, rest)| format!("hello{rest}")).unwrap();
            assert_eq!(words.join(" "), want);
        }
    }

    #[test]
    fn a_flag_is_typed_before_the_name_of_the_plugin() {
        let typed = |line: &[&str], pass_through| {
            let words: Vec<_> = line.iter().map(OsString::from).collect();
            let command = typed_with("--skip-cluster-checks", &words, pass_through);
            let plain = command.replace(['…', '\''], "");
            parse(plain.split_whitespace().map(OsString::from)).unwrap();
            command
        };
        for (line, pass_through, expected) in [
            (&["/usr/bin/d8", "hello"][..], 0, "d8 --skip-cluster-checks hello"),
            (&["d8", "hello", "--token", "secret"], 2, "d8 --skip-cluster-checks hello …"),
            (&["d8", "-k", "a b", "hello", "x"], 1, "d8 --skip-cluster-checks -k 'a b' hello …"),
            (
                &["d8", "plugins", "install", "hello", "--version", "v1.0.0"],
                0,
                "d8 --skip-cluster-checks plugins install hello --version v1.0.0",
            ),
        ] {
            assert_eq!(typed(line, pass_through), expected);
        }
    }

    #[test]
    fn a_flag_overrides_its_variable() {
        let variable =
            |name: &str| Some(OsString::from(if name == "D8_RPP_CA_FILE" { "" } else { "from-environment" }));
        let global = parsed("d8 --plugins-dir /x plugins list").unwrap().global.with_environment(variable);
        assert_eq!(global.plugins_dir, Some(PathBuf::from("/x")));
        assert_eq!(global.rpp_endpoint.as_deref(), Some("from-environment"));
        assert_eq!(global.rpp_ca_file, None, "an empty variable is an unset one");
    }

    #[test]
    fn the_agent_has_a_name_of_its_own() {
        let words = |line: &str| of_program(line.split(' ').map(OsString::from).collect());
        for (line, expected) in [
            ("/usr/bin/d8-agent run", "/usr/bin/d8-agent agent run"),
            ("d8-agent status -o json", "d8-agent agent status -o json"),
            ("d8-agent --version", "d8-agent --version"),
            ("d8 agent run", "d8 agent run"),
            ("/opt/d8-agent/d8 tool", "/opt/d8-agent/d8 tool"),
        ] {
            assert_eq!(words(line), expected.split(' ').map(OsString::from).collect::<Vec<_>>());
        }
        let Command::Agent(_) = parse(words("d8-agent status")).unwrap().command else { panic!("another command") };
    }

    #[test]
    fn underscores_in_flags() {
        let cli = parsed("d8 --plugins_dir /x plugins install a --use_major 2").unwrap();
        assert_eq!(cli.global.plugins_dir.unwrap(), PathBuf::from("/x"));
    }

    #[test]
    fn wrong_usage_exits_with_2() {
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
