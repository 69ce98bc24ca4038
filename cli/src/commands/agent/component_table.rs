//! The table of the components of a host, as its `CliHost` reports them.

use d8_crds::records::host::HostComponent;

use crate::terminal::{output, table::Table};

/// Prints the components.
pub(super) fn print(components: &[HostComponent]) {
    let mut table = Table::new(&["NAME", "ACTIVE", "TARGET", "STATE", "REASON", "MESSAGE"]);
    for component in components {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        table.row([
            component.name.as_str(),
            &text(&component.active),
            &text(&component.target),
            &format!("{:?}", component.state),
            &text(&component.reason),
            &text(&component.message),
        ]);
    }
    output::print_table(&table);
}

/// Prints which policies apply.
pub(super) fn print_policies<'a>(names: impl Iterator<Item = &'a str>) {
    let names: Vec<&str> = names.collect();
    let names = if names.is_empty() { "none; nothing changes".to_owned() } else { names.join(", ") };
    output::print(format!("policies: {names}"));
}
