//! What a request changes of other plugins.

use super::*;
use crate::decisions::reason::Required;

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn which_plugins_change() {
    let w = PlanFixture::new;
    for (case, fixture, expected) in [
        ("a missing dependency is installed first", w("a 1: b; b 1; b 2").request("a"), "b 2, a 1"),
        ("in the newest version that is accepted", w("a 1: b <3; b 1; b 2; b 3").request("a"), "b 2, a 1"),
        ("which is not a pre-release", w("a 1: b; b 1; b 2.0.0-rc.1").request("a"), "b 1, a 1"),
        ("one that is accepted stays as it is", w("a 1: b; b 1; b 1.1").installed("b 1").request("a"), "a 1"),
        (
            "one that is not accepted is upgraded",
            w("a 1: b >=1.1; b 1; b 1.2; b 2").installed("b 1").request("a"),
            "b 1->1.2.0, a 1",
        ),
        ("within its major", w("a 1; a 2: b >=2; b 1; b 2").installed("b 1").request("a"), "a 1"),
        (
            "unless --use-major crosses it",
            w("a 1; a 2: b >=2; b 1; b 2").installed("b 1").request("a/2"),
            "b 1->2, a 2",
        ),
        ("its own major first", w("a 1: b >=1.1; b 1; b 1.1; b 2").installed("b 1").request("a/1"), "b 1->1.1.0, a 1"),
        ("never down", w("a 1; a 2: b <2; b 1; b 2").installed("b 2").request("a"), "a 1"),
        ("dependencies of dependencies", w("a 1: b; b 1: c; c 1").request("a"), "c 1, b 1, a 1"),
        (
            "two plugins that require a third",
            w("a 1: b, c; b 1: d; c 1: d <2; d 1; d 2").request("a"),
            "d 1, b 1, c 1, a 1",
        ),
        (
            "two plugins that require a third, one in an older version",
            w("a 1: b, c; b 1: d <2; b 2: d; c 1: d >=2; d 1; d 2").request("a"),
            "d 2, b 2, c 1, a 1",
        ),
        ("one that is not published", w("a 1; a 2: b; b").request("a"), "a 1"),
        ("one that is not published in range", w("a 1; a 2: b >=2; b 1").request("a"), "a 1"),
        (
            "a dependency in an older version, as the newest needs what is not published",
            w("a 1: b; b 1; b 2: c; c").request("a"),
            "b 1, a 1",
        ),
        ("a conditional one that is not installed", w("a 1: ?b >=2; b 1; b 2").request("a"), "a 1"),
        ("a conditional one in range", w("a 1: ?b >=1; b 1; b 2").installed("b 1").request("a"), "a 1"),
        (
            "a conditional one out of range",
            w("a 1: ?b >=1.1; b 1; b 1.1").installed("b 1").request("a"),
            "b 1->1.1.0, a 1",
        ),
        (
            "a conditional one that the plan installs",
            w("a 1: ?c <2, b; b 1: c; c 1; c 2").request("a"),
            "c 1, b 1, a 1",
        ),
        ("constraints of installed plugins apply", w("a 1; a 2; c 1: a <2").installed("c 1").request("a"), "a 1"),
        ("conditional ones too", w("a 1; a 2; c 1: ?a <2").installed("c 1").request("a"), "a 1"),
        ("to dependencies too", w("a 1: b; b 1; b 2; c 1: ?b <2").installed("c 1").request("a"), "b 1, a 1"),
        (
            "unless that plugin changes too",
            w("a 1: b >=2, c >=1.1; b 2; c 1: ?b <2; c 1.1").installed("c 1").request("a"),
            "b 2, c 1->1.1.0, a 1",
        ),
        ("constraints of planned versions apply", w("a 1: b <2; b 1; b 2").request("a, b"), "b 1, a 1"),
        ("an exact version is kept", w("a 1: b; a 2: b >=2; b 1; b 2").request("a, b@1"), "b 1, a 1"),
        (
            "a requested major is kept",
            w("a 1; a 1.1: b >=2; b 1; b 2").installed("b 2").request("a, b/1"),
            "a 1, b 2->1",
        ),
        (
            "a cycle with a conditional dependency is none",
            w("a 1: ?b >=1.1; b 1; b 1.1: a").installed("b 1").request("a"),
            "a 1, b 1->1.1.0",
        ),
        ("a cycle", w("a 1; a 2: b; b 1: a").request("a"), "a 1"),
        ("a cycle that an older version avoids", w("a 1: b; b 1; b 2: a").request("a"), "b 1, a 1"),
        ("a plugin that requires itself", w("a 1; a 2: a >=1").request("a"), "a 1"),
        ("a plugin that conditionally requires itself", w("a 2: ?a >=1").request("a"), "a 2"),
        (
            "two installed plugins that require each other",
            w("a 1: b; a 1.1: b; b 1: a; b 1.1: a").installed("a 1; b 1").request("a, b"),
            "a 1->1.1.0, b 1->1.1.0",
        ),
        ("an unknown version where any is accepted", w("a 1: b; b 1").installed("b ?").request("a"), "a 1"),
        (
            "an unknown version where not any is accepted",
            w("a 1; a 2: b >=1; b 1").installed("b ?").request("a"),
            "a 1",
        ),
        (
            "one request unblocks another",
            w("a 1; a 1.1; c 1: a <1.1; c 1.1").installed("a 1; c 1").request("a, c"),
            "a 1->1.1.0, c 1->1.1.0",
        ),
        (
            "a dependency is dropped with the version that needed it",
            w("a 1; a 1.1: d; a 1.2; c 1: a <1.2; c 1.1; d 1").installed("a 1; c 1").request("a, c"),
            "a 1->1.2.0, c 1->1.1.0",
        ),
        (
            "and blocks nothing then",
            w("a 1; a 1.1: c; a 1.2; b 1; b 1.2: c <1.2; c 1; c 2; d 1: a <1.2; d 1.1")
                .installed("a 1; b 1; d 1")
                .request("a, b, d"),
            "a 1->1.2.0, c 1, b 1->1.2.0, d 1->1.1.0",
        ),
        (
            "a dependency in an older version, as the newest is held",
            w("a 1: b; b 1; b 2").request("a").rejects("b v2.0.0", ReasonCode::Soaking),
            "b 1, a 1",
        ),
        (
            "a dependency in an older version, as the newest does not fit",
            w("a 1: b; b 1; b 2 !requires Kubernetes >=9").request("a"),
            "b 1, a 1",
        ),
        ("a denied dependency", w("a 1; a 2: b; b 1").request("a").rejects("b", ReasonCode::Denied), "a 1"),
        ("nothing is requested", w("a 1; a 2").installed("a 1"), ""),
    ] {
        assert_eq!(fixture.changes(), expected, "{case}");
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn why_a_version_is_passed_over() {
    let w = PlanFixture::new;
    for (case, fixture, expected) in [
        (
            "not published",
            w("a 2: b >=1; b").request("a"),
            "v2.0.0: Unfit: a v2.0.0 requires plugin b >=1, which is not published; run `d8 plugins why b` to see \
             its published tags\n",
        ),
        (
            "every dependency that is not published",
            w("a 2: b, c; b; c").request("a"),
            "v2.0.0: Unfit: a v2.0.0 requires plugin b, which is not published; run `d8 plugins why b` to see its \
             published tags\n\
             v2.0.0: Unfit: a v2.0.0 requires plugin c, which is not published; run `d8 plugins why c` to see its \
             published tags\n",
        ),
        (
            "a dependency of a dependency",
            w("a 2: b; b 1: c; c").request("a"),
            "v2.0.0: Unfit: a v2.0.0 needs b v1.0.0, which requires plugin c (needed by: a -> b -> c), which is not \
             published; run `d8 plugins why c` to see its published tags\n",
        ),
        (
            "not in range",
            w("a 2: b >=2; b 1").request("a"),
            "v2.0.0: Unfit: a v2.0.0 requires plugin b >=2, but no published version is in that range; run `d8 plugins \
             why b` to see its versions\n",
        ),
        (
            "too new",
            w("a 2: b <2; b 1; b 1.5; b 2").installed("b 2").request("a"),
            "v2.0.0: Unfit: a v2.0.0 requires plugin b <2, but v2.0.0 is installed, which is too new; run `d8 plugins \
             install b --version v1.5.0`\n",
        ),
        (
            "another major",
            w("a 2: b >=2; b 1; b 2").installed("b 1").request("a"),
            "v2.0.0: Unfit: a v2.0.0 requires plugin b >=2, but v1.0.0 is installed; run `d8 plugins install b --use-major \
             2`\n",
        ),
        (
            "only a pre-release",
            w("a 2: b >=2.0.0-0; b 1; b 2.0.0-rc.1").request("a"),
            "v2.0.0: Unfit: a v2.0.0 requires plugin b >=2.0.0-0, but only pre-releases are in that range; run `d8 \
             plugins install b --version v2.0.0-rc.1`\n",
        ),
        (
            "conditional",
            w("a 2: ?b >=9; b 1").installed("b 1").request("a"),
            "v2.0.0: Unfit: a v2.0.0 requires plugin b >=9 if it is installed, but v1.0.0 is installed and no published \
             version is in that range; run `d8 plugins why b` to see its versions\n",
        ),
        (
            "an unknown version",
            w("a 2: b >=1; b 1").installed("b ?").request("a"),
            "v2.0.0: Unfit: a v2.0.0 requires plugin b >=1, but its installed version is unknown; reinstall it with `d8 \
             plugins install b --force`\n",
        ),
        (
            "a cycle",
            w("a 2: b; b 1: c; c 1: b").request("a"),
            "v2.0.0: Unfit: a v2.0.0 has a dependency cycle, b -> c -> b; ask the publisher of b to remove it\n",
        ),
        (
            "the constraint of an installed plugin",
            w("a 2; c 1: a <2").installed("c 1").request("a"),
            "v2.0.0: Unfit: installed plugin c v1.0.0 requires a <2, which excludes v2.0.0; run `d8 plugins update c` \
             first\n",
        ),
        (
            "two plugins that disagree",
            w("a 2: b, c; b 1: d <2; c 1: d >=2; d 1; d 2").request("a"),
            "v2.0.0: Unfit: a v2.0.0 needs c v1.0.0, which requires plugin d >=2 (needed by: a -> c -> d), but the plan \
             already has v1.0.0; run `d8 plugins why d` to see its versions\n",
        ),
        (
            "an exact version",
            w("a 2: b >=2; b 1; b 2").request("a, b@1"),
            "v2.0.0: Unfit: a v2.0.0 requires plugin b >=2, but the plan already has v1.0.0; run `d8 plugins why b` to see \
             its versions\n",
        ),
        (
            "a dependency that is denied",
            w("a 2: b >=1; b 1").request("a").rejects("b", ReasonCode::Denied),
            "v2.0.0: DependencyDenied: a v2.0.0 requires plugin b >=1, but b v1.0.0 may not be installed: policy p, \
             rules[0]: b is denied on this host; ask an admin to allow it, or to exclude this host from the policy\n",
        ),
        (
            "a dependency that is held",
            w("a 2: b >=1; b 1").request("a").rejects("b", ReasonCode::Soaking),
            "v2.0.0: Soaking: a v2.0.0 requires plugin b >=1, but b v1.0.0 may not be installed: policy p, rules[0]: b \
             v1.0.0 was first seen at 1970-01-01T00:00:00Z and must soak for 1h, until 1970-01-01T01:00:00Z; wait, or \
             ask an admin to expedite it\n",
        ),
        (
            "a dependency that does not fit the cluster",
            w("a 2: b >=1; b 1 !requires Kubernetes >=9").request("a"),
            "v2.0.0: Unfit: a v2.0.0 requires plugin b >=1, but b v1.0.0 may not be installed: b v1.0.0 requires Kubernetes \
             >=9; run `d8 plugins why b` to find another version\n",
        ),
    ] {
        assert_eq!(fixture.reasons("a"), expected, "{case}");
    }
}

#[test]
fn a_policy_that_refuses_dependencies() {
    let by = Source::Policy { policy: "prod".into(), origin: Origin::Spec(Field::MissingDependencies), field: None };
    let options = PlanOptions { missing: DependencyPolicy::Refuse { by }, ..PlanOptions::default() };
    let fixture = PlanFixture::new("a 1; a 2: b; b 1").request("a").options(options);
    assert_eq!(fixture.changes(), "a 1");
    assert_eq!(
        fixture.reasons("a"),
        "v2.0.0: DependencyDenied: policy prod, missingDependencies: a v2.0.0 requires plugin b, and dependencies are \
         not installed automatically; run `d8 plugins install b` first\n"
    );
    assert_eq!(class_of(&fixture, "a"), Some(Class::Held), "it does not forbid the installed version");
}

#[test]
fn refused_dependencies_come_with_commands() {
    let options = PlanOptions { no_dependencies: true, ..PlanOptions::default() };
    let fixture = PlanFixture::new("a 1; a 2: b, d; b 1: c; c 1; d 1; d 1.1; a 3: x; x").installed("d 1").request("a");
    let plan = fixture.options(options).plan();
    assert!(plan.changes.is_empty());
    let outcome = &plan.outcomes[&name("a")];
    let Outcome::NeedsOthers { version, needs, passed_over } = outcome else { panic!("{outcome:?}") };
    assert_eq!((bare(&version.version), shown_changes(needs)), ("2".to_owned(), "c 1, b 1".to_owned()));
    assert_eq!(passed_over.len(), 1);
    let fixes: Vec<_> = outcome.fixes().into_iter().map(|(_, fix)| fix).collect();
    assert_eq!(fixes, ["d8 plugins install c --version v1.0.0", "d8 plugins install b --version v1.0.0"]);
}

#[test]
fn a_changed_dependency_names_the_chain_to_it() {
    let plan = PlanFixture::new("a 1: b; b 1: c; c 1").request("a").plan();
    let whys: Vec<_> = plan.changes.iter().map(|change| change.why.clone()).collect();
    let chain = |names: &[&str]| ChangeReason::Dependency { chain: names.iter().map(|text| name(text)).collect() };
    assert_eq!(whys, [chain(&["a", "b", "c"]), chain(&["a", "b"]), ChangeReason::Requested]);
}

#[test]
fn the_policy_that_requires_a_plugin_is_named_too() {
    struct Requires;
    impl Evaluator for Requires {
        fn evaluate(&self, request: &EvaluationRequest<'_>) -> Verdict {
            PlanFixture::default().rejects("b", ReasonCode::Denied).evaluate(request)
        }
        fn required(&self, component: &Component) -> Option<Required> {
            let by = Source::Policy { policy: "prod".into(), origin: Origin::Rule(3), field: Some(Field::Access) };
            Some(Required { plugin: component.name().parse().unwrap(), by })
        }
    }
    let fixture = PlanFixture::new("a 2: b; b 1").request("a");
    let PlanStep::Done(plan) = plan(&fixture.snapshot, &fixture.all_facts(), &Requires) else { panic!() };
    let reason = &plan.outcomes[&name("a")].passed_over()[0].1.reasons()[0];
    assert_eq!(reason.code(), ReasonCode::DependencyDenied);
    assert_eq!(reason.policy(), Some("p"));
    let text = explain::in_record(reason);
    assert!(text.contains("policy p, rules[0]: b is denied on this host"), "{text}");
    assert!(text.ends_with("; policy prod, rules[3].access requires a"), "{text}");
}

#[test]
fn a_dependency_is_evaluated_as_a_dependency() {
    // A wave does not apply to a dependency.
    let wave = |request: &EvaluationRequest<'_>| {
        let mut fixture = PlanFixture::default();
        if request.component.name() == "b" && request.dependency_of.is_none() {
            fixture = fixture.rejects("b", ReasonCode::NotInWave);
        }
        fixture.evaluate(request)
    };
    for (requests, expected) in [("a", "b 1, a 1"), ("b", "")] {
        let fixture = PlanFixture::new("a 1: b; b 1").request(requests);
        let PlanStep::Done(plan) = plan(&fixture.snapshot, &fixture.all_facts(), &wave) else { panic!() };
        assert_eq!(shown_changes(&plan.changes), expected);
    }
}

#[test]
fn the_intent_of_each_request() {
    use crate::decisions::intent::Intent::{Agent, Explicit, Update};
    for (actor, request, own, other) in [
        (Actor::Person, "a", Update, Update),
        (Actor::Person, "a@2", Explicit, Update),
        (Actor::Person, "a/2", Explicit, Explicit),
        (Actor::Agent, "a", Agent, Agent),
    ] {
        let fixture = PlanFixture::new("a 1.0.0-main; a 2: b >=2; b 1; b 2; b 1.1").request(request);
        // Only a request for a major may take an installed dependency to another major.
        let fixture = if request == "a/2" { fixture.installed("b 1") } else { fixture };
        let fixture = fixture.options(PlanOptions { actor, ..PlanOptions::default() });
        let intents = std::cell::RefCell::new(BTreeMap::new());
        let evaluator = |request: &EvaluationRequest<'_>| {
            intents.borrow_mut().insert(request.component.to_string(), request.intent);
            fixture.evaluate(request)
        };
        let PlanStep::Done(_) = plan(&fixture.snapshot, &fixture.all_facts(), &evaluator) else { panic!() };
        assert_eq!(intents.into_inner(), BTreeMap::from([("a".to_owned(), own), ("b".to_owned(), other)]), "{request}");
    }
}

