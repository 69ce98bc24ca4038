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

/// A real control plane on this machine, with the proxy, the operator and plugins to try.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Brings all up and says how to use it; Ctrl-C takes all down
    Lab,
    /// Brings all up and tells what it does; exits with 0 only if every step gave what it should
    Demo,
}

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(code) = supervisor::role(&args) {
        return code;
    }
    let done = match Cli::parse().command {
        Command::Lab => lab(),
        Command::Demo => tell(),
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

/// Says on stderr what is being done, with the time it began at.
fn progress(started: Instant) -> impl FnMut(&str) {
    move |what| eprintln!("{:5.1} s  {what}", started.elapsed().as_secs_f32())
}

fn tell() -> Result<()> {
    let started = Instant::now();
    let lab = Lab::start(progress(started))?;
    progress(started)("all is up; the story begins");
    demo::tell(&lab, stdout().lock())
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
    progress("writing records and a policy");
    furnish(&lab)?;
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
    eprintln!("\ntaking all down");
    drop(lab);
    Ok(())
}

fn furnish(lab: &Lab) -> Result<()> {
    lab.allow_download("alice")?;
    let mut names: Vec<String> = catalog::plugins().into_iter().map(|plugin| plugin.name).collect();
    names.extend(catalog::hostile().iter().map(|image| image.name.to_owned()));
    names.sort();
    names.dedup();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    lab.track(&names)?;
    lab.policy(
        "workstations",
        &json!({
            "hostSelector": {},
            "rules": [
                {"plugins": ["stronghold"], "versions": ">=1.2 <2", "block": ["v1.2.0"], "message": "v1.2.0 loses secrets"},
                {"plugins": ["netcheck"], "access": "Deny"},
            ],
        }),
    )?;
    lab.release_with("hello", "v1.1.0")?;
    lab.policy_accepted("workstations").map(drop)
}

fn instructions(lab: &Lab) -> Result<String> {
    let alice = lab.workstation(lab.plane().user("alice"))?;
    let admin = lab.plane().kubeconfig_for(&lab.plane().user(ADMIN))?;
    let folder = |path: PathBuf| path.parent().map(Path::to_owned).unwrap_or_default().display().to_string();
    let binaries = folder(tools::binary("d8")?);
    let kubectl = tools::Tools::get()?.folder().display();
    Ok(format!(
        "\n\
         The lab is up. In another terminal you are alice, who may download, once you typed:\n\n  \
         export HOME={home}\n  \
         export KUBECONFIG={kubeconfig}\n  \
         export DECKHOUSE_CLI_PATH={root}\n  \
         export ADMIN={admin}\n  \
         export PATH={binaries}:{kubectl}:$PATH\n\n\
         (Her home, so that nothing of the lab stays in yours.) Then, for example:\n\n  \
         kubectl get crel,ppol                        what is published, what fits, what is allowed\n  \
         d8 plugins install hello && d8 hello         the newest version that fits and is allowed\n  \
         d8 plugins why stronghold                    every version, and who refuses it\n  \
         d8 plugins install delivery                  refused: it needs the plugin delivery-kit ^1.0\n  \
         d8 plugins install netcheck                  refused by policy\n  \
         d8 plugins install hollow                    an image without an executable\n  \
         d8 plugins update all\n  \
         kubectl --kubeconfig $ADMIN edit ppol workstations\n  \
         kubectl --kubeconfig $ADMIN patch module stronghold --subresource=status --type=merge \\\n      \
         -p '{{\"status\":{{\"conditions\":[{{\"type\":\"EnabledByModuleManager\",\"status\":\"False\"}}]}}}}'\n\n\
         Images are in {layout} (see `d8-rpp pack --help`),\n\
         logs in {logs}.\n\
         Ctrl-C here takes all down.\n",
        home = alice.home().display(),
        kubeconfig = alice.kubeconfig().display(),
        root = alice.root().display(),
        admin = admin.display(),
        layout = lab.registry().layout().display(),
        logs = lab.plane().scratch().path().join("*.log").display(),
    ))
}
