//! The demo: what this project does, told in fifteen steps.

use std::io::Write;

use d8_crds::values::platform::Platform;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde_json::json;

use crate::catalog::script;
use crate::story::{Expect, Story, Typist};
use crate::{ADMIN, Lab, Result, release};

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

/// Who types.
struct Cast {
    admin: Typist,
    alice: Typist,
}

/// The command that publishes a version of the story's plugin.
fn pack(version: &str) -> String {
    let platform = Platform::current();
    format!(
        "d8-rpp pack --image deckhouse-cli/plugins/stronghold --version {version} \\\n    \
         --platform {platform}=stronghold-{version} --contract contract-{version}.yaml --to registry"
    )
}

/// Tells it. Fails at the first step that does not give what it should.
pub fn tell(lab: &Lab, out: impl Write) -> Result<()> {
    let mut story = Story::new(lab, out)?;
    lab.allow_download("alice")?;
    for (version, kubernetes) in
        [("v1.0.0", ">=1.29"), ("v1.1.0", ">=1.29"), ("v1.2.0", ">=1.29"), ("v2.0.0", ">=1.99")]
    {
        let contract = CONTRACT.replace("VERSION", version).replace("KUBERNETES", kubernetes);
        story.file(&format!("contract-{version}.yaml"), &contract)?;
        story.file(&format!("stronghold-{version}"), &script("stronghold", version))?;
    }
    story.file("record.yaml", RECORD)?;
    story.file("policy.yaml", POLICY)?;
    story.link("registry", lab.registry().layout())?;
    let cast = Cast { admin: story.typist(ADMIN)?, alice: story.typist("alice")? };
    release::d8(&story.bin(&cast.alice), "v0.1.0")?;
    release::d8(&story.folder().join("d8-v0.2.0"), "v0.2.0")?;
    from_the_registry_to_a_run(&mut story, &cast)?;
    a_newer_version(&mut story, &cast)?;
    what_takes_time(&mut story, &cast)?;
    what_stops_it(&mut story, &cast)?;
    d8_itself(&mut story, &cast)?;
    let (steps, seconds) = (story.steps(), story.elapsed().as_secs());
    story.tell("")?;
    story.tell(&format!("All {steps} steps gave what they should, in {seconds} s."))
}

fn from_the_registry_to_a_run(story: &mut Story<'_, impl Write>, cast: &Cast) -> Result<()> {
    story.step(
        "A version is published",
        "The team of the plugin `stronghold` publishes v1.0.0: an OCI image with an executable and a contract that \
         says what it demands of a cluster.",
    )?;
    story.types(&cast.admin, "cat contract-v1.0.0.yaml", Expect::done(&["constraint"]))?;
    story.types(&cast.admin, &pack("v1.0.0"), Expect::done(&["v1.0.0"]))?;

    story.step(
        "The cluster knows it",
        "The operator asks the proxy what is published, compares the contract with this cluster, and writes both \
         into a record that everyone may read.",
    )?;
    story.types(&cast.admin, "kubectl apply -f record.yaml", Expect::done(&["created"]))?;
    story.awaits(&cast.admin, "kubectl get crel stronghold", Expect::done(&["v1.0.0", "True"]))?;

    story.step(
        "An admin says what is allowed",
        "A policy for every workstation: nothing but stronghold, and of that only 1.0.",
    )?;
    story.types(&cast.admin, "cat policy.yaml", Expect::done(&["access: Deny"]))?;
    story.types(&cast.admin, "kubectl apply -f policy.yaml", Expect::done(&["created"]))?;
    story.awaits(&cast.admin, "kubectl get ppol workstations", Expect::done(&["True"]))?;

    story.step(
        "An engineer installs it",
        "alice has an ordinary kubeconfig and no registry credentials. The bytes come from the proxy with her own \
         identity and are checked against the digest in the record.",
    )?;
    story.types(&cast.alice, "d8 plugins install stronghold", Expect::done(&["v1.0.0"]))?;
    story.types(&cast.alice, "d8 plugins list", Expect::done(&["stronghold", "v1.0.0"]))?;
    story.types(&cast.alice, "d8 stronghold", Expect::done(&["This is stronghold v1.0.0."]))
}

/// The operator looks every ten minutes; this asks it to look now.
const POLL: &str = "kubectl annotate crel stronghold --overwrite cli.deckhouse.io/poll-requested=\"$(date +%T.%N)\"";

/// Changes fields of the policy's spec, as one types it.
fn patch(spec: &str) -> String {
    format!("kubectl patch ppol workstations --type=merge -p '{{\"spec\":{spec}}}'")
}

