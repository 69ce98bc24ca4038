//! Properties of the definitions that can be checked without an API server.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use serde_json::Value;

use super::*;

fn to_value(schema: &JSONSchemaProps) -> Value {
    serde_json::to_value(schema).unwrap()
}

fn schemas() -> Vec<(String, Value)> {
    let schema = |crd: CustomResourceDefinition| {
        let name = crd.spec.names.kind.clone();
        let schema = crd.spec.versions[0].schema.clone().and_then(|s| s.open_api_v3_schema).unwrap();
        (name, to_value(&schema))
    };
    crds().into_iter().map(schema).collect()
}

/// Calls `visit` with every schema of the tree and its path.
fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), property, visit);
    }
    if schema["items"].is_object() {
        walk(&format!("{path}[]"), &schema["items"], visit);
    }
    if schema["additionalProperties"].is_object() {
        walk(&format!("{path}{{}}"), &schema["additionalProperties"], visit);
    }
}

#[test]
fn every_list_and_every_string_is_bounded() {
    for (kind, schema) in schemas() {
        walk(&kind, &schema, &mut |path, schema| match schema["type"].as_str() {
            Some("string") => {
                assert!(schema["maxLength"].is_number() || schema["enum"].is_array(), "{path} has no bound");
            }
            Some("array") => {
                assert!(schema["maxItems"].is_number(), "{path} has no bound");
                assert!(schema["x-kubernetes-list-type"].is_string(), "{path} has no list type");
            }
            Some("object") if schema["additionalProperties"].is_object() => {
                assert!(schema["maxProperties"].is_number(), "{path} has no bound");
            }
            _ => {}
        });
    }
}

#[test]
fn only_supported_keywords_and_formats_are_used() {
    for (kind, schema) in schemas() {
        walk(&kind, &schema, &mut |path, schema| {
            assert!(schema.get("nullable").is_none(), "{path} is nullable");
            if let Some(format) = schema["format"].as_str() {
                assert!(["int32", "int64", "date-time"].contains(&format), "{path} has format {format}");
            }
            if let Some(default) = schema.get("default") {
                // A field that policies merge has no default, because an absent field must not count.
                assert_eq!((path, default.as_str()), ("CliRelease.spec.channel", Some("Stable")));
            }
        });
    }
}

#[test]
fn every_rule_has_a_message() {
    for (kind, schema) in schemas() {
        walk(&kind, &schema, &mut |path, schema| {
            for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
                assert!(rule["message"].is_string(), "{path}: {rule}");
            }
        });
    }
}

#[test]
fn definitions_have_names_and_annotations() {
    let names: Vec<_> = crds()
        .into_iter()
        .map(|crd| {
            let annotations = crd.metadata.annotations.unwrap();
            assert_eq!(annotations["helm.sh/resource-policy"], "keep");
            assert_eq!(annotations[REVISION_ANNOTATION], REVISION.to_string());
            assert_eq!(crd.spec.scope, "Cluster");
            assert_eq!(crd.spec.names.categories.unwrap(), ["d8cli"]);
            (crd.metadata.name.unwrap(), crd.spec.names.short_names.unwrap().join(","))
        })
        .collect();
    let expected = [
        ("clireleases.cli.deckhouse.io", "crel"),
        ("pluginpolicies.cli.deckhouse.io", "ppol"),
        ("clihosts.cli.deckhouse.io", "chost"),
    ];
    assert_eq!(names, expected.map(|(name, short)| (name.to_owned(), short.to_owned())));
}
