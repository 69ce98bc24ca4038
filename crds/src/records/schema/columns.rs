//! Columns of `kubectl get`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceColumnDefinition;

/// Returns a column with the value at a JSON path.
pub(super) fn column(name: &str, type_: &str, json_path: &str, description: &str) -> CustomResourceColumnDefinition {
    CustomResourceColumnDefinition {
        name: name.to_owned(),
        type_: type_.to_owned(),
        json_path: json_path.to_owned(),
        description: Some(description.to_owned()),
        ..Default::default()
    }
}

/// Returns a column with a field of a condition.
pub(super) fn condition_column(
    name: &str,
    condition: &str,
    field: &str,
    description: &str,
) -> CustomResourceColumnDefinition {
    column(name, "string", &format!(".status.conditions[?(@.type==\"{condition}\")].{field}"), description)
}

/// Returns the column with the age of the object.
pub(super) fn age() -> CustomResourceColumnDefinition {
    column("Age", "date", ".metadata.creationTimestamp", "Time since the object was created")
}
