use super::*;
use crate::requirements::{ModuleRequirements, PluginRequirements};

/// `name` or `name constraint`.
fn wanted(text: &str) -> NamedRequirement {
    let (name, constraint) = text.split_once(' ').unwrap_or((text, ""));
    NamedRequirement { name: name.into(), constraint: constraint.into() }
}

fn group(name: &str, modules: &[&str]) -> ModuleGroup {
    ModuleGroup { name: name.into(), description: String::new(), modules: modules.iter().map(|m| wanted(m)).collect() }
}

fn version(constraint: &str) -> VersionRequirement {
    VersionRequirement { constraint: constraint.into() }
}

fn modules(modules: ModuleRequirements) -> Requirements {
    Requirements { modules, ..Requirements::default() }
}

fn facts(kubernetes: &str, deckhouse: Option<&str>, modules: &[(&str, bool, Option<&str>)]) -> ClusterFacts {
    let state = |enabled, version: Option<&str>| ModuleState { enabled, version: version.map(Into::into) };
    ClusterFacts {
        kubernetes: Fact::kubernetes(kubernetes),
        deckhouse: Fact::deckhouse(deckhouse),
        modules: Fact::Known(modules.iter().map(|&(name, on, v)| (name.to_owned(), state(on, v))).collect()),
    }
}

#[derive(Default)]
struct Expected<'a> {
    unmet: &'a [&'a str],
    unchecked: &'a [&'a str],
    warnings: &'a [&'a str],
}

fn assert_found(findings: &Findings, expected: &Expected<'_>, case: &dyn std::fmt::Debug) {
    assert_eq!(findings.unmet, expected.unmet, "unmet of {case:?}");
    assert_eq!(findings.unchecked, expected.unchecked, "unchecked of {case:?}");
    assert_eq!(findings.warnings, expected.warnings, "warnings of {case:?}");
}

const NONE: Expected<'_> = Expected { unmet: &[], unchecked: &[], warnings: &[] };

#[test]
fn versions_of_the_cluster() {
    let kubernetes = |c| Requirements { kubernetes: Some(version(c)), ..Requirements::default() };
    let deckhouse = |c| Requirements { deckhouse: Some(version(c)), ..Requirements::default() };
    let cluster = facts("v1.33.4", Some("v1.72.1"), &[]);
    let eks = facts("v1.30.1-eks-1-30", Some("dev"), &[]);
    let odd = facts("none", None, &[]);
    let away = ClusterFacts::unreadable("connection refused\u{1b}");
    let waived = ClusterFacts::skipped("--skip-cluster-checks");
    for (requirements, facts, expected) in [
        (Requirements::default(), &away, NONE),
        (kubernetes(""), &away, NONE),
        (kubernetes(">=1.29"), &cluster, NONE),
        (
            kubernetes(" >=1.34 "),
            &cluster,
            Expected { unmet: &["requires Kubernetes >=1.34, the cluster runs v1.33.4"], ..NONE },
        ),
        (kubernetes(">=1.30.1"), &eks, NONE),
        (
            kubernetes(">=1.31"),
            &eks,
            Expected { unmet: &["requires Kubernetes >=1.31, the cluster runs v1.30.1-eks-1-30"], ..NONE },
        ),
        (
            kubernetes("*"),
            &odd,
            Expected {
                unchecked: &[
                    "requires Kubernetes *, which could not be checked: the cluster reports `none`, which is no version",
                ],
                ..NONE
            },
        ),
        (deckhouse(">=1.70"), &cluster, NONE),
        (
            deckhouse("<1.70"),
            &cluster,
            Expected { unmet: &["requires Deckhouse <1.70, the cluster runs v1.72.1"], ..NONE },
        ),
        (
            deckhouse(">=1.70"),
            &eks,
            Expected {
                warnings: &["requires Deckhouse >=1.70, not checked: the cluster's Deckhouse is `dev`, no release"],
                ..NONE
            },
        ),
        (
            deckhouse(">=1.70"),
            &odd,
            Expected {
                warnings: &[
                    "requires Deckhouse >=1.70, not checked: the cluster's Deckhouse does not tell its version",
                ],
                ..NONE
            },
        ),
        (
            deckhouse(">=1.70"),
            &away,
            Expected {
                unchecked: &[r"requires Deckhouse >=1.70, which could not be checked: connection refused\u{1b}"],
                ..NONE
            },
        ),
        (
            kubernetes("=1"),
            &waived,
            Expected { warnings: &["requires Kubernetes =1, not checked: --skip-cluster-checks"], ..NONE },
        ),
        (
            kubernetes("soon"),
            &cluster,
            Expected {
                unchecked: &["requires Kubernetes soon: `soon` is not a version constraint: \
                     write operators and versions, such as `>=1.2 <2` or `^1.2 || ~2.0`"],
                ..NONE
            },
        ),
    ] {
        assert_found(&check(&requirements, facts), &expected, &requirements);
    }
}

