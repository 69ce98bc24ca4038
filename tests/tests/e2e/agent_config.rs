//! `/etc/d8/agent.toml`: the rules of the owner of a machine, and how the agent runs; and what the agent tells about itself.

use std::path::Path;

use d8_tests::catalog::Plugin;
use d8_tests::lab::TIMEOUT;
use d8_tests::process::wait_for;
use d8_tests::restricted::with_mounts;
use d8_tests::{Lab, Result, Workstation, tools};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::agent_ticks::{add, policy, start};
use crate::host_identities::fleet_admin;
use crate::repair::publish;

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

#[test]
fn the_rules_of_the_owner_bind_the_agent() -> Result<()> {
    let (lab, host) = start()?;
    add(&lab, &Plugin::new("tool", "v1.1.0"))?;
    lab.apply_policy("bastions", &policy(&serde_json::json!({})))?;
    let config = host.state.join("agent.toml");
    let shown = config.display().to_string();
    let with_config = |words: &[&str]| host.agent(&[words, &["--config", &shown]].concat());

    write(&config, "refuse = [\"tool@v1.1.0\"]\n");
    let planned = with_config(&["plan"])?.expect_code(0)?;
    assert!(planned.stdout.contains("v1.0.0  Pending"), "{planned:?}");
    let once = with_config(&["once"])?.expect_code(0)?;
    assert!(once.stdout.contains("Installed tool v1.0.0."), "{once:?}");
    // Below a minimum a version must be replaced.
    write(&config, "[minimumVersions]\ntool = \"v1.1.0\"\n");
    let once = with_config(&["once"])?.expect_code(0)?;
    assert!(once.stdout.contains("Switched tool from v1.0.0 to v1.1.0."), "{once:?}");
    // A refused plugin is not required here, whatever the policy says, and is not updated.
    write(&config, "refuse = [\"to*\"]\n");
    let once = with_config(&["once"])?.expect_code(0)?;
    assert!(once.stdout.contains("Forbidden  Denied") && once.stdout.contains("agent.toml"), "{once:?}");

    // A file with a mistake binds as a whole or not at all: nothing is done without it.
    for (text, expected) in [
        ("\nrefused = [\"tool\"]\n", "line 2: unknown field `refused`"),
        ("refuse = [\"d8\"]\n", "refuse: d8 cannot be refused as a whole"),
        ("parallelDownloads = 0\n", "parallelDownloads: 0 is not in 1..16"),
    ] {
        write(&config, text);
        let refused = with_config(&["once"])?.expect_code(3)?;
        assert!(refused.stderr.contains(expected), "{text}: {refused:?}");
        assert!(refused.stderr.contains(&shown), "{refused:?}");
    }
    Ok(())
}

#[test]
fn the_rules_of_the_owner_bind_people_with_and_without_policies() -> Result<()> {
    let lab = Lab::shared();
    publish(lab, "owned", &["v1.0.0"])?;
    let alice = lab.new_workstation()?;
    let mount =
        |toml: &str| with_mounts(&format!("mkdir -p /etc/d8; mount -t tmpfs -o mode=0755 none /etc/d8; {toml}"));
    let (Some(refusing), Some(damaged), Some(open)) = (
        mount("echo 'refuse = [\"owned\"]' >/etc/d8/agent.toml"),
        mount("echo 'refuse = ' >/etc/d8/agent.toml"),
        mount("echo 'refuse = [\"owned\"]' >/etc/d8/agent.toml; chmod 0666 /etc/d8/agent.toml"),
    ) else {
        return Ok(());
    };
    let refused = alice.d8_through(&refusing, ["plugins", "install", "owned"])?.expect_code(3)?;
    assert!(refused.stderr.contains("agent.toml"), "{refused:?}");
    alice.d8(["plugins", "install", "owned"])?.expect_code(0)?;
    let check = |alice: &Workstation| -> Result<()> {
        let refused = alice.d8_through(&refusing, ["owned"])?.expect_code(3)?;
        assert!(refused.stderr.contains("owned may not run here"), "{refused:?}");
        for prefix in [&damaged, &open] {
            let refused = alice.d8_through(prefix, ["owned"])?.expect_code(3)?;
            assert!(refused.stderr.contains("the configuration of this host"), "{refused:?}");
        }
        alice.d8(["owned"])?.expect_code(0).map(drop)
    };
    check(&alice)?;
    check(&alice.with_env("KUBECONFIG", "/nonexistent"))
}

