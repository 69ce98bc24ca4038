//! `d8 agent once`: a managed host follows its policies without a person, and reports to its CliHost.

use std::path::PathBuf;

use d8_crds::values::platform::Platform;
use d8_tests::catalog::Plugin;
use d8_tests::lab::TIMEOUT;
use d8_tests::process::wait_for;
use d8_tests::{CommandOutput, Lab, Result, Workstation, tools};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::host_identities::{fleet_admin, joined};
use crate::repair::publish;

/// A managed host: a machine, and the directory with its identity.
pub(crate) struct Host {
    name: &'static str,
    pub(crate) machine: Workstation,
    pub(crate) state: PathBuf,
}

impl Host {
    pub(crate) fn agent(&self, words: &[&str]) -> Result<CommandOutput> {
        let state = self.state.display().to_string();
        self.machine.d8(["agent"].into_iter().chain(words.iter().copied()).chain(["--state-dir", &state]))
    }

    /// Runs a tick, and returns what the host then reports.
    pub(crate) fn tick(&self, lab: &Lab) -> Result<Value> {
        self.agent(&["once"])?.expect_code(0)?;
        self.reported(lab)
    }

    pub(crate) fn reported(&self, lab: &Lab) -> Result<Value> {
        let text = lab.plane().kubectl(["get", "clihost", self.name, "--output=json"])?;
        let host: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        Ok(host["status"].clone())
    }

    pub(crate) fn version(&self) -> Result<String> {
        Ok(self.machine.d8(["tool"])?.expect_code(0)?.stdout.trim().to_owned())
    }
}

pub(crate) fn start() -> Result<(Lab, Host)> {
    let lab = Lab::start(|_| {})?;
    publish(&lab, "tool", &["v1.0.0"])?;
    let admin = fleet_admin(&lab)?;
    let state = joined(&admin, "bastion-1", "role=bastion")?;
    // The machine has no kubeconfig but that of the host.
    let machine = admin.with_env("KUBECONFIG", state.join("kubeconfig"));
    Ok((lab, Host { name: "bastion-1", machine, state }))
}

pub(crate) fn policy(more: &Value) -> Value {
    let base = json!({
        "hostSelector": {"matchLabels": {"role": "bastion"}},
        "rules": [{"plugins": ["tool"], "access": "Require", "updates": "Auto"}],
    });
    d8_tests::objects::with(base, more)
}

pub(crate) fn add(lab: &Lab, plugin: &Plugin) -> Result<()> {
    lab.publish(plugin)?;
    lab.request_poll(&plugin.name)?;
    lab.wait_for_version(&plugin.name, &plugin.version).map(drop)
}

/// Returns state, active version and reason of `tool`.
fn tool(status: &Value) -> Value {
    let component = &status["components"][0];
    json!([component["state"], component["active"], component["reason"]])
}

fn ready(status: &Value) -> Value {
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready").cloned().unwrap_or_default();
    json!([ready["status"], ready["reason"]])
}

#[test]
fn a_host_follows_its_policies() -> Result<()> {
    let (lab, host) = start()?;
    // Without a policy nothing changes.
    let status = host.tick(&lab)?;
    assert_eq!((ready(&status), &status["components"]), (json!(["True", "NotGoverned"]), &json!([])), "{status:#}");

    lab.apply_policy("bastions", &policy(&json!({})))?;
    let planned = host.agent(&["plan"])?.expect_code(0)?;
    assert!(planned.stdout.contains("Pending"), "{planned:?}");
    host.machine.d8(["tool"])?.expect_code(2)?;
    let first = host.agent(&["once"])?.expect_code(0)?;
    assert!(first.stdout.contains("Installed tool v1.0.0."), "{first:?}");
    let status = host.reported(&lab)?;
    assert_eq!(tool(&status), json!(["UpToDate", "v1.0.0", null]), "{status:#}");
    assert_eq!((ready(&status), &status["policies"][0]["name"]), (json!(["True", "UpToDate"]), &json!("bastions")));
    assert_eq!(status["platform"], Platform::current().as_str(), "{status:#}");
    assert!(status["components"][0]["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")));
    // A tick that changes nothing writes nothing.
    assert_eq!(host.tick(&lab)?, status);

    add(&lab, &Plugin::new("tool", "v1.1.0"))?;
    let status = host.tick(&lab)?;
    assert_eq!(tool(&status), json!(["UpToDate", "v1.1.0", null]), "{status:#}");
    assert_eq!(host.version()?, "This is tool v1.1.0.");

    // A pause holds the host, and it says so.
    lab.apply_policy("bastions", &policy(&json!({"paused": true})))?;
    add(&lab, &Plugin::new("tool", "v1.2.0"))?;
    let status = host.tick(&lab)?;
    assert_eq!(tool(&status), json!(["Held", "v1.1.0", "Paused"]), "{status:#}");
    assert_eq!((ready(&status), &status["components"][0]["target"]), (json!(["True", "Waiting"]), &json!("v1.2.0")));
    assert_eq!(host.version()?, "This is tool v1.1.0.");

    // A version that is blocked is replaced by an older one.
    let rule = json!([{"plugins": ["tool"], "access": "Require", "updates": "Auto", "block": [">=1.1.0"]}]);
    lab.apply_policy("bastions", &policy(&json!({"rules": rule})))?;
    let status = host.tick(&lab)?;
    assert_eq!(tool(&status), json!(["UpToDate", "v1.0.0", null]), "{status:#}");
    assert_eq!(host.version()?, "This is tool v1.0.0.");
    Ok(())
}

