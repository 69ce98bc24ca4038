//! What one version requires of other plugins, in checked form.

use crate::{
    records::requirements::{NamedRequirement, PluginRequirements},
    values::{
        constraint::Constraint,
        field_error::FieldError,
        name::{Component, NameError, PluginName},
    },
};

/// The longest chain of dependencies, in steps from the requested component.
pub const MAX_DEPTH: usize = 16;

/// The most components that one request may change, itself included.
pub const MAX_CHANGES: usize = 256;

/// What one version requires of one other plugin.
#[derive(Debug, Clone)]
pub struct Dependency {
    /// The plugin that is required. It is never d8.
    pub component: Component,
    /// The versions of the other plugin that are accepted.
    pub constraint: Constraint,
    /// Whether the other plugin must be installed. If not, the constraint applies only while it is.
    pub mandatory: bool,
}

/// What one version requires of other plugins.
#[derive(Debug, Clone, Default)]
pub struct Dependencies {
    /// Sorted by component; several entries may name the same one.
    list: Vec<Dependency>,
}

/// Of a component that requires nothing of others.
pub(super) static NO_DEPENDENCIES: Dependencies = Dependencies { list: Vec::new() };

impl Dependencies {
    /// Reads the plugin requirements of a contract or a record.
    ///
    /// # Errors
    /// The field whose plugin name or constraint is not valid. Contracts are validated when they are read,
    /// but anyone may have written a record.
    pub fn read(plugins: &PluginRequirements) -> Result<Self, FieldError> {
        let mut list = Vec::with_capacity(plugins.mandatory.len() + plugins.conditional.len());
        for (bucket, required, mandatory) in
            [("mandatory", &plugins.mandatory, true), ("conditional", &plugins.conditional, false)]
        {
            for (index, required) in required.iter().enumerate() {
                list.push(dependency(required, mandatory).map_err(|(field, why)| {
                    FieldError::new(&format!("requirements.plugins.{bucket}[{index}].{field}"), &why)
                })?);
            }
        }
        list.sort_by(|a, b| {
            let key = |dependency: &Dependency| (!dependency.mandatory, dependency.constraint.as_str().to_owned());
            a.component.cmp(&b.component).then_with(|| key(a).cmp(&key(b)))
        });
        Ok(Self { list })
    }

    /// Returns all of them, sorted by component.
    pub fn all(&self) -> &[Dependency] {
        &self.list
    }

    /// Returns those on one component.
    pub fn on(&self, component: &Component) -> &[Dependency] {
        let start = self.list.partition_point(|dependency| dependency.component < *component);
        let len = self.list[start..].partition_point(|dependency| dependency.component == *component);
        &self.list[start..start + len]
    }

    /// Returns each component that is required, with all dependencies on it.
    pub(super) fn by_component(&self) -> impl Iterator<Item = (&Component, &[Dependency])> {
        self.list
            .chunk_by(|a, b| a.component == b.component)
            .filter_map(|chunk| Some((&chunk.first()?.component, chunk)))
    }
}

/// Whether any of the dependencies on one component requires it to be installed.
pub(super) fn any_mandatory(dependencies: &[Dependency]) -> bool {
    dependencies.iter().any(|dependency| dependency.mandatory)
}

fn dependency(required: &NamedRequirement, mandatory: bool) -> Result<Dependency, (&'static str, String)> {
    let name: PluginName = required.name.parse().map_err(|error: NameError| ("name", error.to_string()))?;
    let constraint = Constraint::parse(&required.constraint).map_err(|error| ("constraint", error.to_string()))?;
    Ok(Dependency { component: Component::Plugin(name), constraint, mandatory })
}
