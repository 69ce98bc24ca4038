//! Which version is chosen for a request, and which facts that takes.

use super::*;
use crate::decisions::selection::NoCandidate;

fn outcome(fixture: &PlanFixture, plugin: &str) -> String {
    match &fixture.plan().outcomes[&name(plugin)] {
        Outcome::Take { version, .. } => format!("take {}", bare(&version.version)),
        Outcome::AlreadyActive { version, .. } => format!("active {}", bare(&version.version)),
        Outcome::Keep { forbidden, .. } => if *forbidden { "keep forbidden" } else { "keep" }.to_owned(),
        Outcome::Incomplete { version, forbidden, .. } => {
            format!("incomplete {}{}", if *forbidden { "forbidden " } else { "" }, bare(version))
        }
        Outcome::Nothing { why, major, .. } => match major {
            Some(major) => format!("nothing {why:?} in {major}"),
            None => format!("nothing {why:?}"),
        },
        Outcome::NotPublished(error) => error.to_string(),
        Outcome::Refused { version, .. } => format!("refused {}", bare(&version.version)),
        Outcome::NeedsOthers { version, .. } => format!("needs others {}", bare(&version.version)),
        Outcome::Unchecked { version, .. } => format!("unchecked {}", bare(&version.version)),
        Outcome::Stopped(error) => error.to_string(),
    }
}

#[test]
fn the_outcome_of_a_request() {
    let held = ReasonCode::Soaking;
    let denied = ReasonCode::Blocked;
    let w = PlanFixture::new;
    for (case, fixture, expected) in [
        ("the newest", w("a 1; a 2").request("a"), "take 2"),
        ("stable", w("a 1; a 2.0.0-rc.1").request("a"), "take 1"),
        ("-main is stable", w("a 1; a 2.0.0-main").request("a"), "take 2.0.0-main"),
        ("the newest that policies permit", w("a 1; a 2").request("a").rejects("a v2.0.0", held), "take 1"),
        ("the newest that fits the cluster", w("a 1; a 2 !requires Kubernetes >=9").request("a"), "take 1"),
        ("the newest of the installed major", w("a 1; a 1.1; a 2").installed("a 1").request("a"), "take 1.1.0"),
        ("--use-major up", w("a 1; a 2.1; a 3").installed("a 1").request("a/2"), "take 2.1.0"),
        ("--use-major down", w("a 1; a 1.1; a 2").installed("a 2").request("a/1"), "take 1.1.0"),
        ("--use-major, in it, never down", w("a 2; a 2.1").installed("a 2.2").request("a/2"), "keep"),
        ("--version", w("a 1; a 2; a 3").request("a@2"), "take 2"),
        ("--version of a pre-release", w("a 1; a 2.0.0-rc.1").request("a@2.0.0-rc.1"), "take 2.0.0-rc.1"),
        ("--version down, across majors", w("a 1; a 2").installed("a 2").request("a@1"), "take 1"),
        (
            "--version that is refused, and no other",
            w("a 1; a 2").request("a@2").rejects("a v2.0.0", held),
            "refused 2",
        ),
        ("--version that is not published", w("a 1").request("a@2"), "version v2.0.0 is not published"),
        ("what the installed version needs is missing", w("a 1: b; b").installed("a 1").request("a"), "incomplete 1"),
        (
            "what a forbidden version needs is missing",
            w("a 1: b; b").installed("a 1").request("a").rejects("a", denied),
            "incomplete forbidden 1",
        ),
        ("--version of the active one", w("a 1").installed("a 1").request("a@1"), "active 1"),
        ("the active version is the newest", w("a 1; a 1.1").installed("a 1.1").request("a"), "active 1.1.0"),
        (
            "a newer version is held",
            w("a 1; a 1.1").installed("a 1").request("a").rejects("a v1.1.0", held),
            "active 1",
        ),
        (
            "the installed version is newer than all published ones",
            w("a 1; a 1.1").installed("a 1.2").request("a"),
            "keep",
        ),
        ("an unknown version counts as older", w("a 1; a 2").installed("a ?").request("a"), "take 2"),
        ("nothing is published", w("a").request("a"), "nothing NotPublished"),
        ("only pre-releases", w("a 1.0.0-rc.1").request("a"), "nothing OnlyPrereleases"),
        ("nothing in that major", w("a 1").request("a/2"), "nothing NotInMajor(2) in 2"),
        ("all passed over", w("a 1").request("a/1").rejects("a", held), "nothing AllPassedOver in 1"),
        (
            "a forbidden version is left for an older one",
            w("a 1; a 1.1").installed("a 1.1").request("a").rejects("a v1.1.0", denied),
            "take 1",
        ),
        (
            "a forbidden version is left for one of its major first",
            w("a 1; a 1.1; a 2").installed("a 1.1").request("a").rejects("a v1.1.0", denied),
            "take 1",
        ),
        (
            "a forbidden version is left for another major",
            w("a 1.1; a 2").installed("a 1.1").request("a").rejects("a v1.1.0", denied),
            "take 2",
        ),
        (
            "a forbidden version stays if there is no other",
            w("a 1; a 1.1").installed("a 1.1").request("a").rejects("a", denied),
            "keep forbidden",
        ),
        (
            "a held version is not left",
            w("a 1; a 1.1").installed("a 1.1").request("a").rejects("a v1.1.0", held),
            "active 1.1.0",
        ),
        (
            "requirements that cannot be checked end the search",
            w("a 1; a 2 ?requires Kubernetes >=1, which could not be checked").request("a"),
            "unchecked 2",
        ),
        ("an invalid contract ends the search", w("a 1; a 2 *").request("a"), "the contract of a v2.0.0 is not valid"),
        ("unless the version is held anyway", w("a 1; a 2 *").request("a").rejects("a v2.0.0", held), "take 1"),
        (
            "an installed plugin with an invalid contract stops a change",
            w("a 1; b 1").installed("b 1 *").request("a"),
            "the contract of installed plugin b cannot be read (it is empty); reinstall it: `d8 plugins install b --force`",
        ),
        ("but only a change", w("a 1; b 1").installed("a 1; b 1 *").request("a"), "active 1"),
        ("and not if that plugin is changed too", w("a 1; b 1; b 1.1").installed("b 1 *").request("a, b"), "take 1"),
    ] {
        assert_eq!(outcome(&fixture, "a"), expected, "{case}");
    }
}