#[test]
fn a_version_that_fails_is_reported_and_not_tried_again() -> Result<()> {
    let (lab, host) = start()?;
    lab.apply_policy("bastions", &policy(&json!({})))?;
    host.tick(&lab)?;
    let broken = "#!/bin/sh\necho broken >&2\nexit 3\n";
    add(&lab, &Plugin::new("tool", "v1.1.0").with_executable(broken))?;
    let status = host.tick(&lab)?;
    assert_eq!(tool(&status), json!(["Failed", "v1.0.0", "Smoke"]), "{status:#}");
    assert_eq!(ready(&status), json!(["False", "Failed"]));
    let message = status["components"][0]["message"].as_str().unwrap_or_default();
    assert!(message.contains("tool v1.1.0") && message.contains("broken"), "{message}");
    assert_eq!(host.version()?, "This is tool v1.0.0.");

    // The next tick neither downloads nor writes.
    let requests = || lab.proxy().log().lines().filter(|line| line.contains("d8-cli-hosts")).count();
    let before = requests();
    assert!(before > 0, "{}", lab.proxy().log());
    assert_eq!(host.tick(&lab)?, status);
    assert_eq!(requests(), before);
    // A hold does not hide the failure.
    lab.apply_policy("bastions", &policy(&json!({"paused": true})))?;
    assert_eq!(tool(&host.tick(&lab)?), json!(["Failed", "v1.0.0", "Smoke"]));
    lab.apply_policy("bastions", &policy(&json!({})))?;
    // A newer version is tried.
    add(&lab, &Plugin::new("tool", "v1.1.1"))?;
    let status = host.tick(&lab)?;
    assert_eq!((tool(&status), ready(&status)), (json!(["UpToDate", "v1.1.1", null]), json!(["True", "UpToDate"])));
    Ok(())
}

#[test]
fn an_older_version_is_taken_after_a_newer_one_failed() -> Result<()> {
    let (lab, host) = start()?;
    lab.apply_policy("bastions", &policy(&json!({})))?;
    host.tick(&lab)?;
    lab.publish(&Plugin::new("tool", "v1.1.0"))?;
    add(&lab, &Plugin::new("tool", "v1.2.0").with_executable("#!/bin/sh\nexit 3\n"))?;
    lab.wait_for_version("tool", "v1.1.0")?;
    let status = host.tick(&lab)?;
    assert_eq!(tool(&status), json!(["Failed", "v1.0.0", "Smoke"]), "{status:#}");
    // The host still counts as failed for the newer version.
    let status = host.tick(&lab)?;
    assert_eq!(tool(&status), json!(["Failed", "v1.1.0", "Smoke"]), "{status:#}");
    assert_eq!(status["components"][0]["target"], "v1.2.0");
    assert_eq!(host.version()?, "This is tool v1.1.0.");
    assert_eq!(host.tick(&lab)?, status);
    // Once the newer version is no longer permitted, nothing has failed any more.
    let rule = json!([{"plugins": ["tool"], "access": "Require", "updates": "Auto", "block": ["v1.2.0"]}]);
    lab.apply_policy("bastions", &policy(&json!({"rules": rule})))?;
    assert_eq!(tool(&host.tick(&lab)?), json!(["UpToDate", "v1.1.0", null]));
    Ok(())
}

