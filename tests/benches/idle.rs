//! What the agent of a host costs while nothing happens: `make bench`.
//!
//! Budgets: less than 10 MiB of memory, less than 0.1 % of a core, and no request to the API server but one watch. The
//! lab is real; the d8 is the one of the release build.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use d8_tests::catalog::Plugin;
use d8_tests::lab::TIMEOUT;
use d8_tests::process::{Server, wait_for};
use d8_tests::{ADMIN, Error, Lab, Result, Workstation, tools};
use serde_json::{Value, json};

/// How long the agent is watched. It is shorter than the time between two ticks.
const IDLE: Duration = Duration::from_mins(2);
/// After the first tick, memory that it needed is given back.
const SETTLE: Duration = Duration::from_secs(15);
const HOST: &str = "bastion-1";

fn main() {
    // A filter on the command line may be for other benches.
    if std::env::args().skip(1).all(|arg| arg.starts_with('-') || "idle".contains(&arg))
        && let Err(error) = measure()
    {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn measure() -> Result<()> {
    let lab = Lab::start(|_| {})?;
    lab.publish(&Plugin::new("tool", "v1.0.0"))?;
    lab.create_releases(&["tool"])?;
    lab.wait_for_version("tool", "v1.0.0")?;
    let rules = json!([{"plugins": ["tool"], "access": "Require", "updates": "Auto"}]);
    lab.apply_policy("bastions", &json!({"hostSelector": {"matchLabels": {"role": "bastion"}}, "rules": rules}))?;

    let agent = start_agent(&lab)?;
    let reported = || Some(report(&lab)).filter(|status| status["components"][0]["state"] == "UpToDate");
    wait_for("the plugin to be installed", TIMEOUT, reported)?;
    std::thread::sleep(SETTLE);

    let pid = wait_for("the process id of the agent", TIMEOUT, || agent.pid())?;
    let (requests, cpu, start) = (lab.plane().requests_of(&user())?.len(), cpu(pid)?, Instant::now());
    std::thread::sleep(IDLE);
    let used = self::cpu(pid)?.saturating_sub(cpu).as_secs_f64() / start.elapsed().as_secs_f64();
    print(pid, used * 100.0, &lab.plane().requests_of(&user())?[requests..])
}

/// Enrols a host, and starts its agent.
fn start_agent(lab: &Lab) -> Result<Server> {
    let admin = lab.workstation(lab.plane().user(ADMIN))?;
    let (file, state) = (admin.home().join("host.d8host"), admin.home().join("state"));
    let [file, state] = [file, state].map(|path| path.display().to_string());
    admin.d8(["host", "enroll", HOST, "--labels", "role=bastion", "-f", &file])?.expect_code(0)?;
    admin.d8(["agent", "join", &file, "--state-dir", &state])?.expect_code(0)?;
    let machine: Workstation = admin.with_env("KUBECONFIG", Path::new(&state).join("kubeconfig"));
    let args = ["agent", "run", "--state-dir", &state];
    lab.plane().scratch().start("agent", release_d8()?, args, |command| machine.environment(command))
}

/// Returns the d8 that cargo built beside this bench, else the one of the development build.
fn release_d8() -> Result<PathBuf> {
    let me = std::env::current_exe().map_err(|source| failed("path of this program", source))?;
    let beside = me.parent().and_then(Path::parent).map(|directory| directory.join("d8"));
    match beside.filter(|d8| d8.exists()) {
        Some(d8) => Ok(d8),
        None => tools::binary("d8").inspect(|d8| println!("idle: no release build; measured is {}", d8.display())),
    }
}

fn user() -> String {
    format!("system:serviceaccount:d8-cli-hosts:{HOST}")
}

fn report(lab: &Lab) -> Value {
    let host = lab.plane().kubectl(["get", "clihost", HOST, "--output=json"]).unwrap_or_default();
    serde_json::from_str::<Value>(&host).unwrap_or_default()["status"].clone()
}

fn print(pid: i32, percent: f64, requests: &[String]) -> Result<()> {
    let status = proc_file(pid, "status")?;
    let mib = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or(f64::NAN) / 1024.0
    };
    let seconds = IDLE.as_secs();
    println!("\nidle: an agent between two ticks, for {seconds} s");
    let [all, own, files, peak] = ["VmRSS", "RssAnon", "RssFile", "VmHWM"].map(mib);
    println!(
        "  memory    {all:6.1} MiB resident ({own:.1} own, {files:.1} of files), {peak:.1} at most so far; budget 10"
    );
    println!("  processor {percent:6.3} % of a core; budget 0.1");
    println!("  API server {:5} requests; budget: one watch", requests.len());
    for request in requests {
        println!("    {request}");
    }
    Ok(())
}

/// Returns the processor time of a process so far.
fn cpu(pid: i32) -> Result<Duration> {
    /// Ticks per second of `/proc`, on every architecture that d8 is built for.
    const TICKS: f64 = 100.0;
    let stat = proc_file(pid, "stat")?;
    // The name of the process, in brackets, may contain spaces.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
    let ticks: f64 = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    Ok(Duration::from_secs_f64(ticks / TICKS))
}

fn proc_file(pid: i32, name: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{name}");
    std::fs::read_to_string(&path).map_err(|source| failed(&path, source))
}

fn failed(what: &str, source: std::io::Error) -> Error {
    Error::Io { what: what.to_owned(), source }
}
