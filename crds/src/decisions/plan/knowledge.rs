//! What a plan is made from, and what it may ask for.

use std::collections::BTreeMap;

use crate::{
    decisions::{
        requirements::Findings,
        selection::{PublishedVersion, TagList},
    },
    records::requirements::{NamedRequirement, PluginRequirements},
    values::{constraint::Constraint, field_error::FieldError, name::PluginName, version::Version},
};

/// What one version dependencies of one other plugin.
#[derive(Debug, Clone)]
pub struct Dependency {
    /// The other plugin.
    pub name: PluginName,
    /// The versions of it that do.
    pub constraint: Constraint,
    /// It must be there; else the constraint binds only while it is.
    pub mandatory: bool,
}

/// What one version dependencies of other plugins, read once.
#[derive(Debug, Clone, Default)]
pub struct Dependencies {
    /// By name; a name may come several times.
    list: Vec<Dependency>,
}

pub(super) static NO_DEMANDS: Dependencies = Dependencies { list: Vec::new() };

impl Dependencies {
    /// Reads what a contract or a record says.
    ///
    /// # Errors
    /// A name that is none or a constraint that is none, by its field. Contracts are checked when they
    /// are read; a record may have been written by anyone.
    pub fn read(plugins: &PluginRequirements) -> Result<Self, FieldError> {
        let mut list = Vec::with_capacity(plugins.mandatory.len() + plugins.conditional.len());
        for (bucket, wanted, mandatory) in
            [("mandatory", &plugins.mandatory, true), ("conditional", &plugins.conditional, false)]
        {
            for (index, wanted) in wanted.iter().enumerate() {
                list.push(dependency(wanted, mandatory).map_err(|(field, why)| {
                    FieldError::new(&format!("requirements.plugins.{bucket}[{index}].{field}"), &why)
                })?);
            }
        }
        list.sort_by(|a, b| {
            let key = |dependency: &Dependency| (!dependency.mandatory, dependency.constraint.as_str().to_owned());
            a.name.cmp(&b.name).then_with(|| key(a).cmp(&key(b)))
        });
        Ok(Self { list })
    }

    /// All, by name.
    pub fn all(&self) -> &[Dependency] {
        &self.list
    }

    /// Those on one plugin.
    pub fn on(&self, name: &PluginName) -> &[Dependency] {
        let start = self.list.partition_point(|dependency| dependency.name < *name);
        let len = self.list[start..].partition_point(|dependency| dependency.name == *name);
        &self.list[start..start + len]
    }

    /// Each plugin it speaks of, with what it says.
    pub(super) fn by_plugin(&self) -> impl Iterator<Item = (&PluginName, &[Dependency])> {
        self.list.chunk_by(|a, b| a.name == b.name).filter_map(|chunk| Some((&chunk.first()?.name, chunk)))
    }
}

fn dependency(wanted: &NamedRequirement, mandatory: bool) -> Result<Dependency, (&'static str, String)> {
    let name = wanted.name.parse().map_err(|error: crate::values::name::NameError| ("name", error.to_string()))?;
    let constraint = Constraint::parse(&wanted.constraint).map_err(|error| ("constraint", error.to_string()))?;
    Ok(Dependency { name, constraint, mandatory })
}

/// What an installed version says of itself.
#[derive(Debug, Clone)]
pub enum Contract {
    /// What it dependencies of others; nothing, if it came without a contract.
    Known(Dependencies),
    /// It has one that neither the store nor a record can tell: what is wrong with it, fit for a terminal.
    Unreadable(String),
}

/// An installed plugin.
#[derive(Debug, Clone)]
pub struct Installed {
    /// The active version; None: not known.
    pub version: Option<Version>,
    /// What that dependencies of others.
    pub contract: Contract,
}

/// What must be known of a version before it can be taken.
#[derive(Debug, Clone, Default)]
pub struct VersionFacts {
    /// What the cluster says to its requirements, those on plugins excepted.
    pub findings: Findings,
    /// What it dependencies of other plugins.
    pub dependencies: Dependencies,
}

/// Facts that are known so far; an error is the message of what went wrong, fit for a terminal, and is
/// final. It stops whatever search comes to it.
#[derive(Debug, Clone, Default)]
pub struct Knowledge {
    /// What is published, by plugin. Of an unknown plugin nothing is.
    pub tags: BTreeMap<PluginName, Result<TagList, String>>,
    /// What versions offer, by plugin.
    pub offers: BTreeMap<PluginName, BTreeMap<Version, Result<VersionFacts, String>>>,
}

impl Knowledge {
    /// Adds what is published of a plugin.
    pub fn learn_tags(&mut self, name: PluginName, tags: Result<TagList, String>) {
        self.tags.insert(name, tags);
    }

    /// Adds what a version offers.
    pub fn learn_offer(&mut self, name: PluginName, version: Version, offer: Result<VersionFacts, String>) {
        self.offers.entry(name).or_default().insert(version, offer);
    }

    /// Whether this is known.
    pub fn knows(&self, need: &Need) -> bool {
        match need {
            Need::Tags(name) => self.tags.contains_key(name),
            Need::Contract { name, published } => self.offer(name, &published.version).is_some(),
        }
    }

    pub(super) fn offer(&self, name: &PluginName, version: &Version) -> Option<&Result<VersionFacts, String>> {
        self.offers.get(name)?.get(version)
    }
}

/// A fact that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// What is published of a plugin.
    Tags(PluginName),
    /// What a version offers.
    Contract {
        /// The plugin.
        name: PluginName,
        /// Its version.
        published: PublishedVersion,
    },
}

impl Need {
    pub(super) fn key(&self) -> (&PluginName, Option<&Version>) {
        match self {
            Self::Tags(name) => (name, None),
            Self::Contract { name, published } => (name, Some(&published.version)),
        }
    }
}