/// What a request leaves as it is gets the plugins that it needs.
#[test]
fn missing_dependencies_of_an_installed_version_are_restored() {
    let w = PlanFixture::new;
    let two = "a 1: b >=1; b 1; b 1.1; b 2";
    let refuse = || {
        let by =
            Source::Policy { policy: "prod".into(), origin: Origin::Spec(Field::MissingDependencies), field: None };
        PlanOptions { missing: DependencyPolicy::Refuse { by }, ..PlanOptions::default() }
    };
    for (case, fixture, changes) in [
        ("the newest", w(two).installed("a 1").request("a"), "b 2"),
        ("of a version that was named", w(two).installed("a 1").request("a@1"), "b 2"),
        ("of a version that is not published", w("b 1").installed("a 1: b").request("a"), "b 1"),
        ("with what they need", w("a 1: b; b 1: c; c 1").installed("a 1").request("a"), "c 1, b 1"),
        ("out of range", w("a 1: b >=1.1; b 1; b 1.1").installed("a 1; b 1").request("a"), "b 1->1.1.0"),
        ("nothing that is conditional", w("a 1: ?b; b 1").installed("a 1").request("a"), ""),
        (
            "of a version that is kept though it is forbidden",
            w(two).installed("a 1").request("a").rejects("a", ReasonCode::Blocked),
            "b 2",
        ),
        ("unless a policy holds them", w(two).installed("a 1").request("a").rejects("b", ReasonCode::Soaking), ""),
        ("unless a policy refuses them", w(two).installed("a 1").request("a").options(refuse()), ""),
        ("unless none is published", w("a 1: b; b").installed("a 1").request("a"), ""),
    ] {
        assert_eq!(fixture.changes(), changes, "{case}");
        let complete =
            matches!(fixture.plan().outcomes[&name("a")], Outcome::AlreadyActive { .. } | Outcome::Keep { .. });
        assert_eq!(complete, !case.starts_with("unless"), "{case}");
    }
    let plan = w(two).installed("a 1").request("a").plan();
    let chain = ChangeReason::Dependency { chain: vec![name("a"), name("b")] };
    assert_eq!(plan.changes[0].why, chain);

    let plan = w("a 1: b; b").installed("a 1").request("a").plan();
    let Outcome::Incomplete { obstacle: Obstacle::Refused(verdict), .. } = &plan.outcomes[&name("a")] else {
        panic!("{plan:?}")
    };
    let text = explain::in_record(&verdict.reasons()[0]);
    assert_eq!(
        text,
        "a v1.0.0 requires plugin b, which is not published; run `d8 plugins why b` to see its published tags"
    );

    let options = PlanOptions { no_dependencies: true, ..PlanOptions::default() };
    let plan = w(two).installed("a 1").request("a").options(options).plan();
    let fixes: Vec<_> = plan.outcomes[&name("a")].fixes().into_iter().map(|(_, fix)| fix).collect();
    assert_eq!((plan.changes.len(), fixes), (0, vec!["d8 plugins install b --version v2.0.0".to_owned()]));
}