#[test]
fn modules_of_the_cluster() {
    let cluster = facts(
        "v1.33.4",
        None,
        &[
            ("on", true, Some("v1.5.0")),
            ("build", true, Some("v1.5.0-main+x")),
            ("bare", true, None),
            ("odd", true, Some("dev")),
            ("off", false, Some("v1.5.0")),
        ],
    );
    let mandatory = |m: &[&str]| {
        modules(ModuleRequirements {
            mandatory: m.iter().map(|m| wanted(m)).collect(),
            ..ModuleRequirements::default()
        })
    };
    let conditional = |m: &[&str]| {
        modules(ModuleRequirements {
            conditional: m.iter().map(|m| wanted(m)).collect(),
            ..ModuleRequirements::default()
        })
    };
    let any_of =
        |m: &[&str]| modules(ModuleRequirements { any_of: vec![group("g", m)], ..ModuleRequirements::default() });
    let none_of =
        |m: &[&str]| modules(ModuleRequirements { none_of: vec![group("g", m)], ..ModuleRequirements::default() });
    let unmet = |unmet| Expected { unmet, ..NONE };
    let warnings = |warnings| Expected { warnings, ..NONE };
    for (requirements, expected) in [
        (mandatory(&["on", "on >=1", "build >=1.5", "bare", "odd"]), NONE),
        (
            mandatory(&["off", "absent >=1", "on >=2"]),
            unmet(&[
                "requires module off, which is not enabled",
                "requires module absent >=1, which is not enabled",
                "requires module on >=2, the cluster has v1.5.0",
            ]),
        ),
        (
            mandatory(&["bare >=1", "odd >=1"]),
            warnings(&[
                "requires module bare >=1, not checked: the module has no version",
                "requires module odd >=1, not checked: the module has no version",
            ]),
        ),
        (conditional(&["on >=1", "off >=2", "absent >=2", "on"]), NONE),
        (conditional(&["on >=2"]), unmet(&["requires module on >=2 where it is enabled, the cluster has v1.5.0"])),
        (
            conditional(&["bare >=2"]),
            warnings(&["requires module bare >=2 where it is enabled, not checked: the module has no version"]),
        ),
        (any_of(&["off", "on >=2", "on <2"]), NONE),
        (any_of(&["absent", "bare"]), NONE),
        (
            any_of(&["off", "absent <1", "on >=2", "bare >=1"]),
            unmet(&["requires one of the modules off, absent <1, on >=2, bare >=1 (g): \
                     off is not enabled, absent is not enabled, on is v1.5.0, bare has no version"]),
        ),
        (none_of(&["off", "absent", "on >=2"]), NONE),
        (
            none_of(&["on", "on <2"]),
            unmet(&["excludes module on (g), which is enabled", "excludes module on <2 (g), the cluster has v1.5.0"]),
        ),
        (none_of(&["bare <2"]), warnings(&["excludes module bare <2 (g), not checked: the module has no version"])),
        (none_of(&["bare"]), unmet(&["excludes module bare (g), which is enabled"])),
    ] {
        assert_found(&check(&requirements, &cluster), &expected, &requirements);
    }
}

