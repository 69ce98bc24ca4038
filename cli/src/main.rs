//! d8: the Deckhouse command-line tool and plugin manager.
//!
//! This crate contains the messages and the exit codes: it parses the command line, calls the libraries and prints the
//! result. `d8_crds` decides about versions; `d8_agent` reads and writes the stores.
//!
//! Modules from the bottom up, each using only those before it: [`exec`], [`version`] and [`terminal`]; [`args`];
//! [`context`]; [`installed`], [`managed_host`], [`required`], [`running_d8`] and [`catalog`]; [`commands`].

#[cfg(not(unix))]
compile_error!("d8 runs on Linux and macOS; on Windows, run the Linux build in WSL 2");

mod args;
mod catalog;
mod commands;
mod context;
mod exec;
mod installed;
mod managed_host;

mod planning;
mod required;
mod running_d8;
mod terminal;
mod version;

use std::{ffi::OsString, future::Future, io::IsTerminal as _, process::ExitCode, time::Duration};

use args::{
    AgentArgs, AgentCommand, Cli, Command, FallbackArgs, FallbackCommand, FleetArgs, FleetCommand, GlobalArgs,
    HostArgs, HostCommand, PluginsArgs, PluginsCommand, PolicyArgs, PolicyCommand, SelfArgs, SelfCommand,
};
use commands::{agent, completion, fleet, host, plugins, policy, run, self_update};
use context::Context;
use terminal::{
    failure::{self, Code, Failure},
    output,
};

/// Exit code of `--exit-code` when there is a newer version or a change.
const EXIT_CHANGES: u8 = 100;

/// How long to wait at the end for blocking calls, such as a name lookup or a write.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let words: Vec<OsString> = args::of_process();
    // Scripts and updates ask for the version, so this path reads and parses nothing.
    if words.len() == 2 && (words[1] == "--version" || words[1] == "-V") {
        output::print(format_args!("d8 {}", version::display()));
        return finish(Ok(ExitCode::SUCCESS));
    }
    if let Some(answered) = completion::answer(&words) {
        return answered;
    }
    if words.get(1).is_some_and(|word| word == d8_agent::smoke::CHILD_ARG) {
        return ExitCode::from(u8::try_from(d8_agent::smoke::child_main()).unwrap_or(u8::MAX));
    }
    let cli = match args::parse(words) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version arrive here too; clap picks the stream and the exit code.
            let printed = error.print();
            if !error.use_stderr() {
                output::keep_failure(printed);
            }
            return finish(Ok(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Code::Usage as u8))));
        }
    };
    init_logging(cli.global.verbose);
    finish(dispatch(cli))
}

/// Reports the failure of a command, or else that its output could not be written. Returns the exit code.
fn finish(result: Result<ExitCode, Failure>) -> ExitCode {
    match result.and_then(|code| output::finish().map(|()| code)) {
        Ok(code) => code,
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code as u8)
        }
    }
}