#[test]
fn a_version_is_staged_before_its_window() -> Result<()> {
    let (mut lab, host) = start()?;
    lab.apply_policy("bastions", &policy(&json!({})))?;
    host.tick(&lab)?;
    let in_hours = |hours: i64| {
        let opens = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours);
        opens.strftime("%H:%M").to_string()
    };
    let window = |hours| policy(&json!({"windows": [{"start": in_hours(hours), "duration": "1h"}]}));
    lab.apply_policy("bastions", &window(2))?;
    add(&lab, &Plugin::new("tool", "v1.1.0"))?;
    let planned = host.agent(&["plan"])?.expect_code(0)?;
    assert!(planned.stdout.contains("tool v1.1.0 would be downloaded now"), "{planned:?}");
    let staged = host.machine.root().join("plugins/tool/versions/v1.1.0/tool");
    assert!(!staged.exists(), "a plan changes nothing");
    let status = host.tick(&lab)?;
    assert_eq!(tool(&status), json!(["Held", "v1.0.0", "OutsideWindow"]), "{status:#}");
    assert!(staged.exists() && host.version()? == "This is tool v1.0.0.");
    let requests = |lab: &Lab| lab.proxy().log().lines().filter(|line| line.contains("d8-cli-hosts")).count();
    let before = requests(&lab);
    assert_eq!((host.tick(&lab)?, requests(&lab)), (status, before));

    // The switch needs no network but that of the API server.
    lab.stop_proxy();
    lab.apply_policy("bastions", &window(0))?;
    assert_eq!(tool(&host.tick(&lab)?), json!(["UpToDate", "v1.1.0", null]));
    assert_eq!(host.version()?, "This is tool v1.1.0.");
    Ok(())
}

#[test]
fn a_host_that_was_revoked_keeps_what_it_has() -> Result<()> {
    let (lab, host) = start()?;
    lab.apply_policy("bastions", &policy(&json!({})))?;
    host.tick(&lab)?;
    // Labels are those of the CliHost.
    lab.plane().kubectl(["label", "clihost", "bastion-1", "role=other", "--overwrite"])?;
    let status = host.tick(&lab)?;
    assert_eq!(ready(&status), json!(["True", "NotGoverned"]), "{status:#}");
    let mirrored = std::fs::read_to_string(host.state.join("host.json")).unwrap_or_default();
    assert!(mirrored.contains("\"role\": \"other\""), "{mirrored}");

    lab.plane().kubectl(["delete", "clihost", "bastion-1"])?;
    let refused = host.agent(&["once"])?.expect_code(3)?;
    assert!(refused.stderr.contains("`d8 host enroll bastion-1`"), "{refused:?}");
    assert_eq!(host.version()?, "This is tool v1.0.0.");
    let unmanaged = host.machine.d8(["agent", "once", "--state-dir", "/nonexistent"])?.expect_code(3)?;
    assert!(unmanaged.stderr.contains("d8 agent join"), "{unmanaged:?}");
    Ok(())
}

#[test]
fn the_agent_acts_when_a_policy_changes_and_ends_with_a_signal() -> Result<()> {
    let (lab, host) = start()?;
    lab.apply_policy("bastions", &policy(&json!({})))?;
    let state = host.state.display().to_string();
    let args = ["agent", "run", "--state-dir", &state];
    let d8 = tools::binary("d8")?;
    let mut agent = lab.plane().scratch().start("agent", d8, args, |command| host.machine.environment(command))?;
    let reports = |what: &str, expected: Value| {
        let found = || {
            let status = host.reported(&lab).ok()?;
            (tool(&status) == expected).then_some(status)
        };
        wait_for(what, TIMEOUT, found)
    };
    reports("the required plugin to be installed", json!(["UpToDate", "v1.0.0", null]))?;
    assert_eq!(host.version()?, "This is tool v1.0.0.");

    // An edit of a policy is noticed at once, not with the next regular tick.
    add(&lab, &Plugin::new("tool", "v1.1.0"))?;
    lab.apply_policy("bastions", &policy(&json!({"paused": true})))?;
    reports("the pause to hold", json!(["Held", "v1.0.0", "Paused"]))?;
    lab.apply_policy("bastions", &policy(&json!({})))?;
    reports("the pause to end", json!(["UpToDate", "v1.1.0", null]))?;
    lab.plane().kubectl(["delete", "pluginpolicy", "bastions"])?;
    let ungoverned = || Some(ready(&host.reported(&lab).ok()?)).filter(|ready| ready[1] == "NotGoverned");
    wait_for("the policy to be gone", TIMEOUT, ungoverned)?;

    let pid = agent.pid().unwrap_or_default();
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("kill");
    let ended = wait_for("the agent to end", TIMEOUT, || agent.ended())?;
    assert!(ended.success(), "{ended}: {}", agent.log());
    let staging = host.machine.root().join(".staging");
    let left = std::fs::read_dir(&staging).map(Iterator::count).unwrap_or_default();
    assert_eq!(left, 0, "{}", staging.display());
    let log = agent.stdout();
    for line in
        ["Installed tool v1.0.0.", "tool: v1.0.0, Held v1.1.0: policy bastions", "Switched tool from v1.0.0 to v1.1.0."]
    {
        assert!(log.contains(line), "{line}: {log}");
    }
    Ok(())
}
