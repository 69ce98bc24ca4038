//! Contracts with dependencies that no host can meet. The planner must stop after a bounded number of requests.

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

use super::{assert_all_printable, assert_printable};

/// Returns the requirements of a version of a plugin.
type Contracts<'a> = Box<dyn Fn(&str, &Version) -> Value + 'a>;

/// Makes a plan and provides every fact that the planner requests. Counts the requests and the evaluations.
fn plan_and_count(contract: impl Fn(&str, &Version) -> Value, tags: &[&str]) -> (Plan, usize) {
    let requests = Cell::new(0);
    let evaluator = |_: &EvaluationRequest<'_>| {
        requests.set(requests.get() + 1);
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
        let needs = match plan(&snapshot, &known, &evaluator) {
            PlanStep::Done(plan) => return (plan, requests.get()),
            PlanStep::Fetch(needs) => needs,
        };
        for need in needs {
            requests.set(requests.get() + 1);
            match need {
                FactRequest::Tags(component) => {
                    let list = read_tags(&component, tags, None);
                    known.insert_tags(component, Ok(list));
                }
                FactRequest::Contract { component, published } => {
                    let requirements = contract(component.name(), &published.version);
                    let requirements = Requirements::deserialize(requirements).unwrap();
                    let offer = Dependencies::read(&requirements.plugins).map_err(|error| error.to_string());
                    let offer = offer.map(|dependencies| VersionFacts { dependencies, findings: Findings::default() });
                    known.insert_version(component, published.version, offer);
                }
            }
        }
    }
    panic!("the planner does not stop")
}

#[test]
fn endless_dependencies_are_bounded() {
    let number = |name: &str| name[1..].parse::<u64>().unwrap();
    let wants = |names: &[String], constraint: &str| {
        let list: Vec<Value> = names.iter().map(|name| json!({"name": name, "constraint": constraint})).collect();
        json!({"plugins": {"mandatory": list}})
    };
    let tags = ["v1.0.0", "v2.0.0", "v18446744073709551615.18446744073709551615.18446744073709551615", "latest"];
    let cases: Vec<(&str, Contracts<'_>)> = vec![
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
        (
            "a version above the largest number",
            Box::new(|_, version| wants(&["p1".to_owned()], &format!(">{version}"))),
        ),
        ("invalid names", Box::new(|_, _| wants(&["\u{1b}[2J".to_owned()], ""))),
        ("invalid constraints", Box::new(|_, _| wants(&["p1".to_owned()], &"\u{202e}".repeat(10_000)))),
        ("a plugin that must not change", Box::new(|_, _| wants(&["bystander".to_owned()], ">=1"))),
    ];
    for (what, contracts) in cases {
        let (plan, requests) = plan_and_count(contracts, &tags);
        assert!(requests < 20_000, "{what}: {requests} requests");
        for outcome in plan.outcomes.values() {
            if let Outcome::Stopped(stop) = outcome {
                assert_printable(&stop.to_string());
                assert_printable(&stop.fix());
            }
            outcome.passed_over().iter().for_each(|(_, verdict)| assert_all_printable(verdict.reasons()));
        }
    }
}
