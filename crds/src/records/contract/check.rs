//! The rules a contract keeps. Each error names the field.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Contract, EnvVar, FieldError, Flag,
    wire::{self, Object},
};
use crate::{
    records::requirements::{
        ModuleGroup, ModuleRequirements, NamedRequirement, PluginRequirements, Requirements, VersionRequirement,
    },
    values::{constraint::Constraint, name::PluginName, text::printable_to},
};

/// Longest name of a module, group, variable or flag, in bytes: that of a Kubernetes object.
const MAX_NAME: usize = 253;

impl TryFrom<Object<wire::Contract>> for Contract {
    type Error = FieldError;

    fn try_from(Object(wire): Object<wire::Contract>) -> Result<Self, FieldError> {
        Ok(Self {
            name: wire.name.unwrap_or_default(),
            version: wire.version.unwrap_or_default(),
            description: wire.description.unwrap_or_default(),
            env: names(wire.env, "env")?.into_iter().map(|name| EnvVar { name }).collect(),
            flags: names(wire.flags, "flags")?.into_iter().map(|name| Flag { name }).collect(),
            requirements: wire.requirements.map_or_else(|| Ok(Requirements::default()), requirements)?,
        })
    }
}

/// Names of variables and flags; one without a name says nothing and is left out.
fn names(list: Option<Vec<Object<wire::Named>>>, field: &str) -> Result<Vec<String>, FieldError> {
    let mut names = Vec::new();
    for (index, Object(entry)) in list.unwrap_or_default().into_iter().enumerate() {
        if let Some(name) = entry.name.filter(|name| !name.is_empty()) {
            names.push(plain(name, &format!("{field}[{index}].name"))?);
        }
    }
    Ok(names)
}

/// A name that can be shown as it is.
fn plain(name: String, field: &str) -> Result<String, FieldError> {
    let why = if name.is_empty() {
        "it is missing"
    } else if name.len() > MAX_NAME {
        "it is longer than 253 bytes"
    } else if printable_to(&name, MAX_NAME) != name {
        "it has characters that can't be shown"
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

fn requirements(Object(wire): Object<wire::Requirements>) -> Result<Requirements, FieldError> {
    Ok(Requirements {
        kubernetes: version(wire.kubernetes, "requirements.kubernetes")?,
        deckhouse: version(wire.deckhouse, "requirements.deckhouse")?,
        modules: wire.modules.map_or_else(|| Ok(ModuleRequirements::default()), modules)?,
        plugins: wire.plugins.map_or_else(|| Ok(PluginRequirements::default()), plugins)?,
    })
}

/// An empty constraint demands nothing.
fn version(wire: Option<Object<wire::Versioned>>, field: &str) -> Result<Option<VersionRequirement>, FieldError> {
    let Some(Object(wire)) = wire else { return Ok(None) };
    let constraint = constraint(wire.constraint, field)?;
    Ok((!constraint.is_empty()).then_some(VersionRequirement { constraint }))
}

fn required(list: Option<Vec<Object<wire::Required>>>, field: &str) -> Result<Vec<NamedRequirement>, FieldError> {
    list.unwrap_or_default()
        .into_iter()
        .enumerate()
        .map(|(index, Object(entry))| {
            let field = format!("{field}[{index}]");
            let name = plain(entry.name.unwrap_or_default(), &format!("{field}.name"))?;
            Ok(NamedRequirement { name, constraint: constraint(entry.constraint, &field)? })
        })
        .collect()
}

fn plugins(Object(wire): Object<wire::Plugins>) -> Result<PluginRequirements, FieldError> {
    let list = |list, field: &str| {
        let list = required(list, field)?;
        for (index, entry) in list.iter().enumerate() {
            // Names of plugins become paths and URLs.
            if let Err(error) = entry.name.parse::<PluginName>() {
                return Err(FieldError::new(&format!("{field}[{index}].name"), &error.to_string()));
            }
        }
        Ok(list)
    };
    Ok(PluginRequirements {
        mandatory: list(wire.mandatory, "requirements.plugins.mandatory")?,
        conditional: list(wire.conditional, "requirements.plugins.conditional")?,
    })
}

fn modules(Object(wire): Object<wire::Modules>) -> Result<ModuleRequirements, FieldError> {
    let modules = ModuleRequirements {
        mandatory: required(wire.mandatory, "requirements.modules.mandatory")?,
        conditional: required(wire.conditional, "requirements.modules.conditional")?,
        any_of: groups(wire.any_of, "requirements.modules.anyOf")?,
        none_of: groups(wire.none_of, "requirements.modules.noneOf")?,
    };
    contradictions(&modules)?;
    Ok(modules)
}

fn groups(list: Option<Vec<Object<wire::Group>>>, field: &str) -> Result<Vec<ModuleGroup>, FieldError> {
    let mut groups: Vec<ModuleGroup> = Vec::new();
    let mut taken = BTreeSet::new();
    for (index, Object(wire)) in list.unwrap_or_default().into_iter().enumerate() {
        let field = format!("{field}[{index}]");
        let name = wire
            .name
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| format!("group {position}", position = index + 1));
        let name = plain(name, &format!("{field}.name"))?;
        if !taken.insert(name.clone()) {
            return Err(FieldError::new(&format!("{field}.name"), &format!("another group is named `{name}`")));
        }
        let members = format!("{field}.modules");
        let modules = required(wire.modules, &members)?;
        if modules.is_empty() {
            return Err(FieldError::new(&members, "a group has at least one module"));
        }
        let mut seen = BTreeSet::new();
        if let Some(index) = modules.iter().position(|module| !seen.insert(&module.name)) {
            let why = format!("module `{}` is in this group twice", modules[index].name);
            return Err(FieldError::new(&format!("{members}[{index}].name"), &why));
        }
        groups.push(ModuleGroup { name, description: wire.description.unwrap_or_default(), modules });
    }
    Ok(groups)
}

/// A module stands in one kind of list only: each kind demands something else of it.
fn contradictions(modules: &ModuleRequirements) -> Result<(), FieldError> {
    fn members(groups: &[ModuleGroup]) -> impl Iterator<Item = &str> {
        groups.iter().flat_map(|group| &group.modules).map(|module| module.name.as_str())
    }
    fn listed(list: &[NamedRequirement]) -> impl Iterator<Item = &str> {
        list.iter().map(|module| module.name.as_str())
    }
    let mut places = BTreeMap::new();
    let all = listed(&modules.mandatory)
        .map(|name| (name, "mandatory"))
        .chain(listed(&modules.conditional).map(|name| (name, "conditional")))
        .chain(members(&modules.any_of).map(|name| (name, "anyOf")))
        .chain(members(&modules.none_of).map(|name| (name, "noneOf")));
    for (name, place) in all {
        let first = *places.entry(name).or_insert(place);
        if first != place {
            let why = format!("module `{name}` stands in {first} and in {place}");
            return Err(FieldError::new("requirements.modules", &why));
        }
    }
    Ok(())
}
