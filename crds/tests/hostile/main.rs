//! Whatever stands in a contract, a record or a policy: an error or a verdict, never a panic, in bounded
//! work, and every message is fit for a terminal.
//!
//! A good document is poisoned: one text of it after the other, by every hostile word, and then several at
//! once. What `make fuzz` looks for without limit is here made sure of in seconds.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test says so by panicking")]

mod plans;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use d8_crds::{
    decisions::{
        intent::Intent,
        plan::Dependencies,
        requirements::{Findings, check, check_plugins},
        validation::{
            CheckedPolicy,
            warnings::{PolicyContext, warnings},
        },
        verdict::{Candidate, Host, PolicySet, Reason},
    },
    records::{
        cluster::{ClusterFacts, Fact, ModuleState},
        contract::Contract,
        policy::PluginPolicy,
        release::CliRelease,
        requirements::Requirements,
    },
    values::{
        constraint::Constraint,
        name::{Component, PluginName, Tag},
        text::printable_to,
        version::Version,
    },
};
use jiff::Timestamp;
use proptest::prelude::*;
use serde::Deserialize as _;
use serde_json::{Value, json};

/// Far above what the slowest of these takes in a debug build on a busy machine, far below what anything
/// quadratic in ten thousand would.
const PATIENCE: Duration = Duration::from_secs(20);

/// Words that move cursors, hide, lie about their direction, end early, or are too long.
fn poisons() -> Vec<String> {
    let words = [
        "",
        " ",
        "\0",
        "\u{1b}[2J\u{1b}]0;x\u{7}",
        "\r\n\n",
        "\u{9b}31m\u{85}",
        "\u{202e}txt.exe\u{2066}",
        "\u{2028}\u{2029}\u{feff}\u{200b}",
        "\u{e0041}\u{f8ff}\u{ffff}",
        "e\u{301}\u{301}\u{301}",
        "`'\"\\{}%s${HOME}$(id)",
        "../../etc/passwd",
        "18446744073709551615.18446744073709551615.18446744073709551615",
        "18446744073709551616.0.0",
        ">18446744073709551615.18446744073709551615.18446744073709551615-0",
        "v1.2.3-18446744073709551616.00",
        "=>v1.x||!=*",
        "-1h",
        "null",
    ];
    let long = ["a", "\u{1b}", "ä", "e\u{301}", ">=1||", "1.", "-a", "^"].map(|word| word.repeat(3000));
    words.into_iter().map(str::to_owned).chain(long).collect()
}

/// The pointers to every text in a document.
fn texts(document: &Value) -> Vec<String> {
    fn walk(value: &Value, at: &str, found: &mut Vec<String>) {
        match value {
            Value::String(_) => found.push(at.to_owned()),
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(i, value)| walk(value, &format!("{at}/{i}"), found));
            }
            Value::Object(map) => {
                map.iter().for_each(|(key, value)| {
                    walk(value, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), found);
                });
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(document, "", &mut found);
    found
}

fn poisoned(document: &Value, at: &str, word: &str) -> Value {
    let mut document = document.clone();
    *document.pointer_mut(at).expect("a text") = word.into();
    document
}

/// The document itself, then with each of its texts poisoned by each word.
fn each(document: &Value, mut look: impl FnMut(&Value)) {
    look(document);
    let poisons = poisons();
    for at in texts(document) {
        for word in &poisons {
            look(&poisoned(document, &at, word));
        }
    }
}

/// As [`each`], with many poisoned at once.
fn several(document: &Value) -> impl Strategy<Value = Value> + use<> {
    let (document, all, poisons) = (document.clone(), texts(document), poisons());
    prop::collection::vec((prop::sample::select(all), prop::sample::select(poisons)), 1..12).prop_map(move |words| {
        words.iter().fold(document.clone(), |document, (at, word)| poisoned(&document, at, word))
    })
}

#[track_caller]
fn shown(message: &str) {
    let head: String = message.chars().take(200).collect();
    assert!(printable_to(message, 1 << 20) == message, "not fit for a terminal: {head:?}");
    assert!(message.chars().count() <= 2048, "{} characters: {head}", message.chars().count());
}

#[track_caller]
fn all_shown<'a>(reasons: impl IntoIterator<Item = &'a Reason>) {
    for reason in reasons {
        shown(&reason.message);
        reason.policy.iter().for_each(|policy| shown(policy));
    }
}

