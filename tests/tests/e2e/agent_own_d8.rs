//! The agent switches d8 itself: a switch is a trial, which a tick ends, or the return to the d8 before.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use d8_tests::catalog::Plugin;
use d8_tests::lab::TIMEOUT;
use d8_tests::process::{Server, wait_for};
use d8_tests::{CommandOutput, Lab, Result, Workstation, d8_build, run};
use serde_json::{Value, json};

use crate::host_identities::{enrolled, fleet_admin};
use crate::self_update::publish;

/// A managed host whose agent runs from the store of d8.
struct Host<'a> {
    lab: &'a Lab,
    machine: Workstation,
    state: PathBuf,
    store: PathBuf,
}

impl<'a> Host<'a> {
    /// Enrols a host, and joins it with d8 `version`.
    fn join(lab: &'a Lab, version: &str) -> Result<Self> {
        let admin = fleet_admin(lab)?;
        let file = enrolled(&admin, "bastion-1", "role=bastion")?.display().to_string();
        let state = admin.home().join("state");
        let d8 = d8_build::stamped(&admin.home().join("bin"), version)?;
        let args = ["agent", "join", &file, "--state-dir", &state.display().to_string()].map(str::to_owned);
        let joined = run(d8, args, |command| admin.environment(command))?.expect_code(0)?;
        let root = if nix::unistd::geteuid().is_root() {
            admin.root().to_owned()
        } else {
            admin.home().join(".deckhouse-cli")
        };
        let store = root.join("cli");
        assert!(joined.stdout.contains("The agent updates it there"), "{joined:?}");
        assert_eq!(target(&store.join("current")), format!("versions/{version}/d8"));
        // The machine has no kubeconfig but that of the host.
        let machine = admin.with_env("KUBECONFIG", state.join("kubeconfig"));
        Ok(Self { lab, machine, state, store })
    }

    fn version(&self) -> String {
        target(&self.store.join("current"))
    }

    fn agent(&self, d8: &Path, words: &[&str]) -> Result<CommandOutput> {
        let state = self.state.display().to_string();
        let args = ["agent"].into_iter().chain(words.iter().copied()).chain(["--state-dir", &state]);
        run(d8, args, |command| self.machine.environment(command))
    }

    fn start(&self) -> Result<Server> {
        let state = self.state.display().to_string();
        let args = ["agent", "run", "--state-dir", &state];
        let current = self.store.join("current");
        self.lab.plane().scratch().start("agent", current, args, |command| self.machine.environment(command))
    }

    /// Waits until the host reports d8 so: state, active version, reason, target.
    fn wait_for(&self, what: &str, expected: &Value) -> Result<()> {
        let reported = || -> Option<Value> {
            let text = self.lab.plane().kubectl(["get", "clihost", "bastion-1", "--output=json"]).ok()?;
            let host: Value = serde_json::from_str(&text).ok()?;
            let components = host["status"]["components"].as_array()?.clone();
            let d8 = components.into_iter().find(|component| component["name"] == "d8")?;
            Some(json!([d8["state"], d8["active"], d8["reason"], d8["target"]]))
        };
        wait_for(what, TIMEOUT, || reported().filter(|found| found == expected)).map(drop)
    }
}

fn target(link: &Path) -> String {
    std::fs::read_link(link).map(|target| target.display().to_string()).unwrap_or_default()
}

fn end(agent: &mut Server) -> Result<ExitStatus> {
    let pid = nix::unistd::Pid::from_raw(agent.pid().unwrap_or_default());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap_or_else(|error| panic!("kill: {error}"));
    wait_for("the agent to end", TIMEOUT, || agent.ended())
}