#[test]
fn versions_passed_over_come_with_every_reason() {
    let fixture = PlanFixture::new("a 1; a 2 !requires Kubernetes >=9; a 3")
        .request("a")
        .rejects("a v3.0.0", ReasonCode::Soaking)
        .rejects("a v2.0.0", ReasonCode::Blocked);
    let by_policy = "v3.0.0: Soaking: policy p, rules[0]: a v3.0.0 was first seen at 1970-01-01T00:00:00Z and must soak \
         for 1h, until 1970-01-01T01:00:00Z; wait, or ask an admin to expedite it\n\
         v2.0.0: Blocked: policy p, rules[0]: a v2.0.0 is blocked; run `d8 plugins why a` to find another version\n";
    assert_eq!(fixture.reasons("a"), by_policy, "no contract is requested for a version that a policy holds");
    let recorded = PlanFixture { recorded: true, ..fixture };
    let unfit = "v2.0.0: Unfit: a v2.0.0 requires Kubernetes >=9; run `d8 plugins why a` to find another version\n";
    assert_eq!(recorded.reasons("a"), format!("{by_policy}{unfit}"));
    let nothing = PlanFixture::new("a 1").request("a").rejects("a", ReasonCode::Denied);
    assert!(
        matches!(&nothing.plan().outcomes[&name("a")], Outcome::Nothing { why: NoCandidate::AllPassedOver, passed_over, .. } if passed_over.len() == 1)
    );
}

#[test]
fn only_facts_that_are_needed_are_requested() {
    for (case, fixture, expected) in [
        ("tags, then a contract", PlanFixture::new("a 1; a 2").request("a"), "a / a v2.0.0"),
        ("no contract of the active version", PlanFixture::new("a 1").installed("a 1").request("a"), "a"),
        (
            "no contract of a version that is held",
            PlanFixture::new("a 1; a 2").request("a").rejects("a v2.0.0", ReasonCode::Soaking),
            "a / a v1.0.0",
        ),
        ("all requests at once", PlanFixture::new("a 1; b 1").request("a, b"), "a b / a v1.0.0 b v1.0.0"),
        (
            "all missing dependencies at once",
            PlanFixture::new("a 1: b, c; b 1; c 1").request("a"),
            "a / a v1.0.0 / b c / b v1.0.0 / c v1.0.0",
        ),
        (
            "nothing of a dependency that stays as it is",
            PlanFixture::new("a 1: b; b 1").installed("b 1").request("a"),
            "a / a v1.0.0",
        ),
        (
            "no versions of a dependency that takes no part in the conflict",
            PlanFixture::new("a 1: b, c; b 1; b 2; b 3; c").request("a"),
            "a / a v1.0.0 / b c / b v3.0.0",
        ),
    ] {
        let (_, rounds) = fixture.plan_lazily();
        let rounds: Vec<_> = rounds.iter().map(|round| round.join(" ")).collect();
        assert_eq!(rounds.join(" / "), expected, "{case}");
    }
}

#[test]
fn for_the_agent_requirements_that_cannot_be_checked_are_a_hold() {
    let fixture = PlanFixture::new("a 1; a 1.1; a 1.2 ?requires Kubernetes >=1").installed("a 1").request("a");
    let agent = |fixture: PlanFixture| fixture.options(PlanOptions { actor: Actor::Agent, ..PlanOptions::default() });
    assert_eq!(outcome(&fixture, "a"), "unchecked 1.2.0");
    let held = agent(fixture);
    assert_eq!((outcome(&held, "a").as_str(), class_of(&held, "a")), ("take 1.1.0", Some(Class::Held)));

    // Requirements of a dependency count like those of the version that needs it.
    let fixture = PlanFixture::new("a 1; a 2: b; b 1 ?requires Kubernetes >=1").request("a");
    let plan = fixture.plan();
    let Outcome::Unchecked { version, verdict, .. } = &plan.outcomes[&name("a")] else { panic!("{plan:?}") };
    assert_eq!((version.tag.as_str(), verdict.reasons()[0].code()), ("v2.0.0", ReasonCode::RequirementsUnknown));
    assert_eq!(outcome(&agent(fixture), "a"), "take 1");

    // What else stands against a version does not wait for a check.
    let fixture =
        PlanFixture::new("a 1; a 2 ?requires Kubernetes >=1").request("a").rejects("a v2.0.0", ReasonCode::Soaking);
    assert_eq!(outcome(&PlanFixture { recorded: true, ..fixture }, "a"), "take 1");
}

#[test]
fn d8_is_planned_like_a_plugin() {
    let fixture = PlanFixture::new("d8 1; d8 1.1; d8 2.0.0-main; a 1").installed("d8 1; a 1 *").request("d8");
    assert_eq!(fixture.changes(), "d8 1->1.1.0", "an invalid contract of a plugin does not concern d8");
    let fixture = fixture.rejects("d8 v1.0.0", ReasonCode::Blocked).rejects("d8 v1.1.0", ReasonCode::Soaking);
    assert_eq!(outcome(&fixture, "d8"), "keep forbidden");
}
