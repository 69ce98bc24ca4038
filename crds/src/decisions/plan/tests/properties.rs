//! Random small worlds, and a slow and simple search to compare with.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const VERSIONS: [&str; 4] = ["1.0.0", "1.1.0", "1.2.0", "2.0.0"];
const CONSTRAINTS: [&str; 7] = ["", ">=1.1", "<1.2", ">=1.2", "=1.1.0", "<2", ">=2"];

fn a_requirement() -> impl Strategy<Value = String> {
    (0..NAMES.len(), 0..CONSTRAINTS.len(), prop::bool::weighted(0.3)).prop_map(|(name, constraint, conditional)| {
        let mark = if conditional { "?" } else { "" };
        format!("{mark}{} {}", NAMES[name], CONSTRAINTS[constraint])
    })
}

fn dependencies() -> impl Strategy<Value = String> {
    prop::collection::vec(a_requirement(), 0..3).prop_map(|all| all.join(","))
}

fn a_fixture() -> impl Strategy<Value = PlanFixture> {
    let published = prop::collection::vec((prop::bool::weighted(0.7), dependencies()), NAMES.len() * VERSIONS.len());
    let installed = prop::collection::vec(prop::option::weighted(0.4, 0..VERSIONS.len()), NAMES.len());
    let against = prop::collection::vec(
        (0..NAMES.len(), 0..VERSIONS.len(), prop::sample::select(vec![ReasonCode::Soaking, ReasonCode::Blocked])),
        0..3,
    );
    (published, installed, against).prop_map(|(published, installed, against)| {
        let mut text = String::new();
        let mut there = String::new();
        for (i, (is_there, dependencies)) in published.iter().enumerate() {
            let (name, version) = (i / VERSIONS.len(), i % VERSIONS.len());
            let active = installed[name] == Some(version);
            if *is_there || active {
                let _ = write!(text, "{} {}: {dependencies};", NAMES[name], VERSIONS[version]);
            }
            if active {
                let _ = write!(there, "{} {};", NAMES[name], VERSIONS[version]);
            }
        }
        let fixture = PlanFixture::new(&text).installed(&there);
        against.into_iter().fold(fixture, |fixture, (name, version, code)| {
            fixture.rejects(&format!("{} v{}", NAMES[name], VERSIONS[version]), code)
        })
    })
}

/// The active version of each installed component.
type Host = BTreeMap<Component, Version>;

impl PlanFixture {
    fn host(&self) -> Host {
        let version = |installed: &InstalledComponent| installed.version.clone().unwrap();
        self.snapshot.installed.iter().map(|(name, installed)| (name.clone(), version(installed))).collect()
    }

    fn dependencies(&self, plugin: &Component, at: &Version) -> Dependencies {
        self.facts(plugin, at).unwrap().dependencies
    }

    fn forbids(&self, plugin: &Component, at: &Version) -> bool {
        self.verdicts.get(&format!("{plugin} {at}")) == Some(&ReasonCode::Blocked)
    }

    /// Returns every dependency that is not met on a host: the plugin that has it, and the one it is on.
    fn violations(&self, host: &Host) -> Vec<(Component, Component)> {
        let mut violations = Vec::new();
        for (by, at) in host {
            for dependency in self.dependencies(by, at).all() {
                let met = host
                    .get(&dependency.component)
                    .map_or(!dependency.mandatory, |there| dependency.constraint.matches(there));
                if !met {
                    violations.push((by.clone(), dependency.component.clone()));
                }
            }
        }
        violations
    }
}

fn after(before: &Host, plan: &Plan) -> Host {
    let mut host = before.clone();
    host.extend(plan.changes.iter().map(|change| (change.component.clone(), change.to.version.clone())));
    host
}

