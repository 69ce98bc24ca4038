//! Which version of what was requested for.

use super::*;
use crate::decisions::selection::NoCandidate;

fn outcome(world: &World, plugin: &str) -> String {
    match &world.plan().outcomes[&name(plugin)] {
        Outcome::Take { version, .. } => format!("take {}", bare(&version.version)),
        Outcome::AlreadyActive { version, .. } => format!("active {}", bare(&version.version)),
        Outcome::Keep { forbidden, .. } => if *forbidden { "keep forbidden" } else { "keep" }.to_owned(),
        Outcome::Nothing { why, major, .. } => match major {
            Some(major) => format!("nothing {why:?} in {major}"),
            None => format!("nothing {why:?}"),
        },
        Outcome::NotPublished(error) => error.to_string(),
        Outcome::Refused { version, .. } => format!("refused {}", bare(&version.version)),
        Outcome::NeedsOthers { version, .. } => format!("needs others {}", bare(&version.version)),
        Outcome::Stopped(stop) => stop.to_string(),
    }
}

#[test]
fn what_a_wish_comes_to() {
    let held = ReasonCode::Soaking;
    let denied = ReasonCode::Blocked;
    let w = World::new;
    for (what, world, wanted) in [
        ("the newest", w("a 1; a 2").request("a"), "take 2"),
        ("stable", w("a 1; a 2.0.0-rc.1").request("a"), "take 1"),
        ("-main is stable", w("a 1; a 2.0.0-main").request("a"), "take 2.0.0-main"),
        ("permitted", w("a 1; a 2").request("a").but("a v2.0.0", held), "take 1"),
        ("fits", w("a 1; a 2 !requires Kubernetes >=9").request("a"), "take 1"),
        ("its own major", w("a 1; a 1.1; a 2").installed("a 1").request("a"), "take 1.1.0"),
        ("--use-major up", w("a 1; a 2.1; a 3").installed("a 1").request("a/2"), "take 2.1.0"),
        ("--use-major down", w("a 1; a 1.1; a 2").installed("a 2").request("a/1"), "take 1.1.0"),
        ("--use-major, in it, never down", w("a 2; a 2.1").installed("a 2.2").request("a/2"), "keep"),
        ("--version", w("a 1; a 2; a 3").request("a@2"), "take 2"),
        ("--version of a pre-release", w("a 1; a 2.0.0-rc.1").request("a@2.0.0-rc.1"), "take 2.0.0-rc.1"),
        ("--version down, across majors", w("a 1; a 2").installed("a 2").request("a@1"), "take 1"),
        ("--version, refused: no other", w("a 1; a 2").request("a@2").but("a v2.0.0", held), "refused 2"),
        ("--version, not published", w("a 1").request("a@2"), "version v2.0.0 is not published"),
        ("--version of what is active", w("a 1").installed("a 1").request("a@1"), "active 1"),
        ("active already", w("a 1; a 1.1").installed("a 1.1").request("a"), "active 1.1.0"),
        ("active, a newer one held", w("a 1; a 1.1").installed("a 1").request("a").but("a v1.1.0", held), "active 1"),
        ("an older choice keeps", w("a 1; a 1.1").installed("a 1.2").request("a"), "keep"),
        ("an unknown version is older", w("a 1; a 2").installed("a ?").request("a"), "take 2"),
        ("nothing", w("a").request("a"), "nothing NotPublished"),
        ("only pre-releases", w("a 1.0.0-rc.1").request("a"), "nothing OnlyPrereleases"),
        ("not in that major", w("a 1").request("a/2"), "nothing NotInMajor(2) in 2"),
        ("all passed over", w("a 1").request("a/1").but("a", held), "nothing AllPassedOver in 1"),
        (
            "off a forbidden version, down",
            w("a 1; a 1.1").installed("a 1.1").request("a").but("a v1.1.0", denied),
            "take 1",
        ),
        (
            "off a forbidden version, its own major first",
            w("a 1; a 1.1; a 2").installed("a 1.1").request("a").but("a v1.1.0", denied),
            "take 1",
        ),
        (
            "off a forbidden version, across majors",
            w("a 1.1; a 2").installed("a 1.1").request("a").but("a v1.1.0", denied),
            "take 2",
        ),
        ("nowhere to go", w("a 1; a 1.1").installed("a 1.1").request("a").but("a", denied), "keep forbidden"),
        ("held: no way down", w("a 1; a 1.1").installed("a 1.1").request("a").but("a v1.1.0", held), "active 1.1.0"),
        (
            "what cannot be checked stops",
            w("a 1; a 2 ?requires Kubernetes >=1, which could not be checked").request("a"),
            "requirements of a v2.0.0 cannot be checked: requires Kubernetes >=1, which could not be checked",
        ),
        ("a malformed contract stops", w("a 1; a 2 *").request("a"), "the contract of a v2.0.0 is not valid"),
        ("not behind a verdict", w("a 1; a 2 *").request("a").but("a v2.0.0", held), "take 1"),
        (
            "another's unreadable contract stops a change",
            w("a 1; b 1").installed("b 1 *").request("a"),
            "the contract of installed plugin b cannot be read (it is empty); reinstall it: `d8 plugins install b --force`",
        ),
        ("and nothing else", w("a 1; b 1").installed("a 1; b 1 *").request("a"), "active 1"),
        ("unless it goes", w("a 1; b 1; b 1.1").installed("b 1 *").request("a, b"), "take 1"),
    ] {
        assert_eq!(outcome(&world, "a"), wanted, "{what}");
    }
}

