//! The identities of managed hosts: `d8 host`, `d8 agent join`, and what the API server lets a host do.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use d8_tests::catalog::Plugin;
pub(crate) use d8_tests::fleet::admin as fleet_admin;
use d8_tests::process::wait_for;
use d8_tests::restricted::with_mounts;
use d8_tests::{CommandOutput, Identity, Lab, Result, Workstation, run, tools::Tools};
use serde_json::{Value, json};

/// Enrols a host. Returns the file to join with.
pub(crate) fn enrolled(admin: &Workstation, name: &str, labels: &str) -> Result<PathBuf> {
    let file = admin.home().join(format!("{name}.d8host"));
    let shown = file.display().to_string();
    admin.d8(["host", "enroll", name, "--labels", labels, "-f", &shown])?.expect_code(0)?;
    Ok(file)
}

/// Enrols a host and joins it. Returns its state directory.
pub(crate) fn joined(admin: &Workstation, name: &str, labels: &str) -> Result<PathBuf> {
    let file = enrolled(admin, name, labels)?;
    let state = admin.home().join(format!("state-{name}"));
    join(admin, &file, &state)?.expect_code(0)?;
    Ok(state)
}

fn join(machine: &Workstation, file: &Path, state: &Path) -> Result<CommandOutput> {
    machine.d8(["agent", "join", &file.display().to_string(), "--state-dir", &state.display().to_string()])
}

/// Runs kubectl as the host whose state is in a directory, with any exit code.
fn kubectl_as_host(lab: &Lab, state: &Path, args: &[&str]) -> Result<CommandOutput> {
    let kubeconfig = format!("--kubeconfig={}", state.join("kubeconfig").display());
    let args = [kubeconfig.as_str()].into_iter().chain(args.iter().copied());
    run(Tools::get()?.path("kubectl"), args, |command| {
        command.env_clear().env("HOME", lab.plane().scratch().path());
    })
}

fn report(name: &str) -> [String; 5] {
    let status = json!({"status": {"platform": "linux-amd64"}});
    let patch = format!("--patch={status}");
    ["patch", "clihost", name, "--subresource=status", &patch].map(str::to_owned)
}

fn as_host(lab: &Lab, state: &Path, args: &[String]) -> Result<CommandOutput> {
    let merge = "--type=merge".to_owned();
    let args: Vec<&str> = args.iter().chain([&merge]).map(String::as_str).collect();
    kubectl_as_host(lab, state, &args)
}