/// Checks what must hold of every plan.
fn is_sound(fixture: &PlanFixture, plan: &Plan) -> Result<(), TestCaseError> {
    let before = fixture.host();
    let host = after(&before, plan);
    let changed: BTreeSet<_> = plan.changes.iter().map(|change| &change.component).collect();
    for (by, of) in fixture.violations(&host) {
        prop_assert!(!changed.contains(&by) && !changed.contains(&of), "{by} does not accept {of}");
    }
    let mut seen = BTreeSet::new();
    for change in &plan.changes {
        prop_assert!(seen.insert(&change.component), "a component changes once");
        let request = fixture.snapshot.requests.get(&change.component);
        if let Some(from) = before.get(&change.component) {
            let is_requested = match request {
                Some(Request::Exact(version)) => *version == change.to.version,
                Some(Request::Major(major)) => *major < from.major() && *major == change.to.version.major(),
                _ => false,
            };
            prop_assert!(
                change.to.version > *from || is_requested || fixture.forbids(&change.component, from),
                "{} is downgraded",
                change.component
            );
            let crosses = fixture
                .snapshot
                .requests
                .values()
                .any(|request| matches!(request, Request::Major(_) | Request::Exact(_)))
                || fixture.forbids(&change.component, from);
            prop_assert!(
                change.to.version.major() == from.major() || crosses,
                "{} changes to another major",
                change.component
            );
        }
        let key = format!("{} {}", change.component, change.to.version);
        prop_assert!(!fixture.verdicts.contains_key(&key), "{key} is not permitted");
        if change.why != ChangeReason::Requested {
            let mut without = host.clone();
            match before.get(&change.component) {
                Some(from) => without.insert(change.component.clone(), from.clone()),
                None => without.remove(&change.component),
            };
            let needed = fixture
                .violations(&without)
                .iter()
                .any(|(by, of)| *of == change.component || (*by == change.component && changed.contains(of)));
            prop_assert!(needed, "nothing needs the change of {}", change.component);
        }
    }
    Ok(())
}

/// Returns the newest version that can be installed without a change of an installed plugin that does not accept
/// it, by trying every combination of versions.
fn brute_force(fixture: &PlanFixture, requested: &Component) -> Option<Version> {
    let before = fixture.host();
    let active = before.get(requested);
    let others: Vec<_> = NAMES.map(name).into_iter().filter(|name| name != requested).collect();
    let tags = fixture.tags(requested);
    let permitted = |plugin: &Component, at: &Version| !fixture.verdicts.contains_key(&format!("{plugin} {at}"));
    let goes_up =
        |from: Option<&Version>, to: &Version| from.is_none_or(|from| to > from && to.major() == from.major());
    let candidates = tags.published.into_iter().map(|published| published.version);
    candidates.filter(|to| goes_up(active, to) && permitted(requested, to)).find(|to| {
        let mut host = before.clone();
        host.insert(requested.clone(), to.clone());
        any_combination(fixture, &before, &mut host, requested, &others, &|plugin, to| {
            goes_up(before.get(plugin), to) && permitted(plugin, to)
        })
    })
}

fn any_combination(
    fixture: &PlanFixture,
    before: &Host,
    host: &mut Host,
    requested: &Component,
    others: &[Component],
    may: &dyn Fn(&Component, &Version) -> bool,
) -> bool {
    let Some((next, rest)) = others.split_first() else { return is_solution(fixture, before, host, requested) };
    if any_combination(fixture, before, host, requested, rest, may) {
        return true;
    }
    for published in fixture.tags(next).published.into_iter().filter(|published| may(next, &published.version)) {
        host.insert(next.clone(), published.version);
        if any_combination(fixture, before, host, requested, rest, may) {
            return true;
        }
    }
    match before.get(next) {
        Some(back) => host.insert(next.clone(), back.clone()),
        None => host.remove(next),
    };
    false
}

fn is_solution(fixture: &PlanFixture, before: &Host, host: &Host, requested: &Component) -> bool {
    let changed: BTreeSet<_> = host.keys().filter(|name| before.get(*name) != host.get(*name)).cloned().collect();
    if fixture.violations(host).iter().any(|(by, of)| changed.contains(by) || changed.contains(of)) {
        return false;
    }
    // No installed plugin has to be changed because it does not accept a change.
    for (by, at) in before.iter().filter(|(by, _)| *by != requested) {
        let excludes = |dependency: &Dependency| {
            changed.contains(&dependency.component) && !dependency.constraint.matches(&host[&dependency.component])
        };
        if fixture.dependencies(by, at).all().iter().any(excludes) {
            return false;
        }
    }
    // From the requested plugin on, each change needs the next one, without a cycle.
    let needs = |by: &Component, of: &Component| {
        fixture.dependencies(by, &host[by]).on(of).iter().any(|dependency| {
            before.get(of).map_or(dependency.mandatory, |there| !dependency.constraint.matches(there))
        })
    };
    let mut reached = BTreeSet::from([requested.clone()]);
    while let Some(next) =
        changed.iter().find(|of| !reached.contains(*of) && reached.iter().any(|by| needs(by, of))).cloned()
    {
        reached.insert(next);
    }
    reached == changed && !has_cycle(fixture, host, &changed)
}

