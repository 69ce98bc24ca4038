use serde_json::{Value, json};

use super::*;

fn policy(name: &str, selector: &Value, fields: &Value) -> PluginPolicy {
    let mut spec = json!({"hostSelector": selector});
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    serde_json::from_value(json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy",
        "metadata": {"name": name}, "spec": spec}))
    .unwrap()
}

/// A rule for plugin `p`.
fn rule(fields: &Value) -> Value {
    let mut rule = json!({"plugins": ["p"]});
    rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"rules": [rule]})
}

fn versions(range: &str) -> Value {
    rule(&json!({"versions": range}))
}

fn role(role: &str) -> Value {
    json!({"matchLabels": {"role": role}})
}

fn labels(labels: &[(&str, &str)], hosts: u32) -> (Arc<Labels>, u32) {
    (Arc::new(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()), hosts)
}

fn record(versions: &Value) -> Arc<CliRelease> {
    let record = json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "CliRelease", "metadata": {"name": "p"},
        "spec": {}, "status": {"versions": versions}});
    Arc::new(serde_json::from_value(record).unwrap())
}

fn find(policies: &[PluginPolicy], hosts: &[(Arc<Labels>, u32)]) -> PolicyConflicts {
    let published = json!([{"version": "v1.0.0", "digest": "", "fit": "Fits"}]);
    PolicyConflicts::find(policies, hosts, &[record(&published)])
}

fn sentences(conflicts: &PolicyConflicts, policy: &str) -> Vec<String> {
    conflicts.of(policy).iter().map(ConflictOnHosts::sentence).collect()
}

#[test]
fn rule_22_conflicts_count_hosts_in_all() {
    // Each host has a label of its own, too.
    let hosts = [
        labels(&[("role", "bastion"), ("name", "a")], 1),
        labels(&[("role", "bastion"), ("name", "b")], 1),
        labels(&[("role", "ci")], 5),
    ];
    let (bastion, all) = (role("bastion"), json!({}));
    let meets = "no version of p meets policy a, rules[0].versions (`>=2`) and policy b, rules[0].versions (`<2`)";
    for (first, second, expected) in [
        ((&bastion, versions(">=2")), (&bastion, versions("<2")), Some(format!("on 2 hosts, {meets}"))),
        ((&bastion, versions(">=2")), (&all, versions("<2")), Some(format!("on 2 hosts, {meets}"))),
        ((&all, versions(">=2")), (&all, versions("<2")), Some(format!("on 7 hosts and workstations, {meets}"))),
        ((&role("ci"), versions(">=2")), (&bastion, versions("<2")), None),
        // No host is there.
        ((&role("none"), versions(">=2")), (&all, versions("<2")), None),
        (
            (&json!({"matchLabels": {"kubernetes.io/os": "darwin"}}), versions(">=2")),
            (&all, versions("<2")),
            Some(format!("on workstations, {meets}")),
        ),
        (
            (&bastion, rule(&json!({"access": "Require"}))),
            (&all, rule(&json!({"block": ["<2"]}))),
            Some(
                "on 2 hosts, policy a, rules[0].access requires p, but no published version passes policy b, \
                 rules[0].block (`<2`)"
                    .to_owned(),
            ),
        ),
        ((&bastion, rule(&json!({"access": "Require"}))), (&all, rule(&json!({"block": ["<1"]}))), None),
    ] {
        let policies =
            [policy("a", first.0, &first.1), policy("b", second.0, &second.1), policy("c", &all, &json!({}))];
        let conflicts = find(&policies, &hosts);
        let expected: Vec<_> = expected.into_iter().collect();
        for name in ["a", "b"] {
            assert_eq!(sentences(&conflicts, name), expected, "{name} of {policies:?}");
        }
        assert!(sentences(&conflicts, "c").is_empty());
    }
}

