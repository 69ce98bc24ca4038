use std::sync::Arc;

use d8_crds::decisions::{
    impact::ComponentDiff,
    reason::{Cause, Field, Reason, Source, Subject},
    verdict::NextVersion,
};
use jiff::Timestamp;

use super::*;

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn by(policy: &str, field: Option<Field>) -> Source {
    Source::Policy { policy: policy.into(), origin: Origin::Rule(0), field }
}

fn reason(active: &str, cause: Cause) -> Reason {
    let (component, active) = ("tool".parse().unwrap(), Some(version(active)));
    let subject = Subject { component, version: Some(version("v1.3.0")), active, evaluated_at: None };
    Reason { subject: Arc::new(subject), cause }
}

fn eligible(target: &str) -> HostImpact {
    HostImpact { verdict: Class::Eligible, target: Some(version(target)), runs: true, reason: None, next: None }
}

fn frozen(active: &str) -> HostImpact {
    let reason = Some(reason(active, Cause::Frozen { by: by("freeze", Some(Field::Updates)) }));
    HostImpact { verdict: Class::Held, reason, ..eligible("v1.3.0") }
}

fn in_wave(until: &str) -> HostImpact {
    let over = std::time::Duration::from_hours(48);
    let cause = Cause::NotInWave { by: by("slow", None), over, until: Some(at(until)) };
    HostImpact { verdict: Class::Held, reason: Some(reason("v1.2.0", cause)), ..eligible("v1.3.0") }
}

fn change(host: &str, active: &str, old: HostImpact, new: HostImpact, moves: bool) -> HostChange {
    let host = (!host.is_empty()).then(|| host.into());
    let active = (!active.is_empty()).then(|| version(active));
    let change = ComponentDiff { component: "tool".to_owned(), active, old: Some(old), new: Some(new), moves };
    HostChange { host, change: Arc::new(change) }
}

#[test]
fn equal_changes_are_one_group() {
    let mut changes: Vec<_> = (1..=7)
        .map(|i| change(&format!("bastion-{i}"), "v1.2.0", eligible("v1.3.0"), frozen("v1.2.0"), true))
        .collect();
    changes.push(change("", "v1.1.0", eligible("v1.3.0"), frozen("v1.1.0"), true));
    let frozen = "policy freeze, rules[0].updates: tool is frozen at v1.2.0; ask an admin for `updates: Manual` to \
                  replace it";
    let few = "bastion-1, bastion-2, bastion-3, bastion-4, bastion-5";
    assert_eq!(
        lines(&changes[..7], HostNames::Few),
        [
            "tool".to_owned(),
            format!("  on v1.2.0: v1.3.0 -> v1.3.0 held   7 hosts: {few} and 2 more"),
            format!("    {frozen}"),
        ]
    );
    // The active version differs: the reason is that of one host.
    let all = format!("{few}, bastion-6, bastion-7, this machine");
    assert_eq!(
        lines(&changes, HostNames::All)[1..],
        [
            format!("  on v1.1.0 to v1.2.0: v1.3.0 -> v1.3.0 held   8 hosts: {all}"),
            format!("    on bastion-1: {frozen}"),
        ]
    );
}

#[test]
fn hosts_of_a_wave_are_one_group_with_the_span_of_their_times() {
    let with_next = |until: &str, next: &str| HostImpact {
        next: Some(NextVersion { version: version(next), at: at(until) }),
        ..in_wave(until)
    };
    let (early, late) = ("2026-11-22T13:00:00Z", "2026-11-23T13:00:00Z");
    for (new, expected) in [
        ([in_wave(early), in_wave(early)], "v1.3.0 held until 2026-11-22T13:00:00Z"),
        ([in_wave(early), in_wave(late)], "v1.3.0 held until 2026-11-22T13:00:00Z to 2026-11-23T13:00:00Z"),
        // What the agent takes first is the target.
        ([with_next(early, "v1.3.0"), with_next(early, "v1.3.0")], "v1.3.0 held until 2026-11-22T13:00:00Z"),
        (
            [with_next(early, "v1.2.7"), with_next(late, "v1.2.7")],
            "v1.3.0 held, next v1.2.7 at 2026-11-22T13:00:00Z to 2026-11-23T13:00:00Z",
        ),
    ] {
        let [first, second] = new;
        let changes = [
            change("a", "v1.2.0", eligible("v1.3.0"), first, true),
            change("b", "v1.2.0", eligible("v1.3.0"), second, true),
        ];
        let found = lines(&changes, HostNames::Few);
        assert_eq!(found[1], format!("  on v1.2.0: v1.3.0 -> {expected}   2 hosts: a, b"));
        assert_eq!(found.len(), 3);
    }
}

