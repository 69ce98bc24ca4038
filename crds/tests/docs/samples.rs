//! One reason of each shape. A match without a wildcard names the shapes, so a new variant needs a name, and
//! a test finds names without a sample.

use std::{sync::Arc, time::Duration};

use d8_crds::{
    decisions::{
        clock::ClockSkew,
        reason::{
            Cause, DependencyChain, DependencyProblem, Field, MissingRecord, Origin, PluginConflict, PolicyProblem,
            Reason, Source, Subject,
        },
        requirements::{Found, FoundModule, ModuleRange, Requirement, Unchecked, Unmet},
        window::CheckedBlackout,
    },
    values::{digest::Digest, field_error::FieldError, name::Component, version::Version},
};
use jiff::Timestamp;

/// Defines a function that names the variant of a value, and the list of all names.
macro_rules! shapes {
    ($(#[$doc:meta])* $function:ident($type:ty), $names:ident: $($pattern:pat => $name:literal,)*
        $(; $inner:ident in $outer:pat => $of_inner:ident)*) => {
        $(#[$doc])*
        pub(crate) fn $function(value: &$type) -> &'static str {
            match value { $($pattern => $name,)* $($outer => $of_inner($inner),)* }
        }
        pub(crate) const $names: &[&str] = &[$($name),*];
    };
}

shapes! {
    /// Returns the name of a cause's shape.
    cause_shape(Cause), CAUSES:
    Cause::Denied { .. } => "Denied",
    Cause::Blocked { .. } => "Blocked",
    Cause::VersionNotPermitted { .. } => "VersionNotPermitted",
    Cause::BelowMinimum { .. } => "BelowMinimum",
    Cause::NotPinned { .. } => "NotPinned",
    Cause::ChannelNotPermitted { .. } => "ChannelNotPermitted",
    Cause::Plugins(_) => "Plugins",
    Cause::TagMoved { .. } => "TagMoved",
    Cause::Paused { .. } => "Paused",
    Cause::InvalidPolicy { .. } => "InvalidPolicy",
    Cause::Frozen { .. } => "Frozen",
    Cause::Manual { .. } => "Manual",
    Cause::Soaking { .. } => "Soaking",
    Cause::NoRecord { .. } => "NoRecord",
    Cause::RecordStale { .. } => "RecordStale",
    Cause::NotInWave { .. } => "NotInWave",
    Cause::AwaitingEvidence { .. } => "AwaitingEvidence",
    Cause::WaveHalted { .. } => "WaveHalted",
    Cause::OutsideWindow { .. } => "OutsideWindow",
    Cause::Blackout { .. } => "Blackout",
    Cause::WindowsNeverMeet { .. } => "WindowsNeverMeet",
    Cause::PolicyStale { .. } => "PolicyStale",
    Cause::PolicyNotObserved { .. } => "PolicyNotObserved",
    Cause::MajorStays { .. } => "MajorStays",
    Cause::PreRelease => "PreRelease",
    Cause::NotGoverned => "NotGoverned",
    Cause::ClockSkew(_) => "ClockSkew",
    Cause::PolicyUnaware => "PolicyUnaware",
    Cause::Required { .. } => "Required",
    ; unmet in Cause::Unmet(unmet) => unmet_shape
    ; unchecked in Cause::Unchecked(unchecked) => unchecked_shape
}

shapes! {
    /// Returns the name of the shape of a requirement that is not met.
    unmet_shape(Unmet), UNMET:
    Unmet::NotForPlatform { .. } => "Unmet::NotForPlatform",
    Unmet::Requirement { .. } => "Unmet::Requirement",
    Unmet::Recorded { .. } => "Unmet::Recorded",
}

shapes! {
    /// Returns the name of the shape of a requirement that was not checked.
    unchecked_shape(Unchecked), UNCHECKED:
    Unchecked::ClusterUnreadable { .. } => "Unchecked::ClusterUnreadable",
    Unchecked::BadConstraint { .. } => "Unchecked::BadConstraint",
    Unchecked::PluginVersionUnknown { .. } => "Unchecked::PluginVersionUnknown",
    Unchecked::ContractUnreadable { .. } => "Unchecked::ContractUnreadable",
    Unchecked::Recorded { .. } => "Unchecked::Recorded",
}

shapes! {
    /// Returns the name of a conflict's shape.
    conflict_shape(PluginConflict), CONFLICTS:
    PluginConflict::Dependency { problem: DependencyProblem::NotPublished, .. } => "NotPublished",
    PluginConflict::Dependency { problem: DependencyProblem::NoneInRange { .. }, .. } => "NoneInRange",
    PluginConflict::Dependency { problem: DependencyProblem::OnlyPreReleases { .. }, .. } => "OnlyPreReleases",
    PluginConflict::Dependency { problem: DependencyProblem::OtherMajor { .. }, .. } => "OtherMajor",
    PluginConflict::Dependency { problem: DependencyProblem::TooNew { .. }, .. } => "TooNew",
    PluginConflict::Dependency { problem: DependencyProblem::UnknownVersion, .. } => "UnknownVersion",
    PluginConflict::Dependency { problem: DependencyProblem::OtherVersionPlanned { .. }, .. } => "OtherVersionPlanned",
    PluginConflict::Dependency { problem: DependencyProblem::ConstraintsDisagree { .. }, .. } => "ConstraintsDisagree",
    PluginConflict::Dependency { problem: DependencyProblem::MissingDependenciesRefused { .. }, .. } =>
        "MissingDependenciesRefused",
    PluginConflict::Dependency { problem: DependencyProblem::NotEligible { .. }, .. } => "NotEligible",
    PluginConflict::DependentPlugin { .. } => "DependentPlugin",
    PluginConflict::Cycle { .. } => "Cycle",
    PluginConflict::TooDeep { .. } => "TooDeep",
    PluginConflict::TooManyChanges { .. } => "TooManyChanges",
    PluginConflict::TooComplex => "TooComplex",
}

shapes! {
    /// Returns the name of a requirement's shape.
    requirement_shape(Requirement), REQUIREMENTS:
    Requirement::Kubernetes { .. } => "Kubernetes",
    Requirement::Deckhouse { .. } => "Deckhouse",
    Requirement::Modules { .. } => "Modules",
    Requirement::Module { .. } => "Module",
    Requirement::AnyModule { .. } => "AnyModule",
    Requirement::NoModule { .. } => "NoModule",
    Requirement::Plugin { .. } => "Plugin",
}

shapes! {
    /// Returns the name of a finding's shape.
    found_shape(Found), FOUND:
    Found::Version(_) => "Version",
    Found::Enabled => "Enabled",
    Found::NotEnabled => "NotEnabled",
    Found::NoVersion => "NoVersion",
    Found::NotInstalled => "NotInstalled",
    Found::Modules(_) => "Modules",
}

/// Returns a reason against v1.4.0 while v1.3.0 is active: of d8 if only d8 can have it, else of stronghold.
pub(crate) fn reason(cause: Cause) -> Reason {
    let subject = Subject {
        component: if cause == Cause::PolicyUnaware { Component::D8 } else { component("stronghold") },
        version: Some(version("v1.4.0")),
        active: Some(version("v1.3.0")),
        evaluated_at: None,
    };
    Reason { subject: Arc::new(subject), cause }
}

/// Returns a cause of each shape but conflicts, with all values and without those that may be absent.
pub(crate) fn causes() -> Vec<(Cause, Cause)> {
    let mut causes = forbidding();
    causes.extend(requirements());
    causes.extend(holding());
    causes.extend(timing());
    causes
}

fn forbidding() -> Vec<(Cause, Cause)> {
    let message = || Some(Arc::from("see the runbook"));
    let constraint = || Box::from(">=1.5 <2");
    let digest = || Digest::of(b"pinned");
    vec![
        (Cause::Denied { by: rule(Field::Access), message: message() }, Cause::Denied { by: local(), message: None }),
        (
            Cause::Blocked {
                by: rule(Field::Block),
                range: Some(Arc::from("1.4.x")),
                same_layer_as: Some(Box::new(version("v1.4.1"))),
                message: message(),
            },
            Cause::Blocked { by: local(), range: None, same_layer_as: None, message: None },
        ),
        (
            Cause::VersionNotPermitted { by: rule(Field::Versions), constraint: constraint(), message: message() },
            Cause::VersionNotPermitted { by: rule(Field::Versions), constraint: constraint(), message: None },
        ),
        same(Cause::BelowMinimum {
            by: Source::LocalRules { field: Field::MinimumVersions },
            minimum: Box::new(version("v1.5.0")),
        }),
        (
            Cause::NotPinned { by: rule(Field::Pins), digest: digest(), message: message() },
            Cause::NotPinned { by: rule(Field::Pins), digest: digest(), message: None },
        ),
        (
            Cause::ChannelNotPermitted { by: rule(Field::Channel), message: message() },
            Cause::ChannelNotPermitted { by: rule(Field::Channel), message: None },
        ),
    ]
}

fn requirements() -> Vec<(Cause, Cause)> {
    let requirement = || Requirement::Kubernetes { constraint: ">=1.34".to_owned() };
    let recorded = || Some("requires Kubernetes >=1.34, the cluster runs v1.33.4".to_owned());
    let unmet = |unmet| Cause::Unmet(Box::new(unmet));
    let unchecked = |unchecked| Cause::Unchecked(Box::new(unchecked));
    vec![
        same(unmet(Unmet::not_for_platform(&"linux-arm64".parse().expect("a platform"), None))),
        same(unmet(Unmet::Requirement { requirement: requirement(), found: Found::Version("v1.33.4".to_owned()) })),
        (unmet(Unmet::Recorded { reason: recorded() }), unmet(Unmet::Recorded { reason: None })),
        same(unchecked(Unchecked::ClusterUnreadable {
            requirement: requirement(),
            error: "connection refused".to_owned(),
        })),
        same(unchecked(Unchecked::BadConstraint {
            requirement: Requirement::Kubernetes { constraint: "new".to_owned() },
            constraint_error: "`new` is not a version constraint".to_owned(),
        })),
        same(unchecked(Unchecked::PluginVersionUnknown {
            requirement: Requirement::Plugin {
                plugin: "delivery-kit".to_owned(),
                constraint: ">=2".to_owned(),
                if_installed: true,
            },
        })),
        same(unchecked(Unchecked::contract("the layer is not a gzip archive"))),
        (unchecked(Unchecked::Recorded { reason: recorded() }), unchecked(Unchecked::Recorded { reason: None })),
    ]
}

fn holding() -> Vec<(Cause, Cause)> {
    let moved =
        |by| Cause::TagMoved { by, from: Digest::of(b"old").as_str().into(), to: Digest::of(b"new").as_str().into() };
    let invalid = |problem| Cause::InvalidPolicy { policy: "policy".into(), problem: Arc::new(problem) };
    let error = FieldError { field: "spec.rules[0].versions".to_owned(), why: "`new` is no constraint".to_owned() };
    vec![
        (moved(Some(spec(Field::Integrity))), moved(None)),
        same(Cause::Paused { by: spec(Field::Paused) }),
        (
            invalid(PolicyProblem::Invalid { errors: vec![error] }),
            invalid(PolicyProblem::Unreadable { why: "unknown variant `Sometimes`".to_owned() }),
        ),
        same(Cause::Frozen { by: rule(Field::Updates) }),
        (Cause::Manual { by: Some(rule(Field::Updates)) }, Cause::Manual { by: None }),
        (Cause::MajorStays { by: Some(rule(Field::MajorUpdates)) }, Cause::MajorStays { by: None }),
        same(Cause::PreRelease),
        same(Cause::NotGoverned),
        same(Cause::PolicyUnaware),
        same(Cause::Required { by: rule(Field::Access) }),
    ]
}

fn timing() -> Vec<(Cause, Cause)> {
    let soaking = |min_age| Cause::Soaking {
        by: rule(Field::MinAge),
        min_age,
        first_seen: time("2026-11-20T12:00:00Z"),
        expedited: false,
    };
    let wave = |until| Cause::NotInWave { by: spec(Field::Rollout), over: Duration::from_hours(240), until };
    let halted = |halted_at, failed| Cause::WaveHalted { by: spec(Field::Rollout), halted_at, failed };
    let stale = |last_sync_time| Cause::RecordStale { by: rule(Field::MinAge), last_sync_time };
    let not_observed =
        |observed_generation| Cause::PolicyNotObserved { by: spec(Field::Rollout), generation: 5, observed_generation };
    let blackout = |until| Cause::Blackout {
        by: spec(Field::Blackouts),
        blackout: Box::new(CheckedBlackout {
            reason: "Black Friday".into(),
            from: time("2026-11-22T00:00:00Z"),
            to: time("2026-11-23T00:00:00Z"),
        }),
        everyone: true,
        until,
    };
    let (then, later) = (|| Some(time("2026-11-22T09:00:00Z")), || Some(time("2026-11-23T12:00:00Z")));
    vec![
        (soaking(Duration::from_hours(72)), soaking(Duration::from_hours(100_000_000))),
        same(Cause::NoRecord { by: rule(Field::MinAge), missing: MissingRecord::Version }),
        (stale(then()), stale(None)),
        (wave(later()), wave(None)),
        same(Cause::AwaitingEvidence {
            by: spec(Field::Rollout),
            hosts: 3,
            stable_for: Duration::from_hours(1),
            succeeded: 1,
        }),
        (halted(then(), 3), halted(None, 0)),
        same(Cause::OutsideWindow {
            by: spec(Field::Windows),
            together: true,
            everyone: false,
            until: time("2026-11-23T12:00:00Z"),
        }),
        (blackout(later()), blackout(None)),
        same(Cause::WindowsNeverMeet { policies: ["evenings", "mornings"].map(Arc::from).into(), everyone: false }),
        (Cause::PolicyStale { confirmed: then() }, Cause::PolicyStale { confirmed: None }),
        (not_observed(Some(4)), not_observed(None)),
        same(Cause::ClockSkew(ClockSkew { local: time("2026-11-22T12:00:00Z"), server: time("2026-11-22T13:10:00Z") })),
    ]
}

/// Returns a conflict of each shape, with all values and without those that may be absent.
pub(crate) fn conflicts() -> Vec<(PluginConflict, PluginConflict)> {
    let dependent = |installed_version| PluginConflict::DependentPlugin {
        plugin: component("delivery-kit"),
        installed_version,
        constraint: "<1.4".to_owned(),
    };
    let names = |names: [&str; 3]| names.map(component).to_vec();
    let mut conflicts: Vec<_> = problems()
        .into_iter()
        .map(|(full, minimal)| {
            let conflict = |problem| PluginConflict::Dependency { dependency: chain(), problem };
            (conflict(full), conflict(minimal))
        })
        .collect();
    conflicts.extend([
        (dependent(Some(version("v2.0.0"))), dependent(None)),
        same(PluginConflict::Cycle { cycle: names(["stronghold", "delivery-kit", "stronghold"]) }),
        same(PluginConflict::TooDeep { dependency: chain(), limit: 16 }),
        same(PluginConflict::TooManyChanges { limit: 255 }),
        same(PluginConflict::TooComplex),
    ]);
    conflicts
}

fn problems() -> Vec<(DependencyProblem, DependencyProblem)> {
    let installed = version("v1.9.0");
    let newest = version("v2.1.0");
    let held = Subject { component: component("delivery-kit"), version: None, active: None, evaluated_at: None };
    let blocked = Reason {
        subject: held.into(),
        cause: Cause::Blocked { by: rule(Field::Block), range: None, same_layer_as: None, message: None },
    };
    vec![
        same(DependencyProblem::NotPublished),
        (
            DependencyProblem::NoneInRange { installed: Some(installed.clone()) },
            DependencyProblem::NoneInRange { installed: None },
        ),
        same(DependencyProblem::OnlyPreReleases { newest: version("v2.0.0-rc.1") }),
        same(DependencyProblem::OtherMajor { installed: installed.clone(), major: 2 }),
        same(DependencyProblem::TooNew { installed, newest: newest.clone() }),
        same(DependencyProblem::UnknownVersion),
        same(DependencyProblem::OtherVersionPlanned { planned: newest }),
        same(DependencyProblem::ConstraintsDisagree { with: component("delivery"), other_constraint: "<2".to_owned() }),
        same(DependencyProblem::MissingDependenciesRefused { by: spec(Field::MissingDependencies) }),
        same(DependencyProblem::NotEligible { reason: Box::new(blocked), required: None }),
    ]
}

/// Returns a requirement of each shape.
pub(crate) fn all_requirements() -> Vec<Requirement> {
    let text = |text: &str| text.to_owned();
    let range = ModuleRange { module: text("cni-cilium"), constraint: text(">=1.15") };
    vec![
        Requirement::Kubernetes { constraint: text(">=1.34") },
        Requirement::Deckhouse { constraint: text(">=1.72") },
        Requirement::Modules { modules: vec![text("cni-cilium"), text("prometheus")] },
        Requirement::Module { module: text("prometheus"), constraint: text(">=1"), if_enabled: false },
        Requirement::AnyModule { group: text("cni"), modules: vec![range] },
        Requirement::NoModule { group: text("cni"), module: text("cni-flannel"), constraint: text("<1") },
        Requirement::Plugin { plugin: text("delivery-kit"), constraint: text(">=2"), if_installed: true },
    ]
}

/// Returns a finding of each shape.
pub(crate) fn all_found() -> Vec<Found> {
    let modules = vec![
        FoundModule { module: "cni-cilium".to_owned(), found: Found::Version("v1.14.0".to_owned()) },
        FoundModule { module: "cni-flannel".to_owned(), found: Found::NotEnabled },
    ];
    vec![
        Found::Version("v1.33.4".to_owned()),
        Found::Enabled,
        Found::NotEnabled,
        Found::NoVersion,
        Found::NotInstalled,
        Found::Modules(modules),
    ]
}

/// A sample that has no value that may be absent.
fn same<T: Clone>(sample: T) -> (T, T) {
    (sample.clone(), sample)
}

fn chain() -> DependencyChain {
    DependencyChain {
        chain: vec![(component("stronghold"), version("v1.4.0"))],
        plugin: component("delivery-kit"),
        constraint: ">=2".to_owned(),
        if_installed: false,
    }
}

fn rule(field: Field) -> Source {
    Source::Policy { policy: "policy".into(), origin: Origin::Rule(0), field: Some(field) }
}

fn spec(field: Field) -> Source {
    Source::Policy { policy: "policy".into(), origin: Origin::Spec(field), field: None }
}

fn local() -> Source {
    Source::LocalRules { field: Field::Refuse }
}

fn component(name: &str) -> Component {
    name.parse().expect("a component")
}

fn version(text: &str) -> Version {
    Version::parse(text).expect("a version")
}

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}
