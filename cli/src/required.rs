//! Plugins that policies require on this machine and that are not installed (`docs/policies.md`, rule 24). Nothing
//! installs them by itself here: every command that reads policies names them.

use std::collections::{BTreeMap, BTreeSet};

use d8_crds::{
    decisions::verdict::{HostPolicies, Required},
    values::name::PluginName,
};

use crate::{context::Context, installed};

/// Plugins that the note names. It counts the others.
const NAMED: usize = 5;

/// Returns the plugins that these policies require and no root has, by name.
pub(crate) fn missing(context: &Context, policies: &HostPolicies<'_>) -> Vec<Required> {
    let mut required = policies.required();
    if !required.is_empty() {
        let installed: BTreeSet<PluginName> = installed::names(context).into_iter().collect();
        required.retain(|required| !installed.contains(&required.plugin));
    }
    required
}

/// Prints one line about the plugins that the policies which this command read require and no root has.
pub(crate) fn note_missing(context: &Context) {
    let mut all = BTreeMap::new();
    for policies in context.policies_read() {
        let set = policies.policy_set();
        let missing = missing(context, &set.for_host(context.host(policies.caller.person())));
        all.extend(missing.into_iter().map(|required| (required.plugin.clone(), required)));
    }
    let all: Vec<Required> = all.into_values().collect();
    if let Some(line) = line(&all) {
        context.printer.note(line);
    }
}

fn line(missing: &[Required]) -> Option<String> {
    let named = missing.iter().take(NAMED).map(|Required { plugin, by }| format!("{plugin} (policy {})", by.policy()));
    let named = named.collect::<Vec<_>>().join(", ");
    let more = match missing.len().checked_sub(NAMED) {
        Some(more @ 1..) => format!(" and {more} more"),
        _ => String::new(),
    };
    let line = format!("required on this machine, but not installed: {named}{more}; run `d8 plugins update all`");
    (!missing.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    use d8_crds::decisions::reason::{Field, Origin, Source};

    use super::*;

    #[test]
    fn the_line_names_what_is_missing_and_the_policy() {
        let required = |name: &str| Required {
            plugin: name.parse().unwrap(),
            by: Source::Policy { policy: "base".into(), origin: Origin::Rule(0), field: Some(Field::Access) },
        };
        let of = |names: &[&str]| line(&names.iter().map(|name| required(name)).collect::<Vec<_>>());
        assert_eq!(of(&[]), None);
        assert_eq!(
            of(&["a", "b"]).unwrap(),
            "required on this machine, but not installed: a (policy base), b (policy base); run `d8 plugins update all`"
        );
        let many = of(&["a", "b", "c", "d", "e", "f", "g"]).unwrap();
        assert!(many.contains("e (policy base) and 2 more; run") && !many.contains("f (policy"), "{many}");
    }
}
