//! An invalid object for every validation rule. The API server names the field in its refusal.

use d8_crds::{decisions::validation::CheckedPolicy, records::policy::PluginPolicy};
use d8_tests::objects;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::cluster::{Records, digest, object, policy, policy_check, release, rule};

/// Every object is refused with a message that contains all these texts. The first text is the field.
async fn assert_refused(cases: Vec<(Value, &[&str])>) {
    let records = Records::new().await;
    for (object, texts) in cases {
        let Err(refusal) = records.dry_run(&object).await else { panic!("accepted: {object}") };
        for text in texts {
            assert!(refusal.contains(text), "{text:?} is not in the refusal of {object}:\n{refusal}");
        }
        if object["kind"] == "PluginPolicy" {
            assert_client_refuses(&object, texts[0]);
            let (code, output) = policy_check(&object);
            assert_eq!(code, Some(1), "`d8 policy check` accepts {object}: {output}");
            assert!(output.contains(texts[0]), "{:?} is not in `d8 policy check` of {object}:\n{output}", texts[0]);
        }
    }
}

/// Fields that a client does not validate: it does not read them, the API server validates names, and a message is
/// made printable instead.
const NOT_VALIDATED_BY_CLIENTS: [&str; 9] = [
    "metadata.name",
    "spec.pause",
    "spec.hostSelector.matchLabel",
    "spec.subjects.serviceAccounts",
    "spec.defaults.versions",
    "spec.cli.access",
    "spec.rules[0].message",
    "spec.cli.message",
    "spec.blackouts[0].reason",
];

/// A client refuses the same field of a policy that did not pass the API server, such as one from a cache, unless the
/// client cannot decode the policy at all.
fn assert_client_refuses(object: &Value, field: &str) {
    let Ok(policy) = serde_json::from_value::<PluginPolicy>(object.clone()) else { return };
    match CheckedPolicy::new(&policy) {
        Ok(_) => assert!(NOT_VALIDATED_BY_CLIENTS.contains(&field), "a client accepts {object}"),
        Err(rejected) => assert!(rejected.to_string().contains(field), "{field} is not in {rejected}"),
    }
}

#[tokio::test]
async fn releases() {
    let long = "a".repeat(64);
    let duration = "hours, minutes and seconds such as 1h30m, from 30s to 24h";
    assert_refused(vec![
        (object("CliRelease", &long, json!({})), &["metadata.name"]),
        (object("CliRelease", "a--b", json!({})), &["metadata.name", "joined by single -"]),
        (object("CliRelease", "a.b", json!({})), &["metadata.name"]),
        (
            json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "CliRelease", "metadata": {"name": "a"}}),
            &["spec"],
        ),
        (release(json!({"channel": "Nightly"})), &["spec.channel", "Stable", "Prerelease"]),
        (release(json!({"versions": "v".repeat(257)})), &["spec.versions", "256"]),
        (release(json!({"versions": "1\n2"})), &["spec.versions", "one line"]),
        (release(json!({"interval": "29s"})), &["spec.interval", duration]),
        (release(json!({"interval": "24h1s"})), &["spec.interval", duration]),
        (release(json!({"interval": ""})), &["spec.interval", duration]),
        (release(json!({"interval": "1.5h"})), &["spec.interval", duration]),
        (release(json!({"interval": "500ms"})), &["spec.interval", duration]),
        (release(json!({"interval": "-1h"})), &["spec.interval", duration]),
        (release(json!({"interval": "1d"})), &["spec.interval", duration]),
        (release(json!({"interval": "1m1h"})), &["spec.interval", duration]),
        (release(json!({"interval": 60})), &["spec.interval", "string"]),
        (release(json!({"history": 0})), &["spec.history", "1"]),
        (release(json!({"history": 51})), &["spec.history", "50"]),
        (release(json!({"platforms": []})), &["spec.platforms"]),
        (release(json!({"platforms": ["linux"]})), &["spec.platforms[0]", "linux-amd64"]),
        (release(json!({"platforms": ["linux-amd64", "Linux-amd64"]})), &["spec.platforms[1]", "linux-amd64"]),
        (release(json!({"platforms": vec!["a-b"; 33]})), &["spec.platforms", "32"]),
        (release(json!({"suspend": "yes"})), &["spec.suspend", "boolean"]),
        (release(json!({"chanel": "Stable"})), &["spec.chanel"]),
    ])
    .await;
}