#[test]
fn each_policy_names_those_that_it_meets() {
    let hosts = [labels(&[("role", "bastion")], 2), labels(&[("role", "ci")], 1)];
    let policies = [
        policy("a", &json!({"matchExpressions": [{"key": "role", "operator": "Exists"}]}), &versions(">=2")),
        policy("b", &role("bastion"), &versions("<2")),
        policy("c", &role("ci"), &versions("<1")),
    ];
    let conflicts = find(&policies, &hosts);
    let field = |policy: &str, range: &str| format!("policy {policy}, rules[0].versions (`{range}`)");
    let (a, b, c) = (field("a", ">=2"), field("b", "<2"), field("c", "<1"));
    for (name, expected) in [
        ("a", format!("on 3 hosts, no version of p meets {a} and {b} and {c}")),
        ("b", format!("on 2 hosts, no version of p meets {a} and {b}")),
        ("c", format!("on 1 host, no version of p meets {a} and {c}")),
    ] {
        assert_eq!(sentences(&conflicts, name), [expected]);
    }
}

/// What a search found for a component holds for the next one, unless a policy that says something about the component or
/// its published versions have changed.
#[test]
fn a_search_uses_what_the_last_one_found() {
    let policies = |b: (&str, i64), c: i64| {
        let of_generation = |mut policy: PluginPolicy, generation| {
            policy.metadata.generation = Some(generation);
            Arc::new(policy)
        };
        let all = json!({});
        vec![
            of_generation(policy("a", &all, &versions(">=2")), 1),
            of_generation(policy("b", &all, &versions(b.0)), b.1),
            of_generation(policy("c", &all, &json!({"paused": true})), c),
        ]
    };
    let mut memo = ConflictMemo::default();
    for (b, c, published, conflicts, why) in [
        (("<2", 1), 1, 0, true, "both are read"),
        ((">=1", 1), 1, 0, true, "b has the same generation"),
        ((">=1", 1), 2, 0, true, "c says nothing about p"),
        ((">=1", 2), 2, 0, false, "b was edited"),
        (("<2", 2), 2, 1, true, "another version was published"),
    ] {
        let search = ConflictSearch {
            policies: policies(b, c),
            hosts: vec![labels(&[], 1)],
            releases: BTreeMap::from([("p".to_owned(), (record(&json!([])), published))]),
            memo,
        };
        let (found, next) = search.run();
        assert_eq!(!found.of("a").is_empty(), conflicts, "{why}");
        memo = next;
    }
}

#[test]
fn rule_22_who_takes_no_part() {
    let hosts = [labels(&[], 1)];
    let until = "2026-12-01T12:00:00Z";
    for (fields, takes_part) in [
        (versions("<2"), true),
        (json!({"paused": true, "rules": versions("<2")["rules"]}), true),
        (json!({"subjects": {"users": ["dora"]}, "rules": versions("<2")["rules"]}), false),
        (json!({"windows": [], "rules": versions("<2")["rules"]}), false),
        (json!({"emergency": {"until": until}, "rules": [{"plugins": ["p"], "expedite": ["v1.0.0"]}]}), false),
    ] {
        let policies = [policy("a", &json!({}), &versions(">=2")), policy("b", &json!({}), &fields)];
        let conflicts = find(&policies, &hosts);
        let found = [&conflicts.of("a"), &conflicts.of("b")].map(|conflicts| !conflicts.is_empty());
        assert_eq!(found, [takes_part, takes_part], "{fields}");
    }
}

/// A block holds for the same layer on the platform of the host, which its labels name.
#[test]
fn hosts_of_different_platforms_are_evaluated_apart() {
    let artifact = |platform: &str, layer: &str| json!({"platform": platform, "manifest": "sha256:0", "layer": layer, "sizeBytes": 1});
    let version = |name: &str, arm: &str| {
        json!({"version": name, "digest": "sha256:1", "fit": "Fits",
            "artifacts": [artifact("linux-amd64", "sha256:same"), artifact("linux-arm64", arm)]})
    };
    let record = record(&json!([version("v1.1.0", "sha256:b"), version("v1.0.0", "sha256:a")]));
    let host = |arch, hosts| labels(&[("kubernetes.io/os", "linux"), ("kubernetes.io/arch", arch)], hosts);
    let managed = json!({"matchExpressions": [{"key": "cli.deckhouse.io/managed", "operator": "DoesNotExist"}]});
    let policies = [
        policy("a", &managed, &rule(&json!({"access": "Require"}))),
        policy("b", &managed, &rule(&json!({"block": ["v1.0.0"]}))),
    ];
    let conflicts = PolicyConflicts::find(&policies, &[host("amd64", 3), host("arm64", 4)], &[record]);
    assert!(sentences(&conflicts, "b")[0].starts_with("on 3 hosts, "), "{conflicts:?}");
}
