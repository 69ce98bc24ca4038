use std::sync::Arc;

use d8_crds::decisions::{
    impact::{ComponentDiff, WaveChange},
    verdict::NextVersion,
};

use super::{
    super::report::{HaltOfDeleted, HostChange, HostLockout, NotPermitted},
    *,
};

fn pause(host: &str, paused: bool) -> HostPause {
    HostPause { host: Some(host.into()), paused }
}

#[test]
fn hosts_that_are_paused_are_counted_and_named() {
    let few = |list: &[HostPause]| pauses(list, HostNames::Few);
    assert_eq!(few(&[]), [""; 0]);
    let one = "1 host would be paused: nothing would change there until the pause ends, except that people may leave a \
               blocked version (this machine).";
    assert_eq!(few(&[HostPause { host: None, paused: true }]), [one]);
    let many: Vec<_> = (1..=7).map(|number| pause(&format!("h{number}"), false)).collect();
    let ended = "7 hosts would no longer be paused: updates go on there (h1, h2, h3, h4, h5 and 2 more).";
    assert_eq!(few(&many), [ended]);
    let all = "7 hosts would no longer be paused: updates go on there (h1, h2, h3, h4, h5, h6, h7).";
    assert_eq!(pauses(&many, HostNames::All), [all]);
    let both = few(&[pause("a", false), pause("b", true)]);
    assert!(both.len() == 2 && both[0].contains("(b)") && both[1].contains("(a)"), "{both:?}");
}

#[test]
fn waves_of_one_policy_and_component_are_one_line() {
    let wave = |version: &str, kind, hosts: &[&str]| {
        let (component, version) = ("tool".parse().unwrap(), version.parse().unwrap());
        let change = WaveChange { policy: "slow".to_owned(), component, version, kind };
        let hosts: Vec<_> = hosts.iter().map(|host| (*host).into()).collect();
        EditedWave { this_machine: hosts.len() > 1, hosts, ..EditedWave::new(&change) }
    };
    let day = std::time::Duration::from_hours(24);
    let begins = WaveChangeKind::Begins { at: "2026-11-22T12:00:00Z".parse().unwrap(), over: day };
    let awaits = WaveChangeKind::Awaits { hosts: 2, stable_for: day };
    for (list, expected) in [
        (vec![], None),
        (
            vec![wave("v1.3.0", WaveChangeKind::Resumes, &["a"])],
            Some("Policy slow: the halted wave of tool v1.3.0 would go on (1 host: a)."),
        ),
        (
            vec![wave("v1.3.0", begins, &["a", "b"])],
            Some(
                "Policy slow: the wave of tool v1.3.0 would begin at 2026-11-22T12:00:00Z over 24h (3 hosts: a, b, this machine).",
            ),
        ),
        (
            vec![wave("v1.3.0", begins, &["a"]), wave("v1.2.0", begins, &["b"])],
            Some(
                "Policy slow: the waves of tool v1.3.0, v1.2.0 would begin at 2026-11-22T12:00:00Z, each over 24h (2 hosts: a, b).",
            ),
        ),
        (
            vec![wave("v1.3.0", WaveChangeKind::Halts { failed: 2, max_failed: 1 }, &["a"])],
            Some(
                "Policy slow: the wave of tool v1.3.0 would be halted now, because 2 hosts failed and maxFailed is 1 (1 host: a).",
            ),
        ),
        (
            vec![wave("v1.3.0", awaits, &["a"])],
            Some(
                "Policy slow: the wave of tool v1.3.0 would not begin before it has succeeded on 2 hosts for 24h (1 host: a).",
            ),
        ),
    ] {
        let found = waves(&list, HostNames::Few);
        assert_eq!(found.first().map(String::as_str), expected);
        assert!(found.len() <= 1, "{found:?}");
    }
}

