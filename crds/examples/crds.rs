//! Prints the custom resource definitions of the chart.
//!
//! `cargo run -q -p d8-crds --example crds > charts/d8-operator/templates/crds.yaml`

use std::error::Error;

use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    print!("{}", render()?);
    Ok(())
}

/// Renders the file of the chart. The bytes are the same on every machine: keys are sorted, and whole numbers
/// are written without a fraction.
pub(crate) fn render() -> Result<String, Box<dyn Error>> {
    let mut text =
        String::from("# Generated: cargo run -q -p d8-crds --example crds > charts/d8-operator/templates/crds.yaml\n");
    for crd in d8_crds::records::schema::crds() {
        let value = serde_json::to_value(&crd)?;
        text.push_str("---\n");
        text.push_str(serde_saphyr::to_string(&sorted(value))?.trim_end());
        text.push('\n');
    }
    Ok(text)
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.into_iter().collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            fields.into_iter().map(|(key, value)| (key, sorted(value))).collect()
        }
        Value::Array(values) => values.into_iter().map(sorted).collect(),
        Value::Number(number) => match number.as_f64() {
            // Bounds are floats in the types of the API. The bounds here are small whole numbers.
            #[expect(clippy::cast_possible_truncation, reason = "small whole numbers")]
            Some(float) if number.is_f64() && float.fract() == 0.0 => Value::from(float as i64),
            _ => Value::Number(number),
        },
        other => other,
    }
}
