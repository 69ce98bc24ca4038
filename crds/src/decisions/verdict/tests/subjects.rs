//! Rule 21: policies with `subjects`.

use proptest::prelude::*;

use super::{fixture::*, *};
use crate::decisions::intent::Intent;

fn user(name: &str, groups: &[&str]) -> UserInfo {
    UserInfo { username: name.to_owned(), groups: groups.iter().map(|group| (*group).to_owned()).collect() }
}

/// The codes against an update from v1.0.0 to v1.1.0, and whether v1.0.0 may run.
fn result(specs: &[Value], person: Person<'_>, intent: Intent) -> (Vec<&'static str>, bool) {
    result_of(&set(specs), person, change(intent, "v1.1.0", "v1.0.0"))
}

fn result_of(set: &PolicySet, person: Person<'_>, change: VersionChange<'_>) -> (Vec<&'static str>, bool) {
    let (labels, fixture) = (labels(), VerdictFixture::of(&[]));
    let host = Host { person, ..Host::unattended(fixture.host, &labels, None) };
    let component: Component = change.component.parse().unwrap();
    let (candidate, active) = (version(change.version), change.active.map(version));
    let case = Candidate::new(host, &component, &candidate, change.intent, fixture.now)
        .confirmed(fixture.confirmed)
        .active(active.as_ref())
        .release(fixture.release.as_ref());
    let policies = set.for_host(host);
    let runs = active.as_ref().is_none_or(|active| policies.run_allowed(&component, active).is_ok());
    (codes(&policies.evaluate(&case)), runs)
}

fn with_subjects(mut spec: Value) -> Value {
    spec["subjects"] = json!({"groups": ["contractors"], "users": ["dora"]});
    spec
}

#[test]
fn rule_21_whom_a_policy_names() {
    let denied = [with_subjects(json!({"defaults": {"access": "Deny"}}))];
    for (name, groups, expected) in [
        ("cleo", vec!["contractors"], true),
        ("cleo", vec!["admins", "contractors"], true),
        ("dora", vec!["admins"], true),
        ("alice", vec!["admins"], false),
        ("alice", vec![], false),
        // A name is no group, and the other way round; and case matters.
        ("contractors", vec!["dora"], false),
        ("Dora", vec!["Contractors"], false),
    ] {
        let person = user(name, &groups);
        let (found, runs) = result(&denied, Person::Known(&person), X);
        assert_eq!((found == ["Denied"], runs), (expected, !expected), "{name} {groups:?}");
    }
}

#[test]
fn rule_21_what_counts_for_whom() {
    let cleo = user("cleo", &["contractors"]);
    let named = Person::Known(&cleo);
    let rule = |fields: Value| {
        let mut rule = json!({"plugins": ["stronghold"]});
        rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        with_subjects(json!({"rules": [rule]}))
    };
    let restrictive = [
        (rule(json!({"access": "Deny"})), "Denied", false),
        (with_subjects(json!({"defaults": {"access": "Deny"}})), "Denied", false),
        (rule(json!({"block": ["<=1.1.0"]})), "Blocked", false),
    ];
    for (spec, code, runs) in restrictive {
        for person in [named, Person::Unknown] {
            for intent in [U, X, R] {
                assert_eq!(
                    result(std::slice::from_ref(&spec), person, intent),
                    (vec![code], runs),
                    "{spec} {person:?}"
                );
            }
        }
        assert_eq!(result(std::slice::from_ref(&spec), Person::Nobody, R), (vec![], true), "the agent's own repair");
        for person in [named, Person::Unknown, Person::Nobody] {
            let (found, _) = result(std::slice::from_ref(&spec), person, A);
            assert_eq!(found, ["NotGoverned"], "{spec} {person:?}");
        }
    }
    for (spec, code) in [
        (rule(json!({"versions": "<1.1"})), "VersionNotPermitted"),
        (rule(json!({"pins": [{"version": "v1.1.0", "digest": digest('f')}]})), "NotPinned"),
        (rule(json!({"updates": "Frozen"})), "Frozen"),
        (rule(json!({"minAge": "99h"})), "Soaking"),
        (with_subjects(json!({"defaults": {"minAge": "99h"}})), "Soaking"),
        (with_subjects(json!({"paused": true})), "Paused"),
        (with_subjects(json!({"rollout": {"over": "720h"}})), "NotInWave"),
    ] {
        let specs = std::slice::from_ref(&spec);
        assert_eq!(result(specs, named, U), (vec![code], true), "{spec}");
        for person in [Person::Unknown, Person::Nobody] {
            assert_eq!(result(specs, person, U), (vec![], true), "{spec} {person:?}");
        }
        assert_eq!(result(specs, named, A).0, ["NotGoverned"], "{spec}");
    }
}

