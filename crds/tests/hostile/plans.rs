//! Contracts that need each other in ways no host can meet: how much is asked before the planner gives up.

use std::cell::Cell;

use d8_crds::{
    decisions::{
        plan::{
            Dependencies, EvaluationRequest, FactRequest, InstalledComponent, InstalledContract, KnownFacts, Outcome,
            Plan, PlanStep, Request, Snapshot, VersionFacts, plan,
        },
        requirements::Findings,
        selection::read_tags,
        verdict::Verdict,
    },
    records::requirements::Requirements,
    values::version::Version,
};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{all_shown, shown};

/// What a version of a plugin says.
type Says<'a> = Box<dyn Fn(&str, &Version) -> Value + 'a>;

/// Plans in a world that answers every question, and counts them and the verdicts asked for.
fn planned(contract: impl Fn(&str, &Version) -> Value, tags: &[&str]) -> (Plan, usize) {
    let asked = Cell::new(0);
    let judge = |_: &EvaluationRequest<'_>| {
        asked.set(asked.get() + 1);
        Verdict::default()
    };
    let mut snapshot = Snapshot::default();
    snapshot.requests.insert("p0".parse().unwrap(), Request::Newest);
    let old = InstalledComponent {
        version: Some("0.9.0".parse().unwrap()),
        contract: InstalledContract::Unreadable("\u{1b}".to_owned()),
    };
    snapshot.installed.insert("bystander".parse().unwrap(), old);
    let mut known = KnownFacts::default();
    for _ in 0..20_000 {
        let needs = match plan(&snapshot, &known, &judge) {
            PlanStep::Done(plan) => return (plan, asked.get()),
            PlanStep::Fetch(needs) => needs,
        };
        for need in needs {
            asked.set(asked.get() + 1);
            match need {
                FactRequest::Tags(component) => {
                    let list = read_tags(&component, tags, None);
                    known.insert_tags(component, Ok(list));
                }
                FactRequest::Contract { component, published } => {
                    let says = contract(component.name(), &published.version);
                    let requirements = Requirements::deserialize(says).unwrap();
                    let offer = Dependencies::read(&requirements.plugins).map_err(|error| error.to_string());
                    let offer = offer.map(|dependencies| VersionFacts { dependencies, findings: Findings::default() });
                    known.insert_version(component, published.version, offer);
                }
            }
        }
    }
    panic!("it asks for ever")
}

#[test]
fn contracts_that_need_each_other_without_end() {
    let number = |name: &str| name[1..].parse::<u64>().unwrap();
    let wants = |names: &[String], constraint: &str| {
        let list: Vec<Value> = names.iter().map(|name| json!({"name": name, "constraint": constraint})).collect();
        json!({"plugins": {"mandatory": list}})
    };
    let tags = ["v1.0.0", "v2.0.0", "v18446744073709551615.18446744073709551615.18446744073709551615", "latest"];
    let worlds: Vec<(&str, Says<'_>)> = vec![
        ("itself", Box::new(|name, _| wants(&[name.to_owned()], ""))),
        ("each other", Box::new(|name, _| wants(&[format!("p{}", 1 - number(name).min(1))], ""))),
        ("a ring", Box::new(|name, _| wants(&[format!("p{}", (number(name) + 1) % 7)], ""))),
        ("always one more", Box::new(|name, _| wants(&[format!("p{}", number(name) + 1)], ""))),
        (
            "always two more",
            Box::new(|name, _| {
                wants(&[format!("p{}", 2 * number(name) + 1), format!("p{}", 2 * number(name) + 2)], "")
            }),
        ),
        ("ten thousand", Box::new(|_, _| wants(&(1..=10_000).map(|i| format!("p{i}")).collect::<Vec<_>>(), ">=1"))),
        ("ten thousand times the same", Box::new(|_, _| wants(&vec!["p1".to_owned(); 10_000], ">=1"))),
        ("a contradiction", Box::new(|name, _| wants(&[format!("p{}", number(name) + 1)], ">=2, <2"))),
        ("beyond all numbers", Box::new(|_, version| wants(&["p1".to_owned()], &format!(">{version}")))),
        ("names that are none", Box::new(|_, _| wants(&["\u{1b}[2J".to_owned()], ""))),
        ("constraints that are none", Box::new(|_, _| wants(&["p1".to_owned()], &"\u{202e}".repeat(10_000)))),
        ("what may not move", Box::new(|_, _| wants(&["bystander".to_owned()], ">=1"))),
    ];
    for (what, says) in worlds {
        let (plan, asked) = planned(says, &tags);
        assert!(asked < 20_000, "{what}: {asked} questions");
        for outcome in plan.outcomes.values() {
            if let Outcome::Stopped(stop) = outcome {
                shown(&stop.to_string());
                shown(&stop.fix());
            }
            outcome.passed_over().iter().for_each(|(_, judgement)| all_shown(judgement.reasons()));
        }
    }
}
