//! `d8-operator`: publishes available and fitting versions as `CliRelease` records, and runs the waves of
//! `PluginPolicy` objects.
//!
//! Three layers, each using only those below it:
//! - `controllers`: when to poll, to evaluate and to write;
//! - `adapters`: the API server, the registry-packages-proxy, health and metrics;
//! - `decisions`: what to write, without IO and without a clock.
//!
//! [`offline`] applies the decisions about policies without an API server.

mod adapters;
mod args;
mod controllers;
mod decisions;
pub mod offline;
mod run;

use std::{
    fmt,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use crate::args::{Args, LogFormat};

/// Runs the operator with the arguments of the process, until a signal. Returns its exit code.
pub async fn main() -> ExitCode {
    // kube and the client of the proxy share one TLS stack. It fails only if a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return print_parse_result(&error),
    };
    let filter = match EnvFilter::try_new(&args.log_level) {
        Ok(filter) => filter,
        Err(error) => {
            return fail(2, format_args!("--log-level {:?}: {error}", args.log_level));
        }
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    match args.log_format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
    match Box::pin(run::run(args)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.exit_code(), error),
    }
}

/// Prints help, the version, or what is wrong with the command line. Returns the exit code.
fn print_parse_result(result: &clap::Error) -> ExitCode {
    match result.print() {
        Err(error) if !result.use_stderr() && error.kind() != io::ErrorKind::BrokenPipe => {
            fail(1, format_args!("failed to write to stdout: {error}"))
        }
        _ => ExitCode::from(u8::try_from(result.exit_code()).unwrap_or(1)),
    }
}

/// Prints an error and returns the exit code. If stderr is closed, there is nowhere to report that.
fn fail(code: u8, error: impl fmt::Display) -> ExitCode {
    let _ = writeln!(io::stderr().lock(), "error: {error}");
    ExitCode::from(code)
}