/// Logs requests and decisions to stderr with `-v` or `LOG_LEVEL=debug`.
fn init_logging(verbose: bool) {
    let enabled = verbose || std::env::var("LOG_LEVEL").is_ok_and(|level| level.eq_ignore_ascii_case("debug"));
    if enabled {
        tracing_subscriber::fmt()
            .with_env_filter("d8=debug,d8_agent=debug,d8_rpp=debug,d8_crds=debug,kube=debug")
            .with_writer(std::io::stderr)
            .log_internal_errors(false)
            .with_ansi(failure::colour_enabled(std::io::stderr().is_terminal()))
            .without_time()
            .init();
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode, Failure> {
    let context = Context::new(cli.global, cli.command.prints_text());
    let success = |()| ExitCode::SUCCESS;
    let names_required = cli.command.names_required_plugins();
    let result = match cli.command {
        Command::Plugins(group) => run_plugins(&context, group).map(success),
        Command::Cli(group) => run_self_update(&context, group),
        Command::Policy(group) => run_policy(&context, group),
        Command::Host(group) => run_host(&context, group).map(success),
        Command::Fleet(group) => run_fleet(&context, group).map(success),
        Command::Agent(group) => run_agent(context.global.clone(), group).map(success),
        Command::Completion { shell } => completion::print_script(shell).map(success),
        Command::Plugin(words) => block_on(run::run(&context, words)).map(success),
    };
    if names_required {
        required::note_missing(&context);
    }
    result
}

fn run_plugins(context: &Context, group: PluginsArgs) -> Result<(), Failure> {
    match group.command {
        PluginsCommand::List(args) => block_on(plugins::list::run(context, &args)),
        PluginsCommand::Install(args) => block_on(plugins::install::run(context, &args)),
        PluginsCommand::Update(args) => block_on(plugins::update::run(context, &args)),
        PluginsCommand::Why(args) => block_on(plugins::why::run(context, &args)),
        PluginsCommand::Remove(args) => block_on(plugins::remove::run(context, &args)),
        PluginsCommand::Search { words } => Err(plugins::search(&words)),
    }
}

fn run_self_update(context: &Context, group: SelfArgs) -> Result<ExitCode, Failure> {
    let success = |()| ExitCode::SUCCESS;
    match group.command {
        SelfCommand::Check(args) => {
            block_on(self_update::check::run(context, &args)).map(|newer| exit_code(newer && args.exit_code))
        }
        SelfCommand::Versions(args) => block_on(self_update::versions::run(context, &args)).map(success),
        SelfCommand::Update(args) => block_on(self_update::update::run(context, &args)).map(success),
        SelfCommand::Use(args) => block_on(self_update::use_version::run(context, &args)).map(success),
        SelfCommand::Fallback(args) => run_fallback(context, args).map(success),
        SelfCommand::Capabilities(args) => self_update::capabilities::run(&args).map(success),
        SelfCommand::Plugins(group) => run_plugins(context, group).map(success),
    }
}

fn run_fallback(context: &Context, group: FallbackArgs) -> Result<(), Failure> {
    match group.command {
        Some(FallbackCommand::Set(args)) => block_on(self_update::fallback::set(context, &args)),
        Some(FallbackCommand::Unset) => block_on(self_update::fallback::unset(context)),
        Some(FallbackCommand::Show(args)) => self_update::fallback::show(context, &args),
        None => self_update::fallback::show(context, &group.show),
    }
}

fn run_policy(context: &Context, group: PolicyArgs) -> Result<ExitCode, Failure> {
    let success = |()| ExitCode::SUCCESS;
    match group.command {
        PolicyCommand::Get(args) => block_on(policy::get::run(context, &args)).map(success),
        PolicyCommand::Diff(args) => {
            block_on(policy::diff::run(context, &args)).map(|changes| exit_code(changes && args.exit_code))
        }
        PolicyCommand::Check(args) => policy::check::run(&args).map(success),
        PolicyCommand::Trust(args) => block_on(policy::trust::run(context, &args)).map(success),
    }
}

fn run_host(context: &Context, group: HostArgs) -> Result<(), Failure> {
    match group.command {
        HostCommand::Enroll(args) => block_on(host::enroll::run(context, &args)),
        HostCommand::List(args) => block_on(host::list::run(context, &args)),
        HostCommand::Rotate(args) => block_on(host::rotate::run(context, &args)),
        HostCommand::Revoke(args) => block_on(host::revoke::run(context, &args)),
    }
}

fn run_fleet(context: &Context, group: FleetArgs) -> Result<(), Failure> {
    match group.command {
        FleetCommand::Status(args) => block_on(fleet::status::run(context, &args)),
        FleetCommand::Report(args) => block_on(fleet::report::run(context, &args)),
    }
}

fn run_agent(global: GlobalArgs, group: AgentArgs) -> Result<(), Failure> {
    match group.command {
        AgentCommand::Join(args) => block_on(agent::join::run(&Context::new(global, false), &args)),
        AgentCommand::Status(args) => agent::status::run(&Context::of_agent(global, &args.place), &args),
        AgentCommand::Plan(place) => block_on(agent::plan::run(&Context::of_agent(global, &place), &place)),
        AgentCommand::Once(place) => block_on(agent::once::run(&Context::of_agent(global, &place), &place)),
        AgentCommand::Retry(args) => agent::retry::run(&args),
        AgentCommand::Run(place) => run_service(agent::run::run(&global, &place)),
        AgentCommand::Recover(place) => block_on(agent::recover::run(&Context::of_agent(global, &place), &place)),
    }
}

fn exit_code(changes: bool) -> ExitCode {
    if changes { ExitCode::from(EXIT_CHANGES) } else { ExitCode::SUCCESS }
}

/// Runs a command until it ends or until Ctrl-C or SIGTERM. A signal drops the future, which releases its locks and
/// removes its staging directories.
fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    use tokio::signal::unix::{SignalKind, signal};

    in_runtime(tokio::runtime::Builder::new_multi_thread().worker_threads(2), async {
        let mut terminated = signal(SignalKind::terminate()).map_err(|error| runtime_failure(&error))?;
        tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => Err(Failure::interrupted()),
            _ = terminated.recv() => Err(Failure::interrupted()),
            result = command => result,
        }
    })
}

/// Runs a service, which handles signals itself. One thread is enough for it: it waits most of the time.
fn run_service(service: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    in_runtime(&mut tokio::runtime::Builder::new_current_thread(), service)
}

fn in_runtime<T>(
    builder: &mut tokio::runtime::Builder,
    task: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    // Fails only if a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = builder.enable_all().build().map_err(|error| runtime_failure(&error))?;
    let result = runtime.block_on(task);
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    result
}

fn runtime_failure(error: &std::io::Error) -> Failure {
    Failure::new(Code::Failed, "failed to start the async runtime").caused_by(error)
}
