//! Contracts that are made to keep the planner busy, and how long honest ones take.

use super::*;

/// A registry whose plugins are made when they are requested.
struct Registry<T, C> {
    tags: T,
    contract: C,
    /// The number of facts that were requested.
    requests: usize,
}

impl<T, C> Registry<T, C>
where
    T: Fn(&str) -> Vec<String>,
    C: Fn(&str, &Version) -> PluginRequirements,
{
    fn new(tags: T, contract: C) -> Self {
        Self { tags, contract, requests: 0 }
    }

    fn plan(&mut self, snapshot: &Snapshot) -> Plan {
        let mut known = KnownFacts::default();
        loop {
            let requests = match plan(snapshot, &known, &|_: &EvaluationRequest<'_>| Verdict::default()) {
                PlanStep::Done(plan) => return plan,
                PlanStep::Fetch(requests) => requests,
            };
            self.requests += requests.len();
            for request in requests {
                match request {
                    FactRequest::Tags(component) => {
                        let tags = selection::read_tags(&component, (self.tags)(component.name()), None);
                        known.insert_tags(component, Ok(tags));
                    }
                    FactRequest::Contract { component, published: PublishedVersion { version, .. } } => {
                        let dependencies = Dependencies::read(&(self.contract)(component.name(), &version)).unwrap();
                        let facts = VersionFacts { dependencies, ..VersionFacts::default() };
                        known.insert_version(component, version, Ok(facts));
                    }
                }
            }
        }
    }
}

fn request(text: &str) -> Snapshot {
    PlanFixture::default().request(text).snapshot
}

fn first_reason(plan: &Plan, plugin: &str) -> String {
    let outcome = &plan.outcomes[&name(plugin)];
    outcome.passed_over().first().map(|(_, why)| explain::in_record(&why.reasons()[0])).unwrap_or_default()
}

fn number(name: &str) -> usize {
    name.trim_start_matches(char::is_alphabetic).parse().unwrap_or(0)
}

fn versions(count: usize) -> Vec<String> {
    (0..count).map(|minor| format!("v1.{minor}.0")).collect()
}

#[test]
fn a_chain_of_dependencies_has_a_limit() {
    for (length, changes) in [(MAX_DEPTH, MAX_DEPTH + 1), (MAX_DEPTH + 1, 0), (1_000_000, 0)] {
        let contract = |name: &str, _: &Version| {
            let next = number(name) + 1;
            requirements(&if next <= length { format!("p{next}") } else { String::new() })
        };
        let mut registry = Registry::new(|_: &str| versions(1), contract);
        let plan = registry.plan(&request("p0"));
        assert_eq!(plan.changes.len(), changes, "{length}");
        if changes == 0 {
            let reason = first_reason(&plan, "p0");
            assert!(
                reason.contains("requires plugin p17 (needed by: p0 -> p1 -> ")
                    && reason.contains("more than 16 dependencies"),
                "{reason}"
            );
        }
    }
}

#[test]
fn ten_thousand_dependencies_of_one_version() {
    let all: Vec<_> = (1..=10_000).map(|i| format!("p{i} >=1")).collect();
    let (missing, optional) = (all.join(","), format!("?{}", all.join(",?")));
    let contract = |_: &str, version: &Version| requirements(if version.minor() < 5 { &optional } else { &missing });
    let mut registry = Registry::new(|_: &str| versions(20), contract);
    let plan = registry.plan(&request("p0"));
    assert_eq!(shown_changes(&plan.changes), "p0 v1.4.0".replace('v', ""));
    assert!(first_reason(&plan, "p0").contains("needs changes to more than 255 other plugins"), "{plan:?}");
    assert!(registry.requests < 20, "{}", registry.requests);
}

#[test]
fn every_plugin_requires_every_other() {
    // Every version of every plugin requires every other, in any version but its own.
    let contract = |name: &str, version: &Version| {
        let next = (1..12).filter(|i| *i > number(name)).map(|i| format!("p{i} !={version}"));
        requirements(&next.collect::<Vec<_>>().join(","))
    };
    let mut registry = Registry::new(|_: &str| versions(8), contract);
    registry.plan(&request("p0"));
    assert!(registry.requests <= 12 * 9);
}

#[test]
fn a_search_that_would_not_end_is_cut_off() {
    // No versions of ten plugins fit together, which only shows at the last plugin.
    let contract = |name: &str, version: &Version| match number(name) {
        0 => requirements(&(1..=10).map(|i| format!("p{i}")).collect::<Vec<_>>().join(",")),
        10 => requirements("p9 >=1.3, p8 >=1.9, p7 <1.2, p6 >=9"),
        i => requirements(
            &(1..i).map(|i| format!("?p{i} !=1.{}.0", (version.minor() * 7) % 10)).collect::<Vec<_>>().join(","),
        ),
    };
    let mut registry = Registry::new(|_: &str| versions(10), contract);
    let plan = registry.plan(&request("p0"));
    assert!(plan.changes.is_empty());
}

