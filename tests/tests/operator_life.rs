//! Leader election, restarts, and failures of everything that the operator depends on.

use std::process::ExitStatus;
use std::time::Duration;

use d8_crds::records::release::{CliRelease, Fit};
use d8_tests::catalog::Plugin;
use d8_tests::lab::{Lab, TIMEOUT};
use d8_tests::process::{Server, wait_for};
use d8_tests::status::{self, of_release};
use d8_tests::{Result, tools};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// Returns a condition of a record as `True/Synced`.
fn condition(release: &CliRelease, kind: &str) -> String {
    status::condition(&of_release(release).conditions, kind)
}

/// Ends a process with SIGTERM as a kubelet does. Returns its exit status.
fn terminate(server: &mut Server) -> Result<ExitStatus> {
    let pid = wait_for("a process ID", TIMEOUT, || server.pid())?;
    assert_eq!(kill(Pid::from_raw(pid), Signal::SIGTERM), Ok(()));
    wait_for("the end of the process", TIMEOUT, || server.ended())
}

fn tracked(lab: &Lab, name: &str, versions: &[&str]) -> Result<CliRelease> {
    for version in versions {
        lab.publish(&Plugin::new(name, version))?;
    }
    lab.create_releases(&[name])?;
    lab.wait_for_release(name, "synced", |r| {
        of_release(r).versions.len() == versions.len() && condition(r, "Synced") == "True/Synced"
    })
}

#[test]
fn a_second_instance_takes_over() -> Result<()> {
    let mut lab = Lab::start(|_| {})?;
    let before = tracked(&lab, "handed", &["v1.0.0", "v1.1.0"])?;
    let first = lab.leader();
    assert!(first.starts_with("d8-operator-"), "{first}");

    let mut second = lab.start_replica("second")?;
    assert_eq!(lab.leader(), first, "the leader stays the leader");

    let status = terminate(lab.operator())?;
    assert!(status.success(), "{status}");
    let log = lab.operator().log();
    assert!(log.contains("released the lease"), "{log}");
    wait_for("the second to lead", Duration::from_secs(30), || (lab.leader() == "second").then_some(()))?;

    lab.publish(&Plugin::new("handed", "v1.2.0"))?;
    lab.request_poll("handed")?;
    let after = lab.wait_for_version("handed", "v1.2.0")?;
    let known = |release: &CliRelease| {
        let versions = of_release(release).versions;
        versions.into_iter().filter(|v| v.version != "v1.2.0").collect::<Vec<_>>()
    };
    assert_eq!(known(&after), known(&before), "the known versions do not change");
    let status = terminate(&mut second)?;
    assert!(status.success(), "{status}");
    assert_eq!(lab.leader(), "");

    // A third instance finds nothing to change and writes nothing.
    let unchanged = lab.get_release("handed").and_then(|r| r.metadata.resource_version);
    let _third = lab.start_replica("third")?;
    wait_for("the third to lead", Duration::from_secs(30), || (lab.leader() == "third").then_some(()))?;
    lab.publish(&Plugin::new("later", "v1.0.0"))?;
    tracked(&lab, "later", &["v1.0.0"])?;
    assert_eq!(lab.get_release("handed").and_then(|r| r.metadata.resource_version), unchanged);
    Ok(())
}

#[test]
fn invalid_input_is_refused_at_the_start() -> Result<()> {
    let scratch = d8_tests::process::Scratch::new()?;
    let no_certificate = scratch.write("ca.crt", "not a certificate")?.display().to_string();
    let no_cluster = scratch.path().join("none").display().to_string();
    let broken = scratch.write("kubeconfig", "clusters: {")?.display().to_string();
    for (args, kubeconfig, text) in [
        (vec!["--listen", "nonsense"], &no_cluster, "--listen"),
        (vec!["--nonsense"], &no_cluster, "--nonsense"),
        (vec!["--log-level", "d8=nonsense"], &no_cluster, "--log-level"),
        (vec!["--rpp-endpoint", "http://proxy.example"], &no_cluster, "https"),
        (vec!["--rpp-endpoint", "https://"], &no_cluster, "https://"),
        (vec!["--rpp-ca-file", "/nonexistent/ca.crt"], &no_cluster, "/nonexistent/ca.crt"),
        (vec!["--rpp-ca-file", &no_certificate], &no_cluster, &no_certificate),
        (vec![], &no_cluster, "no kubeconfig found"),
        (vec![], &broken, "not a kubeconfig"),
    ] {
        let finished = d8_tests::run(tools::binary("d8-operator")?, args.clone(), |command| {
            command.env_clear().env("KUBECONFIG", kubeconfig);
        })?;
        assert_eq!(finished.code(), 2, "{args:?}: {finished:?}");
        assert!(finished.stderr.contains(text) && finished.stdout.is_empty(), "{args:?}: {finished:?}");
    }
    Ok(())
}

