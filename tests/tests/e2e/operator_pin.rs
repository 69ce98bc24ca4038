//! The operator sends its token to the pinned proxy only, and people cannot flood the proxy through the operator.

use std::time::{Duration, Instant};

use d8_crds::records::release::CliRelease;
use d8_tests::catalog::Plugin;
use d8_tests::foreign_proxy::ForeignProxy;
use d8_tests::lab::{OPERATOR, TIMEOUT};
use d8_tests::process::wait_for;
use d8_tests::proxy::serve_as;
use d8_tests::status::{condition, of_release};
use d8_tests::{Authority, Lab, Result, objects};
use serde_json::Value;

/// The ConfigMap with the pin, and the keys in it.
fn pin(lab: &Lab) -> Result<(Value, Vec<String>)> {
    let get = ["get", "configmap", "d8-proxy-pin", "--namespace", OPERATOR, "--output=json", "--show-managed-fields"];
    let text = lab.plane().kubectl(get)?;
    let object: Value = serde_json::from_str(&text).unwrap_or_default();
    let pin: Value = serde_json::from_str(object["data"]["pin.json"].as_str().unwrap_or_default()).unwrap_or_default();
    let keys = pin["keys"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    Ok((object, keys))
}

fn announce(lab: &Lab, endpoint: &str, bundle: &str) -> Result<()> {
    lab.plane().apply(&objects::proxy_config(None, &[endpoint], bundle).to_string()).map(drop)
}

/// Condition `Synced` as `False/EndpointChanged`, and its message.
fn synced(release: &CliRelease) -> (String, String) {
    let conditions = of_release(release).conditions;
    let message = conditions.iter().find(|condition| condition.type_ == "Synced").map(|found| found.message.clone());
    (condition(&conditions, "Synced"), message.unwrap_or_default())
}

/// Waits until the record says that the proxy changed, with these words in the message. Returns the message.
fn changed(lab: &Lab, words: &str) -> Result<String> {
    lab.request_poll("pinned")?;
    let is_changed = |release: &CliRelease| {
        let (state, message) = synced(release);
        state == "False/EndpointChanged" && message.contains(words)
    };
    let release = lab.wait_for_release("pinned", words, is_changed)?;
    let status = of_release(&release);
    assert_eq!(status.versions.len(), 1, "the published versions stay");
    assert_eq!(condition(&status.conditions, "Ready"), "True/Published");
    assert_eq!(condition(&status.conditions, "Reconciling"), "");
    Ok(synced(&release).1)
}

/// Runs the command that a message shows.
fn run_command_in(lab: &Lab, message: &str) -> Result<()> {
    let command = message.split('`').nth(1).unwrap_or_default();
    let words = command.strip_prefix("kubectl ").unwrap_or_default();
    lab.plane().kubectl(words.split_whitespace()).map(drop)
}

fn metric(lab: &Lab, name: &str) -> Option<String> {
    let (_, text) = lab.operator_get("/metrics")?;
    text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")).map(str::to_owned))
}

#[test]
fn the_operator_remembers_the_proxy() -> Result<()> {
    let mut lab = Lab::start(|_| {})?;
    lab.publish(&Plugin::new("pinned", "v1.0.0"))?;
    lab.create_releases(&["pinned"])?;
    let is_synced =
        |release: &CliRelease| synced(release).0 == "True/Synced" && of_release(release).versions.len() == 1;
    lab.wait_for_release("pinned", "synced", is_synced)?;
    let (object, first) = pin(&lab)?;
    assert_eq!(first.len(), 1, "{object}");
    assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/managed-by"], "d8-operator");
    let managers = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    assert!(!managers.is_empty() && managers.iter().all(|entry| entry["manager"] == OPERATOR), "{object}");
    assert_eq!(metric(&lab, "d8_operator_proxy_changed").as_deref(), Some("0"));

    // A foreign authority beside the real one, and alone: no request is sent.
    let scratch = lab.plane().scratch();
    let foreign_ca = Authority::new(scratch, "foreign-ca")?;
    let foreign = ForeignProxy::start(&foreign_ca.server(scratch, "foreign")?, "foreign")?;
    let beside = format!("{}{}", foreign_ca.pem, lab.plane().ca_pem());
    announce(&lab, foreign.address(), &beside)?;
    changed(&lab, "not signed by a trusted key")?;
    assert!(foreign.connections() > 0, "the foreign server was never reached");
    announce(&lab, foreign.address(), &foreign_ca.pem)?;
    changed(&lab, "has changed: pinned")?;
    assert_eq!(metric(&lab, "d8_operator_proxy_changed").as_deref(), Some("1"));
    let events = lab.plane().kubectl(["get", "events.events.k8s.io", "--namespace=default", "--output=json"])?;
    assert!(events.contains("\"EndpointChanged\""), "{events}");

    // A restart changes nothing, and neither does an annotation that names no key.
    lab.stop_operator()?;
    lab.start_operator()?;
    let annotate = ["annotate", "configmap", "d8-proxy-pin", "--namespace", OPERATOR, "cli.deckhouse.io/trust-ca=yes"];
    lab.plane().kubectl(annotate)?;
    let message = changed(&lab, "has changed: pinned")?;
    assert!(message.contains(foreign_ca.key().as_str()), "{message}");
    assert_eq!((pin(&lab)?.1, foreign.received()), (first.clone(), String::new()));

    // An admin accepts another authority with the command in the condition.
    let scratch = lab.plane().scratch();
    let new_ca = Authority::new(scratch, "new-ca")?;
    let flags = ["--layout".into(), lab.proxy().layout().into()];
    let (_server, address) = serve_as(lab.plane(), "after", new_ca.server(scratch, "after")?, flags)?;
    announce(&lab, &address, &new_ca.pem)?;
    let message = changed(&lab, new_ca.key().as_str())?;
    run_command_in(&lab, &message)?;
    lab.wait_for_release("pinned", "synced with the new authority", is_synced)?;
    assert!(pin(&lab)?.1.contains(&new_ca.key().to_string()));
    assert_eq!(metric(&lab, "d8_operator_proxy_changed").as_deref(), Some("0"));

    // The annotation accepts no later key.
    announce(&lab, foreign.address(), &foreign_ca.pem)?;
    changed(&lab, foreign_ca.key().as_str())?;
    assert_eq!(foreign.received(), "");

    // The chart's pin counts instead of what was stored.
    let scratch = lab.plane().scratch();
    let last_ca = Authority::new(scratch, "last-ca")?;
    let flags = ["--layout".into(), lab.proxy().layout().into()];
    let (_last, address) = serve_as(lab.plane(), "last", last_ca.server(scratch, "last")?, flags)?;
    announce(&lab, &address, &last_ca.pem)?;
    lab.stop_operator()?;
    lab.start_operator_with(&["--rpp-key", last_ca.key().as_str()])?;
    lab.wait_for_release("pinned", "synced with the key of the chart", is_synced)?;
    assert_eq!(pin(&lab)?.1, [last_ca.key().to_string()]);
    Ok(())
}

/// Two replicas run. What the leading one pins, the other one knows when it leads.
#[test]
fn replicas_share_the_pin() -> Result<()> {
    let mut lab = Lab::start(|_| {})?;
    lab.publish(&Plugin::new("pinned", "v1.0.0"))?;
    lab.create_releases(&["pinned"])?;
    let is_synced = |release: &CliRelease| synced(release).0 == "True/Synced";
    lab.wait_for_release("pinned", "synced", is_synced)?;
    let _second = lab.start_replica("second")?;
    let first = lab.leader();
    assert_ne!(first, "second");

    // An admin accepts another authority while both run.
    let scratch = lab.plane().scratch();
    let new_ca = Authority::new(scratch, "new-ca")?;
    let flags = ["--layout".into(), lab.proxy().layout().into()];
    let (_server, address) = serve_as(lab.plane(), "after", new_ca.server(scratch, "after")?, flags)?;
    announce(&lab, &address, &new_ca.pem)?;
    run_command_in(&lab, &changed(&lab, new_ca.key().as_str())?)?;
    lab.wait_for_release("pinned", "synced with the new authority", is_synced)?;
    assert_eq!(lab.leader(), first, "the leader stays the leader");
    let (_, keys) = pin(&lab)?;
    assert!(keys.contains(&new_ca.key().to_string()), "{keys:?}");

    // The other one leads, reads through the proxy with the new authority, and changes nothing.
    lab.stop_operator()?;
    wait_for("the second to lead", TIMEOUT, || (lab.leader() == "second").then_some(()))?;
    lab.publish(&Plugin::new("pinned", "v1.1.0"))?;
    lab.request_poll("pinned")?;
    lab.wait_for_version("pinned", "v1.1.0")?;
    assert_eq!(pin(&lab)?.1, keys);

    // It refuses a foreign proxy, as the first one does.
    let scratch = lab.plane().scratch();
    let foreign_ca = Authority::new(scratch, "foreign-ca")?;
    let foreign = ForeignProxy::start(&foreign_ca.server(scratch, "foreign")?, "foreign")?;
    announce(&lab, foreign.address(), &foreign_ca.pem)?;
    lab.request_poll("pinned")?;
    lab.wait_for_release("pinned", "another proxy", |release| synced(release).0 == "False/EndpointChanged")?;
    assert_eq!((pin(&lab)?.1, foreign.received()), (keys, String::new()));
    Ok(())
}

#[test]
fn many_requests_give_few_polls() -> Result<()> {
    let lab = Lab::start(|_| {})?;
    lab.publish(&Plugin::new("flooded", "v1.0.0"))?;
    lab.create_releases(&["flooded"])?;
    lab.wait_for_version("flooded", "v1.0.0")?;
    let polls = || metric(&lab, "d8_operator_polls_total{reason=\"Success\"}").and_then(|count| count.parse().ok());
    let before: u64 = wait_for("the number of polls", TIMEOUT, polls)?;
    let start = Instant::now();
    // At least one interval passes, and there are many requests in it.
    let mut requests = 0;
    while requests < 30 || start.elapsed() < Duration::from_secs(12) {
        lab.request_poll("flooded")?;
        requests += 1;
    }
    lab.publish(&Plugin::new("flooded", "v1.1.0"))?;
    lab.request_poll("flooded")?;
    lab.wait_for_version("flooded", "v1.1.0")?;
    let after: u64 = wait_for("the number of polls", TIMEOUT, polls)?;
    // The record of d8 is polled, too; nothing else is due within a minute.
    let allowed = start.elapsed().as_secs() / 10 + 3;
    assert!(after - before <= allowed, "{requests} requests gave {} polls in {:?}", after - before, start.elapsed());
    assert!(after > before);
    Ok(())
}