#[test]
fn rule_21_a_person_who_is_not_known_keeps_the_exceptions_from_a_denial() {
    let one_plugin = |access: &str| {
        with_subjects(json!({"defaults": {"access": "Deny"}, "rules": [
            {"plugins": ["stronghold"], "access": access}, {"plugins": ["strong*"], "access": "Deny"},
        ]}))
    };
    for access in ["Allow", "Require"] {
        let specs = [one_plugin(access)];
        assert_eq!(result(&specs, Person::Unknown, X), (vec![], true), "{access}");
        let mut other = change(X, "v1.1.0", "v1.0.0");
        other.component = "strongbox";
        assert_eq!(result_of(&set(&specs), Person::Unknown, other), (vec!["Denied"], false));
        let labels = labels();
        let host = |person| Host { person, ..Host::unattended("bastion-1", &labels, None) };
        let set = set(&specs);
        let cleo = user("cleo", &["contractors"]);
        let required = |person| set.for_host(host(person)).required().len();
        let expected = usize::from(access == "Require");
        assert_eq!(
            [required(Person::Known(&cleo)), required(Person::Unknown), required(Person::Nobody)],
            [expected, 0, 0]
        );
    }
}

#[test]
fn rule_21_restrictions_govern_nothing() {
    // Where a policy applies, and none sets majorUpdates, a person stays within the major version.
    let specs = [with_subjects(json!({"rules": [{"plugins": ["other"], "access": "Deny"}]}))];
    let cleo = user("cleo", &["contractors"]);
    let major = change(U, "v2.0.0", "v1.0.0");
    for (person, expected) in [
        (Person::Known(&cleo), vec!["MajorStays"]),
        (Person::Unknown, vec![]),
        (Person::Nobody, vec![]),
        (Person::Known(&user("alice", &[])), vec![]),
    ] {
        assert_eq!(result_of(&set(&specs), person, major).0, expected, "{person:?}");
    }
}

#[test]
fn rule_21_policies_that_are_invalid_or_cannot_be_decoded() {
    let (cleo, alice) = (user("cleo", &["contractors"]), user("alice", &["admins"]));
    let invalid = with_subjects(json!({"rules": [{"plugins": ["stronghold"], "versions": "newest"}]}));
    let unreadable = with_subjects(json!({"rules": [{"plugins": ["stronghold"], "access": "Perhaps"}]}));
    let no_subject = json!({"subjects": {}});
    let other_kind = json!({"subjects": {"groups": ["contractors"], "serviceAccounts": ["ci"]}});
    let wrong_type = json!({"subjects": "contractors"});
    let no_name = json!({"subjects": {"groups": ["contractors", ""]}});
    let held = || vec!["InvalidPolicy"];
    for (spec, named, other, unknown, nobody) in [
        (&invalid, held(), vec![], vec![], vec![]),
        (&no_name, held(), vec![], vec![], vec![]),
        (&no_subject, vec![], vec![], vec![], vec![]),
        (&unreadable, held(), vec![], held(), vec![]),
        (&other_kind, held(), held(), held(), held()),
        (&wrong_type, held(), held(), held(), held()),
        (&json!({"subjects": null}), vec![], vec![], vec![], vec![]),
    ] {
        let specs = std::slice::from_ref(spec);
        for (person, expected) in [
            (Person::Known(&cleo), &named),
            (Person::Known(&alice), &other),
            (Person::Unknown, &unknown),
            (Person::Nobody, &nobody),
        ] {
            assert_eq!(result(specs, person, U), (expected.clone(), true), "{spec} {person:?}");
        }
    }
    let mut refused = policy("p", &with_subjects(json!({"defaults": {"access": "Deny"}})));
    refused["status"] = json!({"conditions": [{"type": "Accepted", "status": "False"}]});
    let set = PolicySet::from_json([&refused]);
    let up = change(U, "v1.1.0", "v1.0.0");
    assert_eq!(result_of(&set, Person::Known(&cleo), up), (held(), true));
    assert_eq!(result_of(&set, Person::Known(&alice), up).0, [""; 0]);
}

