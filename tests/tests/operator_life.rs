//! The operator's life: a second instance, stops and starts, and everything it depends on going away
//! and coming back.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use d8_crds::records::release::{CliRelease, CliReleaseStatus, Fit};
use d8_tests::catalog::Plugin;
use d8_tests::lab::{Lab, OPERATOR};
use d8_tests::process::{Server, wait_for};
use d8_tests::{Result, tools};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_mins(1);

fn status(release: &CliRelease) -> CliReleaseStatus {
    release.status.clone().unwrap_or_default()
}

fn condition(release: &CliRelease, kind: &str) -> String {
    let found = status(release).conditions.into_iter().find(|condition| condition.type_ == kind);
    found.map(|c| format!("{}/{}", c.status, c.reason)).unwrap_or_default()
}

fn poll(lab: &Lab, name: &str, request: &str) -> Result<()> {
    let request = format!("cli.deckhouse.io/poll-requested={request}");
    lab.plane().kubectl(["annotate", "--overwrite", "clirelease", name, &request]).map(drop)
}

/// Another operator beside the lab's, with the chart's `ServiceAccount`.
fn another(lab: &Lab, name: &str) -> Result<Server> {
    let who = lab.plane().service_account(OPERATOR, OPERATOR)?;
    let kubeconfig = lab.plane().kubeconfig_for(&who)?;
    let flags = ["--listen=127.0.0.1:0", "--namespace=d8-operator", "--identity", name];
    lab.plane().scratch().start(name, tools::binary("d8-operator")?, flags, |command| {
        command.env("KUBECONFIG", kubeconfig);
    })
}

/// Ends a process as a kubelet does; returns how it ended and after what time.
fn terminate(server: &mut Server) -> Result<(ExitStatus, Duration)> {
    let start = Instant::now();
    let pid = wait_for("a process id", SOON, || server.pid())?;
    assert_eq!(kill(Pid::from_raw(pid), Signal::SIGTERM), Ok(()));
    let ended = wait_for("its end", SOON, || server.ended())?;
    Ok((ended, start.elapsed()))
}

fn holder(lab: &Lab) -> String {
    let args = ["get", "lease", "d8-operator", "--namespace=d8-operator", "--output=jsonpath={.spec.holderIdentity}"];
    lab.plane().kubectl(args).unwrap_or_default()
}

fn tracked(lab: &Lab, name: &str, versions: &[&str]) -> Result<CliRelease> {
    for version in versions {
        lab.publish(&Plugin::new(name, version))?;
    }
    lab.track(&[name])?;
    lab.release_when(name, "synced", |r| {
        status(r).versions.len() == versions.len() && condition(r, "Synced") == "True/Synced"
    })
}

#[test]
fn one_leads_and_hands_over() -> Result<()> {
    let mut lab = Lab::start(|_| {})?;
    let before = tracked(&lab, "handed", &["v1.0.0", "v1.1.0"])?;
    let first = holder(&lab);
    assert!(first.starts_with("d8-operator-"), "{first}");

    let mut second = another(&lab, "second")?;
    let address = second.first_line(SOON)?;
    second.wait_for("/readyz", SOON, || ready(&address))?;
    assert_eq!(holder(&lab), first, "the one that leads goes on");

    let (ended, took) = terminate(lab.operator())?;
    assert!(ended.success() && took < Duration::from_secs(5), "{ended} after {took:?}");
    let log = lab.operator().log();
    assert!(log.contains("released the lease"), "{log}");
    wait_for("the second to lead", Duration::from_secs(30), || (holder(&lab) == "second").then_some(()))?;

    lab.publish(&Plugin::new("handed", "v1.2.0"))?;
    poll(&lab, "handed", "1")?;
    let after = lab.release_with("handed", "v1.2.0")?;
    let known = |release: &CliRelease| {
        let versions = status(release).versions;
        versions.into_iter().filter(|v| v.version != "v1.2.0").collect::<Vec<_>>()
    };
    assert_eq!(known(&after), known(&before), "what was known stays as it was");
    let (ended, _) = terminate(&mut second)?;
    assert!(ended.success(), "{ended}");
    assert_eq!(holder(&lab), "");

    // A third finds everything as it should be: it writes nothing.
    let quiet = lab.release("handed").and_then(|r| r.metadata.resource_version);
    let mut third = another(&lab, "third")?;
    third.first_line(SOON)?;
    wait_for("the third to lead", Duration::from_secs(30), || (holder(&lab) == "third").then_some(()))?;
    lab.publish(&Plugin::new("later", "v1.0.0"))?;
    tracked(&lab, "later", &["v1.0.0"])?;
    assert_eq!(lab.release("handed").and_then(|r| r.metadata.resource_version), quiet);
    Ok(())
}

/// Whether an operator is ready.
fn ready(address: &str) -> Option<()> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    write!(stream, "GET /readyz HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.0 200").then_some(())
}