fn asked_for() -> (Component, Tag) {
    ("stronghold".parse().unwrap(), "v1.2.3".parse().unwrap())
}

fn contract() -> Value {
    json!({"name": "stronghold", "version": "v1.2.3", "description": "Secrets", "env": [{"name": "KUBECONFIG"}],
        "flags": [{"name": "--address"}], "unknown": "x", "requirements": {
            "kubernetes": {"constraint": ">=1.34"}, "deckhouse": {"constraint": ">=1.80"},
            "modules": {"mandatory": [{"name": "on", "constraint": ">=9"}], "conditional": [{"name": "also", "constraint": ">=9"}],
                "anyOf": [{"name": "cni", "description": "network", "modules": [{"name": "off", "constraint": "<1"}]}],
                "noneOf": [{"name": "old", "modules": [{"name": "third", "constraint": ">=1"}]}]},
            "plugins": {"mandatory": [{"name": "delivery-kit", "constraint": "^9"}], "conditional": [{"name": "kit", "constraint": "^9"}]}}})
}

/// Cluster and host that meet nothing of this, in words that are hostile too.
fn judged(requirements: &Requirements, word: &str) {
    let state = |version: &str| ModuleState { enabled: true, version: Some(version.to_owned()) };
    let names = requirements.modules.names();
    for version in ["v1.5.0", "18446744073709551615.0.0", word] {
        let facts = ClusterFacts {
            kubernetes: Fact::kubernetes(version),
            deckhouse: Fact::deckhouse(Some(version)),
            modules: Fact::Known(names.iter().map(|name| ((*name).to_owned(), state(version))).collect()),
        };
        told(&check(requirements, &facts), 2 + names.len());
    }
    told(&check(requirements, &ClusterFacts::unreadable(word)), 3);
    let skipped = ClusterFacts {
        kubernetes: Fact::Skipped(word.to_owned()),
        deckhouse: Fact::Skipped(word.to_owned()),
        modules: Fact::Skipped(word.to_owned()),
    };
    told(&check(requirements, &skipped), 3);
    let plugins = &requirements.plugins;
    let installed = plugins.mandatory.iter().chain(&plugins.conditional).filter_map(|wanted| {
        Some((wanted.name.parse::<PluginName>().ok()?, Version::parse("18446744073709551615.0.0").ok()))
    });
    told(&check_plugins(requirements, &installed.collect()), plugins.mandatory.len() + plugins.conditional.len());
    told(&check_plugins(requirements, &BTreeMap::new()), plugins.mandatory.len() + plugins.conditional.len());
    if let Err(error) = Dependencies::read(plugins) {
        shown(&error.to_string());
    }
}

fn told(findings: &Findings, most: usize) {
    let sentences = findings.unmet.iter().chain(&findings.unchecked).chain(&findings.warnings);
    assert!(sentences.clone().count() <= most, "{findings:?}");
    sentences.for_each(|sentence| shown(sentence));
}

fn a_contract(document: &Value) {
    let (component, tag) = asked_for();
    let json = document.to_string();
    let reads = [
        Contract::from_json(json.as_bytes(), &component, &tag),
        Contract::from_yaml(&json, &component, &tag),
        Contract::from_cache(json.as_bytes(), &component).map(|contract| (contract, Vec::new())),
    ];
    for read in reads {
        match read {
            Err(error) => {
                shown(&error.to_string());
                error.field().into_iter().for_each(shown);
            }
            Ok((contract, warnings)) => {
                for warning in &warnings {
                    shown(&warning.to_string());
                }
                judged(&contract.requirements, "\u{1b}[2J");
            }
        }
    }
    // A record's requirements are read without these checks.
    if let Ok(requirements) = Requirements::deserialize(&document["requirements"]) {
        judged(&requirements, &"\u{202e}x".repeat(5000));
    }
}

#[test]
fn every_text_of_a_contract() {
    each(&contract(), a_contract);
}