#[test]
fn rule_21_the_effective_policy_shows_the_subjects() {
    let set = set(&[with_subjects(json!({"paused": true}))]);
    let (labels, cleo) = (labels(), user("cleo", &["contractors"]));
    let subjects = json!({"groups": ["contractors"], "users": ["dora"]});
    let whole = json!([{"name": "p0", "subjects": subjects, "valid": true}]);
    let part = json!([{"name": "p0", "subjects": subjects, "restrictionsOnly": true, "valid": true}]);
    for (person, policies, paused) in
        [(Person::Known(&cleo), whole, true), (Person::Unknown, part, false), (Person::Nobody, json!([]), false)]
    {
        let host = Host { person, ..Host::unattended("bastion-1", &labels, None) };
        let effective = serde_json::to_value(set.for_host(host).effective(&[])).unwrap();
        assert_eq!((&effective["policies"], &effective["paused"]["value"]), (&policies, &json!(paused)), "{person:?}");
    }
}

fn intent() -> impl Strategy<Value = Intent> {
    proptest::sample::select(vec![A, U, X, R])
}

proptest! {
    #[test]
    fn an_entry_of_subjects_changes_nothing_for_those_it_does_not_name(
        specs in super::properties::gated_policies(), denied in any::<bool>(), intent in intent(),
        known in 0_usize..4, group in any::<bool>(), candidate in super::properties::recorded_version(),
    ) {
        let mut before = specs;
        if denied {
            before[0]["defaults"] = json!({"access": "Deny"});
        }
        before[0]["subjects"] = json!({"groups": ["contractors"], "users": []});
        let mut after = before.clone();
        let list = if group { "groups" } else { "users" };
        after[0]["subjects"][list].as_array_mut().unwrap().push(json!("new"));
        let people = [user("alice", &["admins"]), user("cleo", &["contractors", "x"])];
        let person = [Person::Nobody, Person::Unknown, Person::Known(&people[0]), Person::Known(&people[1])][known];
        let change = change(intent, candidate, "v1.0.0");
        prop_assert_eq!(result_of(&set(&before), person, change), result_of(&set(&after), person, change));
    }

    #[test]
    fn policies_with_subjects_never_bind_the_agent_and_a_person_who_is_not_named(
        specs in super::properties::gated_policies(), intent in intent(),
        candidate in super::properties::recorded_version(),
    ) {
        let others = set(&specs[1..]);
        let mut all = specs.clone();
        all[0] = with_subjects(all[0].clone());
        let alice = user("alice", &["admins"]);
        let cleo = user("cleo", &["contractors"]);
        let case = change(intent, candidate, "v1.0.0");
        // The names of the policies differ, so the codes are compared.
        let without = |person| result_of(&others, person, case);
        prop_assert_eq!(result_of(&set(&all), Person::Known(&alice), case), without(Person::Known(&alice)));
        prop_assert_eq!(result_of(&set(&all), Person::Nobody, case), without(Person::Nobody));
        if intent == A {
            prop_assert_eq!(result_of(&set(&all), Person::Known(&cleo), case).0, without(Person::Nobody).0);
        } else {
            let everyone = result_of(&set(&specs), Person::Known(&cleo), case);
            prop_assert_eq!(result_of(&set(&all), Person::Known(&cleo), case), everyone);
        }
    }
}