fn a_newer_version(story: &mut Story<'_, impl Write>, cast: &Cast) -> Result<()> {
    story.step(
        "Newer versions appear",
        "v1.1.0, and v2.0.0 that needs a Kubernetes nobody has yet. The operator looks every ten minutes; an admin \
         who cannot wait asks for a look now. FITS is the newest one for this cluster.",
    )?;
    story.types(&cast.admin, &pack("v1.1.0"), Expect::done(&["v1.1.0"]))?;
    story.types(&cast.admin, &pack("v2.0.0"), Expect::done(&["v2.0.0"]))?;
    story.types(&cast.admin, POLL, Expect::done(&["annotated"]))?;
    story.awaits(&cast.admin, "kubectl get crel stronghold", Expect::done(&["v2.0.0", "v1.1.0"]))?;

    story.step(
        "The policy holds them back, and says so",
        "`update all` moves nothing, and `why` names for each version who refuses it.",
    )?;
    story.types(&cast.alice, "d8 plugins update all", Expect::done(&["v1.0.0"]))?;
    story.types(
        &cast.alice,
        "d8 plugins why stronghold",
        Expect::done(&["v2.0.0", "requires Kubernetes >=1.99", "v1.1.0", "workstations", "#platform", "v1.0.0"]),
    )?;

    story.step("The policy is widened", "One field; the next command of everyone obeys it.")?;
    let widen = "sed -i 's/~1.0/^1.0/' policy.yaml && kubectl apply -f policy.yaml";
    story.types(&cast.admin, widen, Expect::done(&["configured"]))?;
    story.types(&cast.alice, "d8 plugins update all", Expect::done(&["v1.1.0"]))?;
    story.types(&cast.alice, "d8 stronghold", Expect::done(&["This is stronghold v1.1.0."]))
}

