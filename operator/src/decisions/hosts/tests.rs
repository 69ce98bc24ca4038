use d8_crds::records::host::{CliHostSpec, CliHostStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::*;

fn host(name: &str, role: &str, states: &[ComponentState]) -> CliHost {
    let mut host = CliHost::new(name, CliHostSpec::default());
    host.metadata.labels = Some([("role".to_owned(), role.to_owned())].into());
    let component = |(n, state): (usize, &ComponentState)| HostComponent {
        name: format!("p{n}"),
        active: Some(format!("v{n}.0.0")),
        digest: None,
        target: None,
        state: *state,
        reason: None,
        message: None,
        until: None,
        last_change: None,
    };
    let components = states.iter().enumerate().map(component).collect();
    host.status = Some(CliHostStatus { components, ..CliHostStatus::default() });
    host
}

#[test]
fn hosts_are_counted_by_state() {
    use ComponentState::{Failed, Forbidden, Pending, UpToDate};
    let mut hosts = HostIndex::default();
    for (name, role, states) in [
        ("a", "bastion", &[UpToDate, UpToDate][..]),
        ("b", "bastion", &[UpToDate, Pending]),
        ("c", "bastion", &[Failed, Pending]),
        ("d", "bastion", &[]),
        ("e", "ci", &[Forbidden]),
    ] {
        assert!(hosts.apply(Event::Apply(host(name, role, states))));
        assert!(!hosts.apply(Event::Apply(host(name, role, states))), "an equal event changes nothing");
    }
    let bastions = hosts.matching(|labels| labels["role"] == "bastion").counts;
    assert_eq!(bastions, HostCounts { matched: 4, up_to_date: 1, held: 1, failed: 1 });
    assert_eq!(hosts.matching(|_| true).counts.matched, 5);
    assert_eq!(hosts.active_versions()["p1"], ["v1.0.0".to_owned()].into());
}

#[test]
fn hosts_that_have_not_followed_an_edit_yet_are_counted() {
    use ComponentState::{Failed, UpToDate};
    let mut hosts = HostIndex::default();
    for (name, role, states) in [
        ("a", "bastion", &[UpToDate, UpToDate][..]),
        ("b", "bastion", &[UpToDate]),
        ("c", "bastion", &[UpToDate, Failed]),
        ("d", "ci", &[UpToDate, UpToDate]),
    ] {
        hosts.apply(Event::Apply(host(name, role, states)));
    }
    let of_role = |role: &'static str| move |labels: &Labels| labels["role"] == role;
    let forbids = |component: &Component, version: &Version| component.name() == "p1" && version.major() == 1;
    assert_eq!(hosts.must_change(of_role("bastion"), forbids), 1, "a host that failed is counted as that");
    assert_eq!(hosts.must_change(|_| true, forbids), 2);
    assert_eq!(hosts.must_change(|_| true, |_, _| false), 0);
}

#[test]
fn hosts_missing_from_a_listing_are_dropped_when_it_ends() {
    let mut hosts = HostIndex::default();
    hosts.apply(Event::Apply(host("a", "x", &[])));
    hosts.apply(Event::Apply(host("b", "x", &[])));
    assert!(!hosts.apply(Event::Init));
    assert!(!hosts.apply(Event::InitApply(host("b", "x", &[]))));
    assert_eq!(hosts.matching(|_| true).counts.matched, 2);
    assert!(hosts.apply(Event::InitDone));
    assert_eq!(hosts.matching(|_| true).counts.matched, 1);
    assert!(hosts.apply(Event::Delete(host("b", "x", &[]))));
    assert_eq!(hosts.matching(|_| true).counts.matched, 0);
}

#[test]
fn the_labels_of_hosts_are_counted_and_their_changes_noticed() {
    let mut hosts = HostIndex::default();
    let mut before = hosts.labels_revision();
    let mut noticed = |hosts: &HostIndex| std::mem::replace(&mut before, hosts.labels_revision()) != before;
    for (event, is_noticed) in [
        (Event::Apply(host("a", "bastion", &[])), true),
        (Event::Apply(host("b", "bastion", &[])), true),
        (Event::Apply(host("c", "ci", &[])), true),
        (Event::Apply(host("c", "ci", &[ComponentState::Failed])), false),
        (Event::Apply(host("c", "bastion", &[])), true),
        (Event::Delete(host("d", "ci", &[])), false),
        (Event::Delete(host("c", "ci", &[])), true),
        (Event::Init, false),
        (Event::InitApply(host("a", "bastion", &[])), false),
        (Event::InitApply(host("b", "ci", &[])), true),
        (Event::InitDone, false),
    ] {
        hosts.apply(event.clone());
        assert_eq!(noticed(&hosts), is_noticed, "{event:?}");
    }
    hosts.apply(Event::Apply(host("c", "ci", &[])));
    let mut labels: Vec<_> = hosts.labels().into_iter().map(|(l, hosts)| (l["role"].clone(), hosts)).collect();
    labels.sort();
    assert_eq!(labels, [("bastion".to_owned(), 1), ("ci".to_owned(), 2)]);
    let values = hosts.label_values();
    assert_eq!(values["role"].iter().collect::<Vec<_>>(), ["bastion", "ci"]);
}

#[test]
fn active_versions_and_failures() {
    use ComponentState::{Failed, Pending, Switching, UpToDate};
    let time = |second| Time(Timestamp::from_second(second).unwrap());
    let component = |name: &str, active: Option<&str>, target: Option<&str>, state, change: Option<i64>| {
        let (active, target) = (active.map(str::to_owned), target.map(str::to_owned));
        let last_change = change.map(time);
        let (name, rest) = (name.to_owned(), (None, None, None));
        let (reason, message, until) = rest;
        HostComponent { name, active, digest: None, target, state, reason, message, until, last_change }
    };
    let host = |name: &str, seen: Option<i64>, components| {
        let mut host = CliHost::new(name, CliHostSpec::default());
        let status = CliHostStatus { components, last_seen: seen.map(time), ..CliHostStatus::default() };
        host.status = Some(status);
        host
    };
    let failure = |version: &str, since: Option<i64>| HostFailure {
        component: "p".into(),
        version: version.into(),
        switching_since: since.map(|second| time(second).0),
    };
    for (components, seen, expected) in [
        (vec![component("p", Some("v1.0.0"), Some("v1.1.0"), Failed, None)], None, vec![failure("v1.1.0", None)]),
        (vec![component("p", Some("1.0.0"), None, Failed, None)], None, vec![failure("v1.0.0", None)]),
        (vec![component("p", None, Some("dev"), Failed, None)], None, vec![]),
        (vec![component("p", None, Some("v1.1.0"), Switching, Some(5))], Some(9), vec![failure("v1.1.0", Some(5))]),
        (vec![component("p", None, Some("v1.1.0"), Switching, None)], Some(9), vec![failure("v1.1.0", Some(9))]),
        (vec![component("p", None, Some("v1.1.0"), Switching, None)], None, vec![]),
        (vec![component("p", None, Some("v1.1.0"), Pending, None)], None, vec![]),
        // A component listed several times counts as one host.
        (
            vec![
                component("p", None, Some("v1.1.0"), Failed, None),
                component("p", None, Some("1.1.0"), Failed, None),
                component("p", None, Some("v1.1.0"), Switching, Some(5)),
            ],
            None,
            vec![failure("v1.1.0", None)],
        ),
    ] {
        let mut hosts = HostIndex::default();
        hosts.apply(Event::Apply(host("a", seen, components.clone())));
        assert_eq!(hosts.matching(|_| true).failures, expected, "{components:?}");
        assert_eq!(hosts.matching(|_| false), MatchedHosts::default());
    }

    let mut hosts = HostIndex::default();
    for (name, version) in [("a", "v1.9.0"), ("b", "v1.10.0"), ("c", "v1.2.0"), ("d", "nonsense"), ("e", "v1.9.0")] {
        hosts.apply(Event::Apply(host(name, None, vec![component("p", Some(version), None, UpToDate, None)])));
    }
    let version = |text| Version::parse(text).unwrap();
    let span = VersionSpan { oldest: version("v1.2.0"), newest: version("v1.10.0") };
    assert_eq!(hosts.matching(|_| true).active, [("p".to_owned(), span)].into());
    let versions = &hosts.matching(|_| true).versions[&"p".parse().unwrap()];
    assert_eq!((versions.first(), versions.last()), (Some(&version("v1.2.0")), Some(&version("v1.10.0"))));
    assert_eq!(hosts.active_versions()["p"].len(), 4);
}

#[test]
fn unused_values_are_dropped() {
    let mut hosts = HostIndex::default();
    for n in 0..5000 {
        let mut changed = host("a", "x", &[ComponentState::UpToDate]);
        changed.metadata.labels = Some([("n".to_owned(), n.to_string())].into());
        hosts.apply(Event::Apply(changed));
    }
    assert!(hosts.interner.len() < 1100, "{}", hosts.interner.len());
}

#[test]
fn a_second_machine_is_told_once() {
    let reported = |status: &str| {
        let mut host = host("bastion-1", "bastion", &[]);
        let condition = Condition {
            type_: DUPLICATE_IDENTITY.to_owned(),
            status: status.to_owned(),
            reason: "OtherMachine".to_owned(),
            message: String::new(),
            observed_generation: None,
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        };
        host.status = Some(CliHostStatus { conditions: vec![condition], ..CliHostStatus::default() });
        host
    };
    let mut index = HostIndex::default();
    for (status, expected) in [("False", 0), ("True", 1), ("True", 0), ("False", 0), ("True", 1)] {
        index.apply(Event::Apply(reported(status)));
        assert_eq!(index.take_duplicates().len(), expected, "{status}");
    }
}
