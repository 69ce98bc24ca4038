//! d8: the Deckhouse command line and its plugins, delivered as policy says.
//!
//! Owns words and exit codes: reads the command line, asks the libraries, says what came of it. It
//! decides nothing about versions (`d8_crds`) and touches no store by itself (`d8_agent`).

#[cfg(not(unix))]
compile_error!("d8 runs on Linux and macOS; on Windows it runs in WSL 2, where it is a Linux program");

mod args;
mod catalog;
mod commands;
mod context;
mod exec;
mod installed;
mod planning;
mod running_d8;
mod terminal;
mod version;

use std::{
    ffi::OsString,
    future::Future,
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

use args::{Cli, Command, FallbackCommand, PluginsArgs, PluginsCommand, PolicyCommand, SelfCommand};
use commands::{completion, plugins, policy, run, self_update};
use context::Context;
use terminal::failure::{self, Code, Failure};

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    // Before anything is read or parsed: this is asked by scripts, by completion and by updates.
    if words.len() == 2 && (words[1] == "--version" || words[1] == "-V") {
        let _ = writeln!(std::io::stdout(), "d8 {}", version::display());
        return ExitCode::SUCCESS;
    }
    if completion::answer(&words) {
        return ExitCode::SUCCESS;
    }
    if words.get(1).is_some_and(|word| word == d8_agent::smoke::CHILD_ARG) {
        return ExitCode::from(u8::try_from(d8_agent::smoke::child_main()).unwrap_or(u8::MAX));
    }
    let cli = match args::parse(words) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and the version are no failures; their text goes where clap sends it.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Code::Usage as u8));
        }
    };
    log(cli.global.verbose);
    match dispatch(cli) {
        Ok(code) => code,
        Err(failure) => {
            failure.show();
            ExitCode::from(failure.code as u8)
        }
    }
}

/// `-v` or `LOG_LEVEL=debug` shows requests and decisions on stderr; nothing else does.
fn log(verbose: bool) {
    let wanted = verbose || std::env::var("LOG_LEVEL").is_ok_and(|level| level.eq_ignore_ascii_case("debug"));
    if wanted {
        tracing_subscriber::fmt()
            .with_env_filter("d8=debug,d8_agent=debug,d8_rpp=debug,d8_crds=debug,kube=debug")
            .with_writer(std::io::stderr)
            .with_ansi(failure::colour(std::io::stderr().is_terminal()))
            .without_time()
            .init();
    }
}

/// There is something newer, or something would move, and `--exit-code` asks for it to be told so.
const SOMETHING_NEWER: u8 = 100;

fn dispatch(cli: Cli) -> Result<ExitCode, Failure> {
    let context = Context::new(cli.global);
    let done = |()| ExitCode::SUCCESS;
    match cli.command {
        Command::Plugins(group) => plugins_command(&context, group).map(done),
        Command::Cli(group) => match group.command {
            SelfCommand::Check(args) => wait(self_update::check::run(&context, &args))
                .map(|newer| ExitCode::from(if newer && args.exit_code { SOMETHING_NEWER } else { 0 })),
            SelfCommand::Versions(args) => wait(self_update::versions::run(&context, &args)).map(done),
            SelfCommand::Update(args) => wait(self_update::switch::update(&context, &args)).map(done),
            SelfCommand::Use(args) => wait(self_update::switch::use_version(&context, &args)).map(done),
            SelfCommand::Fallback(args) => match args.command {
                Some(FallbackCommand::Set(args)) => wait(self_update::fallback::set(&context, &args)),
                Some(FallbackCommand::Unset) => wait(self_update::fallback::unset(&context)),
                Some(FallbackCommand::Show(args)) => self_update::fallback::show(&context, &args),
                None => self_update::fallback::show(&context, &args.show),
            }
            .map(done),
            SelfCommand::Capabilities(args) => self_update::capabilities::run(&args).map(done),
            SelfCommand::Plugins(group) => plugins_command(&context, group).map(done),
        },
        Command::Policy(group) => match group.command {
            PolicyCommand::Get(args) => wait(policy::get::run(&context, &args)).map(done),
            PolicyCommand::Diff(args) => wait(policy::diff::run(&context, &args))
                .map(|moves| ExitCode::from(if moves && args.exit_code { SOMETHING_NEWER } else { 0 })),
            PolicyCommand::Check(args) => policy::check::run(&args).map(done),
            PolicyCommand::Trust(args) => wait(policy::trust::run(&context, &args)).map(done),
        },
        Command::Completion { shell } => completion::print_script(shell).map(done),
        Command::Plugin(words) => wait(run::run(&context, words)).map(done),
    }
}

fn plugins_command(context: &Context, group: PluginsArgs) -> Result<(), Failure> {
    match group.command {
        PluginsCommand::List(args) => plugins::list::run(context, &args),
        PluginsCommand::Install(args) => wait(plugins::install::run(context, &args)),
        PluginsCommand::Update(args) => wait(plugins::update::run(context, &args)),
        PluginsCommand::Why(args) => wait(plugins::why::run(context, &args)),
        PluginsCommand::Remove(args) => wait(plugins::remove::run(context, &args)),
    }
}

/// Runs a command to its end, or to Ctrl-C or SIGTERM: then what it holds is dropped, which unlocks
/// and sweeps, and the process ends as shells expect.
fn wait<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    use tokio::signal::unix::{SignalKind, signal};

    // Installed once; a second call could only find it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let unable = |error: std::io::Error| Failure::new(Code::Failed, "no asynchronous runtime").caused_by(&error);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(unable)?;
    let result = runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate()).map_err(unable)?;
        tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => Err(Failure::interrupted()),
            _ = terminated.recv() => Err(Failure::interrupted()),
            result = command => result,
        }
    });
    // A blocked name look-up or write must not hold the process back.
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    result
}
