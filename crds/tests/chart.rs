//! The chart has the definitions that the types generate, and the pages the schema of contracts.

#[allow(dead_code, reason = "the test calls only one function of the program")]
#[path = "../examples/crds.rs"]
mod example;

#[allow(dead_code, reason = "the test calls only one function of the program")]
#[path = "../examples/contract.rs"]
mod contract;

use std::{fs, path::Path};

fn committed() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/d8-operator/templates/crds.yaml");
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[test]
fn the_committed_file_is_up_to_date() {
    let (rendered, committed) = (example::render().unwrap(), committed());
    if rendered != committed {
        let differs = rendered.lines().zip(committed.lines()).position(|(a, b)| a != b);
        let line = differs.unwrap_or_else(|| rendered.lines().count().min(committed.lines().count())) + 1;
        panic!(
            "charts/d8-operator/templates/crds.yaml differs from the types from line {line} on; regenerate it with\n\
             make generate"
        );
    }
}

#[test]
fn the_committed_schema_of_contracts_is_up_to_date() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/contract.schema.json");
    let committed = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    assert_eq!(contract::render(), committed, "regenerate docs/contract.schema.json with\nmake generate");
}

#[test]
fn rendering_is_reproducible_and_has_no_template_syntax() {
    let rendered = example::render().unwrap();
    assert_eq!(rendered, example::render().unwrap());
    assert!(!rendered.contains("{{"), "helm interprets {{{{ in a template");
}

#[test]
fn the_rendered_file_is_parsed_into_the_definitions() {
    let rendered = example::render().unwrap();
    let parsed: Vec<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition> =
        rendered.split("---\n").skip(1).map(|text| serde_saphyr::from_str(text).unwrap()).collect();
    assert_eq!(parsed, d8_crds::records::schema::crds());
}
