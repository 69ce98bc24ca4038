//! The rules of a contract. Each error names its field.

use std::collections::{BTreeMap, BTreeSet};

use super::wire::{
    RawGroup, RawModules, RawNamed, RawPlugins, RawRequired, RawRequirements, RawVersioned, StrictObject,
};
use crate::{
    records::requirements::{
        ModuleGroup, ModuleRequirements, NamedRequirement, PluginRequirements, Requirements, VersionRequirement,
    },
    values::{constraint::Constraint, field_error::FieldError, limits, name::PluginName, text::printable_to},
};

/// Returns the names of variables or flags. Leaves out entries without a name.
pub(super) fn names(list: Option<Vec<StrictObject<RawNamed>>>, field: &str) -> Result<Vec<String>, FieldError> {
    let mut names = Vec::new();
    for (index, StrictObject(entry)) in list.unwrap_or_default().into_iter().enumerate() {
        if let Some(name) = entry.name.filter(|name| !name.is_empty()) {
            names.push(printable_name(name, &format!("{field}[{index}].name"))?);
        }
    }
    Ok(names)
}

/// Checks that a name is present, short enough and printable.
fn printable_name(name: String, field: &str) -> Result<String, FieldError> {
    let why = if name.is_empty() {
        "it is missing"
    } else if name.len() > limits::CONTRACT_NAME {
        "it is longer than 253 bytes"
    } else if printable_to(&name, limits::CONTRACT_NAME) != name {
        "it has characters that cannot be printed"
    } else {
        return Ok(name);
    };
    Err(FieldError::new(field, why))
}

fn constraint(text: Option<String>, field: &str) -> Result<String, FieldError> {
    let text = text.unwrap_or_default();
    match Constraint::parse(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(FieldError::new(&format!("{field}.constraint"), &error.to_string())),
    }
}

/// Checks the requirements of a contract.
pub(super) fn requirements(StrictObject(raw): StrictObject<RawRequirements>) -> Result<Requirements, FieldError> {
    Ok(Requirements {
        kubernetes: version(raw.kubernetes, "requirements.kubernetes")?,
        deckhouse: version(raw.deckhouse, "requirements.deckhouse")?,
        modules: raw.modules.map_or_else(|| Ok(ModuleRequirements::default()), modules)?,
        plugins: raw.plugins.map_or_else(|| Ok(PluginRequirements::default()), plugins)?,
    })
}

/// Checks a requirement on one version. An empty constraint is no requirement.
fn version(raw: Option<StrictObject<RawVersioned>>, field: &str) -> Result<Option<VersionRequirement>, FieldError> {
    let Some(StrictObject(raw)) = raw else { return Ok(None) };
    let constraint = constraint(raw.constraint, field)?;
    Ok((!constraint.is_empty()).then_some(VersionRequirement { constraint }))
}

fn required(list: Option<Vec<StrictObject<RawRequired>>>, field: &str) -> Result<Vec<NamedRequirement>, FieldError> {
    list.unwrap_or_default()
        .into_iter()
        .enumerate()
        .map(|(index, StrictObject(entry))| {
            let field = format!("{field}[{index}]");
            let name = printable_name(entry.name.unwrap_or_default(), &format!("{field}.name"))?;
            Ok(NamedRequirement { name, constraint: constraint(entry.constraint, &field)? })
        })
        .collect()
}

fn plugins(StrictObject(raw): StrictObject<RawPlugins>) -> Result<PluginRequirements, FieldError> {
    let list = |list, field: &str| {
        let list = required(list, field)?;
        for (index, entry) in list.iter().enumerate() {
            // The name of a plugin becomes a path and a URL.
            if let Err(error) = entry.name.parse::<PluginName>() {
                return Err(FieldError::new(&format!("{field}[{index}].name"), &error.to_string()));
            }
        }
        Ok(list)
    };
    Ok(PluginRequirements {
        mandatory: list(raw.mandatory, "requirements.plugins.mandatory")?,
        conditional: list(raw.conditional, "requirements.plugins.conditional")?,
    })
}

fn modules(StrictObject(raw): StrictObject<RawModules>) -> Result<ModuleRequirements, FieldError> {
    let modules = ModuleRequirements {
        mandatory: required(raw.mandatory, "requirements.modules.mandatory")?,
        conditional: required(raw.conditional, "requirements.modules.conditional")?,
        any_of: groups(raw.any_of, "requirements.modules.anyOf")?,
        none_of: groups(raw.none_of, "requirements.modules.noneOf")?,
    };
    contradictions(&modules)?;
    Ok(modules)
}

fn groups(list: Option<Vec<StrictObject<RawGroup>>>, field: &str) -> Result<Vec<ModuleGroup>, FieldError> {
    let mut groups: Vec<ModuleGroup> = Vec::new();
    let mut taken = BTreeSet::new();
    for (index, StrictObject(raw)) in list.unwrap_or_default().into_iter().enumerate() {
        let field = format!("{field}[{index}]");
        let name = raw
            .name
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| format!("group {position}", position = index + 1));
        let name = printable_name(name, &format!("{field}.name"))?;
        if !taken.insert(name.clone()) {
            return Err(FieldError::new(
                &format!("{field}.name"),
                &format!("another group also has the name `{name}`"),
            ));
        }
        let members = format!("{field}.modules");
        let modules = required(raw.modules, &members)?;
        if modules.is_empty() {
            return Err(FieldError::new(&members, "a group needs at least one module"));
        }
        let mut seen = BTreeSet::new();
        if let Some(index) = modules.iter().position(|module| !seen.insert(&module.name)) {
            let why = format!("module `{}` is listed twice in this group", modules[index].name);
            return Err(FieldError::new(&format!("{members}[{index}].name"), &why));
        }
        groups.push(ModuleGroup { name, description: raw.description.unwrap_or_default(), modules });
    }
    Ok(groups)
}

/// Refuses a module in lists of different kinds, because they contradict each other.
fn contradictions(modules: &ModuleRequirements) -> Result<(), FieldError> {
    fn members(groups: &[ModuleGroup]) -> impl Iterator<Item = &str> {
        groups.iter().flat_map(|group| &group.modules).map(|module| module.name.as_str())
    }
    fn listed(list: &[NamedRequirement]) -> impl Iterator<Item = &str> {
        list.iter().map(|module| module.name.as_str())
    }
    let mut lists = BTreeMap::new();
    let all = listed(&modules.mandatory)
        .map(|name| (name, "mandatory"))
        .chain(listed(&modules.conditional).map(|name| (name, "conditional")))
        .chain(members(&modules.any_of).map(|name| (name, "anyOf")))
        .chain(members(&modules.none_of).map(|name| (name, "noneOf")));
    for (name, list) in all {
        let first = *lists.entry(name).or_insert(list);
        if first != list {
            let why = format!("module `{name}` is listed in both {first} and {list}");
            return Err(FieldError::new("requirements.modules", &why));
        }
    }
    Ok(())
}