#[test]
fn the_agent_tells_about_itself() -> Result<()> {
    let (lab, host) = start()?;
    lab.apply_policy("bastions", &policy(&serde_json::json!({})))?;
    let (config, metrics) = (host.state.join("agent.toml"), host.state.join("d8.prom"));
    write(&config, &format!("logFormat = \"json\"\nmetricsFile = \"{}\"\n", metrics.display()));
    let status = |words: &[&str]| host.agent(&[&["status"], words].concat());
    let document = || -> Result<Value> {
        let text = status(&["--output", "json"])?.expect_code(0)?.stdout;
        Ok(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    };
    let before = status(&[])?.expect_code(0)?;
    assert!(
        before.stdout.contains("agent:      does not run") && before.stdout.contains("none has succeeded"),
        "{before:?}"
    );

    let (state, shown) = (host.state.display().to_string(), config.display().to_string());
    let args = ["agent", "run", "--state-dir", &state, "--config", &shown];
    let d8 = tools::binary("d8")?;
    let mut agent = lab.plane().scratch().start("agent", d8, args, |command| host.machine.environment(command))?;
    let installed = || document().ok().filter(|found| found["components"][0]["active"] == "v1.0.0");
    let running = wait_for("the plugin to be installed", TIMEOUT, installed)?;
    assert_eq!((&running["running"], &running["host"]), (&true.into(), &"bastion-1".into()), "{running:#}");
    assert!(running["nextTick"].is_string() && running["failure"].is_null(), "{running:#}");
    let text = status(&[])?.expect_code(0)?.stdout;
    for line in ["agent:      runs", "policies:   bastions", "token:      valid until", "next tick:  in "] {
        assert!(text.contains(line), "{line}: {text}");
    }
    // A second agent of the host does not start.
    let second = host.agent(&["once"])?.expect_code(1)?;
    assert!(second.stderr.contains("another process is the agent of this host"), "{second:?}");
    let written = wait_for("the metrics", TIMEOUT, || std::fs::read_to_string(&metrics).ok())?;
    assert!(written.contains("d8_agent_component_state{component=\"tool\",state=\"UpToDate\"} 1"), "{written}");

    // A host that was revoked keeps what it has, and says why it does nothing.
    lab.plane().kubectl(["delete", "clihost", "bastion-1"])?;
    lab.plane().kubectl(["delete", "pluginpolicy", "bastions"])?;
    let revoked = || document().ok().filter(|found| found["failure"]["reason"] == "NotEnrolled");
    wait_for("the failure", TIMEOUT, revoked)?;
    let text = status(&[])?.expect_code(0)?.stdout;
    let expected =
        "NotEnrolled: host bastion-1 is not enrolled; ask an admin for another file: `d8 host enroll bastion-1`";
    assert!(text.contains(expected), "{text}");
    assert_eq!(host.version()?, "This is tool v1.0.0.");
    let pid = Pid::from_raw(agent.pid().unwrap_or_default());
    kill(pid, Signal::SIGTERM).expect("kill");
    let ended = wait_for("the agent to end", TIMEOUT, || agent.ended())?;
    assert!(ended.success(), "{ended}: {}", agent.log());
    assert_eq!(document()?["running"], false);
    let log = agent.stdout();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines.iter().any(|line| line["message"] == "Installed tool v1.0.0." && line["level"] == "info"), "{log}");
    assert!(lines.iter().all(|line| line["time"].is_string()), "{log}");
    Ok(())
}

#[test]
fn two_machines_with_one_identity_are_noticed() -> Result<()> {
    let (lab, host) = start()?;
    host.tick(&lab)?;
    // The whole directory was copied, and the copy was started on another machine: the hash of that one differs.
    let copy = host.state.with_file_name("copy");
    let copied = std::process::Command::new("cp").arg("-a").arg(&host.state).arg(&copy).status();
    assert!(copied.is_ok_and(|copied| copied.success()));
    let machine = copy.join("machine.json");
    let text = std::fs::read_to_string(&machine).expect("read");
    let instance =
        serde_json::from_str::<Value>(&text).expect("JSON")["instance"].as_str().unwrap_or_default().to_owned();
    write(&machine, &text.replace(&instance, "another-machine"));
    let state = copy.display().to_string();
    host.machine.d8(["agent", "once", "--state-dir", &state])?.expect_code(0)?;
    // The first machine notices it, and the operator tells it.
    let once = host.agent(&["once"])?.expect_code(0)?;
    assert!(once.stderr.contains("another machine reports as bastion-1 too"), "{once:?}");
    let status = host.reported(&lab)?;
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let duplicate = conditions.iter().find(|condition| condition["type"] == "DuplicateIdentity");
    assert_eq!(duplicate.map(|condition| condition["status"].clone()), Some("True".into()), "{status:#}");
    let event = || {
        let events = lab.plane().kubectl(["get", "events", "--namespace=default", "--output=name"]).ok()?;
        let told = lab.plane().kubectl(["get", "events", "--namespace=default", "--output=json"]).ok()?;
        (!events.is_empty() && told.contains("`d8 host rotate bastion-1`")).then_some(())
    };
    wait_for("the event", TIMEOUT, event)?;

    // After a rotation and a new join there is one machine again.
    let file = host.machine.home().join("again.d8host").display().to_string();
    fleet_admin(&lab)?.d8(["host", "rotate", "bastion-1", "-f", &file])?.expect_code(0)?;
    let state = host.state.display().to_string();
    host.machine.d8(["agent", "join", &file, "--state-dir", &state])?.expect_code(0)?;
    let status = host.tick(&lab)?;
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    assert!(conditions.iter().all(|condition| condition["type"] != "DuplicateIdentity"), "{status:#}");
    Ok(())
}