#[test]
fn a_host_is_enrolled_joins_is_rotated_and_revoked() -> Result<()> {
    let lab = &Lab::start(|_| {})?;
    let admin = fleet_admin(lab)?;
    let file = admin.home().join("id-1.d8host");
    let enrolled = admin.d8(["host", "enroll", "id-1", "--labels", "role=identities,site=a"])?.expect_code(0)?;
    assert!(enrolled.stdout.starts_with("Enrolled id-1.\nWrote id-1.d8host, which can be used until "), "{enrolled:?}");
    assert!(enrolled.stderr.contains("`d8 agent join id-1.d8host`"), "{enrolled:?}");
    assert!(enrolled.stderr.contains("is an address of this machine only"), "{enrolled:?}");
    assert_eq!(std::fs::metadata(&file).expect("the file").permissions().mode() & 0o777, 0o600);
    let host: Value =
        serde_json::from_str(&lab.plane().kubectl(["get", "clihost", "id-1", "-o", "json"])?).expect("JSON");
    assert_eq!(host["spec"]["identity"], "system:serviceaccount:d8-cli-hosts:id-1");
    let labels = json!({"role": "identities", "site": "a", "cli.deckhouse.io/managed": "true"});
    assert_eq!(host["metadata"]["labels"], labels);

    // Neither a file nor a host is replaced.
    let again = admin.d8(["host", "enroll", "id-1"])?.expect_code(1)?;
    assert!(again.stderr.contains("id-1.d8host exists"), "{again:?}");
    let again = admin.d8(["host", "enroll", "id-1", "-f", "other.d8host"])?.expect_code(1)?;
    assert!(again.stderr.contains("`d8 host rotate id-1`"), "{again:?}");
    assert!(!admin.home().join("other.d8host").exists());

    let state = admin.home().join("state-id-1");
    let join_output = join(&admin, &file, &state)?.expect_code(0)?;
    assert_eq!(join_output.stdout, "This machine is host id-1 of lab.\n");
    let mirrored: Value =
        serde_json::from_str(&std::fs::read_to_string(state.join("host.json")).expect("host.json")).expect("JSON");
    assert_eq!(mirrored, json!({"name": "id-1", "labels": labels}));
    for (name, mode) in [("host.json", 0o644), ("token", 0o600), ("kubeconfig", 0o600)] {
        let found = std::fs::metadata(state.join(name)).expect(name).permissions().mode() & 0o777;
        assert_eq!(found, mode, "{name}");
    }
    as_host(lab, &state, &report("id-1"))?.expect_code(0)?;
    let listed = admin.d8(["host", "list", "-o", "name"])?.ok()?;
    assert!(listed.lines().any(|line| line == "id-1"), "{listed}");

    // A machine is one host.
    let other = admin.home().join("id-2.d8host");
    admin.d8(["host", "enroll", "id-2", "-f", &other.display().to_string()])?.expect_code(0)?;
    let refused = join(&admin, &other, &state)?.expect_code(3)?;
    assert!(refused.stderr.contains("this machine is host id-1 already"), "{refused:?}");
    // A file that others can read may have been copied.
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    let refused = join(&admin, &other, &admin.home().join("state-id-2"))?.expect_code(1)?;
    assert!(refused.stderr.contains("`d8 host rotate id-2`"), "{refused:?}");
    assert!(!admin.home().join("state-id-2").exists());

    // After a rotation, only the new file works.
    let rotated = admin.home().join("id-1-again.d8host");
    admin.d8(["host", "rotate", "id-1", "-f", &rotated.display().to_string()])?.expect_code(0)?;
    wait_for("the old token to be refused", Duration::from_mins(1), || {
        let refused = kubectl_as_host(lab, &state, &["get", "pluginpolicies"]).ok()?;
        (refused.code() != 0).then_some(())
    })?;
    let late = join(&admin, &file, &state)?.expect_code(5)?;
    assert!(late.stderr.contains("`d8 host rotate id-1`"), "{late:?}");
    join(&admin, &rotated, &state)?.expect_code(0)?;
    as_host(lab, &state, &report("id-1"))?.expect_code(0)?;

    let revoked = admin.d8(["host", "revoke", "id-1"])?.expect_code(0)?;
    assert!(revoked.stdout.contains("within a minute"), "{revoked:?}");
    wait_for("the token of a revoked host to be refused", Duration::from_mins(1), || {
        let refused = kubectl_as_host(lab, &state, &["get", "pluginpolicies"]).ok()?;
        (refused.code() != 0).then_some(())
    })?;
    for line in ["host revoke id-1", "host rotate id-1 -f gone.d8host"] {
        let gone = admin.d8(line.split(' '))?.expect_code(1)?;
        assert!(gone.stderr.contains("host id-1 is not enrolled"), "{gone:?}");
    }
    Ok(())
}

#[test]
fn a_host_may_do_nothing_but_what_its_role_says() -> Result<()> {
    let lab = &Lab::start(|_| {})?;
    let admin = fleet_admin(lab)?;
    let one = joined(&admin, "limits-1", "role=limits")?;
    joined(&admin, "limits-2", "role=limits")?;
    lab.apply_policy("limits", &json!({"hostSelector": {"matchLabels": {"role": "limits"}}}))?;
    as_host(lab, &one, &report("limits-1"))?.expect_code(0)?;
    kubectl_as_host(lab, &one, &["get", "pluginpolicies"])?.expect_code(0)?;
    kubectl_as_host(lab, &one, &["get", "clihost", "limits-1"])?.expect_code(0)?;

    let token = |of: &str, flags: &[&str]| -> Vec<String> {
        let own = ["create", "token", of, "--namespace=d8-cli-hosts"];
        own.iter().chain(flags).map(|&word| word.to_owned()).collect()
    };
    let bound = |name: &str| vec!["--bound-object-kind=Secret".to_owned(), format!("--bound-object-name={name}")];
    let with = |base: Vec<String>, more: Vec<String>| base.into_iter().chain(more).collect::<Vec<String>>();
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let own_token = with(token("limits-1", &[]), bound("limits-1"));
    let run_as = |args: &[String]| kubectl_as_host(lab, &one, &args.iter().map(String::as_str).collect::<Vec<_>>());
    run_as(&own_token)?.expect_code(0)?;

    for (args, refusal) in [
        (with(report("limits-2").to_vec(), words("--type=merge")), "belongs to another identity"),
        (words("label clihost limits-1 role=admin --overwrite"), "forbidden"),
        (words("annotate clihost limits-1 a=b"), "forbidden"),
        (words("delete clihost limits-1"), "forbidden"),
        (words("get clihosts"), "forbidden"),
        (words("get secrets --namespace=d8-cli-hosts"), "forbidden"),
        (words("label pluginpolicy limits a=b"), "forbidden"),
        (with(token("limits-2", &[]), bound("limits-2")), "only its own token"),
        (token("limits-1", &[]), "must be bound to the Secret"),
        (with(token("limits-1", &["--duration=200h"]), bound("limits-1")), "7 days at most"),
    ] {
        let refused = run_as(&args)?;
        assert_ne!(refused.code(), 0, "{args:?}: {refused:?}");
        assert!(refused.stderr.to_lowercase().contains(&refusal.to_lowercase()), "{args:?}: {refused:?}");
    }
    Ok(())
}