fn question() -> Value {
    let digest = format!("sha256:{}", "0".repeat(64));
    json!({"component": "stronghold", "version": "v1.3.3", "active": "v1.3.2", "host": "bastion-1",
        "policy": {"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy",
            "metadata": {"name": "p", "generation": 4, "annotations": {"cli.deckhouse.io/resume": "v1.3.3@2026-11-22T10:00:00Z"}},
            "spec": {
                "hostSelector": {"matchExpressions": [{"key": "role", "operator": "NotIn", "values": ["ci"]}]},
                "defaults": {"access": "Allow", "minAge": "72h"},
                "rules": [{"plugins": ["stronghold", "delivery-*"], "versions": ">=1.2 <1.3", "block": ["v1.3.3", "v1.3.2"],
                    "expedite": ["v1.3.4"], "pins": [{"version": "v1.3.3", "digest": digest}], "message": "Runbook"}],
                "cli": {"versions": ">=0.13", "block": ["v1.3.3"], "message": "Later"},
                "windows": [{"days": ["Sat"], "start": "02:00", "duration": "3h", "timeZone": "Europe/Berlin"}],
                "rollout": {"over": "48h", "canarySelector": {"matchLabels": {"canary": "true"}}, "maxFailed": 3}},
            "status": {"observedGeneration": 3, "components": [{"name": "stronghold", "waves":
                    [{"version": "v1.3.3", "since": "2026-11-22T09:00:00Z", "state": "Halted", "failed": 3, "haltedAt": "2026-11-22T10:00:00Z"}]}],
                "conditions": [{"type": "Accepted", "status": "True", "reason": "Valid", "message": "x", "lastTransitionTime": "2026-11-22T09:00:00Z"}]}},
        "release": {"metadata": {"name": "stronghold"}, "spec": {}, "status": {"lastSyncTime": "2026-11-22T11:00:00Z",
            "versions": [{"version": "v1.3.3", "digest": digest, "firstSeen": "2026-11-22T00:00:00Z", "fit": "Unfit",
                "reasons": ["requires Kubernetes >=1.34"], "moved": {"from": digest, "at": "2026-11-22T01:00:00Z"}}]}}})
}

fn a_question(document: &Value) {
    let text = |field: &str| document[field].as_str().unwrap_or_default();
    let component: Component = text("component").parse().unwrap_or(Component::D8);
    let version = Version::parse(text("version")).unwrap_or_else(|_| "1.3.3".parse().unwrap());
    let active = Version::parse(text("active")).ok();
    let labels = BTreeMap::from([("role".to_owned(), "bastion".to_owned())]);
    let host = Host { id: text("host"), labels: &labels, new_root: false };
    let release = CliRelease::deserialize(&document["release"]).ok();
    let unmet: Vec<String> =
        release.iter().filter_map(|release| release.recorded(&version)).flat_map(|v| v.reasons.clone()).collect();
    let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();

    if let Ok(policy) = PluginPolicy::deserialize(&document["policy"]) {
        match CheckedPolicy::new(&policy) {
            Ok(checked) => warnings(&checked, PolicyContext::default()).iter().for_each(|warning| shown(warning)),
            Err(rejected) => rejected.errors.iter().for_each(|error| shown(&error.to_string())),
        }
    }
    let set = PolicySet::from_json([&document["policy"]]);
    for intent in [Intent::Agent, Intent::Update, Intent::Explicit, Intent::Repair] {
        let case = Candidate::new(host, &component, &version, intent, now)
            .confirmed(Some(now))
            .active(active.as_ref())
            .release(release.as_ref())
            .unmet(&unmet);
        let judgement = set.judge(&case);
        all_shown(judgement.reasons());
        all_shown(judgement.notes());
    }
    all_shown(
        active.iter().filter_map(|active| set.run_allowed(&host, &component, active).err()).collect::<Vec<_>>().iter(),
    );
    all_shown(set.denied(&host, &component).iter());
    if let Component::Plugin(name) = &component {
        all_shown(set.remove_allowed(&host, name).err().iter());
    }
}