#[test]
fn locked_out_people_and_plugins_that_are_not_permitted() {
    let next = |at: &str| NextVersion { version: "v1.3.0".parse().unwrap(), at: at.parse().unwrap() };
    let lockout = |host: Option<&str>, next| HostLockout {
        host: host.map(Into::into),
        component: "tool".to_owned(),
        active: None,
        next,
    };
    let report = |locked_out| DiffReport { locked_out, ..DiffReport::default() };
    let (early, late) = (next("2026-11-22T12:00:00Z"), next("2026-11-23T12:00:00Z"));
    for (locked_out, expected) in [
        (
            vec![lockout(Some("a"), Some(early.clone())), lockout(Some("b"), Some(late))],
            "Nobody could run tool on 2 hosts, nor replace it before 2026-11-23T12:00:00Z (a, b).",
        ),
        (
            vec![lockout(Some("a"), Some(early)), lockout(None, None)],
            "Nobody could run tool on 2 hosts, nor replace it (a, this machine).",
        ),
    ] {
        assert_eq!(super::locked_out(&report(locked_out), HostNames::Few), [expected]);
    }
    for (required, expected) in [
        (true, "tool would be required on 1 host, but policies permit no published version there (a)."),
        (false, "Policies would contradict each other about tool on 1 host (a)."),
    ] {
        let (host, component, message) = (Some("a".into()), "tool".to_owned(), "why".to_owned());
        let entry = NotPermitted { host, component, required, message };
        let report = DiffReport { not_permitted: vec![entry], ..DiffReport::default() };
        assert_eq!(not_permitted(&report, HostNames::Few), [expected, "  why"]);
    }
}

#[test]
fn hosts_that_are_not_compared_and_policies_that_come_and_go() {
    let halt = |version: &str| HaltOfDeleted {
        policy: "old".to_owned(),
        component: "tool".parse().unwrap(),
        version: version.to_owned(),
    };
    let invalid =
        LeftOutHost { host: "c".to_owned(), component: "tool".parse().unwrap(), active: "nonsense".to_owned() };
    let report = DiffReport {
        not_reported: vec!["a".to_owned(), "b".to_owned()],
        left_out: vec![invalid],
        created: vec!["new".to_owned()],
        deleted: vec!["old".to_owned(), "older".to_owned()],
        kept_halts: vec![halt("v1.2.0"), halt("v1.3.0")],
        managed_hosts: Some(4),
        ..DiffReport::default()
    };
    assert_eq!(
        lines(&report, HostNames::Few),
        [
            "Policy old would be deleted, and with it the halt of tool v1.2.0, tool v1.3.0, which comes back if a policy of \
             this name is applied again.",
            "Policy older would be deleted.",
            "Policy new would be new. If a policy of this name was deleted, its halts come back, and within an hour its \
             waves go on.",
            "Nothing else would change now on 4 managed hosts and this machine.",
            "2 hosts have not reported yet (a, b).",
            "Host c was left out: it reports version `nonsense` of tool, which is no version. See `kubectl get clihost c -o \
             yaml`.",
        ]
    );
}

#[test]
fn what_would_change_in_all() {
    let change = |host: &str, moves| HostChange {
        host: Some(host.into()),
        change: Arc::new(ComponentDiff { component: "tool".to_owned(), active: None, old: None, new: None, moves }),
    };
    for (changes, expected) in [
        (vec![change("a", true)], "1 host would change."),
        (vec![change("a", true), change("a", false), change("b", true)], "2 hosts would change."),
        (vec![change("a", false)], "1 host would change, only in why or until when a version is held."),
        (
            vec![change("a", true), change("b", false), change("c", false)],
            "3 hosts would change, 1 of them in more than why or until when a version is held.",
        ),
    ] {
        let report = DiffReport { changes, ..DiffReport::default() };
        assert_eq!(summary(&report), expected);
    }
    let deleted = DiffReport { deleted: vec!["old".to_owned()], managed_hosts: Some(1), ..DiffReport::default() };
    let lines = lines(&deleted, HostNames::Few);
    let nothing = "Nothing else would change now on 1 managed host and this machine.";
    assert_eq!(lines, ["Policy old would be deleted.", nothing]);
}
