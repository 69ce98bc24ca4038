//! Rule 22: policies that contradict each other.

use super::{
    fixture::{digest, release, version_seen},
    *,
};

const SEEN: &str = "2026-11-20T12:00:00Z";

/// A rule for the plugin.
fn rule(fields: &Value) -> Value {
    let mut rule = json!({"plugins": ["stronghold"]});
    rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"rules": [rule]})
}

fn require() -> Value {
    rule(&json!({"access": "Require"}))
}

fn published(versions: &[&str]) -> CliRelease {
    let versions: Vec<_> = versions.iter().map(|version| version_seen(version, SEEN)).collect();
    release(SEEN, &versions.iter().collect::<Vec<_>>())
}

fn conflicts_of(set: &PolicySet, record: Option<&CliRelease>, person: Person<'_>) -> Vec<PolicyConflict> {
    conflicts_under(set, None, record, person)
}

fn conflicts_under(
    set: &PolicySet,
    local_rules: Option<&LocalRules>,
    record: Option<&CliRelease>,
    person: Person<'_>,
) -> Vec<PolicyConflict> {
    let labels = labels();
    let host = Host { person, local_rules, ..Host::unattended("bastion-1", &labels, None) };
    set.for_host(host).conflicts(|component| record.filter(|_| component.name() == "stronghold"))
}

/// Conflicts as `component: policies that require it / field=value of what refuses the versions`.
fn shown(conflicts: &[PolicyConflict]) -> Vec<String> {
    let fields = |fields: &[Attributed<String>], show: fn(&Attributed<String>) -> String| {
        fields.iter().map(show).collect::<Vec<_>>().join(" ")
    };
    let shown = |conflict: &PolicyConflict| {
        let required_by = fields(&conflict.required_by, |field| field.from.policy.clone());
        let refused_by = fields(&conflict.refused_by, |field| {
            let path = field.from.field.as_deref().unwrap_or_default();
            format!("{}.{}={}", field.from.policy, path.rsplit('.').next().unwrap_or_default(), field.value)
        });
        format!("{}: {required_by}/ {refused_by}", conflict.component)
    };
    conflicts.iter().map(shown).collect()
}

