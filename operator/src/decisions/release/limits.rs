//! The limits for a contract in a record. The API server rejects a whole status if one text is too long, so a version
//! whose contract exceeds a limit is left without requirements.

use d8_crds::{
    records::requirements::{ModuleGroup, NamedRequirement, Requirements, VersionRequirement},
    values::{limits, text::printable_to},
};

/// Largest requirements a record carries for one version, in bytes of JSON.
pub(super) const MAX_REQUIREMENTS: usize = 8 * 1024;

/// Returns the requirements as a record can carry them, or why it cannot. Long descriptions are cut.
pub(super) fn requirements(mut requirements: Requirements) -> Result<Requirements, String> {
    let modules = &mut requirements.modules;
    for group in modules.any_of.iter_mut().chain(&mut modules.none_of) {
        group.description = printable_to(&group.description, limits::DESCRIPTION).into_owned();
    }
    let size = json_size(&requirements);
    if size > MAX_REQUIREMENTS {
        return Err(format!("the requirements of the contract take {size} bytes; a record carries {MAX_REQUIREMENTS}"));
    }
    excess(&requirements).map_or(Ok(requirements), |(field, limit)| {
        Err(format!("requirements.{field} of the contract is longer than {limit}, the limit of a record"))
    })
}

/// Returns the first field that is too long, and its limit.
fn excess(requirements: &Requirements) -> Option<(String, usize)> {
    let one = |field: &str, requirement: &Option<VersionRequirement>| {
        text(&format!("{field}.constraint"), requirement.as_ref().map_or("", |r| &r.constraint), limits::CONSTRAINT)
    };
    let (modules, plugins) = (&requirements.modules, &requirements.plugins);
    one("kubernetes", &requirements.kubernetes)
        .or_else(|| one("deckhouse", &requirements.deckhouse))
        .or_else(|| named("modules.mandatory", &modules.mandatory))
        .or_else(|| named("modules.conditional", &modules.conditional))
        .or_else(|| groups("modules.anyOf", &modules.any_of))
        .or_else(|| groups("modules.noneOf", &modules.none_of))
        .or_else(|| named("plugins.mandatory", &plugins.mandatory))
        .or_else(|| named("plugins.conditional", &plugins.conditional))
}

fn groups(field: &str, groups: &[ModuleGroup]) -> Option<(String, usize)> {
    let inner = |(n, group): (usize, &ModuleGroup)| {
        let field = format!("{field}[{n}]");
        text(&format!("{field}.name"), &group.name, limits::SHORT_TEXT)
            .or_else(|| named(&format!("{field}.modules"), &group.modules))
    };
    list(field, groups.len(), limits::GROUPS).or_else(|| groups.iter().enumerate().find_map(inner))
}

fn named(field: &str, entries: &[NamedRequirement]) -> Option<(String, usize)> {
    let inner = |(n, entry): (usize, &NamedRequirement)| {
        text(&format!("{field}[{n}].name"), &entry.name, limits::SHORT_TEXT)
            .or_else(|| text(&format!("{field}[{n}].constraint"), &entry.constraint, limits::CONSTRAINT))
    };
    list(field, entries.len(), limits::REQUIREMENTS).or_else(|| entries.iter().enumerate().find_map(inner))
}

fn list(field: &str, items: usize, limit: usize) -> Option<(String, usize)> {
    (items > limit).then(|| (field.to_owned(), limit))
}

fn text(field: &str, text: &str, limit: usize) -> Option<(String, usize)> {
    list(field, text.chars().count(), limit)
}

/// Returns the size of a value as JSON, in bytes.
pub(super) fn json_size<T: serde::Serialize>(value: &T) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |bytes| bytes.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requirements_beyond_a_limit_are_rejected() {
        let word = |length: usize| "a".repeat(length);
        let many = |n: usize| (0..n).map(|n| json!({"name": format!("m{n}")})).collect::<Vec<_>>();
        for (contract, why) in [
            (json!({"kubernetes": {"constraint": ">=1.30"}}), ""),
            (json!({"kubernetes": {"constraint": word(256)}}), ""),
            (
                json!({"kubernetes": {"constraint": word(257)}}),
                "requirements.kubernetes.constraint of the contract is longer than 256",
            ),
            (json!({"modules": {"mandatory": many(256)}}), ""),
            (json!({"modules": {"mandatory": many(257)}}), "requirements.modules.mandatory of the contract is longer"),
            (
                json!({"plugins": {"conditional": [{"name": word(129)}]}}),
                "plugins.conditional[0].name of the contract is longer",
            ),
            (
                json!({"modules": {"anyOf": [{"modules": [{"name": "a", "constraint": word(300)}]}]}}),
                "anyOf[0].modules[0].constraint",
            ),
            (json!({"modules": {"noneOf": [{"description": word(5000), "modules": [{"name": "a"}]}]}}), ""),
            (json!({"modules": {"mandatory": [{"name": word(9000)}]}}), "take 9"),
        ] {
            let read: Requirements = serde_json::from_value(contract).unwrap();
            match requirements(read) {
                Ok(carried) => {
                    assert_eq!(why, "");
                    let descriptions = carried.modules.none_of.iter().map(|g| g.description.chars().count());
                    assert!(descriptions.max().unwrap_or_default() <= 1024);
                }
                Err(error) => assert!(!why.is_empty() && error.contains(why), "{error}"),
            }
        }
    }
}