fn what_takes_time(story: &mut Story<'_, impl Write>, cast: &Cast) -> Result<()> {
    story.step(
        "A soak",
        "The admin lets nothing in that was published less than a day ago. v1.2.0 appears, and waits: until when, \
         and by whose word, is said.",
    )?;
    let soak = "echo '    minAge: 24h' >> policy.yaml && kubectl apply -f policy.yaml";
    story.types(&cast.admin, soak, Expect::done(&["configured"]))?;
    story.types(&cast.admin, &pack("v1.2.0"), Expect::done(&["v1.2.0"]))?;
    story.types(&cast.admin, POLL, Expect::done(&["annotated"]))?;
    story.awaits(&cast.admin, "kubectl get crel stronghold", Expect::done(&["v1.2.0"]))?;
    story.types(&cast.alice, "d8 plugins update all", Expect::done(&["soaks for 24h", "v1.1.0 is active already"]))?;

    story.step(
        "A wave",
        "No soak any more, but a rollout: every machine gets its turn within thirty days, each at a moment of its \
         own. alice's is not yet; naming the version would take it now.",
    )?;
    let unsoak = "sed -i '/minAge/d' policy.yaml && kubectl apply -f policy.yaml";
    story.types(&cast.admin, unsoak, Expect::done(&["configured"]))?;
    story.types(&cast.admin, &patch(r#"{"rollout":{"over":"720h"}}"#), Expect::done(&["patched"]))?;
    story.awaits(&cast.alice, "d8 plugins why stronghold v1.2.0", Expect::done(&["spreads over 720h", "in "]))?;
    story.types(&cast.alice, "d8 plugins update all", Expect::done(&["v1.1.0 is active already"]))?;

    story.step(
        "A window",
        "Bastions switch by themselves, and only when the admin lets them: one hour, once a week. People are not \
         bound by it, but see what their bastions wait for.",
    )?;
    let window = format!(
        r#"{{"rollout":null,"windows":[{{"days":["{}"],"start":"02:00","duration":"1h","timeZone":"Europe/Berlin"}}]}}"#,
        in_three_days()
    );
    story.types(&cast.admin, &patch(&window), Expect::done(&["patched"]))?;
    story.types(&cast.alice, "d8 plugins why stronghold v1.2.0", Expect::done(&["no window is open", "Eligible"]))?;
    story.types(&cast.alice, "d8 plugins update all", Expect::done(&["from v1.1.0 to v1.2.0"]))
}

/// A day of the week that is neither today nor tomorrow, whatever the zone.
fn in_three_days() -> String {
    let day = Timestamp::now().to_zoned(TimeZone::UTC).saturating_add(3.days()).weekday();
    format!("{day:?}").chars().take(3).collect()
}

fn what_stops_it(story: &mut Story<'_, impl Write>, cast: &Cast) -> Result<()> {
    story.step(
        "A requirement goes away",
        "Someone switches the module stronghold off. The record says at once that nothing fits any more, and the \
         plugin refuses to run against this cluster.",
    )?;
    let module = |on: &str| {
        let patch = json!({"status": {"conditions": [{"type": "EnabledByModuleManager", "status": on}]}});
        format!("kubectl patch module stronghold --subresource=status --type=merge -p '{patch}'")
    };
    story.types(&cast.admin, &module("False"), Expect::done(&["patched"]))?;
    story.awaits(
        &cast.admin,
        "kubectl get crel stronghold",
        Expect { never: &["v1.2.0"], ..Expect::done(&["v2.0.0"]) },
    )?;
    story.types(&cast.alice, "d8 stronghold", Expect::refused(4, &["module"]))?;
    story.types(&cast.admin, &module("True"), Expect::done(&["patched"]))?;
    story.awaits(&cast.admin, "kubectl get crel stronghold", Expect::done(&["v1.2.0"]))?;
    story.types(&cast.alice, "d8 stronghold", Expect::done(&["This is stronghold v1.2.0."]))?;

    story.step(
        "A tag is moved",
        "Somebody publishes other bytes under v1.2.0. The operator sees that the tag points elsewhere than before; \
         nobody gets the new bytes until an admin pins them, and what is installed goes on running.",
    )?;
    let swap = "sed -i 's/This is/All your secrets are/' stronghold-v1.2.0";
    story.types(&cast.admin, &format!("{swap} && {}", pack("v1.2.0")), Expect::done(&["v1.2.0"]))?;
    story.types(&cast.admin, POLL, Expect::done(&["annotated"]))?;
    story.awaits(&cast.alice, "d8 plugins why stronghold v1.2.0", Expect::done(&["Held", "pin"]))?;
    story.types(
        &cast.alice,
        "d8 plugins remove stronghold && d8 plugins install stronghold --version v1.2.0",
        Expect::refused(3, &["v1.2.0"]),
    )?;
    story.types(&cast.alice, "d8 plugins install stronghold", Expect::done(&["v1.1.0"]))?;

    story.step(
        "The kill switch",
        "v1.1.0 turns out to be harmful: one line in the policy, and no machine runs it any more. The next `update` \
         goes back to what is left.",
    )?;
    let block = "echo '    block: [v1.1.0]' >> policy.yaml && kubectl apply -f policy.yaml";
    story.types(&cast.admin, block, Expect::done(&["configured"]))?;
    story.types(&cast.alice, "d8 stronghold", Expect::refused(3, &["v1.1.0", "workstations"]))?;
    story.types(&cast.alice, "d8 plugins update all", Expect::done(&["v1.0.0"]))?;
    story.types(&cast.alice, "d8 stronghold", Expect::done(&["This is stronghold v1.0.0."]))?;

    story.step("And out again", "What was installed goes without a trace.")?;
    story.types(&cast.alice, "d8 plugins remove stronghold", Expect::done(&["stronghold"]))?;
    story.types(&cast.alice, "d8 plugins list", Expect { never: &["v1.0.0"], ..Expect::done(&[]) })
}

fn d8_itself(story: &mut Story<'_, impl Write>, cast: &Cast) -> Result<()> {
    story.step(
        "d8 itself",
        "It is delivered as its plugins are. alice's is a plain file of v0.1.0; the update makes it a link to the \
         version that is active, and the way back takes no network.",
    )?;
    let platform = Platform::current();
    let pack =
        format!("d8-rpp pack --image deckhouse-cli --version v0.2.0 --platform {platform}=d8-v0.2.0/d8 --to registry");
    story.types(&cast.admin, &pack, Expect::done(&["v0.2.0"]))?;
    let poll = POLL.replace("stronghold", "d8");
    story.types(&cast.admin, &poll, Expect::done(&["annotated"]))?;
    story.awaits(&cast.admin, "kubectl get crel d8", Expect::done(&["v0.2.0"]))?;
    story.types(&cast.alice, "d8 cli check", Expect::done(&["v0.2.0 (current: v0.1.0)"]))?;
    story.types(&cast.alice, "d8 cli update", Expect::done(&["updated to v0.2.0"]))?;
    story.types(&cast.alice, "d8 --version", Expect::done(&["v0.2.0"]))?;
    story.types(
        &cast.alice,
        "KUBECONFIG=/nowhere d8 cli use v0.1.0 && d8 --version",
        Expect::done(&["installed locally", "d8 v0.1.0"]),
    )
}
