//! Versions of a newer major version, which an update without `--use-major` does not take. Nobody asked for them, so
//! nothing is fetched for them.

use std::collections::BTreeMap;

use d8_crds::{
    decisions::{
        explain,
        plan::{Outcome, Plan, Request},
        selection::{PublishedVersion, TagList, is_stable},
    },
    values::{
        name::{Component, PluginName},
        version::Version,
    },
};

use crate::{context::Context, planning::Planning};

/// Prints a note for each plugin that stays within its major version although there is a newer one. If all plugins are
/// updated, one line names them: each `update all` would repeat the others.
pub(super) fn note(
    context: &Context,
    planning: &mut Planning<'_>,
    plan: &Plan,
    requests: &BTreeMap<PluginName, Request>,
    is_all: bool,
) {
    let mut newer = Vec::new();
    for (name, _) in requests.iter().filter(|(_, request)| **request == Request::Newest) {
        let component = Component::Plugin(name.clone());
        let taken = match plan.outcomes.get(&component) {
            Some(Outcome::Take { version, .. }) => Some(&version.version),
            _ => None,
        };
        let Some(active) = planning.active(&component) else { continue };
        let version = taken.unwrap_or(active).clone();
        let Some(newest) = planning.catalog(&component).and_then(|catalog| newest(catalog.listing(), &version)) else {
            continue;
        };
        newer.push((component, newest.clone()));
    }
    match newer.as_slice() {
        [] => {}
        _ if is_all => {
            let names: Vec<_> = newer.iter().map(|(component, newest)| format!("{component} {}", newest.tag)).collect();
            let names = names.join(", ");
            context.printer.note(format!("newer major versions exist: {names}; see `d8 plugins why NAME`"));
        }
        _ => {
            for (component, newest) in &newer {
                context.printer.note(describe(planning, component, newest));
            }
        }
    }
}

/// Returns the newest stable version with a newer major version than `version`.
pub(super) fn newest<'l>(list: &'l TagList, version: &Version) -> Option<&'l PublishedVersion> {
    let newer = |published: &&PublishedVersion| published.version.major() > version.major();
    list.published.iter().filter(newer).find(|published| is_stable(&list.component, &published.version))
}

/// Returns the command that takes the newest version of a major version.
pub(super) fn command(component: &Component, version: &Version) -> String {
    format!("d8 plugins install {component} --use-major {}", version.major())
}

/// Returns the text of the note. It has the first reason against the version that is known.
fn describe(planning: &mut Planning<'_>, component: &Component, newest: &PublishedVersion) -> String {
    let exists = format!("newer major version {} of {component} exists", newest.version.major());
    match planning.known_reasons(component, newest).first() {
        None => format!("{exists} ({}): `{}`", newest.tag, command(component, &newest.version)),
        Some(reason) => format!("{exists}, but: {}", explain::to_person(reason)),
    }
}
