//! Policies as the operator answers them, the records it makes for them, and the rights it has.

use std::time::Duration;

use d8_crds::records::policy::{PluginPolicy, PluginPolicyStatus};
use d8_tests::lab::{Lab, OPERATOR};
use d8_tests::process::wait_for;
use d8_tests::{Result, catalog::Plugin};
use serde_json::{Value, json};

fn status(policy: &PluginPolicy) -> PluginPolicyStatus {
    policy.status.clone().unwrap_or_default()
}

/// `True/Accepted` and its message; empty where the condition is not there.
fn condition(policy: &PluginPolicy, kind: &str) -> (String, String) {
    let found = status(policy).conditions.into_iter().find(|condition| condition.type_ == kind);
    found.map(|c| (format!("{}/{}", c.status, c.reason), c.message)).unwrap_or_default()
}

/// Applies a policy and waits for the operator's answer to this very spec.
fn answered(lab: &Lab, name: &str, spec: &Value) -> Result<PluginPolicy> {
    lab.policy(name, spec)?;
    lab.policy_accepted(name)?;
    Ok(lab.plugin_policy(name).unwrap_or_else(|| panic!("{name} is gone")))
}

#[test]
fn a_valid_policy_is_accepted() -> Result<()> {
    let lab = Lab::shared();
    let selector = json!({"matchLabels": {"role": "accepted"}});
    let policy = answered(lab, "valid", &json!({"hostSelector": selector}))?;
    assert_eq!(condition(&policy, "Accepted").0, "True/Accepted");
    assert_eq!(condition(&policy, "Ready").0, "True/Enforced");
    let uid = lab.plane().kubectl(["get", "namespace", "kube-system", "--output=jsonpath={.metadata.uid}"])?;
    assert_eq!(status(&policy).cluster_uid, Some(uid));
    assert_eq!(status(&policy).observed_generation, policy.metadata.generation);
    let paused = answered(lab, "valid", &json!({"hostSelector": selector, "paused": true}))?;
    assert_eq!(condition(&paused, "Ready").0, "True/Paused");
    Ok(())
}

#[test]
fn a_policy_that_cannot_be_read_names_the_field_and_recovers() -> Result<()> {
    let lab = Lab::shared();
    let spec = |versions: &str| {
        let rule = json!({"plugins": ["broken-rule"], "versions": versions});
        json!({"hostSelector": {"matchLabels": {"role": "broken"}}, "rules": [rule]})
    };
    let policy = answered(lab, "broken", &spec("one or two"))?;
    let (accepted, message) = condition(&policy, "Accepted");
    assert!(accepted == "False/Invalid" && message.contains("spec.rules[0].versions"), "{accepted}: {message}");
    assert_eq!(condition(&policy, "Ready").0, "False/Invalid");
    let policy = answered(lab, "broken", &spec(">=1.0"))?;
    assert_eq!(condition(&policy, "Accepted").0, "True/Accepted");
    Ok(())
}

#[test]
fn hosts_are_counted() -> Result<()> {
    let lab = Lab::shared();
    for (name, role, state) in
        [("counted-1", "counted", "UpToDate"), ("counted-2", "counted", "Failed"), ("counted-3", "other", "Held")]
    {
        lab.host(name, role, &json!({"components": [{"name": "d8", "active": "v0.1.0", "state": state}]}))?;
    }
    lab.policy("counting", &json!({"hostSelector": {"matchLabels": {"role": "counted"}}}))?;
    let counts = wait_for("counts", Duration::from_secs(90), || {
        status(&lab.plugin_policy("counting")?).hosts.filter(|hosts| hosts.matched == 2 && hosts.failed == 1)
    })?;
    assert_eq!((counts.up_to_date, counts.held), (1, 0));
    let table = lab.plane().kubectl(["get", "ppol", "counting"])?;
    let row: Vec<&str> = table.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert_eq!(row[..6], ["counting", "2", "0", "1", "True", "Enforced"], "{table}");
    Ok(())
}