/// The reason is what stops v1.3.0, the former target. The end of its hold is not that of the new one.
#[test]
fn a_reason_about_the_former_target() {
    let (held, ends) = (in_wave("2026-11-22T13:00:00Z"), "2026-11-22T13:00:00Z");
    let next = |version: &str| Some(NextVersion { version: version.parse().unwrap(), at: at(ends) });
    for (next, expected) in [
        (None, "v1.4.0 held"),
        (next("v1.3.0"), "v1.4.0 held, next v1.3.0 at 2026-11-22T13:00:00Z"),
        (next("v1.4.0"), "v1.4.0 held, next v1.4.0 at 2026-11-22T13:00:00Z"),
    ] {
        let new = HostImpact { target: Some(version("v1.4.0")), next, ..held.clone() };
        let found = lines(&[change("a", "v1.2.0", eligible("v1.3.0"), new, true)], HostNames::Few);
        assert_eq!(found[1], format!("  on v1.2.0: v1.3.0 -> {expected}   1 host: a"));
        assert!(found[2].contains("the wave of tool v1.3.0"), "{found:?}");
    }
}

#[test]
fn what_policies_lead_to() {
    let forbidden = |target: Option<&str>, runs: bool| HostImpact {
        verdict: Class::Forbidden,
        target: target.map(version),
        runs,
        ..eligible("v1.0.0")
    };
    for (active, old, new, expected) in [
        ("v1.2.0", eligible("v1.2.0"), eligible("v1.3.0"), "on v1.2.0: v1.2.0 -> v1.3.0"),
        (
            "v1.2.0",
            eligible("v1.2.0"),
            forbidden(Some("v1.1.0"), true),
            "on v1.2.0: v1.2.0 -> must be replaced by v1.1.0",
        ),
        (
            "v1.2.0",
            eligible("v1.2.0"),
            forbidden(Some("v1.3.0"), false),
            "on v1.2.0: v1.2.0 -> may not run, must be replaced by v1.3.0",
        ),
        (
            "v1.2.0",
            eligible("v1.2.0"),
            forbidden(None, false),
            "on v1.2.0: v1.2.0 -> may not run, must be replaced, nothing is eligible",
        ),
        (
            "v1.2.0",
            frozen("v1.2.0"),
            in_wave("2026-11-22T13:00:00Z"),
            "on v1.2.0: v1.3.0 held -> v1.3.0 held until 2026-11-22T13:00:00Z",
        ),
        (
            "v1.2.0",
            in_wave("2026-11-22T13:00:00Z"),
            in_wave("2026-11-22T13:00:00Z"),
            "on v1.2.0: v1.3.0 held until 2026-11-22T13:00:00Z, for another reason",
        ),
    ] {
        let found = lines(&[change("a", active, old, new, true)], HostNames::Few);
        assert_eq!(found[1], format!("  {expected}   1 host: a"));
    }
    let mut required = change("a", "", eligible("v1.0.0"), forbidden(None, true), true);
    Arc::make_mut(&mut required.change).old = None;
    let found = lines(&[required], HostNames::Few);
    assert_eq!(found[1], "  not installed: not required -> required, nothing is permitted   1 host: a");
}

#[test]
fn components_are_in_order_and_the_largest_changes_first() {
    let of = |component: &str, mut change: HostChange| {
        Arc::make_mut(&mut change.change).component = component.to_owned();
        change
    };
    let frozen = || change("a", "v1.2.0", eligible("v1.3.0"), frozen("v1.2.0"), true);
    let later = || change("a", "v1.2.0", in_wave("2026-11-22T13:00:00Z"), in_wave("2026-11-22T14:00:00Z"), false);
    let changes = [of("tool", later()), of("tool", later()), of("tool", frozen()), of("d8", frozen())];
    let found = lines(&changes, HostNames::Few);
    let heads: Vec<_> = found.iter().filter(|line| !line.starts_with("    ")).map(|line| line.trim_start()).collect();
    assert_eq!(heads[0], "d8");
    assert_eq!(heads[2], "tool");
    assert!(heads[3].contains("v1.3.0 -> v1.3.0 held ") && heads[4].contains("2 hosts"), "{heads:?}");
}
