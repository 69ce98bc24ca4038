//! The chart carries the definitions that the types make.

#[allow(dead_code, reason = "a program of its own, of which one function is asked")]
#[path = "../examples/crds.rs"]
mod example;

use std::{fs, path::Path};

fn committed() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/d8-operator/templates/crds.yaml");
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[test]
fn the_committed_file_is_what_the_types_make() {
    let (made, committed) = (example::render().unwrap(), committed());
    if made != committed {
        let differs = made.lines().zip(committed.lines()).position(|(a, b)| a != b);
        let line = differs.unwrap_or_else(|| made.lines().count().min(committed.lines().count())) + 1;
        panic!(
            "charts/d8-operator/templates/crds.yaml differs from the types from line {line} on; regenerate it with\n\
             cargo run -q -p d8-crds --example crds > charts/d8-operator/templates/crds.yaml"
        );
    }
}

#[test]
fn the_same_bytes_each_time_and_nothing_that_helm_would_read() {
    let made = example::render().unwrap();
    assert_eq!(made, example::render().unwrap());
    assert!(!made.contains("{{"), "helm reads {{{{ in a template");
}

#[test]
fn the_file_reads_back_as_the_definitions() {
    let made = example::render().unwrap();
    let read: Vec<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition> =
        made.split("---\n").skip(1).map(|text| serde_saphyr::from_str(text).unwrap()).collect();
    assert_eq!(read, d8_crds::records::schema::crds());
}