#[test]
fn every_text_of_a_policy_and_a_record() {
    each(&question(), a_question);
    for access in ["Deny", "Require"] {
        let mut other = question();
        other["policy"]["spec"]["rules"][0] =
            json!({"plugins": ["stronghold"], "access": access, "message": "Runbook"});
        each(&other["policy"].clone(), |policy| {
            let mut document = other.clone();
            document["policy"] = policy.clone();
            a_question(&document);
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn several_texts_of_a_contract(document in several(&contract())) {
        a_contract(&document);
    }

    #[test]
    fn several_texts_of_a_policy_and_a_record(document in several(&question())) {
        a_question(&document);
    }

    /// Constraints and versions at the limits of their numbers: either is read or refused, and a match is
    /// one whatever is asked again.
    #[test]
    fn numbers_at_their_limits(
        numbers in prop::collection::vec(prop::sample::select(vec![0, 1, u64::MAX - 1, u64::MAX]), 3),
        operator in prop::sample::select(vec!["", "=", "!=", ">", "<", ">=", "<=", "~", "^"]),
        parts in 1..=3_usize,
        pre in prop::option::of(prop::sample::select(vec!["0", "rc.18446744073709551615", "18446744073709551616", "-"])),
    ) {
        let pre = pre.map(|pre| format!("-{pre}")).unwrap_or_default();
        let text = numbers[..parts].iter().map(u64::to_string).collect::<Vec<_>>().join(".");
        let version = format!("{}.{}.{}{pre}", numbers[0], numbers[1], numbers[2]);
        let version = Version::parse(&version).unwrap();
        for constraint in [format!("{operator}{text}"), format!("{operator}{text}{pre}"), format!("{text} - {version}")] {
            match Constraint::parse(&constraint) {
                Ok(read) => prop_assert_eq!(read.matches(&version), read.matches(&version)),
                Err(error) => shown(&error.to_string()),
            }
        }
        let same = Constraint::parse(&format!("={version}"));
        prop_assert!(same.is_ok_and(|same| same.matches(&version)));
    }
}

/// `make` gives the document for a size. Ten thousand entries are read and judged, within patience.
fn large(what: &str, make: impl Fn(usize) -> Value) {
    let (component, tag) = asked_for();
    let document = make(10_000).to_string();
    let start = Instant::now();
    match Contract::from_json(document.as_bytes(), &component, &tag) {
        Ok((contract, _)) => judged(&contract.requirements, "away"),
        Err(error) => shown(&error.to_string()),
    }
    assert!(start.elapsed() < PATIENCE, "{what}: {:?}", start.elapsed());
}

#[test]
fn ten_thousand_of_everything() {
    let named = |count: usize| -> Vec<Value> {
        (0..count).map(|i| json!({"name": format!("m-{i}"), "constraint": ">=1"})).collect()
    };
    let same = |count: usize| vec![json!({"name": "same", "constraint": ">=9"}); count];
    let modules = |inner: Value| json!({"requirements": {"modules": inner}});
    large("mandatory", |count| modules(json!({"mandatory": named(count)})));
    large("conditional", |count| modules(json!({"conditional": same(count)})));
    large("a group", |count| modules(json!({"anyOf": [{"modules": named(count)}]})));
    large("a group that repeats itself", |count| modules(json!({"noneOf": [{"modules": same(count)}]})));
    large("groups", |count| {
        let groups: Vec<Value> = (0..count).map(|i| json!({"modules": [{"name": format!("m-{i}")}]})).collect();
        modules(json!({"noneOf": groups}))
    });
    large("a contradiction at the end", |count| {
        let mut conditional = named(count / 2);
        conditional.push(json!({"name": "m-0"}));
        modules(json!({"mandatory": [{"name": "m-0"}], "conditional": conditional}))
    });
    large(
        "plugins",
        |count| json!({"requirements": {"plugins": {"mandatory": named(count / 2), "conditional": same(count / 2)}}}),
    );
    large("variables", |count| json!({"env": named(count / 2), "flags": same(count / 2)}));
    large(
        "a long constraint",
        |count| json!({"requirements": {"kubernetes": {"constraint": vec![">=1.2.3 <18446744073709551615"; count].join(" || ")}}}),
    );
    large("a large field that is ignored", |count| json!({"unknown": vec![json!([{}, [], 7]); count]}));
}

#[test]
fn nesting_is_bounded() {
    let (component, tag) = asked_for();
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        for depth in [10, 100, 1000, 100_000] {
            let text = format!(r#"{{"unknown":{}7{}}}"#, open.repeat(depth), close.repeat(depth));
            // What is ignored costs JSON nothing, however deep; the brackets of YAML are counted.
            if let Err(error) = Contract::from_json(text.as_bytes(), &component, &tag) {
                shown(&error.to_string());
            }
            match Contract::from_yaml(&text, &component, &tag) {
                Ok(_) => assert_eq!(depth, 10),
                Err(error) => shown(&error.to_string()),
            }
        }
    }
}