#[tokio::test]
async fn hosts() {
    assert_refused(vec![
        (object("CliHost", "Bastion", json!({"identity": "x"})), &["metadata.name"]),
        (object("CliHost", "a.b", json!({"identity": "x"})), &["metadata.name", "DNS label"]),
        (object("CliHost", &"a".repeat(64), json!({"identity": "x"})), &["metadata.name", "DNS label"]),
        (object("CliHost", "a", json!({})), &["spec.identity", "Required"]),
        (object("CliHost", "a", json!({"identity": ""})), &["spec.identity", "must name a user"]),
        (object("CliHost", "a", json!({"identity": "a\u{1b}b"})), &["spec.identity", "one line"]),
        (object("CliHost", "a", json!({"identity": "a".repeat(513)})), &["spec.identity", "512"]),
        (object("CliHost", "a", json!({"identity": "x", "labels": {}})), &["spec.labels"]),
    ])
    .await;
}

#[tokio::test]
async fn an_identity_is_immutable() {
    let records = Records::new().await;
    let host = |identity: &str| object("CliHost", "immutable", json!({"identity": identity}));
    records.apply(&host("anna")).await.unwrap();
    records.apply(&host("anna")).await.unwrap();
    let refusal = records.apply(&host("boris")).await.unwrap_err();
    assert!(refusal.contains("spec.identity") && refusal.contains("is immutable"), "{refusal}");
    records.api("CliHost").delete("immutable", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn subjects() {
    let at = |subjects: Value| policy(&json!({"hostSelector": {}, "subjects": subjects}));
    let names = |count: usize| json!({"groups": (0..count).map(|i| format!("g{i}")).collect::<Vec<_>>()});
    assert_refused(vec![
        (at(json!({})), &["spec.subjects", "at least one group or user"]),
        (at(json!({"groups": [], "users": []})), &["spec.subjects", "at least one group or user"]),
        (at(json!({"users": [""]})), &["spec.subjects.users[0]", "must not be empty"]),
        (at(json!({"groups": ["a", "b\nc"]})), &["spec.subjects.groups[1]", "one line"]),
        (at(json!({"users": ["a".repeat(513)]})), &["spec.subjects.users[0]", "512"]),
        (at(names(65)), &["spec.subjects.groups", "64"]),
        (at(json!({"groups": ["a"], "serviceAccounts": ["a"]})), &["spec.subjects.serviceAccounts"]),
        (at(json!({"groups": "a"})), &["spec.subjects.groups"]),
    ])
    .await;
    let records = Records::new().await;
    for subjects in [json!({"users": ["a".repeat(512)]}), names(64), json!({"groups": [], "users": ["oidc:a@b c"]})] {
        records.dry_run(&at(subjects)).await.unwrap();
    }
}

#[tokio::test]
async fn selectors() {
    let at = |selector: Value| {
        let both = json!({"hostSelector": selector, "rollout": {"over": "1h", "canarySelector": selector}});
        policy(&both)
    };
    let expression = |key: &str, operator: &str, values: Value| {
        at(json!({"matchExpressions": [{"key": "ok", "operator": "Exists"},
                                       {"key": key, "operator": operator, "values": values}]}))
    };
    let values =
        ["spec.hostSelector.matchExpressions[1].values", "spec.rollout.canarySelector.matchExpressions[1].values"];
    let none: Value = json!([]);
    assert_refused(vec![
        (
            object("PluginPolicy", "p", json!({})),
            &["spec.hostSelector", "Required"],
        ),
        (at(json!({"matchLabel": {}})), &["spec.hostSelector.matchLabel"]),
        (at(json!({"matchLabels": {"-a": "b"}})), &["spec.hostSelector.matchLabels", "canarySelector.matchLabels", "label key"]),
        (at(json!({"matchLabels": {"a/b/c": "d"}})), &["spec.hostSelector.matchLabels", "label key"]),
        (at(json!({"matchLabels": {"a": "b c"}})), &["spec.hostSelector.matchLabels", "label value"]),
        (at(json!({"matchLabels": {"a": "b".repeat(64)}})), &["spec.hostSelector.matchLabels", "63"]),
        (
            at(json!({"matchLabels": (0..17).map(|i| (format!("k{i}"), json!("v"))).collect::<serde_json::Map<_, _>>()})),
            &["spec.hostSelector.matchLabels", "16"],
        ),
        (
            at(json!({"matchExpressions": vec![json!({"key": "a", "operator": "Exists"}); 17]})),
            &["spec.hostSelector.matchExpressions", "16"],
        ),
        (expression("a", "Near", json!(["b"])), &["spec.hostSelector.matchExpressions[1].operator", "NotIn"]),
        (expression("", "Exists", none.clone()), &["spec.hostSelector.matchExpressions[1].key", "label key"]),
        (expression(&"a".repeat(64), "Exists", none.clone()), &["spec.hostSelector.matchExpressions[1].key", "label key"]),
        (expression("a", "In", none.clone()), &[values[0], values[1], "In and NotIn need at least one value"]),
        (expression("a", "NotIn", none), &[values[0], values[1], "In and NotIn need at least one value"]),
        (expression("a", "Exists", json!(["b"])), &[values[0], values[1], "Exists and DoesNotExist take no values"]),
        (expression("a", "DoesNotExist", json!(["b"])), &[values[0], "Exists and DoesNotExist take no values"]),
        (expression("a", "In", json!(["b", "-c"])), &["spec.hostSelector.matchExpressions[1].values[1]", "label value"]),
        (expression("a", "In", json!(vec!["b"; 33])), &["spec.hostSelector.matchExpressions[1].values", "32"]),
    ])
    .await;
}

#[tokio::test]
async fn rules() {
    let deny = |field: &str, value: Value| rule(&json!({"access": "Deny", field: value}));
    let alone = "has no effect with access: Deny";
    let name = "joined by single -";
    let pin = json!([{"version": "v1.0.0", "digest": digest()}]);
    let version = "must be a full version such as v1.2.3";
    assert_refused(vec![
        (object("PluginPolicy", "a.b", json!({"hostSelector": {}})), &["metadata.name", "DNS label"]),
        (policy(&json!({"rules": [{"access": "Deny"}]})), &["spec.rules[0].plugins", "Required"]),
        (policy(&json!({"rules": vec![json!({"plugins": ["x"]}); 129]})), &["spec.rules", "128"]),
        (policy(&json!({"pause": true})), &["spec.pause"]),
        (rule(&json!({"plugins": []})), &["spec.rules[0].plugins"]),
        (rule(&json!({"plugins": vec!["x"; 65]})), &["spec.rules[0].plugins", "64"]),
        (rule(&json!({"plugins": ["ok", "my__plugin"]})), &["spec.rules[0].plugins[1]", name]),
        (rule(&json!({"plugins": ["../x"]})), &["spec.rules[0].plugins[0]", name]),
        (rule(&json!({"plugins": ["a--b"]})), &["spec.rules[0].plugins[0]", name]),
        (rule(&json!({"plugins": ["a*b"]})), &["spec.rules[0].plugins[0]", name]),
        (rule(&json!({"plugins": ["-*"]})), &["spec.rules[0].plugins[0]", name]),
        (rule(&json!({"plugins": ["_my*"]})), &["spec.rules[0].plugins[0]", name]),
        (rule(&json!({"plugins": [""]})), &["spec.rules[0].plugins[0]", name]),
        (rule(&json!({"plugins": ["a".repeat(64)]})), &["spec.rules[0].plugins[0]", "63"]),
        (rule(&json!({"plugins": ["d8"]})), &["spec.rules[0].plugins[0]", "its rule is spec.cli"]),
        (
            rule(&json!({"plugins": ["x", "y*"], "access": "Require"})),
            &["spec.rules[0].plugins", "Require needs full plugin names"],
        ),
        (rule(&json!({"access": "Forbid"})), &["spec.rules[0].access", "Deny"]),
        (rule(&json!({"updates": "Never"})), &["spec.rules[0].updates", "Frozen"]),
        (rule(&json!({"majorUpdates": "Jump"})), &["spec.rules[0].majorUpdates", "Cross"]),
        (rule(&json!({"channel": "Beta"})), &["spec.rules[0].channel", "Prerelease"]),
        (rule(&json!({"versions": "v".repeat(257)})), &["spec.rules[0].versions", "256"]),
        (rule(&json!({"versions": "1\t2"})), &["spec.rules[0].versions", "one line"]),
        (rule(&json!({"expedite": ["1.2"]})), &["spec.rules[0].expedite[0]", version]),
        (rule(&json!({"expedite": ["v1.2.3", "v01.2.3"]})), &["spec.rules[0].expedite[1]", version]),
        (rule(&json!({"expedite": ["1.2.3-01"]})), &["spec.rules[0].expedite[0]", version]),
        (rule(&json!({"expedite": [">=1.2.3"]})), &["spec.rules[0].expedite[0]", version]),
        (rule(&json!({"block": ["v1.2.3", " "]})), &["spec.rules[0].block[1]", "must not be empty"]),
        (rule(&json!({"block": ["1.2.x\n"]})), &["spec.rules[0].block[0]", "must be one line"]),
        (rule(&json!({"block": ["1".repeat(257)]})), &["spec.rules[0].block[0]", "256"]),
        (rule(&json!({"block": vec!["1.0.0"; 65]})), &["spec.rules[0].block", "64"]),
        (rule(&json!({"expedite": ["latest"]})), &["spec.rules[0].expedite[0]", version]),
        (rule(&json!({"expedite": vec!["1.0.0"; 65]})), &["spec.rules[0].expedite", "64"]),
        (rule(&json!({"pins": [{"version": "1", "digest": digest()}]})), &["spec.rules[0].pins[0].version", version]),
        (
            rule(&json!({"pins": [{"version": "1.0.0", "digest": "sha256:00"}]})),
            &["spec.rules[0].pins[0].digest", "64 lower-case hex"],
        ),
        (rule(&json!({"pins": [{"version": "1.0.0"}]})), &["spec.rules[0].pins[0].digest", "Required"]),
        (
            rule(&json!({"pins": vec![json!({"version": "1.0.0", "digest": digest()}); 65]})),
            &["spec.rules[0].pins", "64"],
        ),
        (rule(&json!({"minAge": "3 days"})), &["spec.rules[0].minAge", "from 0s to 8760h"]),
        (rule(&json!({"minAge": "8760h1s"})), &["spec.rules[0].minAge", "from 0s to 8760h"]),
        (rule(&json!({"message": "m".repeat(513)})), &["spec.rules[0].message", "512"]),
        (rule(&json!({"message": "\u{1b}[31m"})), &["spec.rules[0].message", "one line"]),
        (deny("versions", json!("<2")), &["spec.rules[0].versions", alone]),
        (deny("channel", json!("Stable")), &["spec.rules[0].channel", alone]),
        (deny("updates", json!("Auto")), &["spec.rules[0].updates", alone]),
        (deny("majorUpdates", json!("Stay")), &["spec.rules[0].majorUpdates", alone]),
        (deny("minAge", json!("1h")), &["spec.rules[0].minAge", alone]),
        (deny("block", json!(["1.0.0"])), &["spec.rules[0].block", alone]),
        (deny("expedite", json!(["1.0.0"])), &["spec.rules[0].expedite", alone]),
        (deny("pins", pin), &["spec.rules[0].pins", alone]),
    ])
    .await;
}

#[tokio::test]
async fn defaults_and_d8_itself() {
    let cli = |fields: Value| policy(&json!({"cli": fields}));
    let version = "must be a full version such as v1.2.3";
    assert_refused(vec![
        (policy(&json!({"defaults": {"access": "Require"}})), &["spec.defaults.access", "set it in a rule"]),
        (policy(&json!({"defaults": {"minAge": "1w"}})), &["spec.defaults.minAge", "from 0s to 8760h"]),
        (policy(&json!({"defaults": {"versions": ">1"}})), &["spec.defaults.versions"]),
        (cli(json!({"access": "Deny"})), &["spec.cli.access"]),
        (cli(json!({"versions": "v".repeat(257)})), &["spec.cli.versions", "256"]),
        (cli(json!({"expedite": ["0.13"]})), &["spec.cli.expedite[0]", version]),
        (cli(json!({"expedite": ["x"]})), &["spec.cli.expedite[0]", version]),
        (
            cli(json!({"pins": [{"version": "x", "digest": "y"}]})),
            &["spec.cli.pins[0].version", "spec.cli.pins[0].digest"],
        ),
        (cli(json!({"minAge": "-1h"})), &["spec.cli.minAge", "from 0s to 8760h"]),
        (cli(json!({"message": "a\nb"})), &["spec.cli.message", "one line"]),
        (policy(&json!({"missingDependencies": "Ask"})), &["spec.missingDependencies", "Refuse"]),
        (policy(&json!({"integrity": {"movedTags": "Allow"}})), &["spec.integrity.movedTags", "Soak"]),
        (policy(&json!({"integrity": {"signature": "Require"}})), &["spec.integrity.signature", "Ignore"]),
    ])
    .await;
}

#[tokio::test]
async fn windows_blackouts_and_rollout() {
    let window = |fields: Value| {
        policy(&json!({"windows": [objects::with(json!({"start": "02:00", "duration": "1h"}), &fields)]}))
    };
    let rollout = |fields: Value| policy(&json!({"rollout": fields}));
    let time = "must be a time of day such as 02:00";
    let span = json!({"from": "2026-11-27T00:00", "to": "2026-11-30T00:00", "reason": "sale"});
    let blackout = |fields: Value| policy(&json!({"blackouts": [objects::with(span.clone(), &fields)]}));
    let local = "local date and time such as";
    let until = json!({"emergency": {"until": "2026-12-01T12:00:00Z"}});
    let emergency = |fields: Value| policy(&objects::with(until.clone(), &fields));
    let alone = "in an emergency policy";
    assert_refused(vec![
        (policy(&json!({"windows": []})), &["spec.windows"]),
        (policy(&json!({"windows": vec![json!({"start": "02:00", "duration": "1h"}); 33]})), &["spec.windows", "32"]),
        (policy(&json!({"windows": [{"duration": "1h"}]})), &["spec.windows[0].start", "Required"]),
        (policy(&json!({"windows": [{"start": "02:00"}]})), &["spec.windows[0].duration", "Required"]),
        (window(json!({"days": []})), &["spec.windows[0].days"]),
        (window(json!({"days": ["Monday"]})), &["spec.windows[0].days[0]", "Mon"]),
        (window(json!({"days": vec!["Mon"; 8]})), &["spec.windows[0].days", "7"]),
        (window(json!({"start": "24:00"})), &["spec.windows[0].start", time]),
        (window(json!({"start": "2:00"})), &["spec.windows[0].start", time]),
        (window(json!({"start": "02:60"})), &["spec.windows[0].start", time]),
        (window(json!({"duration": "59s"})), &["spec.windows[0].duration", "from 1m to 168h"]),
        (window(json!({"duration": "168h1s"})), &["spec.windows[0].duration", "from 1m to 168h"]),
        (window(json!({"timeZone": "Europe/Atlantis"})), &["spec.windows[0].timeZone"]),
        (window(json!({"timeZone": "+02:00"})), &["spec.windows[0].timeZone", "IANA"]),
        (window(json!({"timeZone": "europe/berlin"})), &["spec.windows[0].timeZone", "IANA"]),
        (window(json!({"timeZone": ""})), &["spec.windows[0].timeZone", "IANA"]),
        (window(json!({"timeZone": "A".repeat(64)})), &["spec.windows[0].timeZone", "63"]),
        (policy(&json!({"blackouts": vec![span.clone(); 33]})), &["spec.blackouts", "32"]),
        (
            policy(&json!({"blackouts": [{"to": "2026-11-30T00:00", "reason": "x"}]})),
            &["spec.blackouts[0].from", "Required"],
        ),
        (
            policy(&json!({"blackouts": [{"from": "2026-11-27T00:00", "reason": "x"}]})),
            &["spec.blackouts[0].to", "Required"],
        ),
        (
            policy(&json!({"blackouts": [{"from": "2026-11-27T00:00", "to": "2026-11-30T00:00"}]})),
            &["spec.blackouts[0].reason", "Required"],
        ),
        (blackout(json!({"from": "2026-11-27"})), &["spec.blackouts[0].from", local]),
        (blackout(json!({"from": "2026-02-29T00:00"})), &["spec.blackouts[0].from", local]),
        (blackout(json!({"from": "2026-11-27T24:00"})), &["spec.blackouts[0].from", local]),
        (blackout(json!({"to": "2026-11-30T00:00Z"})), &["spec.blackouts[0].to", local]),
        (blackout(json!({"to": "2026-11-30T00:00:60"})), &["spec.blackouts[0].to", local]),
        (blackout(json!({"to": "2026-11-27T00:00"})), &["spec.blackouts[0].to", "must be later than"]),
        (blackout(json!({"timeZone": "Europe/Atlantis"})), &["spec.blackouts[0].timeZone"]),
        (blackout(json!({"timeZone": "europe/berlin"})), &["spec.blackouts[0].timeZone", "IANA"]),
        (blackout(json!({"reason": ""})), &["spec.blackouts[0].reason", "must not be empty"]),
        (blackout(json!({"reason": "a\nb"})), &["spec.blackouts[0].reason", "one line"]),
        (blackout(json!({"reason": "a".repeat(513)})), &["spec.blackouts[0].reason", "512"]),
        (policy(&json!({"windowsFor": "People"})), &["spec.windowsFor", "Everyone"]),
        (policy(&json!({"emergency": {}})), &["spec.emergency.until", "Required"]),
        (policy(&json!({"emergency": {"until": "2026-12-01"}})), &["spec.emergency.until", "RFC 3339"]),
        (policy(&json!({"emergency": {"until": "2026-02-29T12:00:00Z"}})), &["spec.emergency.until", "RFC 3339"]),
        (emergency(json!({"paused": true})), &["spec.paused", alone]),
        (emergency(json!({"subjects": {"groups": ["a"]}})), &["spec.subjects", alone]),
        (emergency(json!({"defaults": {}})), &["spec.defaults", alone]),
        (emergency(json!({"missingDependencies": "Install"})), &["spec.missingDependencies", alone]),
        (emergency(json!({"windows": [{"start": "02:00", "duration": "1h"}]})), &["spec.windows", alone]),
        (emergency(json!({"blackouts": [span.clone()]})), &["spec.blackouts", alone]),
        (emergency(json!({"windowsFor": "Agent"})), &["spec.windowsFor", alone]),
        (emergency(json!({"rollout": {"over": "1h"}})), &["spec.rollout", alone]),
        (emergency(json!({"integrity": {"movedTags": "Soak"}})), &["spec.integrity", alone]),
        (
            emergency(json!({"rules": [{"plugins": ["a"]}, {"plugins": ["b"], "block": ["v1.0.0"]}]})),
            &["spec.rules", alone],
        ),
        (emergency(json!({"rules": [{"plugins": ["b"], "updates": "Auto"}]})), &["spec.rules", alone]),
        (emergency(json!({"cli": {"minAge": "1h"}})), &["spec.cli", alone]),
        (rollout(json!({})), &["spec.rollout.over", "Required"]),
        (rollout(json!({"over": "59s"})), &["spec.rollout.over", "from 1m to 720h"]),
        (rollout(json!({"over": "720h1s"})), &["spec.rollout.over", "from 1m to 720h"]),
        (rollout(json!({"over": "1h", "maxFailed": 0})), &["spec.rollout.maxFailed", "1"]),
        (rollout(json!({"over": "1h", "maxFailed": 100_001})), &["spec.rollout.maxFailed", "100000"]),
        (rollout(json!({"over": "1h", "maxFailed": -1})), &["spec.rollout.maxFailed"]),
    ])
    .await;
}
