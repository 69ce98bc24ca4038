//! Ten agents, one proxy and one API server, and faults at random: agents are killed in mid-change, the API server is
//! restarted, the proxy is cut and slowed, staged files are corrupted, the disk is full, tags move, policies flip, clocks
//! are wrong. All the time every active program runs, and is a version that was permitted when it was switched. At the
//! end all hosts converge.
//!
//! `CHAOS_SECONDS` (default 60) says for how long, `CHAOS_SEED` repeats the faults of another run.

mod checker;
mod faults;
mod permits;

use std::sync::Arc;
use std::time::{Duration, Instant};

use d8_tests::fleet::{Fleet, component};
use d8_tests::relay::{Relay, Traffic};
use d8_tests::skewed_clock::SkewedServer;
use d8_tests::{Lab, Result, objects};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;

use crate::checker::Checker;
use crate::faults::{Disk, Faults};
use crate::permits::{Permits, Rule};

const HOSTS: usize = 10;
/// The plugins that all hosts must have.
const PLUGINS: [&str; 2] = ["extra", "tool"];
/// Longest wait for all hosts to converge after the last fault.
const CONVERGENCE: Duration = Duration::from_mins(3);

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn agents_survive_chaos() -> Result<()> {
    let seed = variable("CHAOS_SEED").unwrap_or_else(rand::random);
    let seconds = variable("CHAOS_SECONDS").unwrap_or(60);
    println!("CHAOS_SEED={seed} CHAOS_SECONDS={seconds}");
    // Mounts of this thread and of what it starts: they end with the processes.
    let disk = Disk::private();
    let mut faults = start(disk, StdRng::seed_from_u64(seed))?;
    let checker = Checker::start(&faults.fleet, faults.permits.clone());
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let outcome = run(&mut faults, &checker, deadline).and_then(|()| converge(&mut faults, &checker));
    let checks = checker.stop();
    println!("{checks}");
    faults.print_summary();
    if outcome.is_err() || !checks.violations.is_empty() {
        faults.print_details(&checks.violations);
    }
    outcome?;
    assert!(checks.violations.is_empty(), "CHAOS_SEED={seed}: {:#?}", checks.violations);
    assert!(checks.switches > HOSTS * PLUGINS.len(), "nothing changed before the end: {checks}");
    Ok(())
}

fn start(disk: Option<Disk>, random: StdRng) -> Result<Faults> {
    let lab = Lab::start(|_| {})?;
    let disk = disk.map(|disk| disk.mount(&lab)).transpose()?;
    let relay = Relay::to(lab.proxy().address())?;
    lab.plane().apply(&objects::proxy_config(None, &[&relay.address], lab.plane().ca_pem()).to_string())?;
    let clock = SkewedServer::start(lab.plane())?;
    let hosts: Vec<_> = (0..HOSTS).map(|number| (format!("host-{number}"), "role=chaos".to_owned())).collect();
    let fleet = Fleet::enroll(&lab, &hosts, Some(clock.url()))?;
    let permits = Arc::new(Permits::default());
    let mut faults = Faults::new(lab, fleet, relay, clock, disk, permits, random);
    faults.publish_next()?;
    faults.set_rule(Rule::Open)?;
    faults.start_agents()?;
    for plugin in PLUGINS {
        faults.fleet.wait_for_version(plugin, "v1.0.0", CONVERGENCE, |_| true)?;
    }
    Ok(faults)
}

fn run(faults: &mut Faults, checker: &Checker, deadline: Instant) -> Result<()> {
    while Instant::now() < deadline && !checker.is_violated() {
        faults.next()?;
        let pause = faults.random.random_range(0..1500);
        std::thread::sleep(Duration::from_millis(pause));
    }
    Ok(())
}

/// Ends all faults and publishes one more version. All hosts must take it.
fn converge(faults: &mut Faults, checker: &Checker) -> Result<()> {
    faults.note("all faults end");
    faults.relay.set(Traffic::Open);
    faults.set_clock(0);
    faults.free_disk();
    faults.repair_servers()?;
    faults.start_agents()?;
    faults.publish_next()?;
    faults.set_rule(Rule::Open)?;
    let begun = Instant::now();
    let newest = faults.newest();
    for plugin in PLUGINS {
        faults.fleet.wait_for_version(plugin, &newest, CONVERGENCE, |_| true)?;
    }
    let is_up_to_date = |report: &serde_json::Value| {
        PLUGINS.iter().all(|plugin| {
            let component = component(report, plugin);
            (&component["state"], &component["active"]) == (&json!("UpToDate"), &json!(newest))
        })
    };
    faults.fleet.wait_for_reports(&faults.lab, "all are up to date", CONVERGENCE, |_, report| is_up_to_date(report))?;
    let is_clean =
        |host: &d8_tests::fleet::ManagedHost| PLUGINS.iter().all(|plugin| host.installed().staged(plugin).is_empty());
    faults.fleet.wait_for("nothing is left in staging", CONVERGENCE, is_clean)?;
    println!("all hosts had {newest} {:.1} s after the last fault", begun.elapsed().as_secs_f32());
    // A last look at all of them.
    checker.wait_for_round();
    Ok(())
}