#[test]
fn modules_that_are_not_known() {
    let some = modules(ModuleRequirements {
        mandatory: vec![wanted("a >=1")],
        none_of: vec![group("g", &["b"])],
        ..ModuleRequirements::default()
    });
    let unchecked = check(&some, &ClusterFacts::unreadable("forbidden"));
    assert_eq!(unchecked.unchecked, ["requires modules a, b, which could not be checked: forbidden"]);
    assert_eq!(unchecked.fit(), Fit::Unknown);
    let skipped = check(&some, &ClusterFacts::skipped("by hand"));
    assert_eq!((skipped.warnings.len(), skipped.fit()), (1, Fit::Fits));
    assert!(some.concern_cluster() && !Requirements::default().concern_cluster());
}

#[test]
fn all_that_fails_is_reported_in_order() {
    let requirements = Requirements {
        kubernetes: Some(version(">=2")),
        deckhouse: Some(version(">=2")),
        modules: ModuleRequirements { mandatory: vec![wanted("m")], ..ModuleRequirements::default() },
        ..Requirements::default()
    };
    let findings = check(&requirements, &facts("v1.33.4", Some("v1.72.1"), &[]));
    let products: Vec<_> = findings.unmet.iter().map(|s| s.split(' ').nth(1).unwrap()).collect();
    assert_eq!((products, findings.fit()), (vec!["Kubernetes", "Deckhouse", "module"], Fit::Unfit));
}

#[test]
fn plugins_of_the_host() {
    let installed: BTreeMap<PluginName, Option<Version>> =
        [("kit", Some("1.4.0")), ("main", Some("1.4.0-main")), ("old", None)]
            .into_iter()
            .map(|(name, version)| (name.parse().unwrap(), version.map(|v| v.parse().unwrap())))
            .collect();
    let all = |mandatory: &[&str], conditional: &[&str]| Requirements {
        plugins: PluginRequirements {
            mandatory: mandatory.iter().map(|p| wanted(p)).collect(),
            conditional: conditional.iter().map(|p| wanted(p)).collect(),
        },
        ..Requirements::default()
    };
    for (requirements, expected) in [
        (all(&["kit", "kit ^1.0", "old"], &["kit ^1.0", "absent ^9", "old"]), NONE),
        (
            all(&["absent", "absent ^1", "kit ^2"], &["kit <1"]),
            Expected {
                unmet: &[
                    "requires plugin absent, which is not installed",
                    "requires plugin absent ^1, which is not installed",
                    "requires plugin kit ^2, v1.4.0 is installed",
                    "requires plugin kit <1 where it is installed, v1.4.0 is installed",
                ],
                ..NONE
            },
        ),
        (
            all(&["main ^1"], &["old ^1"]),
            Expected {
                unmet: &["requires plugin main ^1, v1.4.0-main is installed"],
                unchecked: &["requires plugin old ^1 where it is installed, whose installed version is not known"],
                ..NONE
            },
        ),
        (all(&["../x"], &["\u{1b}"]), Expected { unmet: &["requires plugin ../x, which is not installed"], ..NONE }),
    ] {
        assert_found(&check_plugins(&requirements, &installed), &expected, &requirements);
    }
}

#[test]
fn sentences_are_fit_for_a_terminal_and_bounded() {
    let long = "x".repeat(1000);
    let requirements = modules(ModuleRequirements {
        mandatory: vec![wanted("\u{1b}[2J"), wanted(&long)],
        ..ModuleRequirements::default()
    });
    let findings = check(&requirements, &facts("v1", None, &[]));
    assert_eq!(findings.unmet[0], r"requires module \u{1b}[2J, which is not enabled");
    assert_eq!(findings.unmet[1].chars().count(), 256);
}
