//! The status that the operator writes for policies, the records that it creates for them, and its permissions.

use std::time::Duration;

use d8_crds::records::policy::PluginPolicy;
use d8_tests::lab::{Lab, OPERATOR};
use d8_tests::process::wait_for;
use d8_tests::status::{self, of_policy};
use d8_tests::{Result, catalog::Plugin, objects};
use serde_json::{Value, json};

/// Returns a condition of a policy as `True/Accepted`.
fn condition(policy: &PluginPolicy, kind: &str) -> String {
    status::condition(&of_policy(policy).conditions, kind)
}

/// Applies a policy and waits until the operator has processed this spec.
fn apply(lab: &Lab, name: &str, spec: &Value) -> Result<PluginPolicy> {
    lab.apply_policy(name, spec)?;
    lab.wait_for_accepted(name)?;
    Ok(lab.get_policy(name).unwrap_or_else(|| panic!("{name} is gone")))
}

#[test]
fn a_valid_policy_is_accepted() -> Result<()> {
    let lab = Lab::shared();
    let selector = json!({"matchLabels": {"role": "accepted"}});
    let policy = apply(lab, "valid", &json!({"hostSelector": selector}))?;
    assert_eq!(condition(&policy, "Accepted"), "True/Accepted");
    assert_eq!(condition(&policy, "Ready"), "True/Enforced");
    let uid = lab.plane().kubectl(["get", "namespace", "kube-system", "--output=jsonpath={.metadata.uid}"])?;
    assert_eq!(of_policy(&policy).cluster_uid, Some(uid));
    assert_eq!(of_policy(&policy).observed_generation, policy.metadata.generation);
    let paused = apply(lab, "valid", &json!({"hostSelector": selector, "paused": true}))?;
    assert_eq!(condition(&paused, "Ready"), "True/Paused");
    Ok(())
}

#[test]
fn an_invalid_policy_names_the_field_and_recovers() -> Result<()> {
    let lab = Lab::shared();
    let spec = |versions: &str| {
        let rule = json!({"plugins": ["broken-rule"], "versions": versions});
        json!({"hostSelector": {"matchLabels": {"role": "broken"}}, "rules": [rule]})
    };
    let policy = apply(lab, "broken", &spec("one or two"))?;
    assert_eq!(condition(&policy, "Accepted"), "False/Invalid");
    let message = status::condition_message(&of_policy(&policy).conditions, "Accepted");
    assert!(message.contains("spec.rules[0].versions"), "{message}");
    assert_eq!(condition(&policy, "Ready"), "False/Invalid");
    let policy = apply(lab, "broken", &spec(">=1.0"))?;
    assert_eq!(condition(&policy, "Accepted"), "True/Accepted");
    Ok(())
}

#[test]
fn the_status_counts_hosts() -> Result<()> {
    let lab = Lab::shared();
    for (name, role, state) in
        [("counted-1", "counted", "UpToDate"), ("counted-2", "counted", "Failed"), ("counted-3", "other", "Held")]
    {
        lab.apply_host(name, role, &json!({"components": [{"name": "d8", "active": "v0.1.0", "state": state}]}))?;
    }
    lab.apply_policy("counting", &json!({"hostSelector": {"matchLabels": {"role": "counted"}}}))?;
    let counts = wait_for("counts", Duration::from_secs(90), || {
        of_policy(&lab.get_policy("counting")?).hosts.filter(|hosts| hosts.matched == 2 && hosts.failed == 1)
    })?;
    assert_eq!((counts.up_to_date, counts.held), (1, 0));
    let table = lab.plane().kubectl(["get", "ppol", "counting"])?;
    let row: Vec<&str> = table.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert_eq!(row[..6], ["counting", "2", "0", "1", "True", "Enforced"], "{table}");
    Ok(())
}

/// Nothing but the count changes: the first write must not stand for long.
#[test]
fn counts_of_hosts_are_renewed_while_they_change() -> Result<()> {
    let lab = Lab::shared();
    let report = |state: &str| json!({"components": [{"name": "d8", "active": "v0.1.0", "state": state}]});
    lab.apply_host("renewed-1", "renewed", &report("Held"))?;
    lab.apply_policy("renewing", &json!({"hostSelector": {"matchLabels": {"role": "renewed"}}}))?;
    for (state, expected) in [("Held", (0, 1)), ("UpToDate", (1, 0)), ("Held", (0, 1))] {
        lab.apply_host("renewed-1", "renewed", &report(state))?;
        wait_for(&format!("the count of {state}"), Duration::from_secs(90), || {
            let hosts = of_policy(&lab.get_policy("renewing")?).hosts?;
            ((hosts.up_to_date, hosts.held) == expected).then_some(())
        })?;
    }
    Ok(())
}

/// Waits until a policy is `Ready` like this: status and reason. Returns the message.
fn wait_for_ready(lab: &Lab, name: &str, expected: &str) -> Result<String> {
    wait_for(&format!("{expected} of {name}"), Duration::from_secs(90), || {
        let conditions = of_policy(&lab.get_policy(name)?).conditions;
        let is_expected = status::condition(&conditions, "Ready") == expected;
        is_expected.then(|| status::condition_message(&conditions, "Ready"))
    })
}

