//! The demo: what this project does, in sixteen steps.

use std::io::Write;

use d8_crds::values::platform::Platform;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde_json::json;

use crate::catalog::script;
use crate::walkthrough::{Expectation, Terminal, Walkthrough};
use crate::{ADMIN, Lab, Result, d8_build};

const CONTRACT: &str = "\
name: stronghold
version: VERSION
description: Secrets of the cluster
requirements:
  kubernetes: {constraint: \"KUBERNETES\"}
  modules:
    mandatory: [{name: stronghold, constraint: \">=1.0\"}]
";

const RECORD: &str = "\
apiVersion: cli.deckhouse.io/v1alpha1
kind: CliRelease
metadata: {name: stronghold}
spec: {interval: 10m}
";

const POLICY: &str = "\
apiVersion: cli.deckhouse.io/v1alpha1
kind: PluginPolicy
metadata: {name: workstations}
spec:
  hostSelector: {}
  defaults: {access: Deny}
  rules:
  - plugins: [stronghold]
    access: Allow
    versions: \"~1.0\"
    message: \"questions: #platform\"
";

const HOSTS_POLICY: &str = "\
apiVersion: cli.deckhouse.io/v1alpha1
kind: PluginPolicy
metadata: {name: bastions}
spec:
  hostSelector: {matchLabels: {role: bastion}}
  rules:
  - plugins: [stronghold]
    access: Require
    updates: Auto
    versions: \"~1.1\"
";

/// The terminals of the demo.
struct Terminals {
    admin: Terminal,
    alice: Terminal,
}

/// Returns the command line that publishes a version of stronghold.
fn pack(version: &str) -> String {
    let platform = Platform::current();
    format!(
        "d8-rpp pack --image deckhouse-cli/plugins/stronghold --version {version} \\\n    \
         --platform {platform}=stronghold-{version} --contract contract-{version}.yaml --to registry"
    )
}

/// Runs the demo and prints it. Fails at the first step that does not give what is expected.
pub fn run(lab: &Lab, out: impl Write) -> Result<()> {
    let mut demo = Walkthrough::new(lab, out)?;
    lab.allow_download("alice")?;
    for (version, kubernetes) in
        [("v1.0.0", ">=1.29"), ("v1.1.0", ">=1.29"), ("v1.2.0", ">=1.29"), ("v2.0.0", ">=1.99")]
    {
        let contract = CONTRACT.replace("VERSION", version).replace("KUBERNETES", kubernetes);
        demo.write_file(&format!("contract-{version}.yaml"), &contract)?;
        demo.write_file(&format!("stronghold-{version}"), &script("stronghold", version))?;
    }
    demo.write_file("record.yaml", RECORD)?;
    demo.write_file("policy.yaml", POLICY)?;
    demo.write_file("bastions.yaml", HOSTS_POLICY)?;
    demo.link("registry", lab.proxy().layout())?;
    let terminals = Terminals { admin: demo.terminal(ADMIN)?, alice: demo.terminal("alice")? };
    d8_build::stamped(&demo.bin(&terminals.alice), "v0.1.0")?;
    d8_build::stamped(&demo.directory().join("d8-v0.2.0"), "v0.2.0")?;
    install(&mut demo, &terminals)?;
    update(&mut demo, &terminals)?;
    time_gates(&mut demo, &terminals)?;
    incidents(&mut demo, &terminals)?;
    self_update(&mut demo, &terminals)?;
    hosts(&mut demo, &terminals.admin)?;
    let (steps, seconds) = (demo.steps(), demo.elapsed().as_secs());
    demo.print_text("")?;
    demo.print_text(&format!("All {steps} steps gave the expected output, in {seconds} s."))
}

fn install(demo: &mut Walkthrough<'_, impl Write>, terminals: &Terminals) -> Result<()> {
    let Terminals { admin, alice } = terminals;
    demo.step(
        "Publish a version",
        "The developers of the plugin `stronghold` publish v1.0.0: an OCI image with an executable and a contract. The \
         contract lists what the plugin requires of a cluster.",
    )?;
    demo.run(admin, "cat contract-v1.0.0.yaml", Expectation::success(&["constraint"]))?;
    demo.run(admin, &pack("v1.0.0"), Expectation::success(&["v1.0.0"]))?;

    demo.step(
        "Create a record",
        "The operator asks the proxy which versions exist, compares their contracts with this cluster, and writes the \
         result into a record. Every user can read records. LATEST is the newest version, FITS the newest one that \
         fits this cluster.",
    )?;
    demo.run(admin, "kubectl apply -f record.yaml", Expectation::success(&["created"]))?;
    demo.run_until(admin, "kubectl get crel stronghold", Expectation::success(&["v1.0.0", "True"]))?;

    demo.step(
        "Write a policy",
        "This policy is for every workstation. It denies all plugins except stronghold, and permits stronghold 1.0 only.",
    )?;
    demo.run(admin, "cat policy.yaml", Expectation::success(&["access: Deny"]))?;
    demo.run(admin, "kubectl apply -f policy.yaml", Expectation::success(&["created"]))?;
    demo.run_until(admin, "kubectl get ppol workstations", Expectation::success(&["True"]))?;

    demo.step(
        "Install the plugin",
        "alice has an ordinary kubeconfig and no registry credentials. d8 downloads from the proxy with her identity and \
         verifies the bytes against the digest in the record.",
    )?;
    demo.run(alice, "d8 plugins install stronghold", Expectation::success(&["v1.0.0"]))?;
    demo.run(alice, "d8 plugins list", Expectation::success(&["stronghold", "v1.0.0"]))?;
    demo.run(alice, "d8 stronghold", Expectation::success(&["This is stronghold v1.0.0."]))
}

/// The operator polls every ten minutes. This annotation makes it poll now.
const POLL: &str = "kubectl annotate crel stronghold --overwrite cli.deckhouse.io/poll-requested=\"$(date +%T.%N)\"";

/// Returns the command line that changes fields of the policy's spec.
fn patch(spec: &str) -> String {
    format!("kubectl patch ppol workstations --type=merge -p '{{\"spec\":{spec}}}'")
}

fn update(demo: &mut Walkthrough<'_, impl Write>, terminals: &Terminals) -> Result<()> {
    let Terminals { admin, alice } = terminals;
    demo.step(
        "Publish newer versions",
        "The developers publish v1.1.0, and v2.0.0 which requires a newer Kubernetes. The operator polls every ten \
         minutes; the annotation makes it poll now. v2.0.0 is the newest version and does not fit this cluster.",
    )?;
    demo.run(admin, &pack("v1.1.0"), Expectation::success(&["v1.1.0"]))?;
    demo.run(admin, &pack("v2.0.0"), Expectation::success(&["v2.0.0"]))?;
    demo.run(admin, POLL, Expectation::success(&["annotated"]))?;
    demo.run_until(admin, "kubectl get crel stronghold", Expectation::success(&["v2.0.0", "v1.1.0"]))?;

    demo.step(
        "See why nothing is updated",
        "`update all` keeps v1.0.0. `why` lists every version with its verdict and the reasons.",
    )?;
    demo.run(alice, "d8 plugins update all", Expectation::success(&["v1.0.0"]))?;
    demo.run(
        alice,
        "d8 plugins why stronghold",
        Expectation::success(&[
            "v2.0.0",
            "requires Kubernetes >=1.99",
            "v1.1.0",
            "workstations",
            "#platform",
            "v1.0.0",
        ]),
    )?;

    demo.step("Permit more versions", "The admin edits one field. The next command of every user obeys it.")?;
    let edit = "sed -i 's/~1.0/^1.0/' policy.yaml && kubectl apply -f policy.yaml";
    demo.run(admin, edit, Expectation::success(&["configured"]))?;
    demo.run(alice, "d8 plugins update all", Expectation::success(&["v1.1.0"]))?;
    demo.run(alice, "d8 stronghold", Expectation::success(&["This is stronghold v1.1.0."]))
}

fn time_gates(demo: &mut Walkthrough<'_, impl Write>, terminals: &Terminals) -> Result<()> {
    let Terminals { admin, alice } = terminals;
    demo.step(
        "Require a minimum age",
        "With `minAge: 24h`, a version must have been published for a day before anyone gets it. v1.2.0 is new, so it is \
         held. The message names the policy and the time at which the hold ends.",
    )?;
    let min_age = "echo '    minAge: 24h' >> policy.yaml && kubectl apply -f policy.yaml";
    demo.run(admin, min_age, Expectation::success(&["configured"]))?;
    demo.run(admin, &pack("v1.2.0"), Expectation::success(&["v1.2.0"]))?;
    demo.run(admin, POLL, Expectation::success(&["annotated"]))?;
    demo.run_until(admin, "kubectl get crel stronghold", Expectation::success(&["v1.2.0"]))?;
    demo.run(alice, "d8 plugins update all", Expectation::success(&["must soak for 24h", "v1.1.0 is already active"]))?;

    demo.step(
        "Roll out in a wave",
        "The admin replaces minAge by a rollout. A version now reaches all machines within thirty days, each machine at its \
         own time. alice's machine is not yet reached. She could name the version to install it now.",
    )?;
    let no_min_age = "sed -i '/minAge/d' policy.yaml && kubectl apply -f policy.yaml";
    demo.run(admin, no_min_age, Expectation::success(&["configured"]))?;
    demo.run(admin, &patch(r#"{"rollout":{"over":"720h"}}"#), Expectation::success(&["patched"]))?;
    demo.run_until(alice, "d8 plugins why stronghold v1.2.0", Expectation::success(&["takes 720h", "in "]))?;
    demo.run(alice, "d8 plugins update all", Expectation::success(&["v1.1.0 is already active"]))?;

    demo.step(
        "Set a maintenance window",
        "A window says when bastions may switch by themselves: here, one hour once a week. It does not bind people. alice \
         sees what the bastions wait for, and can update.",
    )?;
    let window = format!(
        r#"{{"rollout":null,"windows":[{{"days":["{}"],"start":"02:00","duration":"1h","timeZone":"Europe/Berlin"}}]}}"#,
        in_three_days()
    );
    demo.run(admin, &patch(&window), Expectation::success(&["patched"]))?;
    demo.run(alice, "d8 plugins why stronghold v1.2.0", Expectation::success(&["no window is open", "Eligible"]))?;
    demo.run(alice, "d8 plugins update all", Expectation::success(&["from v1.1.0 to v1.2.0"]))
}

/// Returns a day of the week that is neither today nor tomorrow in any time zone.
fn in_three_days() -> String {
    let day = Timestamp::now().to_zoned(TimeZone::UTC).saturating_add(3.days()).weekday();
    format!("{day:?}").chars().take(3).collect()
}

fn incidents(demo: &mut Walkthrough<'_, impl Write>, terminals: &Terminals) -> Result<()> {
    let Terminals { admin, alice } = terminals;
    demo.step(
        "Lose a requirement",
        "Someone disables the module stronghold. The record shows at once that no version fits any more, and the plugin \
         refuses to run against this cluster.",
    )?;
    let module = |enabled: &str| {
        let patch = json!({"status": {"conditions": [{"type": "EnabledByModuleManager", "status": enabled}]}});
        format!("kubectl patch module stronghold --subresource=status --type=merge -p '{patch}'")
    };
    demo.run(admin, &module("False"), Expectation::success(&["patched"]))?;
    demo.run_until(
        admin,
        "kubectl get crel stronghold",
        Expectation { lacks: &["v1.2.0"], ..Expectation::success(&["v2.0.0"]) },
    )?;
    demo.run(alice, "d8 stronghold", Expectation::failure(4, &["module"]))?;
    demo.run(admin, &module("True"), Expectation::success(&["patched"]))?;
    demo.run_until(admin, "kubectl get crel stronghold", Expectation::success(&["v1.2.0"]))?;
    demo.run(alice, "d8 stronghold", Expectation::success(&["This is stronghold v1.2.0."]))?;

    demo.step(
        "Detect a moved tag",
        "Someone publishes other bytes with tag v1.2.0. The operator sees that the digest of the tag changed. Nobody gets \
         the new bytes until an admin pins them. The installed version continues to run.",
    )?;
    let change = "sed -i 's/This is/All your secrets are/' stronghold-v1.2.0";
    demo.run(admin, &format!("{change} && {}", pack("v1.2.0")), Expectation::success(&["v1.2.0"]))?;
    demo.run(admin, POLL, Expectation::success(&["annotated"]))?;
    demo.run_until(alice, "d8 plugins why stronghold v1.2.0", Expectation::success(&["Held", "pin"]))?;
    demo.run(
        alice,
        "d8 plugins remove stronghold && d8 plugins install stronghold --version v1.2.0",
        Expectation::failure(3, &["v1.2.0"]),
    )?;
    demo.run(alice, "d8 plugins install stronghold", Expectation::success(&["v1.1.0"]))?;

    demo.step(
        "Block versions",
        "A vulnerability is found in all versions 1.1. The admin adds one line to the policy: a range. The next run on \
         every workstation is refused, and the next `update` moves to a version that is permitted.",
    )?;
    let block = "echo '    block: [1.1.x]' >> policy.yaml && kubectl apply -f policy.yaml";
    demo.run(admin, block, Expectation::success(&["configured"]))?;
    demo.run(alice, "d8 stronghold", Expectation::failure(3, &["v1.1.0", "1.1.x", "workstations"]))?;
    demo.run(alice, "d8 plugins update all", Expectation::success(&["v1.0.0"]))?;
    demo.run(alice, "d8 stronghold", Expectation::success(&["This is stronghold v1.0.0."]))?;

    demo.step("Remove the plugin", "d8 removes all files of the plugin.")?;
    demo.run(alice, "d8 plugins remove stronghold", Expectation::success(&["stronghold"]))?;
    demo.run(alice, "d8 plugins list", Expectation { lacks: &["v1.0.0"], ..Expectation::success(&[]) })
}

fn self_update(demo: &mut Walkthrough<'_, impl Write>, terminals: &Terminals) -> Result<()> {
    let Terminals { admin, alice } = terminals;
    demo.step(
        "Update d8 itself",
        "d8 is delivered like its plugins. alice's d8 is a plain file, v0.1.0. The update replaces the file by a link to the \
         active version. She can go back without a network.",
    )?;
    let platform = Platform::current();
    let pack =
        format!("d8-rpp pack --image deckhouse-cli --version v0.2.0 --platform {platform}=d8-v0.2.0/d8 --to registry");
    demo.run(admin, &pack, Expectation::success(&["v0.2.0"]))?;
    let poll = POLL.replace("stronghold", "d8");
    demo.run(admin, &poll, Expectation::success(&["annotated"]))?;
    demo.run_until(admin, "kubectl get crel d8", Expectation::success(&["v0.2.0"]))?;
    demo.run(alice, "d8 cli check", Expectation::success(&["v0.2.0 (current: v0.1.0)"]))?;
    demo.run(alice, "d8 cli update", Expectation::success(&["updated to v0.2.0"]))?;
    demo.run(alice, "d8 --version", Expectation::success(&["v0.2.0"]))?;
    demo.run(
        alice,
        "KUBECONFIG=/nowhere d8 cli use v0.1.0 && d8 --version",
        Expectation::success(&["installed locally", "d8 v0.1.0"]),
    )
}

fn hosts(demo: &mut Walkthrough<'_, impl Write>, admin: &Terminal) -> Result<()> {
    demo.step(
        "Let hosts follow a policy",
        "The admin enrols two bastions, and copies a file to each of them. On each bastion, the agent keeps the plugins on \
         the policy for its labels, without a person. The policy for workstations now selects only machines that are not \
         enrolled. The edit of one field takes both bastions to another version at once.",
    )?;
    let selector = r#"{"hostSelector":{"matchLabels":{"cli.deckhouse.io/managed":"false"}}}"#;
    demo.run(admin, &patch(selector), Expectation::success(&["patched"]))?;
    let bastions = [demo.host_terminal("bastion-1")?, demo.host_terminal("bastion-2")?];
    let mut agents = Vec::new();
    for bastion in &bastions {
        let name = bastion.user();
        let enroll = format!("d8 host enroll {name} --labels role=bastion");
        demo.run(admin, &enroll, Expectation::success(&["Enrolled"]))?;
        let join = format!("d8 agent join {name}.d8host --state-dir ~/d8-agent");
        demo.run(bastion, &join, Expectation::success(&[&format!("This machine is host {name}")]))?;
        agents.push(demo.start(bastion, "d8 agent run --state-dir ~/d8-agent")?);
    }
    demo.run(admin, "cat bastions.yaml", Expectation::success(&["access: Require"]))?;
    demo.run(admin, "kubectl apply -f bastions.yaml", Expectation::success(&["created"]))?;
    let [first, second] = &bastions;
    let status = "d8 agent status --state-dir ~/d8-agent";
    demo.run_until(first, status, Expectation::success(&["stronghold", "v1.1.0", "UpToDate"]))?;
    let edit = "sed -i 's/~1.1/~1.0/' bastions.yaml && kubectl apply -f bastions.yaml";
    demo.run(admin, edit, Expectation::success(&["configured"]))?;
    demo.run_until(second, status, Expectation::success(&["stronghold", "v1.0.0", "UpToDate"]))?;
    let up_to_date = Expectation { lacks: &["Unknown", "False"], ..Expectation::success(&["bastion-1", "UpToDate"]) };
    demo.run_until(admin, "d8 host list", up_to_date)?;
    demo.run_until(admin, "d8 fleet status", Expectation::success(&["stronghold", "v1.0.0 2", "2 up to date"]))
}
