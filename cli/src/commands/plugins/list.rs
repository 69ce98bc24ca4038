//! `d8 plugins list`: what is installed, without running any of it.

use d8_agent::ActiveVersion;
use serde::Serialize;

use crate::{
    args,
    context::Context,
    installed::{self, Found},
    terminal::{failure::Failure, output, table::Table},
};

/// One line; the document's shape (`docs/plugins.md`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    /// Absent where no receipt tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// `digest`, `transport`, `adopted` or `unknown`.
    verified: &'static str,
    description: String,
    root: String,
    /// What is wrong with the install.
    #[serde(skip_serializing_if = "Option::is_none")]
    broken: Option<String>,
}

pub(crate) fn run(context: &Context, args: &args::PluginsListArgs) -> Result<(), Failure> {
    let rows: Vec<Row> = installed::all(context)?.values().map(row).collect();
    let names = rows.iter().map(|row| &row.name);
    output::print_document(args.output.format, &rows, names, |rows| print_text(context, rows))
}

fn print_text(context: &Context, rows: &[Row]) {
    if rows.is_empty() {
        context.printer.note("No plugins are installed. Install one: d8 plugins install NAME");
        return;
    }
    let mut table = Table::new(&["NAME", "VERSION", "VERIFIED", "DESCRIPTION"]);
    for row in rows {
        let version = row.version.as_deref().unwrap_or(if row.broken.is_some() { "broken" } else { "unknown" });
        let text = row.broken.as_deref().unwrap_or(&row.description);
        table.row([&row.name, version, row.verified, text]);
    }
    output::print_table(&table);
}

fn row(found: &Found) -> Row {
    let Found { store, entry } = found;
    let contract = store.contract(&entry.name);
    let mut broken = contract.as_ref().err().map(ToString::to_string);
    let (version, verified) = match &entry.active {
        ActiveVersion::Known(installed) => (Some(installed.tag.to_string()), installed.receipt.verified.as_str()),
        ActiveVersion::Unknown { .. } => (None, "unknown"),
        ActiveVersion::Broken { why } => {
            broken = Some(why.clone());
            (None, "unknown")
        }
    };
    let description = contract.ok().flatten().map(|contract| contract.description).unwrap_or_default();
    Row {
        name: entry.name.to_string(),
        version,
        verified,
        description,
        root: store.root().display().to_string(),
        broken,
    }
}
