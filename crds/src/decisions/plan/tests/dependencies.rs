//! What requests make of other plugins.

use super::*;
use crate::decisions::reason::Required;

#[test]
fn what_moves() {
    let w = World::new;
    for (what, world, wanted) in [
        ("a missing one is planned, first", w("a 1: b; b 1; b 2").request("a"), "b 2, a 1"),
        ("the newest that satisfies", w("a 1: b <3; b 1; b 2; b 3").request("a"), "b 2, a 1"),
        ("not a pre-release", w("a 1: b; b 1; b 2.0.0-rc.1").request("a"), "b 1, a 1"),
        ("one that satisfies stays", w("a 1: b; b 1; b 1.1").installed("b 1").request("a"), "a 1"),
        (
            "one that does not goes up",
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
        ("of dependencies", w("a 1: b; b 1: c; c 1").request("a"), "c 1, b 1, a 1"),
        ("a diamond", w("a 1: b, c; b 1: d; c 1: d <2; d 1; d 2").request("a"), "d 1, b 1, c 1, a 1"),
        (
            "a diamond by an older arm",
            w("a 1: b, c; b 1: d <2; b 2: d; c 1: d >=2; d 1; d 2").request("a"),
            "d 2, b 2, c 1, a 1",
        ),
        ("an unpublished one", w("a 1; a 2: b; b").request("a"), "a 1"),
        ("one of another version", w("a 1; a 2: b >=2; b 1").request("a"), "a 1"),
        ("deep down, an older arm", w("a 1: b; b 1; b 2: c; c").request("a"), "b 1, a 1"),
        ("a conditional one that is not there", w("a 1: ?b >=2; b 1; b 2").request("a"), "a 1"),
        ("one that is, in range", w("a 1: ?b >=1; b 1; b 2").installed("b 1").request("a"), "a 1"),
        ("one that is not in range", w("a 1: ?b >=1.1; b 1; b 1.1").installed("b 1").request("a"), "b 1->1.1.0, a 1"),
        ("one that comes with it", w("a 1: ?c <2, b; b 1: c; c 1; c 2").request("a"), "c 1, b 1, a 1"),
        ("what is installed has a say", w("a 1; a 2; c 1: a <2").installed("c 1").request("a"), "a 1"),
        ("conditionally too", w("a 1; a 2; c 1: ?a <2").installed("c 1").request("a"), "a 1"),
        ("in dependencies too", w("a 1: b; b 1; b 2; c 1: ?b <2").installed("c 1").request("a"), "b 1, a 1"),
        (
            "unless it moves",
            w("a 1: b >=2, c >=1.1; b 2; c 1: ?b <2; c 1.1").installed("c 1").request("a"),
            "b 2, c 1->1.1.0, a 1",
        ),
        ("what is planned has a say", w("a 1: b <2; b 1; b 2").request("a, b"), "b 1, a 1"),
        ("what is named stays so", w("a 1: b; a 2: b >=2; b 1; b 2").request("a, b@1"), "b 1, a 1"),
        (
            "what has a major keeps it",
            w("a 1; a 1.1: b >=2; b 1; b 2").installed("b 2").request("a, b/1"),
            "a 1, b 2->1",
        ),
        (
            "a circle with a condition in it",
            w("a 1: ?b >=1.1; b 1; b 1.1: a").installed("b 1").request("a"),
            "a 1, b 1->1.1.0",
        ),
        ("a cycle", w("a 1; a 2: b; b 1: a").request("a"), "a 1"),
        ("a cycle, an older arm", w("a 1: b; b 1; b 2: a").request("a"), "b 1, a 1"),
        ("itself", w("a 1; a 2: a >=1").request("a"), "a 1"),
        ("itself if installed", w("a 2: ?a >=1").request("a"), "a 2"),
        (
            "a pair that is there",
            w("a 1: b; a 1.1: b; b 1: a; b 1.1: a").installed("a 1; b 1").request("a, b"),
            "a 1->1.1.0, b 1->1.1.0",
        ),
        ("unknown but any", w("a 1: b; b 1").installed("b ?").request("a"), "a 1"),
        ("unknown", w("a 1; a 2: b >=1; b 1").installed("b ?").request("a"), "a 1"),
        (
            "one after the other moved",
            w("a 1; a 1.1; c 1: a <1.1; c 1.1").installed("a 1; c 1").request("a, c"),
            "a 1->1.1.0, c 1->1.1.0",
        ),
        (
            "no dependency of what moved on",
            w("a 1; a 1.1: d; a 1.2; c 1: a <1.2; c 1.1; d 1").installed("a 1; c 1").request("a, c"),
            "a 1->1.2.0, c 1->1.1.0",
        ),
        (
            "which then stands in no way",
            w("a 1; a 1.1: c; a 1.2; b 1; b 1.2: c <1.2; c 1; c 2; d 1: a <1.2; d 1.1")
                .installed("a 1; b 1; d 1")
                .request("a, b, d"),
            "a 1->1.2.0, c 1, b 1->1.2.0, d 1->1.1.0",
        ),
        (
            "a held dependency, an older one",
            w("a 1: b; b 1; b 2").request("a").but("b v2.0.0", ReasonCode::Soaking),
            "b 1, a 1",
        ),
        ("an unfit one", w("a 1: b; b 1; b 2 !requires Kubernetes >=9").request("a"), "b 1, a 1"),
        ("a denied one", w("a 1; a 2: b; b 1").request("a").but("b", ReasonCode::Denied), "a 1"),
        ("nothing, as nothing is requested", w("a 1; a 2").installed("a 1"), ""),
    ] {
        assert_eq!(world.changes(), wanted, "{what}");
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn what_is_said() {
    let w = World::new;
    for (what, world, wanted) in [
        (
            "unpublished",
            w("a 2: b >=1; b").request("a"),
            "v2.0.0: Unfit: a v2.0.0 requires plugin b >=1, which is not published; run `d8 plugins why b` to see \
             what the registry says\n",
        ),
        (
            "every one",
            w("a 2: b, c; b; c").request("a"),
            "v2.0.0: Unfit: a v2.0.0 requires plugin b, which is not published; run `d8 plugins why b` to see what the \
             registry says\n\
             v2.0.0: Unfit: a v2.0.0 requires plugin c, which is not published; run `d8 plugins why c` to see what the \
             registry says\n",
        ),
        (
            "the chain",
            w("a 2: b; b 1: c; c").request("a"),
            "v2.0.0: Unfit: a v2.0.0 needs b v1.0.0, which requires plugin c (needed by: a -> b -> c), which is not \
             published; run `d8 plugins why c` to see what the registry says\n",
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
            "unknown",
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
            "an installed one's word",
            w("a 2; c 1: a <2").installed("c 1").request("a"),
            "v2.0.0: Unfit: installed plugin c v1.0.0 requires a <2, which excludes v2.0.0; run `d8 plugins update c` \
             first\n",
        ),
        (
            "at odds",
            w("a 2: b, c; b 1: d <2; c 1: d >=2; d 1; d 2").request("a"),
            "v2.0.0: Unfit: a v2.0.0 needs c v1.0.0, which requires plugin d >=2 (needed by: a -> c -> d), but the plan \
             already has v1.0.0; run `d8 plugins why d` to see its versions\n",
        ),
        (
            "what was named",
            w("a 2: b >=2; b 1; b 2").request("a, b@1"),
            "v2.0.0: Unfit: a v2.0.0 requires plugin b >=2, but the plan already has v1.0.0; run `d8 plugins why b` to see \
             its versions\n",
        ),
        (
            "a dependency's verdict",
            w("a 2: b >=1; b 1").request("a").but("b", ReasonCode::Denied),
            "v2.0.0: DependencyDenied: a v2.0.0 requires plugin b >=1, but b v1.0.0 may not be installed: policy p, \
             rules[0]: b is denied on this host; ask an admin to allow it, or to exclude this host from the policy\n",
        ),
        (
            "a hold stays one",
            w("a 2: b >=1; b 1").request("a").but("b", ReasonCode::Soaking),
            "v2.0.0: Soaking: a v2.0.0 requires plugin b >=1, but b v1.0.0 may not be installed: policy p, rules[0]: b \
             v1.0.0 was first seen at 1970-01-01T00:00:00Z and must soak for 1h, until 1970-01-01T01:00:00Z; wait, or \
             ask an admin to expedite it\n",
        ),
        (
            "a cluster's",
            w("a 2: b >=1; b 1 !requires Kubernetes >=9").request("a"),
            "v2.0.0: Unfit: a v2.0.0 requires plugin b >=1, but b v1.0.0 may not be installed: b v1.0.0 requires Kubernetes \
             >=9\n",
        ),
    ] {
        assert_eq!(world.reasons("a"), wanted, "{what}");
    }
}

#[test]
fn a_policy_that_wants_no_dependencies() {
    let options =
        PlanOptions { missing: DependencyPolicy::Refuse { policy: "prod".to_owned() }, ..PlanOptions::default() };
    let world = World::new("a 1; a 2: b; b 1").request("a").options(options);
    assert_eq!(world.changes(), "a 1");
    assert_eq!(
        world.reasons("a"),
        "v2.0.0: DependencyDenied: policy prod, missingDependencies: a v2.0.0 requires plugin b, and dependencies are \
         not installed automatically; run `d8 plugins install b` first\n"
    );
    assert_eq!(class_of(&world, "a"), Some(Class::Held), "what is installed is not to leave for it");
}

#[test]
fn without_dependencies_each_is_listed_with_its_fix() {
    let options = PlanOptions { no_dependencies: true, ..PlanOptions::default() };
    let world = World::new("a 1; a 2: b, d; b 1: c; c 1; d 1; d 1.1; a 3: x; x").installed("d 1").request("a");
    let plan = world.options(options).plan();
    assert!(plan.changes.is_empty());
    let outcome = &plan.outcomes[&name("a")];
    let Outcome::NeedsOthers { version, needs, passed_over } = outcome else { panic!("{outcome:?}") };
    assert_eq!((bare(&version.version), shown_changes(needs)), ("2".to_owned(), "c 1, b 1".to_owned()));
    assert_eq!(passed_over.len(), 1);
    let fixes: Vec<_> = outcome.fixes().into_iter().map(|(_, fix)| fix).collect();
    assert_eq!(fixes, ["d8 plugins install c --version v1.0.0", "d8 plugins install b --version v1.0.0"]);
}

#[test]
fn why_a_dependency_moves() {
    let plan = World::new("a 1: b; b 1: c; c 1").request("a").plan();
    let whys: Vec<_> = plan.changes.iter().map(|change| change.why.clone()).collect();
    let chain = |names: &[&str]| ChangeReason::Dependency { chain: names.iter().map(|text| name(text)).collect() };
    assert_eq!(whys, [chain(&["a", "b", "c"]), chain(&["a", "b"]), ChangeReason::Requested]);
}

#[test]
fn both_policies_are_named() {
    struct Two;
    impl Evaluator for Two {
        fn evaluate(&self, question: &EvaluationRequest<'_>) -> Verdict {
            World::default().but("b", ReasonCode::Denied).evaluate(question)
        }
        fn required(&self, plugin: &Component) -> Option<Required> {
            let by = Source::Policy { policy: "prod".into(), origin: Origin::Rule(3), field: "access" };
            Some(Required { plugin: plugin.name().parse().unwrap(), by })
        }
    }
    let world = World::new("a 2: b; b 1").request("a");
    let PlanStep::Done(plan) = plan(&world.snapshot, &world.all(), &Two) else { panic!() };
    let reason = &plan.outcomes[&name("a")].passed_over()[0].1.reasons()[0];
    assert_eq!(reason.code(), ReasonCode::DependencyDenied);
    assert_eq!(reason.policy(), Some("p"));
    let text = explain::in_record(reason);
    assert!(text.contains("policy p, rules[0]: b is denied on this host"), "{text}");
    assert!(text.ends_with("; policy prod, rules[3].access requires a"), "{text}");
}

#[test]
fn a_dependency_is_evaluated_as_one() {
    // A hold that binds only what nothing needs, as a wave does.
    let waves = |question: &EvaluationRequest<'_>| {
        let mut world = World::default();
        if question.component.name() == "b" && question.dependency_of.is_none() {
            world = world.but("b", ReasonCode::NotInWave);
        }
        world.evaluate(question)
    };
    for (requests, wanted) in [("a", "b 1, a 1"), ("b", "")] {
        let world = World::new("a 1: b; b 1").request(requests);
        let PlanStep::Done(plan) = plan(&world.snapshot, &world.all(), &waves) else { panic!() };
        assert_eq!(shown_changes(&plan.changes), wanted);
    }
}

#[test]
fn intents() {
    use crate::decisions::intent::Intent::{Agent, Explicit, Update};
    for (actor, request, own, other) in [
        (Actor::Person, "a", Update, Update),
        (Actor::Person, "a@2", Explicit, Update),
        (Actor::Person, "a/2", Explicit, Explicit),
        (Actor::Agent, "a", Agent, Agent),
    ] {
        let world = World::new("a 1.0.0-main; a 2: b >=2; b 1; b 2; b 1.1").request(request);
        // With a crossing only the last but one can have its dependency; the others ask for a new one.
        let world = if request == "a/2" { world.installed("b 1") } else { world };
        let world = world.options(PlanOptions { actor, ..PlanOptions::default() });
        let asked = std::cell::RefCell::new(BTreeMap::new());
        let judge = |question: &EvaluationRequest<'_>| {
            asked.borrow_mut().insert(question.component.to_string(), question.intent);
            world.evaluate(question)
        };
        let PlanStep::Done(_) = plan(&world.snapshot, &world.all(), &judge) else { panic!() };
        assert_eq!(asked.into_inner(), BTreeMap::from([("a".to_owned(), own), ("b".to_owned(), other)]), "{request}");
    }
}
