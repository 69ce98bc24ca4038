use d8_crds::decisions::{
    impact::{ComponentDiff, WaveChange},
    verdict::NextVersion,
};

use super::{
    super::report::{HostChange, HostComponent, HostLockout},
    *,
};

fn pause(host: &str, paused: bool) -> HostPause {
    HostPause { host: Some(host.to_owned()), paused }
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
        EditedWave::new(&change, hosts.iter().map(|host| (*host).to_owned()).collect(), hosts.len() > 1)
    };
    let day = std::time::Duration::from_hours(24);
    let begins = WaveChangeKind::Begins { over: day };
    let awaits = WaveChangeKind::Awaits { hosts: 2, stable_for: day };
    for (list, expected) in [
        (vec![], None),
        (
            vec![wave("v1.3.0", WaveChangeKind::Resumes, &["a"])],
            Some("Policy slow: the halted wave of tool v1.3.0 would go on (1 host: a)."),
        ),
        (
            vec![wave("v1.3.0", begins, &["a", "b"])],
            Some("Policy slow: the wave of tool v1.3.0 would begin now over 24h (3 hosts: a, b, this machine)."),
        ),
        (
            vec![wave("v1.3.0", begins, &["a"]), wave("v1.2.0", begins, &["b"])],
            Some("Policy slow: the waves of tool v1.3.0, v1.2.0 would begin now, each over 24h (2 hosts: a, b)."),
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
        host: host.map(str::to_owned),
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
    let required = HostComponent { host: Some("a".to_owned()), component: "tool".to_owned() };
    let report = DiffReport { not_permitted: vec![required], ..DiffReport::default() };
    let expected = "tool would be required on 1 host, but policies permit no published version there (a).";
    assert_eq!(not_permitted(&report, HostNames::Few), [expected]);
}

#[test]
fn what_would_change_in_all() {
    let change = |host: &str, moves| HostChange {
        host: Some(host.to_owned()),
        change: ComponentDiff { component: "tool".to_owned(), active: None, old: None, new: None, moves },
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