#[test]
fn rule_22_policies_that_contradict_each_other_say_so() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("torn", "v2.0.0"))?;
    for host in ["torn-1", "torn-2"] {
        lab.apply_host(host, "torn", &json!({"components": []}))?;
    }
    let spec = |selector: Value, rule: Value| {
        let mut rule = rule;
        rule["plugins"] = json!(["torn"]);
        json!({"hostSelector": selector, "rules": [rule]})
    };
    let torn = json!({"matchLabels": {"role": "torn"}});
    apply(lab, "torn-new", &spec(json!({}), json!({"versions": ">=2"})))?;
    wait_for_ready(lab, "torn-new", "True/Enforced")?;
    apply(lab, "torn-old", &spec(torn.clone(), json!({"versions": "<2"})))?;
    for name in ["torn-new", "torn-old"] {
        let message = wait_for_ready(lab, name, "False/Conflict")?;
        let expected = "on 2 hosts, no version of torn meets policy torn-new, rules[0].versions (`>=2`) and policy \
                        torn-old, rules[0].versions (`<2`)";
        assert!(message.starts_with(expected), "{message}");
    }
    let about = "--field-selector=regarding.name=torn-old,reason=Conflict";
    let events = ["get", "events.events.k8s.io", "--namespace=default", about, "--output=jsonpath={.items[*].note}"];
    let note = || lab.plane().kubectl(events).ok().filter(|note| !note.is_empty());
    let note = wait_for("an event", Duration::from_secs(90), note)?;
    assert!(note.contains("no version of torn meets"), "{note}");

    // The published version passes, and then it does not.
    apply(lab, "torn-old", &spec(torn.clone(), json!({"access": "Require"})))?;
    wait_for_ready(lab, "torn-new", "True/Enforced")?;
    lab.wait_for_version("torn", "v2.0.0")?;
    wait_for_ready(lab, "torn-old", "True/Enforced")?;
    let unmanaged = json!({"matchLabels": {"cli.deckhouse.io/managed": "false"}});
    apply(lab, "torn-people", &spec(unmanaged, json!({"access": "Require"})))?;
    apply(lab, "torn-block", &spec(json!({}), json!({"block": ["2.x"]})))?;
    for (name, place) in
        [("torn-old", "2 hosts"), ("torn-people", "workstations"), ("torn-block", "2 hosts and workstations")]
    {
        let message = wait_for_ready(lab, name, "False/Conflict")?;
        assert!(message.starts_with(&format!("on {place}, policy torn-")), "{message}");
        assert!(message.contains("policy torn-block, rules[0].block (`2.x`)"), "{message}");
    }
    let alice = lab.new_workstation()?;
    let effective = alice.d8(["policy", "get", "--effective"])?.ok()?;
    let conflict = "conflict: policy torn-people, rules[0].access requires torn, but no published version passes policy \
                    torn-block, rules[0].block (`2.x`)";
    assert!(effective.contains(conflict), "{effective}");
    for name in ["torn-new", "torn-old", "torn-people", "torn-block"] {
        lab.plane().kubectl(["delete", "pluginpolicy", name])?;
    }
    Ok(())
}

#[test]
fn the_operator_creates_records_for_d8_and_for_named_plugins() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("named-outright", "v1.0.0"))?;
    // A record that an admin created before a policy names the plugin.
    lab.plane().apply(&objects::release("named-own", &json!({"interval": "1h"})).to_string())?;
    let rules = json!([{"plugins": ["named-outright", "named-own", "globbed-*"], "access": "Allow"}]);
    lab.apply_policy("naming", &json!({"hostSelector": {"matchLabels": {"role": "naming"}}, "rules": rules}))?;
    let created = lab.wait_for_version("named-outright", "v1.0.0")?;
    let labels = created.metadata.labels.unwrap_or_default();
    assert_eq!(labels.get("app.kubernetes.io/managed-by").map(String::as_str), Some("d8-operator"));
    assert!(lab.get_release("d8").is_some());
    assert!(lab.get_release("globbed-").is_none());
    let own = lab.get_release("named-own").expect("the record");
    assert!(own.metadata.labels.is_none(), "the operator does not change an admin's record: {:?}", own.metadata.labels);
    assert_eq!(own.spec.interval.as_deref(), Some("1h"));

    lab.plane().kubectl(["delete", "clirelease", "named-outright"])?;
    lab.wait_for_version("named-outright", "v1.0.0")?;
    lab.plane().kubectl(["delete", "pluginpolicy", "naming"])?;
    let marked = lab.wait_for_release("named-outright", "the mark that no policy needs it", |release| {
        let annotations = release.metadata.annotations.clone().unwrap_or_default();
        annotations.contains_key("cli.deckhouse.io/unneeded-since")
    })?;
    assert!(marked.metadata.deletion_timestamp.is_none(), "the record is kept for a week");
    Ok(())
}

#[test]
fn the_operator_has_only_the_permissions_that_it_uses() -> Result<()> {
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
fn users_may_only_read_records_and_policies() -> Result<()> {
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
