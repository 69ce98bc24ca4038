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
    /// Absent if it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// `digest`, `transport`, `adopted`, `damaged` or `unknown`.
    verified: &'static str,
    description: String,
    root: String,
    /// What is wrong with the installation.
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
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
        let version = plugin.version.as_deref().unwrap_or("unknown");
        let text = plugin.damage.as_deref().unwrap_or(&plugin.description);
        table.row([&plugin.name, version, plugin.verified, text]);
    }
    output::print_table(&table);
    let damaged: Vec<&str> = plugins.iter().filter(|p| p.damage.is_some()).map(|p| p.name.as_str()).collect();
    if !damaged.is_empty() {
        context.printer.note(format!("Repair what is damaged: `d8 plugins install {}`", damaged.join(" ")));
    }
}

fn describe(plugin: &InstalledPlugin) -> ListedPlugin {
    let InstalledPlugin { store, entry } = plugin;
    let contract = store.contract(&entry.name);
    let damage = plugin.damage_with(&contract);
    let (tag, verified) = match &entry.active {
        ActiveVersion::Known(installed) => (Some(installed.tag.to_string()), installed.receipt.verified.as_str()),
        ActiveVersion::Unknown { .. } | ActiveVersion::Broken { .. } => (None, "unknown"),
    };
    // The contract of an executable that another tool installed may be that of another version.
    let version = tag.or_else(|| Some(plugin.version().filter(|_| damage.is_some())?.to_string()));
    let description = contract.ok().flatten().map(|contract| contract.description);
    ListedPlugin {
        name: entry.name.to_string(),
        version,
        verified: if damage.is_some() { "damaged" } else { verified },
        description: description.unwrap_or_default(),
        root: store.root().display().to_string(),
        damage,
    }
}