#[test]
fn two_hundred_plugins_in_a_ring() {
    // Each requires the next fifty.
    let contract = |name: &str, _: &Version| {
        let at = number(name);
        requirements(&(1..=50).map(|i| format!("p{}", (at + i) % 200)).collect::<Vec<_>>().join(","))
    };
    let mut registry = Registry::new(|_: &str| versions(3), contract);
    let plan = registry.plan(&request("p0"));
    assert!(plan.changes.is_empty());
}

#[test]
fn foreign_text_is_cut_and_printable() {
    let constraint = format!(">=1 || {}", "1.2.3 || ".repeat(500) + "9");
    let tags = |name: &str| if name == "p0" { versions(1) } else { vec!["v0.1.0".to_owned()] };
    let contract = move |_: &str, _: &Version| requirements(&format!("p1 {constraint}"));
    let mut registry = Registry::new(tags, contract);
    let reason = first_reason(&registry.plan(&request("p0")), "p0");
    assert!(reason.contains('…') && reason.len() < 300, "{reason}");
    let bad = PluginRequirements {
        mandatory: vec![NamedRequirement { name: "../x\u{1b}".to_owned(), constraint: String::new() }],
        conditional: vec![NamedRequirement { name: "b".to_owned(), constraint: "nonsense\u{1b}".to_owned() }],
    };
    let error = Dependencies::read(&bad).unwrap_err().to_string();
    assert!(error.starts_with("requirements.plugins.mandatory[0].name: ") && !error.contains('\u{1b}'), "{error}");
    let bad = PluginRequirements { mandatory: Vec::new(), ..bad };
    let error = Dependencies::read(&bad).unwrap_err().to_string();
    assert!(
        error.starts_with("requirements.plugins.conditional[0].constraint: ") && !error.contains('\u{1b}'),
        "{error}"
    );
}

/// Returns `count` installed plugins that can all be upgraded and each require three others.
fn fleet(count: usize) -> (Snapshot, KnownFacts) {
    let mut snapshot = Snapshot::default();
    let mut known = KnownFacts::default();
    let dependencies = |at: usize, minor: usize| {
        let three = (1..=3).map(|i| at + i * 7).filter(|to| *to < count);
        let text: Vec<_> = three.map(|to| format!("plugin-{to:05} >=1.{}, <2", minor.saturating_sub(1))).collect();
        let mut plugins = PluginRequirements::default();
        for one in text {
            let (name, constraint) = one.split_once(' ').unwrap();
            plugins.mandatory.push(NamedRequirement { name: name.to_owned(), constraint: constraint.to_owned() });
        }
        Dependencies::read(&plugins).unwrap()
    };
    for at in 0..count {
        let plugin = name(&format!("plugin-{at:05}"));
        let tags = selection::read_tags(&plugin, versions(20), None);
        for published in &tags.published {
            let minor = usize::try_from(published.version.minor()).unwrap();
            let facts = VersionFacts { dependencies: dependencies(at, minor), ..VersionFacts::default() };
            known.insert_version(plugin.clone(), published.version.clone(), Ok(facts));
        }
        known.insert_tags(plugin.clone(), Ok(tags));
        let contract = InstalledContract::Known(dependencies(at, 10));
        snapshot.installed.insert(plugin.clone(), InstalledComponent { version: Some(version("1.10.0")), contract });
        snapshot.requests.insert(plugin, Request::Newest);
    }
    (snapshot, known)
}

#[test]
fn fifty_plugins_are_upgraded_together() {
    let (snapshot, known) = fleet(50);
    let PlanStep::Done(plan) = plan(&snapshot, &known, &|_: &EvaluationRequest<'_>| Verdict::default()) else {
        panic!()
    };
    assert_eq!(plan.changes.len(), 50);
    assert!(plan.changes.iter().all(|change| change.to.version == version("1.19.0")));
}

/// Prints how long a plan takes: `cargo test --release … -- --ignored --nocapture plan_speed`.
#[test]
#[ignore = "prints figures"]
fn plan_speed() {
    for count in [200, 400, 800] {
        let (snapshot, known) = fleet(count);
        let mut times: Vec<_> = (0..15)
            .map(|_| {
                let start = std::time::Instant::now();
                let step = plan(&snapshot, &known, &|_: &EvaluationRequest<'_>| Verdict::default());
                assert!(matches!(step, PlanStep::Done(plan) if plan.changes.len() == count));
                start.elapsed()
            })
            .collect();
        times.sort();
        println!("{count} plugins: {:?} (median of 15)", times[7]);
    }
}
