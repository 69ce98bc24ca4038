//! Prints the custom resource definitions as the chart carries them.
//!
//! `cargo run -q -p d8-crds --example crds > charts/d8-operator/templates/crds.yaml`

use std::error::Error;

use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    print!("{}", render()?);
    Ok(())
}

/// The chart's file. The same bytes on every machine: keys are sorted, and whole numbers are written as
/// such.
pub(crate) fn render() -> Result<String, Box<dyn Error>> {
    let mut text =
        String::from("# Generated: cargo run -q -p d8-crds --example crds > charts/d8-operator/templates/crds.yaml\n");
    for crd in d8_crds::records::schema::crds() {
        let value = serde_json::to_value(&crd)?;
        text.push_str("---\n");
        text.push_str(serde_saphyr::to_string(&ordered(value))?.trim_end());
        text.push('\n');
    }
    Ok(text)
}

fn ordered(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.into_iter().collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            fields.into_iter().map(|(key, value)| (key, ordered(value))).collect()
        }
        Value::Array(values) => values.into_iter().map(ordered).collect(),
        Value::Number(number) => match number.as_f64() {
            // Bounds are floats in the API's types. All of ours are whole and small.
            #[expect(clippy::cast_possible_truncation, reason = "whole and small")]
            Some(float) if number.is_f64() && float.fract() == 0.0 => Value::from(float as i64),
            _ => Value::Number(number),
        },
        other => other,
    }
}
