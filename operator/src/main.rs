//! `d8-operator`: publishes available and fitting versions as `CliRelease` records, and runs the waves of
//! `PluginPolicy` objects.
//!
//! Three layers, each using only those below it:
//! - `controllers`: when to poll, to evaluate and to write;
//! - `adapters`: the API server, the registry-packages-proxy, health and metrics;
//! - `decisions`: what to write, without IO and without a clock.

mod adapters;
mod args;
mod controllers;
mod decisions;
mod run;

use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use crate::args::{Args, LogFormat};

#[tokio::main]
async fn main() -> ExitCode {
    // kube and the client of the proxy share one TLS stack. It fails only if a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let args = Args::parse();
    let filter = match EnvFilter::try_new(&args.log_level) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("error: --log-level {:?}: {error}", args.log_level);
            return ExitCode::from(2);
        }
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
    match Box::pin(run::run(args)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