#[test]
fn bad_input_is_found_before_anything_is_asked() -> Result<()> {
    let scratch = d8_tests::process::Scratch::new()?;
    let no_certificate = scratch.write("ca.crt", "no certificate")?.display().to_string();
    let no_cluster = scratch.path().join("none").display().to_string();
    for (args, code, words) in [
        (vec!["--listen", "nonsense"], 2, "--listen"),
        (vec!["--nonsense"], 2, "--nonsense"),
        (vec!["--log-level", "d8=nonsense"], 2, "--log-level"),
        (vec!["--rpp-endpoint", "http://proxy.example"], 2, "https"),
        (vec!["--rpp-endpoint", "https://"], 2, "https://"),
        (vec!["--rpp-ca-file", "/nonexistent/ca.crt"], 2, "/nonexistent/ca.crt"),
        (vec!["--rpp-ca-file", &no_certificate], 2, &no_certificate),
        (vec![], 1, "cluster"),
    ] {
        let finished = d8_tests::run(tools::binary("d8-operator")?, args.clone(), |command| {
            command.env_clear().env("KUBECONFIG", &no_cluster);
        })?;
        assert_eq!(finished.code(), code, "{args:?}: {finished:?}");
        assert!(finished.stderr.contains(words) && finished.stdout.is_empty(), "{args:?}: {finished:?}");
    }
    Ok(())
}

#[test]
fn what_it_depends_on_goes_and_comes_back() -> Result<()> {
    let mut lab = Lab::start(|_| {})?;
    let needs = json!({"modules": {"mandatory": [{"name": "prometheus"}]}, "deckhouse": {"constraint": ">=1.70"}});
    lab.publish(&Plugin::new("needy", "v1.0.0").requires(needs))?;
    lab.track(&["needy"])?;
    let fits = |fit: Fit| move |r: &CliRelease| status(r).versions.first().is_some_and(|v| v.fit == fit);
    lab.release_when("needy", "fits", fits(Fit::Fits))?;

    // No Modules, no Deckhouse: facts, not failures.
    lab.plane().kubectl(["delete", "crd", "modules.deckhouse.io"])?;
    let release = lab.release_when("needy", "modules unknown", fits(Fit::Unknown))?;
    let reasons = status(&release).versions[0].reasons.join("; ");
    assert!(reasons.contains("no Modules") && reasons.contains("prometheus"), "{reasons}");
    lab.plane().kubectl(["delete", "deployment", "deckhouse", "--namespace=d8-system"])?;
    lab.release_when("needy", "Deckhouse unknown", |r| {
        status(r).versions[0].reasons.iter().any(|reason| reason.contains("no Deployment d8-system/deckhouse"))
    })?;
    assert_eq!(status(&lab.release("needy").expect("it is there")).cluster.and_then(|c| c.deckhouse), None);

    // They appear later.
    d8_tests::cluster::furnish(lab.plane())?;
    lab.release_when("needy", "fits again", fits(Fit::Fits))?;

    // Someone else writes the ledger: it is read again, not overwritten.
    let ledger = ["annotate", "configmap", "d8-ledger-needy", "--namespace=d8-operator", "touched=by-someone"];
    lab.plane().kubectl(ledger)?;
    lab.publish(&Plugin::new("needy", "v1.1.0"))?;
    poll(&lab, "needy", "1")?;
    lab.release_with("needy", "v1.1.0")?;
    let data =
        lab.plane().kubectl(["get", "configmap", "d8-ledger-needy", "--namespace=d8-operator", "--output=json"])?;
    let data: Value = serde_json::from_str(&data).expect("JSON");
    assert!(data["data"]["v1.1.0"].as_str().is_some_and(|entry| entry.contains("firstSeen")), "{data}");
    assert_eq!(data["metadata"]["annotations"]["touched"], "by-someone");

    // A ledger that can't be read stops the record, says so, and goes on once it is gone.
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
    poll(&lab, "needy", "broken")?;
    let release = lab.release_when("needy", "stalled", |r| condition(r, "Stalled") == "True/LedgerUnreadable")?;
    assert!(status(&release).versions.iter().all(|v| v.version != "v1.1.1"), "without a ledger nothing is judged");
    lab.plane().kubectl(["delete", "configmap", "d8-ledger-needy", "--namespace=d8-operator"])?;
    poll(&lab, "needy", "mended")?;
    let mended = lab.release_with("needy", "v1.1.1")?;
    assert_eq!(condition(&mended, "Stalled"), "");
    let first_seen = |r: &CliRelease, name: &str| {
        status(r).versions.into_iter().find(|v| v.version == name).and_then(|v| v.first_seen)
    };
    assert_eq!(first_seen(&mended, "v1.0.0"), first_seen(&release, "v1.0.0"), "taken over from the record");

    // The API server is away for longer than the lease holds.
    lab.plane_mut().stop_api_server();
    let lost = |lab: &mut Lab| lab.operator().log().contains("stopped leading");
    wait_for("it to step down", SOON, || lost(&mut lab).then_some(()))?;
    lab.plane_mut().start_api_server()?;
    lab.publish(&Plugin::new("needy", "v1.2.0"))?;
    let release = wait_for("it to go on", Duration::from_mins(2), || {
        poll(&lab, "needy", "2").ok()?;
        lab.release("needy").filter(|r| status(r).versions.iter().any(|v| v.version == "v1.2.0"))
    })?;
    assert!(first_seen(&release, "v1.0.0") < first_seen(&release, "v1.2.0"));

    // The proxy is away: said at once, nothing lost.
    lab.stop_proxy();
    poll(&lab, "needy", "3")?;
    let release = lab.release_when("needy", "not synced", |r| condition(r, "Synced").starts_with("False/"))?;
    assert_eq!(condition(&release, "Synced"), "False/Unreachable");
    assert_eq!(condition(&release, "Ready"), "True/Published");
    assert_eq!(status(&release).versions.len(), 4);
    Ok(())
}
