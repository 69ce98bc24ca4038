//! `d8-operator`: publishes as `CliRelease` what exists and fits this cluster, and leads the waves of
//! `PluginPolicy` objects.
//!
//! What is decided is pure and needs no cluster to be tried: `release::judge`, `release::survey`,
//! `release::ledger`, `policy::judge`, `policy::waves`, `records::plan`. The rest reads, calls it, and writes.

mod apply;
mod args;
mod backoff;
mod cluster;
mod context;
mod controllers;
mod demand;
mod events;
mod hosts;
mod kept;
mod leader;
mod metrics;
mod policy;
mod proxy;
mod queue;
mod records;
mod release;
mod run;
mod serve;
mod watch;

use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use crate::args::{Args, LogFormat};

#[tokio::main]
async fn main() -> ExitCode {
    // kube and the proxy's client share one TLS stack; a second installation would find the first.
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