#[test]
fn who_may_not_manage_hosts_is_told_which_roles_do() -> Result<()> {
    let lab = Lab::shared();
    let stranger = lab.new_workstation()?;
    for line in ["host enroll stranger-1", "host rotate stranger-1", "host revoke stranger-1", "host list"] {
        let refused = stranger.d8(line.split(' '))?.expect_code(5)?;
        assert!(refused.stderr.contains("d8:cli:"), "{line}: {refused:?}");
        assert!(!stranger.home().join("stranger-1.d8host").exists());
    }
    let identity = Identity { user: "nobody".into(), token: "invalid".into() };
    let unknown = lab.workstation(identity)?.d8(["host", "list"])?.expect_code(5)?;
    assert!(unknown.stderr.contains("401"), "{unknown:?}");
    for line in ["host enroll A", "host enroll a.b", "host enroll ok --labels role", "host enroll ok --valid-for 1m"] {
        stranger.d8(line.split(' '))?.expect_code(2)?;
    }
    Ok(())
}

#[test]
fn policies_select_a_managed_host_by_the_labels_of_its_clihost() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("labelled", "v1.0.0"))?;
    let deny = json!({
        "hostSelector": {"matchLabels": {"role": "labelled-only"}},
        "rules": [{"plugins": ["labelled"], "access": "Deny"}],
    });
    lab.apply_policy("labelled-only", &deny)?;
    let alice = lab.new_workstation()?;
    let mount = |script: &str| {
        with_mounts(&format!(
            "mkdir -p /var/lib/d8-agent; mount -t tmpfs -o mode=0755 none /var/lib/d8-agent; {script}"
        ))
    };
    let host = json!({"name": "labelled-1", "labels": {"role": "labelled-only"}});
    let Some(managed) = mount(&format!("echo '{host}' >/var/lib/d8-agent/host.json")) else { return Ok(()) };
    let unusable = [
        "echo '{' >/var/lib/d8-agent/host.json".to_owned(),
        format!("echo '{host}' >/var/lib/d8-agent/host.json; chmod 0666 /var/lib/d8-agent/host.json"),
        // What is in place of the file must not make a workstation of the machine.
        format!("echo '{host}' >/var/lib/d8-agent/good; ln -s good /var/lib/d8-agent/host.json"),
        "mkfifo -m 0644 /var/lib/d8-agent/host.json".to_owned(),
        "mkdir /var/lib/d8-agent/host.json".to_owned(),
        format!("(echo '{host}'; head -c 1100000 /dev/zero | tr '\\0' ' ') >/var/lib/d8-agent/host.json"),
    ];
    alice.d8(["plugins", "install", "labelled"])?.expect_code(0)?;
    let refused = alice.d8_through(&managed, ["plugins", "install", "labelled"])?.expect_code(3)?;
    assert!(refused.stderr.contains("policy labelled-only"), "{refused:?}");
    alice.d8_through(&managed, ["labelled"])?.expect_code(3)?;
    // What cannot be read or trusted is not taken for an unmanaged machine.
    for prefix in unusable.iter().filter_map(|script| mount(script)) {
        for line in ["plugins update labelled", "labelled"] {
            let refused = alice.d8_through(&prefix, line.split(' '))?.expect_code(3)?;
            assert!(refused.stderr.contains("which managed host this machine is"), "{line}: {refused:?}");
        }
    }
    alice.d8(["labelled"])?.expect_code(0)?;
    Ok(())
}