#[test]
fn records_are_made_for_d8_and_for_plugins_that_are_named() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("named-outright", "v1.0.0"))?;
    // A person's own record, before a policy names the plugin.
    let own = json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "CliRelease",
        "metadata": {"name": "named-own"}, "spec": {"interval": "1h"}});
    lab.plane().apply(&own.to_string())?;
    let rules = json!([{"plugins": ["named-outright", "named-own", "globbed-*"], "access": "Allow"}]);
    lab.policy("naming", &json!({"hostSelector": {"matchLabels": {"role": "naming"}}, "rules": rules}))?;
    let made = lab.release_with("named-outright", "v1.0.0")?;
    let labels = made.metadata.labels.unwrap_or_default();
    assert_eq!(labels.get("app.kubernetes.io/managed-by").map(String::as_str), Some("d8-operator"));
    assert!(lab.release("d8").is_some());
    assert!(lab.release("globbed-").is_none());
    let own = lab.release("named-own").expect("it is there");
    assert!(own.metadata.labels.is_none(), "a person's record is left alone: {:?}", own.metadata.labels);
    assert_eq!(own.spec.interval.as_deref(), Some("1h"));

    lab.plane().kubectl(["delete", "clirelease", "named-outright"])?;
    lab.release_with("named-outright", "v1.0.0")?;
    lab.plane().kubectl(["delete", "pluginpolicy", "naming"])?;
    let marked = lab.release_when("named-outright", "marked as not needed", |release| {
        let annotations = release.metadata.annotations.clone().unwrap_or_default();
        annotations.contains_key("cli.deckhouse.io/unneeded-since")
    })?;
    assert!(marked.metadata.deletion_timestamp.is_none(), "it stays for a week");
    Ok(())
}

#[test]
fn the_operator_has_the_rights_it_uses_and_no_more() -> Result<()> {
    let lab = Lab::shared();
    let operator = lab.plane().service_account(OPERATOR, OPERATOR)?;
    for (allowed, question) in [
        (true, "patch clireleases.cli.deckhouse.io --subresource=status"),
        (true, "patch pluginpolicies.cli.deckhouse.io --subresource=status"),
        (true, "create configmaps --namespace=d8-operator"),
        (true, "list configmaps --namespace=d8-operator"),
        (true, "delete configmaps --namespace=d8-operator"),
        (false, "watch configmaps --namespace=d8-operator"),
        (false, "delete configmaps --namespace=default"),
        (
            true,
            "get deployments.apps/registry-packages-proxy --subresource=cli-binary --namespace=d8-cloud-instance-manager",
        ),
        (false, "patch pluginpolicies.cli.deckhouse.io"),
        (false, "update pluginpolicies.cli.deckhouse.io"),
        (false, "create pluginpolicies.cli.deckhouse.io"),
        (false, "patch clihosts.cli.deckhouse.io"),
        (false, "patch clihosts.cli.deckhouse.io --subresource=status"),
        (false, "get secrets --namespace=d8-operator"),
        (false, "list secrets"),
        (false, "get configmaps --namespace=kube-system"),
        (false, "patch deployments.apps --namespace=d8-system"),
        (false, "list namespaces"),
        (false, "create serviceaccounts --subresource=token --namespace=d8-operator"),
    ] {
        let answer = lab.plane().kubectl_as(&operator, ["auth", "can-i"].into_iter().chain(question.split(' ')))?;
        assert_eq!(answer.stdout.trim() == "yes", allowed, "{question}: {answer:?}");
    }
    Ok(())
}

#[test]
fn users_may_read_records_and_policies_only() -> Result<()> {
    let lab = Lab::shared();
    let user = lab.plane().new_user();
    for (allowed, verb, kind) in [
        (true, "list", "clireleases.cli.deckhouse.io"),
        (true, "watch", "pluginpolicies.cli.deckhouse.io"),
        (false, "list", "clihosts.cli.deckhouse.io"),
        (false, "patch", "pluginpolicies.cli.deckhouse.io"),
        (false, "patch", "clireleases.cli.deckhouse.io"),
    ] {
        let answer = lab.plane().kubectl_as(&user, ["auth", "can-i", verb, kind])?;
        assert_eq!(answer.stdout.trim() == "yes", allowed, "{verb} {kind}: {answer:?}");
    }
    Ok(())
}