#[test]
fn the_operator_recovers_from_lost_dependencies() -> Result<()> {
    let mut lab = Lab::start(|_| {})?;
    let needs = json!({"modules": {"mandatory": [{"name": "prometheus"}]}, "deckhouse": {"constraint": ">=1.70"}});
    lab.publish(&Plugin::new("needy", "v1.0.0").with_requirements(needs))?;
    lab.create_releases(&["needy"])?;
    let fits = |fit: Fit| move |r: &CliRelease| of_release(r).versions.first().is_some_and(|v| v.fit == fit);
    lab.wait_for_release("needy", "fits", fits(Fit::Fits))?;

    // Without Modules or Deckhouse the operator reports facts, not failures.
    lab.plane().kubectl(["delete", "crd", "modules.deckhouse.io"])?;
    let release = lab.wait_for_release("needy", "modules unknown", fits(Fit::Unknown))?;
    let reasons = of_release(&release).versions[0].reasons.join("; ");
    assert!(reasons.contains("no Modules") && reasons.contains("prometheus"), "{reasons}");
    lab.plane().kubectl(["delete", "deployment", "deckhouse", "--namespace=d8-system"])?;
    lab.wait_for_release("needy", "Deckhouse unknown", |r| {
        of_release(r).versions[0].reasons.iter().any(|reason| reason.contains("no Deployment d8-system/deckhouse"))
    })?;
    assert_eq!(of_release(&lab.get_release("needy").expect("the record")).cluster.and_then(|c| c.deckhouse), None);

    // The objects are created again.
    d8_tests::cluster::set_up(lab.plane())?;
    lab.wait_for_release("needy", "fits again", fits(Fit::Fits))?;

    // Another client changes the ledger. The operator reads it again and does not overwrite the change.
    let ledger = ["annotate", "configmap", "d8-ledger-needy", "--namespace=d8-operator", "touched=by-someone"];
    lab.plane().kubectl(ledger)?;
    lab.publish(&Plugin::new("needy", "v1.1.0"))?;
    lab.request_poll("needy")?;
    lab.wait_for_version("needy", "v1.1.0")?;
    let data =
        lab.plane().kubectl(["get", "configmap", "d8-ledger-needy", "--namespace=d8-operator", "--output=json"])?;
    let data: Value = serde_json::from_str(&data).expect("JSON");
    assert!(data["data"]["v1.1.0"].as_str().is_some_and(|entry| entry.contains("firstSeen")), "{data}");
    assert_eq!(data["metadata"]["annotations"]["touched"], "by-someone");

    // An unreadable ledger stops the record and is reported. The record continues when the ledger is deleted.
    let broken = "--patch={\"data\":{\"v1.1.0\":\"nonsense\"}}";
    lab.plane().kubectl([
        "patch",
        "configmap",
        "d8-ledger-needy",
        "--namespace=d8-operator",
        "--type=merge",
        broken,
    ])?;
    lab.publish(&Plugin::new("needy", "v1.1.1"))?;
    lab.request_poll("needy")?;
    let release = lab.wait_for_release("needy", "stalled", |r| condition(r, "Stalled") == "True/LedgerUnreadable")?;
    assert!(
        of_release(&release).versions.iter().all(|v| v.version != "v1.1.1"),
        "without a ledger no version is evaluated"
    );
    lab.plane().kubectl(["delete", "configmap", "d8-ledger-needy", "--namespace=d8-operator"])?;
    lab.request_poll("needy")?;
    let repaired = lab.wait_for_version("needy", "v1.1.1")?;
    assert_eq!(condition(&repaired, "Stalled"), "");
    let first_seen = |r: &CliRelease, name: &str| {
        of_release(r).versions.into_iter().find(|v| v.version == name).and_then(|v| v.first_seen)
    };
    assert_eq!(first_seen(&repaired, "v1.0.0"), first_seen(&release, "v1.0.0"), "restored from the record");

    // The API server is down for longer than the lease lasts.
    lab.plane_mut().stop_api_server();
    let lost = |lab: &mut Lab| lab.operator().log().contains("stopped leading");
    wait_for("the operator to lose the lead", TIMEOUT, || lost(&mut lab).then_some(()))?;
    lab.plane_mut().start_api_server()?;
    lab.publish(&Plugin::new("needy", "v1.2.0"))?;
    let release = wait_for("the operator to continue", Duration::from_mins(2), || {
        lab.request_poll("needy").ok()?;
        lab.get_release("needy").filter(|r| of_release(r).versions.iter().any(|v| v.version == "v1.2.0"))
    })?;
    assert!(first_seen(&release, "v1.0.0") < first_seen(&release, "v1.2.0"));

    // The proxy is down: this is reported at once, and no data is lost.
    lab.stop_proxy();
    lab.request_poll("needy")?;
    let release = lab.wait_for_release("needy", "not synced", |r| condition(r, "Synced").starts_with("False/"))?;
    assert_eq!(condition(&release, "Synced"), "False/Unreachable");
    assert_eq!(condition(&release, "Ready"), "True/Published");
    assert_eq!(of_release(&release).versions.len(), 4);
    Ok(())
}
