//! `d8 plugins list`: lists installed plugins without running them.

use d8_agent::ActiveVersion;
use serde::Serialize;

use crate::{
    args,
    context::Context,
    installed::{self, InstalledPlugin},
    terminal::{failure::Failure, output, table::Table},
};

/// An entry of the JSON document (`docs/plugins.md`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedPlugin {
    name: String,
    /// Absent if there is no receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// `digest`, `transport`, `adopted` or `unknown`.
    verified: &'static str,
    description: String,
    root: String,
    /// What is wrong with the installation.
    #[serde(skip_serializing_if = "Option::is_none")]
    broken: Option<String>,
}

pub(crate) fn run(context: &Context, args: &args::PluginsListArgs) -> Result<(), Failure> {
    let plugins: Vec<ListedPlugin> = installed::all(context)?.values().map(describe).collect();
    let names = plugins.iter().map(|plugin| &plugin.name);
    output::print_document(args.output.format, &plugins, names, |plugins| print_text(context, plugins))
}

fn print_text(context: &Context, plugins: &[ListedPlugin]) {
    if plugins.is_empty() {
        context.printer.note("No plugins are installed. Install one: `d8 plugins install NAME`");
        return;
    }
    let mut table = Table::new(&["NAME", "VERSION", "VERIFIED", "DESCRIPTION"]);
    for plugin in plugins {
        let version = plugin.version.as_deref().unwrap_or(if plugin.broken.is_some() { "broken" } else { "unknown" });
        let text = plugin.broken.as_deref().unwrap_or(&plugin.description);
        table.row([&plugin.name, version, plugin.verified, text]);
    }
    output::print_table(&table);
}

fn describe(plugin: &InstalledPlugin) -> ListedPlugin {
    let InstalledPlugin { store, entry } = plugin;
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
    ListedPlugin {
        name: entry.name.to_string(),
        version,
        verified,
        description,
        root: store.root().display().to_string(),
        broken,
    }
}