#[test]
fn a_switch_of_d8_is_a_trial() -> Result<()> {
    let lab = &Lab::start(|_| {})?;
    publish(lab, "v0.14.0")?;
    lab.create_releases(&["d8"])?;
    lab.wait_for_version("d8", "v0.14.0")?;
    let host = Host::join(lab, "v0.14.0")?;
    let policy = json!({"hostSelector": {"matchLabels": {"role": "bastion"}}, "cli": {"updates": "Auto"}});
    lab.apply_policy("bastions", &policy)?;
    let mut agent = host.start()?;
    host.wait_for("d8 to be up to date", &json!(["UpToDate", "v0.14.0", null, "v0.14.0"]))?;

    // A new d8 goes on as the agent, in the same process, and proves itself with a tick.
    publish(lab, "v0.15.0")?;
    lab.request_poll("d8")?;
    lab.wait_for_version("d8", "v0.15.0")?;
    lab.apply_policy("bastions", &d8_tests::objects::with(policy.clone(), &json!({"defaults": {"minAge": "0s"}})))?;
    let pid = agent.pid();
    host.wait_for("the switch", &json!(["UpToDate", "v0.15.0", null, "v0.15.0"]))?;
    assert_eq!((host.version().as_str(), agent.pid()), ("versions/v0.15.0/d8", pid));
    let over = || (!host.store.join("trial").exists()).then_some(());
    wait_for("the end of the trial", TIMEOUT, over)?;
    assert_eq!(target(&host.store.join("recovery")), "versions/v0.14.0/d8");
    let log = agent.stdout();
    for line in ["Switched d8 from v0.14.0 to v0.15.0; the agent restarts as it.", "d8 v0.15.0 runs the agent"] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert!(end(&mut agent)?.success(), "{}", agent.log());
    let nothing = host.agent(&host.store.join("recovery"), &["recover"])?.expect_code(1)?;
    assert!(nothing.stderr.contains("there is nothing to recover"), "{nothing:?}");

    // A d8 that passes its smoke test and cannot run an agent.
    let broken = "#!/bin/sh\ncase \"$1\" in --version) echo d8 v0.16.0;; cli) echo \
                  '{\"version\":\"v0.16.0\",\"capabilities\":[\"policy/v1alpha1\"]}';; *) exit 1;; esac\n";
    lab.publish(&Plugin::new("d8", "v0.16.0").with_executable(broken))?;
    lab.request_poll("d8")?;
    lab.wait_for_version("d8", "v0.16.0")?;
    let mut agent = host.start()?;
    let ended = wait_for("the broken d8 to end", TIMEOUT, || agent.ended())?;
    assert_eq!(ended.code(), Some(1), "{}", agent.log());
    assert_eq!(host.version(), "versions/v0.16.0/d8");
    let status = host.agent(&host.store.join("versions/v0.15.0/d8"), &["status"])?.expect_code(0)?;
    assert!(status.stdout.contains("d8 v0.16.0 has completed no tick yet; v0.15.0 comes back"), "{status:?}");
    // What `OnFailure=` of the unit runs.
    let recovered = host.agent(&host.store.join("recovery"), &["recover"])?.expect_code(0)?;
    assert!(recovered.stderr.contains("d8 v0.16.0 was replaced by v0.15.0 again"), "{recovered:?}");
    assert_eq!(host.version(), "versions/v0.15.0/d8");
    let mut agent = host.start()?;
    host.wait_for("the failure", &json!(["Failed", "v0.15.0", "TrialFailed", "v0.16.0"]))?;
    assert!(end(&mut agent)?.success(), "{}", agent.log());
    assert_eq!(host.version(), "versions/v0.15.0/d8");

    // Two starts of a d8 on trial were killed: the third one goes back by itself, and goes on in the former d8.
    publish(lab, "v0.17.0")?;
    lab.request_poll("d8")?;
    lab.wait_for_version("d8", "v0.17.0")?;
    let current = host.store.join("current");
    let used = ["cli", "use", "v0.17.0"];
    run(&current, used, |command| host.machine.environment(command))?.expect_code(0)?;
    let trial = json!({"from": "v0.15.0", "to": "v0.17.0", "starts": 2, "begun": "2026-01-01T00:00:00Z"});
    std::fs::write(host.store.join("trial"), trial.to_string()).expect("write");
    let mut agent = host.start()?;
    host.wait_for("the return", &json!(["Failed", "v0.15.0", "TrialFailed", "v0.17.0"]))?;
    assert_eq!(host.version(), "versions/v0.15.0/d8");
    assert!(!host.store.join("trial").exists());
    assert!(end(&mut agent)?.success(), "{}", agent.log());
    Ok(())
}
