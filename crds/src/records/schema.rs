//! The custom resource definitions as the API server gets them: the shapes of the record types, and on
//! top of them every bound, rule and column.
//!
//! The shapes come from the types; what a field may hold is written here, in one table a kind, because
//! much of it lies in types that are Kubernetes' own or shared with contracts. `CliRelease::crd()` and
//! its like are the bare shapes: never install those.
//!
//! Rules are CEL, run by the API server; every list and every text has a bound, which also keeps the
//! rules within its cost budget.

mod common;
mod host;
mod policy;
mod release;
mod shape;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, JSONSchemaProps,
};
use kube::CustomResourceExt as _;
use serde_json::Value;

use self::shape::Shape;

/// Revision of the schemas, one higher with every change of them. A chart that carries a lower one
/// refuses to replace them.
pub const REVISION: u32 = 1;

/// The annotation that carries [`REVISION`].
pub const REVISION_ANNOTATION: &str = "cli.deckhouse.io/schema-revision";

/// The three definitions, complete.
///
/// # Panics
/// Never with the types of this crate: a table that names a field its type has not would, and a test
/// builds them all.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        complete(crate::records::release::CliRelease::crd(), release::rules, &release::columns()),
        complete(crate::records::policy::PluginPolicy::crd(), policy::rules, &policy::columns()),
        complete(crate::records::host::CliHost::crd(), host::rules, &host::columns()),
    ]
}

fn complete(
    mut crd: CustomResourceDefinition,
    rules: fn(&mut Shape),
    columns: &[CustomResourceColumnDefinition],
) -> CustomResourceDefinition {
    // An uninstall of the chart must not take every record with it.
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
        let mut shape = Shape::of(schema);
        rules(&mut shape);
        *schema = shape.finish();
    }
    crd
}

/// A column of `kubectl get`.
fn column(name: &str, type_: &str, json_path: &str, description: &str) -> CustomResourceColumnDefinition {
    CustomResourceColumnDefinition {
        name: name.to_owned(),
        type_: type_.to_owned(),
        json_path: json_path.to_owned(),
        description: Some(description.to_owned()),
        ..Default::default()
    }
}

fn condition_column(name: &str, condition: &str, field: &str, description: &str) -> CustomResourceColumnDefinition {
    column(name, "string", &format!(".status.conditions[?(@.type==\"{condition}\")].{field}"), description)
}

fn age() -> CustomResourceColumnDefinition {
    column("Age", "date", ".metadata.creationTimestamp", "Time since it was made")
}

/// The schema as JSON, for editing.
fn to_value(schema: &JSONSchemaProps) -> Value {
    serde_json::to_value(schema).unwrap_or_else(|error| panic!("a schema is JSON: {error}"))
}

#[cfg(test)]
mod tests;
