//! `d8-lab`: the lab and the demo of this project.

use std::ffi::OsString;
use std::io::{Write as _, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use d8_tests::{ADMIN, Error, Lab, Result, catalog, demo, supervisor, tools};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

/// A real control plane on this machine, with the proxy, the operator and plugins to try
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the lab and print how to use it; Ctrl-C stops it
    Lab,
    /// Run the demo; exits with 0 only if every step gave the expected output
    Demo,
}

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(code) = supervisor::role(&args) {
        return code;
    }
    let done = match Cli::parse().command {
        Command::Lab => lab(),
        Command::Demo => run_demo(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = stdout().flush();
            eprintln!("\nerror: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns a function that prints each step to stderr, with the time since the start.
fn progress(started: Instant) -> impl FnMut(&str) {
    move |what| eprintln!("{:5.1} s  {what}", started.elapsed().as_secs_f32())
}

fn run_demo() -> Result<()> {
    let started = Instant::now();
    let lab = Lab::start(progress(started))?;
    progress(started)("the lab is ready; the demo begins");
    demo::run(&lab, stdout().lock())
}

fn lab() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Io { what: "runtime".into(), source })?;
    let started = Instant::now();
    let mut progress = progress(started);
    let lab = Lab::start(&mut progress)?;
    progress("publishing plugins");
    lab.publish_catalog()?;
    progress("creating records and a policy");
    create_objects(&lab)?;
    progress("ready");
    print!("{}", instructions(&lab)?);
    runtime
        .block_on(async {
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            Ok(())
        })
        .map_err(|source| Error::Io { what: "signals".into(), source })?;
    eprintln!("\nstopping the lab");
    drop(lab);
    Ok(())
}

fn create_objects(lab: &Lab) -> Result<()> {
    lab.allow_download("alice")?;
    let mut names: Vec<String> = catalog::plugins().into_iter().map(|plugin| plugin.name).collect();
    names.extend(catalog::hostile().iter().map(|image| image.name.to_owned()));
    names.sort();
    names.dedup();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    lab.create_releases(&names)?;
    lab.apply_policy(
        "workstations",
        &json!({
            "hostSelector": {},
            "rules": [
                {"plugins": ["stronghold"], "versions": ">=1.2 <2", "block": ["v1.2.0"], "message": "v1.2.0 loses secrets"},
                {"plugins": ["netcheck"], "access": "Deny"},
            ],
        }),
    )?;
    lab.wait_for_version("hello", "v1.1.0")?;
    lab.wait_for_accepted("workstations").map(drop)
}

fn instructions(lab: &Lab) -> Result<String> {
    let alice = lab.workstation(lab.plane().user("alice"))?;
    let admin = lab.plane().kubeconfig_for(&lab.plane().user(ADMIN))?;
    let directory = |path: PathBuf| path.parent().map(Path::to_owned).unwrap_or_default().display().to_string();
    let binaries = directory(tools::binary("d8")?);
    let kubectl = tools::Tools::get()?.directory().display();
    Ok(format!(
        "\n\
         The lab is running. In another terminal, run these commands to be alice, who may download:\n\n  \
         export HOME={home}\n  \
         export KUBECONFIG={kubeconfig}\n  \
         export DECKHOUSE_CLI_PATH={root}\n  \
         export ADMIN={admin}\n  \
         export PATH={binaries}:{kubectl}:$PATH\n\n\
         HOME is alice's, so that the lab leaves nothing in yours. Then try:\n\n  \
         kubectl get crel,ppol                        published versions, versions that fit, policies\n  \
         d8 plugins install hello && d8 hello         the newest version that fits and is permitted\n  \
         d8 plugins why stronghold                    every version with its verdict and the reasons\n  \
         d8 plugins install delivery                  also installs delivery-kit, which it needs\n  \
         d8 plugins install netcheck                  refused by a policy\n  \
         d8 plugins install hollow                    an image without an executable\n  \
         d8 plugins update all\n  \
         kubectl --kubeconfig $ADMIN edit ppol workstations\n  \
         kubectl --kubeconfig $ADMIN patch module stronghold --subresource=status --type=merge \\\n      \
         -p '{{\"status\":{{\"conditions\":[{{\"type\":\"EnabledByModuleManager\",\"status\":\"False\"}}]}}}}'\n\n\
         Images are in {layout} (see `d8-rpp pack --help`).\n\
         Logs are in {logs}.\n\
         Press Ctrl-C here to stop the lab.\n",
        home = alice.home().display(),
        kubeconfig = alice.kubeconfig().display(),
        root = alice.root().display(),
        admin = admin.display(),
        layout = lab.proxy().layout().display(),
        logs = lab.plane().scratch().path().join("*.log").display(),
    ))
}