fn has_cycle(fixture: &PlanFixture, host: &Host, changed: &BTreeSet<Component>) -> bool {
    let mut left = changed.clone();
    loop {
        let free = left.iter().find(|by| {
            !fixture
                .dependencies(by, &host[*by])
                .all()
                .iter()
                .any(|dependency| dependency.mandatory && left.contains(&dependency.component))
        });
        match free.cloned() {
            Some(free) => left.remove(&free),
            None => return !left.is_empty(),
        };
    }
}

/// Returns the same fixture with all lists reversed.
fn reversed(mut fixture: PlanFixture) -> PlanFixture {
    for contract in fixture.published.values_mut().flat_map(BTreeMap::values_mut) {
        contract.plugins.mandatory.reverse();
        contract.plugins.conditional.reverse();
    }
    fixture
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 500 } else { 50_000 }))]

    #[test]
    fn one_request_gets_the_newest_version(fixture in a_fixture(), requested in 0..NAMES.len()) {
        let requested = name(NAMES[requested]);
        let fixture = fixture.request(requested.name());
        let plan = fixture.plan();
        is_sound(&fixture, &plan)?;
        let before = fixture.host();
        if before.get(&requested).is_some_and(|now| fixture.forbids(&requested, now)) {
            return Ok(());
        }
        let chosen = plan.changes.iter().find(|change| change.component == requested).map(|change| change.to.version.clone());
        // The slow search does not change installed plugins that do not accept the version.
        prop_assert!(chosen >= brute_force(&fixture, &requested), "{chosen:?}");
        // What is not changed may get what it lacks.
        let restores = plan.changes.iter().all(|change| change.why != ChangeReason::Requested);
        prop_assert_eq!(restores, chosen.is_none());
    }

    #[test]
    fn many_requests_get_a_valid_plan(fixture in a_fixture(), requests in prop::collection::vec(0..5_u8, NAMES.len())) {
        let requests: Vec<_> = NAMES.iter().zip(requests).filter_map(|(name, request)| match request {
            0 => None,
            1 => Some(format!("{name}@1.1")),
            2 => Some(format!("{name}/1")),
            _ => Some((*name).to_owned()),
        }).collect();
        if requests.is_empty() {
            return Ok(());
        }
        let fixture = fixture.request(&requests.join(","));
        let plan = fixture.plan();
        is_sound(&fixture, &plan)?;
        prop_assert_eq!(plan.outcomes.len(), fixture.snapshot.requests.len());
        for (requested, outcome) in &plan.outcomes {
            let change = plan.changes.iter().find(|change| change.component == *requested);
            match outcome {
                Outcome::Take { version, .. } => prop_assert_eq!(change.map(|change| &change.to), Some(version)),
                Outcome::Refused { .. } | Outcome::NotPublished(_) | Outcome::Stopped(_) => {}
                _ => prop_assert!(change.is_none()),
            }
        }
        prop_assert_eq!(reversed(fixture).plan().changes, plan.changes, "the order of lists changes nothing");
    }

    #[test]
    fn updating_all_twice_changes_nothing_more(fixture in a_fixture()) {
        let installed: Vec<_> = fixture.host().into_keys().map(String::from).collect();
        if installed.is_empty() {
            return Ok(());
        }
        let mut fixture = fixture.request(&installed.join(","));
        let plan = fixture.plan();
        is_sound(&fixture, &plan)?;
        for change in &plan.changes {
            let contract = InstalledContract::Known(fixture.dependencies(&change.component, &change.to.version));
            let now = InstalledComponent { version: Some(change.to.version.clone()), contract };
            fixture.snapshot.installed.insert(change.component.clone(), now);
        }
        prop_assert_eq!(fixture.changes(), "");
    }
}
