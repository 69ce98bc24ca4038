//! Prints the JSON Schema of a plugin's contract.
//!
//! `cargo run -q -p d8-crds --example contract > docs/contract.schema.json`

fn main() {
    print!("{}", render());
}

/// Renders the file. The bytes are the same on every machine, because keys are sorted.
pub(crate) fn render() -> String {
    let mut schema = d8_crds::records::contract::json_schema();
    schema.sort_all_objects();
    format!("{schema:#}\n")
}
