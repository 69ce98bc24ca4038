//! Hostile texts in contracts, records and policies. Each document must give an error or a verdict: no panic,
//! bounded work, and only printable messages.
//!
//! The tests replace texts of a valid document by hostile ones, first one text at a time, then several at
//! once. `make fuzz` searches for further cases without a time limit.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests fail by panicking")]

mod plans;

use std::collections::BTreeMap;

use d8_crds::{
    decisions::{
        explain,
        intent::Intent,
        plan::Dependencies,
        requirements::{Findings, Unmet, check, check_plugins},
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

/// Returns texts that move the cursor, are invisible, change the writing direction, end early or are too long.
fn hostile_texts() -> Vec<String> {
    let short = [
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
    let long = ["a", "\u{1b}", "ä", "e\u{301}", ">=1||", "1.", "-a", "^"].map(|text| text.repeat(3000));
    short.into_iter().map(str::to_owned).chain(long).collect()
}

/// Returns the JSON pointers to all strings in a document.
fn string_pointers(document: &Value) -> Vec<String> {
    fn walk(value: &Value, pointer: &str, found: &mut Vec<String>) {
        match value {
            Value::String(_) => found.push(pointer.to_owned()),
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(i, value)| walk(value, &format!("{pointer}/{i}"), found));
            }
            Value::Object(map) => {
                map.iter().for_each(|(key, value)| {
                    walk(value, &format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")), found);
                });
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(document, "", &mut found);
    found
}

fn replaced(document: &Value, pointer: &str, text: &str) -> Value {
    let mut document = document.clone();
    *document.pointer_mut(pointer).expect("a string") = text.into();
    document
}

/// Calls `check` with the document, and with each of its strings replaced by each hostile text.
fn with_each_string_replaced(document: &Value, mut check: impl FnMut(&Value)) {
    check(document);
    let texts = hostile_texts();
    for pointer in string_pointers(document) {
        for text in &texts {
            check(&replaced(document, &pointer, text));
        }
    }
}

/// Generates documents in which several strings are replaced.
fn with_several_strings_replaced(document: &Value) -> impl Strategy<Value = Value> + use<> {
    let (document, pointers) = (document.clone(), string_pointers(document));
    let replacement = (prop::sample::select(pointers), prop::sample::select(hostile_texts()));
    prop::collection::vec(replacement, 1..12).prop_map(move |replacements| {
        replacements.iter().fold(document.clone(), |document, (pointer, text)| replaced(&document, pointer, text))
    })
}

#[track_caller]
fn assert_printable(message: &str) {
    let head: String = message.chars().take(200).collect();
    assert!(printable_to(message, 1 << 20) == message, "not printable: {head:?}");
    assert!(message.chars().count() <= 2048, "{} characters: {head}", message.chars().count());
}

#[track_caller]
fn assert_all_printable<'a>(reasons: impl IntoIterator<Item = &'a Reason>) {
    for reason in reasons {
        assert_printable(&explain::to_person(reason));
        assert_printable(&explain::in_record(reason));
        reason.policy().iter().for_each(|policy| assert_printable(policy));
    }
}

fn component_and_tag() -> (Component, Tag) {
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

/// Checks requirements against a cluster and a host that do not meet them and have a hostile text.
fn check_requirements(requirements: &Requirements, text: &str) {
    let state = |version: &str| ModuleState { enabled: true, version: Some(version.to_owned()) };
    let names = requirements.modules.names();
    for version in ["v1.5.0", "18446744073709551615.0.0", text] {
        let facts = ClusterFacts {
            kubernetes: Fact::kubernetes(version),
            deckhouse: Fact::deckhouse(Some(version)),
            modules: Fact::Known(names.iter().map(|name| ((*name).to_owned(), state(version))).collect()),
        };
        assert_findings(&check(requirements, &facts), 2 + names.len());
    }
    assert_findings(&check(requirements, &ClusterFacts::unreadable(text)), 3);
    let skipped = ClusterFacts {
        kubernetes: Fact::Skipped(text.to_owned()),
        deckhouse: Fact::Skipped(text.to_owned()),
        modules: Fact::Skipped(text.to_owned()),
    };
    assert_findings(&check(requirements, &skipped), 3);
    let plugins = &requirements.plugins;
    let installed = plugins.mandatory.iter().chain(&plugins.conditional).filter_map(|wanted| {
        Some((wanted.name.parse::<PluginName>().ok()?, Version::parse("18446744073709551615.0.0").ok()))
    });
    assert_findings(
        &check_plugins(requirements, &installed.collect()),
        plugins.mandatory.len() + plugins.conditional.len(),
    );
    assert_findings(
        &check_plugins(requirements, &BTreeMap::new()),
        plugins.mandatory.len() + plugins.conditional.len(),
    );
    if let Err(error) = Dependencies::read(plugins) {
        assert_printable(&error.to_string());
    }
}

fn assert_findings(findings: &Findings, max: usize) {
    let Findings { unmet, unchecked, warnings } = findings;
    assert!(unmet.len() + unchecked.len() + warnings.len() <= max, "{findings:?}");
    let sentences = unmet.iter().map(explain::unmet).chain(unchecked.iter().map(explain::unchecked));
    for sentence in sentences.chain(warnings.iter().map(explain::warning)) {
        assert_printable(&sentence);
    }
}

fn check_contract(document: &Value) {
    let (component, tag) = component_and_tag();
    let json = document.to_string();
    let results = [
        Contract::from_json(json.as_bytes(), &component, &tag),
        Contract::from_yaml(&json, &component, &tag),
        Contract::from_cache(json.as_bytes(), &component).map(|contract| (contract, Vec::new())),
    ];
    for result in results {
        match result {
            Err(error) => {
                assert_printable(&error.to_string());
                error.field().into_iter().for_each(assert_printable);
            }
            Ok((contract, warnings)) => {
                for warning in &warnings {
                    assert_printable(&warning.to_string());
                }
                check_requirements(&contract.requirements, "\u{1b}[2J");
            }
        }
    }
    // The requirements of a record are not checked like those of a contract.
    if let Ok(requirements) = Requirements::deserialize(&document["requirements"]) {
        check_requirements(&requirements, &"\u{202e}x".repeat(5000));
    }
}

#[test]
fn every_string_of_a_contract_may_be_hostile() {
    with_each_string_replaced(&contract(), check_contract);
}

fn candidate() -> Value {
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

fn check_candidate(document: &Value) {
    let text = |field: &str| document[field].as_str().unwrap_or_default();
    let component: Component = text("component").parse().unwrap_or(Component::D8);
    let version = Version::parse(text("version")).unwrap_or_else(|_| "1.3.3".parse().unwrap());
    let active = Version::parse(text("active")).ok();
    let labels = BTreeMap::from([("role".to_owned(), "bastion".to_owned())]);
    let host = Host::unattended(text("host"), &labels, None);
    let release = CliRelease::deserialize(&document["release"]).ok();
    let recorded = release.as_ref().and_then(|release| release.recorded(&version));
    let unmet = recorded.map(|recorded| Unmet::recorded(&recorded.reasons)).unwrap_or_default();
    let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();

    if let Ok(policy) = PluginPolicy::deserialize(&document["policy"]) {
        match CheckedPolicy::new(&policy) {
            Ok(checked) => {
                for warning in warnings(&checked, PolicyContext::default()) {
                    assert_printable(&warning);
                }
            }
            Err(rejected) => rejected.errors.iter().for_each(|error| assert_printable(&error.to_string())),
        }
    }
    let set = PolicySet::from_json([&document["policy"]]);
    let policies = set.for_host(host);
    for intent in [Intent::Agent, Intent::Update, Intent::Explicit, Intent::Repair] {
        let case = Candidate::new(host, &component, &version, intent, now)
            .confirmed(Some(now))
            .active(active.as_ref())
            .release(release.as_ref())
            .unmet(&unmet);
        let verdict = policies.evaluate(&case);
        assert_all_printable(verdict.reasons());
        assert_all_printable(verdict.notes());
    }
    if let Some(active) = &active {
        assert_all_printable(policies.run_allowed(&component, active).err().as_deref());
    }
    assert_all_printable(policies.denied(&component).iter());
    if let Component::Plugin(name) = &component {
        assert_all_printable(policies.remove_allowed(name).err().as_deref());
    }
}

#[test]
fn every_string_of_a_policy_and_a_record_may_be_hostile() {
    with_each_string_replaced(&candidate(), check_candidate);
    for access in ["Deny", "Require"] {
        let mut other = candidate();
        other["policy"]["spec"]["rules"][0] =
            json!({"plugins": ["stronghold"], "access": access, "message": "Runbook"});
        with_each_string_replaced(&other["policy"].clone(), |policy| {
            let mut document = other.clone();
            document["policy"] = policy.clone();
            check_candidate(&document);
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn several_strings_of_a_contract_may_be_hostile(document in with_several_strings_replaced(&contract())) {
        check_contract(&document);
    }

    #[test]
    fn several_strings_of_a_policy_and_a_record_may_be_hostile(document in with_several_strings_replaced(&candidate())) {
        check_candidate(&document);
    }

    /// Constraints and versions with numbers at their limits are parsed or refused, and matching has one result.
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
                Ok(parsed) => prop_assert_eq!(parsed.matches(&version), parsed.matches(&version)),
                Err(error) => assert_printable(&error.to_string()),
            }
        }
        let same = Constraint::parse(&format!("={version}"));
        prop_assert!(same.is_ok_and(|same| same.matches(&version)));
    }
}

/// Checks a contract with ten thousand entries. `make` returns the document of a size. A failed test shows `what`.
fn check_large(what: &str, make: impl Fn(usize) -> Value) {
    let (component, tag) = component_and_tag();
    println!("{what}");
    let document = make(10_000).to_string();
    match Contract::from_json(document.as_bytes(), &component, &tag) {
        Ok((contract, _)) => check_requirements(&contract.requirements, "away"),
        Err(error) => assert_printable(&error.to_string()),
    }
}

#[test]
fn contracts_with_ten_thousand_entries_are_checked() {
    let named = |count: usize| -> Vec<Value> {
        (0..count).map(|i| json!({"name": format!("m-{i}"), "constraint": ">=1"})).collect()
    };
    let same = |count: usize| vec![json!({"name": "same", "constraint": ">=9"}); count];
    let modules = |inner: Value| json!({"requirements": {"modules": inner}});
    check_large("mandatory", |count| modules(json!({"mandatory": named(count)})));
    check_large("conditional", |count| modules(json!({"conditional": same(count)})));
    check_large("a group", |count| modules(json!({"anyOf": [{"modules": named(count)}]})));
    check_large("a group that repeats itself", |count| modules(json!({"noneOf": [{"modules": same(count)}]})));
    check_large("groups", |count| {
        let groups: Vec<Value> = (0..count).map(|i| json!({"modules": [{"name": format!("m-{i}")}]})).collect();
        modules(json!({"noneOf": groups}))
    });
    check_large("a contradiction at the end", |count| {
        let mut conditional = named(count / 2);
        conditional.push(json!({"name": "m-0"}));
        modules(json!({"mandatory": [{"name": "m-0"}], "conditional": conditional}))
    });
    check_large(
        "plugins",
        |count| json!({"requirements": {"plugins": {"mandatory": named(count / 2), "conditional": same(count / 2)}}}),
    );
    check_large("variables", |count| json!({"env": named(count / 2), "flags": same(count / 2)}));
    check_large(
        "a long constraint",
        |count| json!({"requirements": {"kubernetes": {"constraint": vec![">=1.2.3 <18446744073709551615"; count].join(" || ")}}}),
    );
    check_large("a large field that is ignored", |count| json!({"unknown": vec![json!([{}, [], 7]); count]}));
}

#[test]
fn nesting_is_bounded() {
    let (component, tag) = component_and_tag();
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        for depth in [10, 100, 1000, 100_000] {
            let text = format!(r#"{{"unknown":{}7{}}}"#, open.repeat(depth), close.repeat(depth));
            // JSON skips ignored values at any depth. YAML bounds the depth of the whole document.
            if let Err(error) = Contract::from_json(text.as_bytes(), &component, &tag) {
                assert_printable(&error.to_string());
            }
            match Contract::from_yaml(&text, &component, &tag) {
                Ok(_) => assert_eq!(depth, 10),
                Err(error) => assert_printable(&error.to_string()),
            }
        }
    }
}