#[test]
fn rule_22_versions_that_nothing_can_meet() {
    let versions = |text: &str| rule(&json!({"versions": text}));
    let cli = |text: &str| json!({"cli": {"versions": text}});
    for (specs, expected) in [
        (vec![versions(">=1.2"), versions("<2")], &[][..]),
        (vec![versions(">=2"), versions("<2")], &["stronghold: / p0.versions=>=2 p1.versions=<2"]),
        (vec![versions(">=2 <1")], &["stronghold: / p0.versions=>=2 <1"]),
        // What the others refuse anyway takes no part.
        (
            vec![versions(">=2"), versions("!=1.4.0"), versions("<2"), versions("*")],
            &["stronghold: / p0.versions=>=2 p2.versions=<2"],
        ),
        (
            vec![versions(">=5"), versions(">=3"), versions("<2"), versions("<4")],
            &["stronghold: / p0.versions=>=5 p1.versions=>=3 p2.versions=<2 p3.versions=<4"],
        ),
        // Only all three together.
        (
            vec![versions("1.x || 2.x"), versions("2.x || 3.x"), versions("1.x || 3.x")],
            &["stronghold: / p0.versions=1.x || 2.x p1.versions=2.x || 3.x p2.versions=1.x || 3.x"],
        ),
        // One policy names the plugin, another one a prefix; none names it outright.
        (
            vec![versions(">=2"), json!({"rules": [{"plugins": ["strong*"], "versions": "<2"}]})],
            &["stronghold: / p0.versions=>=2 p1.versions=<2"],
        ),
        (
            vec![
                json!({"rules": [{"plugins": ["strong*"], "versions": ">=2"}]}),
                json!({"rules": [{"plugins": ["*"], "versions": "<2"}]}),
            ],
            &[],
        ),
        (vec![cli(">=0.14"), cli("<0.13"), versions("<2")], &["d8: / p0.versions=>=0.14 p1.versions=<0.13"]),
        // The first rule of a policy applies alone.
        (
            vec![
                versions(">=2"),
                json!({"rules": [{"plugins": ["stronghold"]}, {"plugins": ["stronghold"], "versions": "<2"}]}),
            ],
            &[],
        ),
        // Each is read under the channel of its own policy.
        (vec![versions(">=1.2.3-rc.1 <1.2.3-rc.2"), rule(&json!({"versions": "1.2.x", "channel": "Prerelease"}))], &[]),
        (
            vec![rule(&json!({"versions": ">=1.2.3-rc.1 <1.2.3-rc.2", "channel": "Prerelease"})), versions("<2")],
            &["stronghold: / p0.versions=>=1.2.3-rc.1 <1.2.3-rc.2"],
        ),
        // Other hosts.
        (
            vec![versions(">=2"), {
                let mut elsewhere = versions("<2");
                elsewhere["hostSelector"] = json!({"matchLabels": {"role": "ci"}});
                elsewhere
            }],
            &[],
        ),
    ] {
        assert_eq!(shown(&conflicts_of(&set(&specs), None, Person::Nobody)), expected, "{specs:?}");
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn rule_22_required_plugins_without_a_permitted_version() {
    let all = ["v2.0.0", "v1.1.0", "v1.0.0"];
    let versions = |text: &str| rule(&json!({"versions": text}));
    let block = |entries: &[&str]| rule(&json!({"block": entries}));
    let deny = || json!({"defaults": {"access": "Deny"}});
    let pins = rule(&json!({"pins": [{"version": "v1.0.0", "digest": digest('7')}]}));
    let own = rule(&json!({"access": "Require", "versions": ">=3"}));
    for (specs, record, expected) in [
        (vec![require(), versions(">=2")], Some(&all[..]), &[][..]),
        (vec![require(), versions(">=3")], Some(&all), &["stronghold: p0/ p1.versions=>=3"]),
        (vec![own], Some(&all), &["stronghold: p0/ p0.versions=>=3"]),
        // Nothing is known to be published, so that nothing is refused.
        (vec![require(), versions(">=3")], None, &[]),
        (vec![require(), versions(">=3")], Some(&[]), &[]),
        (vec![require(), versions(">=3"), versions("<3")], None, &["stronghold: p0/ p1.versions=>=3 p2.versions=<3"]),
        // Each field once, as it is written.
        (
            vec![require(), versions(" >=3"), versions("<3")],
            Some(&all),
            &["stronghold: p0/ p1.versions= >=3 p2.versions=<3"],
        ),
        (vec![require(), deny()], None, &["stronghold: p0/ p1.access=Deny"]),
        (vec![require(), deny(), require()], Some(&all), &["stronghold: p0 p2/ p1.access=Deny"]),
        // Not required: it may well have no version.
        (vec![versions(">=3"), block(&["<3"])], Some(&all), &[]),
        (
            vec![require(), versions(">=2"), block(&["2.x", "v1.0.0"])],
            Some(&all),
            &["stronghold: p0/ p1.versions=>=2 p2.block=2.x"],
        ),
        // p3 refuses what p1 refuses anyway.
        (
            vec![require(), versions(">=2"), block(&["v2.0.0"]), block(&["v1.1.0"])],
            Some(&all),
            &["stronghold: p0/ p1.versions=>=2 p2.block=v2.0.0"],
        ),
        (
            vec![require(), versions("<1.1"), pins.clone()],
            Some(&all),
            &["stronghold: p0/ p1.versions=<1.1 p2.pins=v1.0.0 777777777777"],
        ),
        (vec![require(), pins], Some(&all), &[]),
        (
            vec![require(), rule(&json!({"channel": "Stable"})), json!({"defaults": {"channel": "Prerelease"}})],
            Some(&["v1.2.0-rc.1"]),
            &["stronghold: p0/ p1.channel=Stable"],
        ),
        // A person may name a pre-release, so that it is only held.
        (vec![require()], Some(&["v1.2.0-rc.1"]), &[]),
        // The same layer: v1.1.0 and v1.2.0 have one.
        (vec![require(), block(&["v1.1.0"])], Some(&["v1.2.0", "v1.1.0"]), &["stronghold: p0/ p1.block=v1.1.0"]),
        // What holds a version is no conflict.
        (vec![require(), json!({"paused": true, "defaults": {"minAge": "99h", "updates": "Frozen"}})], Some(&all), &[]),
    ] {
        let record = record.map(published);
        let found = conflicts_of(&set(&specs), record.as_ref(), Person::Nobody);
        assert_eq!(shown(&found), expected, "{specs:?}");
    }
}

#[test]
fn a_withdrawn_version_is_not_published() {
    let mut withdrawn = version_seen("v2.0.0", SEEN);
    withdrawn["withdrawn"] = json!(SEEN);
    let record = release(SEEN, &[&withdrawn, &version_seen("v1.0.0", SEEN)]);
    let set = set(&[require(), rule(&json!({"versions": ">=2"}))]);
    let found = conflicts_of(&set, Some(&record), Person::Nobody);
    assert_eq!(shown(&found), ["stronghold: p0/ p1.versions=>=2"]);
}

#[test]
fn rule_22_who_takes_no_part() {
    let user = UserInfo { username: "dora".to_owned(), groups: std::collections::BTreeSet::default() };
    let of = |fields: &Value| {
        let mut spec = rule(&json!({"versions": "<2"}));
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        spec
    };
    let emergency = json!({"emergency": {"until": "2026-12-01T12:00:00Z"},
        "rules": [{"plugins": ["stronghold"], "expedite": ["v1.2.7"]}]});
    for (second, takes_part) in [
        (of(&json!({})), true),
        (of(&json!({"paused": true})), true),
        (of(&json!({"subjects": {"users": ["dora"]}})), false),
        (of(&json!({"windows": []})), false),
        (emergency, false),
    ] {
        let set = set(&[rule(&json!({"versions": ">=2"})), second.clone()]);
        for person in [Person::Nobody, Person::Known(&user), Person::Unknown] {
            assert_eq!(conflicts_of(&set, None, person).len(), usize::from(takes_part), "{second} {person:?}");
        }
    }
}

#[test]
fn the_hosts_own_rules_take_part() {
    let local = LocalRules::read([("stronghold", "v3.0.0")], []).unwrap();
    let found = conflicts_under(&set(&[require()]), Some(&local), Some(&published(&["v2.0.0"])), Person::Nobody);
    assert_eq!(shown(&found), ["stronghold: p0/ agent.toml.minimumVersions=>=v3.0.0"]);
}

#[test]
fn a_conflict_in_words() {
    let versions = |text: &str| rule(&json!({"versions": text}));
    let many: Vec<_> = (0..12).map(|n| versions(&format!("={n}.0.0"))).collect();
    for (specs, record, expected) in [
        (
            vec![versions(">=2"), versions("<2")],
            None,
            "no version of stronghold meets policy p0, rules[0].versions (`>=2`) and policy p1, rules[0].versions (`<2`)",
        ),
        (
            vec![require(), versions(">=3"), require()],
            Some(published(&["v1.0.0"])),
            "policy p0, rules[0].access and policy p2, rules[0].access require stronghold, but no published version \
             passes policy p1, rules[0].versions (`>=3`)",
        ),
        (
            vec![require(), json!({"defaults": {"access": "Deny"}})],
            None,
            "policy p0, rules[0].access requires stronghold, but no published version passes policy p1, \
             defaults.access (`Deny`)",
        ),
    ] {
        let found = conflicts_of(&set(&specs), record.as_ref(), Person::Nobody);
        assert_eq!(explain::policy_conflict(&found[0]), expected);
    }
    let found = conflicts_of(&set(&many), None, Person::Nobody);
    let (sentence, policies) = (explain::policy_conflict(&found[0]), found[0].policies().len());
    assert!(sentence.ends_with(" (`=5.0.0`) and 4 more"), "{sentence}");
    assert_eq!(policies, 12);
}

/// Versions of a record with two of each three numbers, and rules of up to four policies.
fn specs() -> impl proptest::strategy::Strategy<Value = Vec<Value>> {
    use proptest::prelude::*;
    let versions =
        proptest::string::string_regex("(>=|<|!=|\\^|~)[0-2]\\.[0-2](\\.0)?( \\|\\| =[0-2]\\.1\\.0)?").unwrap();
    let one = (any::<bool>(), proptest::option::of(versions), proptest::option::of("[0-2]\\.[01]\\.0"));
    let spec = one.prop_map(|(required, versions, block)| {
        let mut fields = json!({});
        if required {
            fields["access"] = json!("Require");
        }
        if let Some(versions) = versions {
            fields["versions"] = json!(versions);
        }
        fields["block"] = json!(block.into_iter().collect::<Vec<_>>());
        rule(&fields)
    });
    proptest::collection::vec(spec, 1..5)
}

proptest::proptest! {
    /// The conflict is there exactly if no version passes, all that is named is needed in some way, and it is gone once
    /// those who take part are.
    #[test]
    fn conflicts_agree_with_verdicts(specs in specs()) {
        let tags: Vec<_> = (0..3).flat_map(|major| [0, 1].map(|minor| format!("v{major}.{minor}.0"))).collect();
        let mut record = published(&tags.iter().map(String::as_str).collect::<Vec<_>>());
        for (i, version) in record.status.as_mut().unwrap().versions.iter_mut().enumerate() {
            version.artifacts[0].layer = format!("sha256:{i:064}");
        }
        let set_of = |specs: &[Value]| PolicySet::from_json(&specs.to_vec());
        let policies: Vec<_> = specs.iter().enumerate().map(|(i, spec)| policy(&format!("p{i}"), spec)).collect();
        let policy_set = set_of(&policies);
        let passes = |tag: &String| {
            let change = VersionChange { component: "stronghold", version: tag, active: None, intent: X };
            evaluate_with(&policy_set, change, &[], Some(&record)).class() != Class::Forbidden
        };
        let is_required = specs.iter().any(|spec| spec["rules"][0]["access"] == "Require");
        let found = conflicts_of(&policy_set, Some(&record), Person::Nobody);
        let none_passes = !tags.iter().any(passes);
        if is_required {
            proptest::prop_assert_eq!(!found.is_empty(), none_passes);
        } else {
            proptest::prop_assert!(found.is_empty() || none_passes);
        }
        let Some(conflict) = found.first() else { return Ok(()) };
        let refusing: std::collections::BTreeSet<_> = conflict.refused_by.iter().map(|f| f.from.policy.as_str()).collect();
        let is_refusing = |policy: &&Value| refusing.contains(policy["metadata"]["name"].as_str().unwrap());
        let required = policy("required", &require());
        let with_requirement = |policies: Vec<Value>| {
            let mut policies = policies;
            policies.push(required.clone());
            !conflicts_of(&set_of(&policies), Some(&record), Person::Nobody).is_empty()
        };
        let only: Vec<_> = policies.iter().filter(is_refusing).cloned().collect();
        let others: Vec<_> = policies.iter().filter(|policy| !is_refusing(policy)).cloned().collect();
        proptest::prop_assert!(with_requirement(only), "those that take part are enough");
        proptest::prop_assert!(!with_requirement(others), "the others leave a version");
    }
}
