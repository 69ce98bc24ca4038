//! The custom resource definitions as the API server gets them.
//!
//! The shape of a definition comes from the Rust types. The modules below add bounds, CEL rules and columns,
//! one table for each kind, because many of the types are those of Kubernetes or shared with contracts.
//! `CliRelease::crd()` and the like return only the shape: never install those.
//!
//! Every list and every string has a bound, which also keeps the CEL rules within the cost budget of the
//! API server.

mod columns;
mod common;
mod editor;
mod host;
mod policy;
mod release;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition,
};
use kube::CustomResourceExt as _;

use self::editor::SchemaEditor;

/// Revision of the schemas. Increase it with every change of a bound, a rule or a field, so that older
/// schemas can be distinguished from newer ones. A change of descriptions and messages does not count.
pub const REVISION: u32 = 3;

/// The annotation of a definition that carries [`REVISION`].
pub const REVISION_ANNOTATION: &str = "cli.deckhouse.io/schema-revision";

/// Returns the three definitions.
///
/// # Panics
/// Panics if a table names a field that the types do not have. A test builds all definitions.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        complete(crate::records::release::CliRelease::crd(), release::rules, &release::columns()),
        complete(crate::records::policy::PluginPolicy::crd(), policy::rules, &policy::columns()),
        complete(crate::records::host::CliHost::crd(), host::rules, &host::columns()),
    ]
}

fn complete(
    mut crd: CustomResourceDefinition,
    rules: fn(&mut SchemaEditor),
    columns: &[CustomResourceColumnDefinition],
) -> CustomResourceDefinition {
    // Without `keep`, an uninstall of the chart would delete all records.
    crd.metadata.annotations = Some(
        [("helm.sh/resource-policy", "keep".to_owned()), (REVISION_ANNOTATION, REVISION.to_string())]
            .map(|(key, value)| (key.to_owned(), value))
            .into(),
    );
    for version in &mut crd.spec.versions {
        version.additional_printer_columns = Some(columns.to_vec());
        let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) else {
            continue;
        };
        let mut editor = SchemaEditor::new(schema);
        rules(&mut editor);
        *schema = editor.finish();
    }
    crd
}

#[cfg(test)]
mod tests;