#[test]
fn newer_versions_are_listed_with_every_reason() {
    let world = World::new("a 1; a 2 !requires Kubernetes >=9; a 3")
        .request("a")
        .but("a v3.0.0", ReasonCode::Soaking)
        .but("a v2.0.0", ReasonCode::Blocked);
    let by_policy = "v3.0.0: Soaking: policy p, rules[0]: a v3.0.0 was first seen at 1970-01-01T00:00:00Z and must soak \
         for 1h, until 1970-01-01T01:00:00Z; wait, or ask an admin to expedite it\n\
         v2.0.0: Blocked: policy p, rules[0]: a v2.0.0 is blocked; run `d8 plugins why a` to find another version\n";
    assert_eq!(world.reasons("a"), by_policy, "no contract is fetched for a version that policy holds");
    let recorded = World { recorded: true, ..world };
    assert_eq!(recorded.reasons("a"), format!("{by_policy}v2.0.0: Unfit: a v2.0.0 requires Kubernetes >=9\n"));
    let nothing = World::new("a 1").request("a").but("a", ReasonCode::Denied);
    assert!(
        matches!(&nothing.plan().outcomes[&name("a")], Outcome::Nothing { why: NoCandidate::AllPassedOver, passed_over, .. } if passed_over.len() == 1)
    );
}

#[test]
fn it_asks_for_what_it_needs_and_no_more() {
    for (what, world, wanted) in [
        ("tags, then a contract", World::new("a 1; a 2").request("a"), "a / a v2.0.0"),
        ("no contract of what is active", World::new("a 1").installed("a 1").request("a"), "a"),
        (
            "no contract behind a verdict",
            World::new("a 1; a 2").request("a").but("a v2.0.0", ReasonCode::Soaking),
            "a / a v1.0.0",
        ),
        ("all requests at once", World::new("a 1; b 1").request("a, b"), "a b / a v1.0.0 b v1.0.0"),
        (
            "all missing dependencies at once",
            World::new("a 1: b, c; b 1; c 1").request("a"),
            "a / a v1.0.0 / b c / b v1.0.0 / c v1.0.0",
        ),
        ("nothing of a dependency that stays", World::new("a 1: b; b 1").installed("b 1").request("a"), "a / a v1.0.0"),
        (
            "no versions of one that is not to blame",
            World::new("a 1: b, c; b 1; b 2; b 3; c").request("a"),
            "a / a v1.0.0 / b c / b v3.0.0",
        ),
    ] {
        let (_, asked) = world.plan_lazily();
        let asked: Vec<_> = asked.iter().map(|round| round.join(" ")).collect();
        assert_eq!(asked.join(" / "), wanted, "{what}");
    }
}
