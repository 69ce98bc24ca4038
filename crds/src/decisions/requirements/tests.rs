use super::*;
use crate::{
    decisions::explain,
    records::{
        release::Fit,
        requirements::{ModuleRequirements, PluginRequirements},
    },
};

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

fn skipped(why: &str) -> ClusterFacts {
    let why = || why.to_owned();
    ClusterFacts { kubernetes: Fact::Skipped(why()), deckhouse: Fact::Skipped(why()), modules: Fact::Skipped(why()) }
}

#[derive(Default)]
struct Expected<'a> {
    unmet: &'a [&'a str],
    unchecked: &'a [&'a str],
    warnings: &'a [&'a str],
}

fn assert_found(findings: &Findings, expected: &Expected<'_>, case: &dyn std::fmt::Debug) {
    let texts = |texts: Vec<String>| texts;
    assert_eq!(texts(findings.unmet.iter().map(explain::unmet).collect()), expected.unmet, "unmet of {case:?}");
    let unchecked = texts(findings.unchecked.iter().map(explain::unchecked).collect());
    assert_eq!(unchecked, expected.unchecked, "unchecked of {case:?}");
    assert_eq!(
        texts(findings.warnings.iter().map(explain::warning).collect()),
        expected.warnings,
        "warnings of {case:?}"
    );
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
    let waived = skipped("--skip-cluster-checks");
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
                    "requires Kubernetes *, which could not be checked: the cluster reports `none`, which is not a version",
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
                warnings: &[
                    "requires Deckhouse >=1.70, not checked: Deckhouse in the cluster reports `dev`, which is not a release",
                ],
                ..NONE
            },
        ),
        (
            deckhouse(">=1.70"),
            &odd,
            Expected {
                warnings: &["requires Deckhouse >=1.70, not checked: Deckhouse in the cluster reports no version"],
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
                     write operators and versions, such as `>=1.2 <2` or `^1.2 || ~2.0`; without a constraint every version is permitted"],
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
        (conditional(&["on >=2"]), unmet(&["requires module on >=2 if it is enabled, the cluster has v1.5.0"])),
        (
            conditional(&["bare >=2"]),
            warnings(&["requires module bare >=2 if it is enabled, not checked: the module has no version"]),
        ),
        (any_of(&["off", "on >=2", "on <2"]), NONE),
        (any_of(&["absent", "bare"]), NONE),
        (
            any_of(&["off", "absent <1", "on >=2", "bare >=1"]),
            unmet(&["requires one of the modules off, absent <1, on >=2, bare >=1 (g): \
                     off is not enabled, absent is not enabled, on is v1.5.0, bare has no version"]),
        ),
        (
            any_of(&["off", "on soon"]),
            Expected {
                unchecked: &["requires module on soon: `soon` is not a version constraint: \
                     write operators and versions, such as `>=1.2 <2` or `^1.2 || ~2.0`; without a constraint every version is permitted"],
                ..NONE
            },
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

/// Cluster facts as the API server returns them, and the findings of requirements on them.
#[test]
fn facts_from_objects_of_the_api_server() {
    let module = |name: &str, manager: &str, config: &str, version: Option<&str>| {
        let condition = |kind: &str, status: &str| serde_json::json!({"type": kind, "status": status});
        let object = serde_json::json!({"metadata": {"name": name}, "properties": {"version": version},
            "status": {"conditions":
                [condition("EnabledByModuleManager", manager), condition("EnabledByModuleConfig", config)]}});
        ModuleState::from_object(&object).unwrap()
    };
    let cluster = |kubernetes: &str, deckhouse: Option<&str>| ClusterFacts {
        kubernetes: Fact::kubernetes(kubernetes),
        deckhouse: Fact::deckhouse(deckhouse),
        modules: Fact::Known(BTreeMap::from([
            module("managed", "True", "False", Some("v1.2.0")),
            module("configured", "False", "True", Some("v1.2.0-rc.1")),
            module("bare", "True", "True", None),
            module("off", "False", "Unknown", Some("v1.2.0")),
        ])),
    };
    let requirements = |what: &str, constraint: &str| -> Requirements {
        serde_json::from_value(serde_json::json!({what: {"constraint": constraint}})).unwrap()
    };
    let modules = |list: serde_json::Value| -> Requirements {
        serde_json::from_value(serde_json::json!({"modules": list})).unwrap()
    };
    let one = |bucket: &str, name: &str, constraint: &str| {
        let entry = serde_json::json!({"name": name, "constraint": constraint});
        modules(match bucket {
            "anyOf" | "noneOf" => serde_json::json!({bucket: [{"name": "g", "modules": [{"name": "x"}, entry]}]}),
            _ => serde_json::json!({bucket: [entry]}),
        })
    };
    let usual = cluster("v1.33.4", Some("v1.72.1"));
    let bare = cluster("garbage", None);
    let dev = cluster("v1.33.4-eks-1-30", Some("dev"));
    let early = cluster("v1.34.0-RC.1+build", Some("v1.73.0-main+abc"));
    // The sentence; the requirement; the cluster; how it ends, and whether with a warning.
    for (sentence, requirements, facts, fit, warns) in [
        ("Kubernetes: /version gitVersion", requirements("kubernetes", ">=1.33"), &usual, Fit::Fits, false),
        ("Unparseable -> unknown; a requirement fails", requirements("kubernetes", "*"), &bare, Fit::Unknown, false),
        ("build metadata is dropped", requirements("kubernetes", "=1.34.0-RC.1"), &early, Fit::Fits, false),
        ("a pre-release on its way is kept", requirements("kubernetes", ">=1.34"), &early, Fit::Unfit, false),
        ("any other pre-release is dropped: -eks", requirements("kubernetes", "=1.33.4"), &dev, Fit::Fits, false),
        ("any other pre-release is dropped: -main", requirements("deckhouse", ">=1.73"), &early, Fit::Fits, false),
        ("annotation of Deployment deckhouse", requirements("deckhouse", "<1.72"), &usual, Fit::Unfit, false),
        ("absent annotation -> skipped, warned", requirements("deckhouse", "<1"), &bare, Fit::Fits, true),
        ("not a release version -> skipped, warned", requirements("deckhouse", "<1"), &dev, Fit::Fits, true),
        ("enabled by EnabledByModuleManager", one("mandatory", "managed", ""), &usual, Fit::Fits, false),
        ("or by EnabledByModuleConfig", one("mandatory", "configured", ""), &usual, Fit::Fits, false),
        ("when it is `True`", one("mandatory", "off", ""), &usual, Fit::Unfit, false),
        ("mandatory: enabled and in range", one("mandatory", "managed", ">=1.2"), &usual, Fit::Fits, false),
        ("mandatory: out of range", one("mandatory", "managed", ">=1.3"), &usual, Fit::Unfit, false),
        ("mandatory: a pre-release", one("mandatory", "configured", ">=1.2"), &usual, Fit::Unfit, false),
        ("mandatory: no version -> warned", one("mandatory", "bare", ">=9"), &usual, Fit::Fits, true),
        ("mandatory: absent", one("mandatory", "absent", ""), &usual, Fit::Unfit, false),
        ("conditional: only if enabled", one("conditional", "off", ">=9"), &usual, Fit::Fits, false),
        ("conditional: enabled", one("conditional", "managed", ">=9"), &usual, Fit::Unfit, false),
        ("anyOf: one member enabled", one("anyOf", "managed", ""), &usual, Fit::Fits, false),
        ("anyOf: known version in range", one("anyOf", "managed", ">=9"), &usual, Fit::Unfit, false),
        ("anyOf: without a version, constraint", one("anyOf", "bare", ">=1"), &usual, Fit::Unfit, false),
        ("anyOf: without a version, no constraint", one("anyOf", "bare", ""), &usual, Fit::Fits, false),
        ("noneOf: no member enabled", one("noneOf", "off", ""), &usual, Fit::Fits, false),
        ("noneOf: a member is", one("noneOf", "managed", ""), &usual, Fit::Unfit, false),
        ("noneOf: within its range", one("noneOf", "managed", "<2"), &usual, Fit::Unfit, false),
        ("noneOf: outside its range", one("noneOf", "managed", ">2"), &usual, Fit::Fits, false),
        ("noneOf: no version and a constraint", one("noneOf", "bare", "<2"), &usual, Fit::Fits, true),
        (
            "the Deployment unreadable",
            requirements("deckhouse", "*"),
            &ClusterFacts::unreadable("x"),
            Fit::Unknown,
            false,
        ),
    ] {
        let findings = check(&requirements, facts);
        assert_eq!((findings.fit(), !findings.warnings.is_empty()), (fit, warns), "{sentence}: {findings:?}");
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
    let text = explain::unchecked(&unchecked.unchecked[0]);
    assert_eq!(text, "requires modules a, b, which could not be checked: forbidden");
    assert_eq!(unchecked.fit(), Fit::Unknown);
    let skipped = check(&some, &skipped("by hand"));
    assert_eq!((skipped.warnings.len(), skipped.fit()), (1, Fit::Fits));
    assert!(some.need_cluster_facts() && !Requirements::default().need_cluster_facts());
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
    let products: Vec<_> =
        findings.unmet.iter().map(|unmet| explain::unmet(unmet).split(' ').nth(1).unwrap().to_owned()).collect();
    assert_eq!((products.join(" ").as_str(), findings.fit()), ("Kubernetes Deckhouse module", Fit::Unfit));
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
                    "requires plugin kit <1 if it is installed, v1.4.0 is installed",
                ],
                ..NONE
            },
        ),
        (
            all(&["main ^1"], &["old ^1"]),
            Expected {
                unmet: &["requires plugin main ^1, which covers releases only, v1.4.0-main is installed"],
                unchecked: &["requires plugin old ^1 if it is installed, whose installed version is unknown"],
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
    assert_eq!(explain::unmet(&findings.unmet[0]), r"requires module \u{1b}[2J, which is not enabled");
    assert_eq!(explain::unmet(&findings.unmet[1]).chars().count(), 256);
}
