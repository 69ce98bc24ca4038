//! A fleet as comma-separated values (RFC 4180): a line for each component on each host.

use std::borrow::Cow;

use d8_crds::decisions::fleet::{Fleet, FleetComponent, FleetHost};

/// The columns (`docs/fleet.md`).
const COLUMNS: [&str; 14] = [
    "host",
    "platform",
    "lastSeen",
    "contact",
    "component",
    "active",
    "state",
    "reason",
    "target",
    "nextVersion",
    "nextAt",
    "until",
    "since",
    "message",
];

/// Returns the table, with a line of column names.
pub(super) fn table(fleet: &Fleet) -> String {
    let mut text = COLUMNS.join(",") + "\r\n";
    for host in &fleet.hosts {
        if host.components.is_empty() {
            add(&mut text, host, None);
        }
        for component in &host.components {
            add(&mut text, host, Some(component));
        }
    }
    text
}

fn add(text: &mut String, host: &FleetHost, component: Option<&FleetComponent>) {
    let of = |field: &dyn Fn(&FleetComponent) -> Option<String>| component.and_then(field).unwrap_or_default();
    let fields: [String; COLUMNS.len()] = [
        host.name.clone(),
        host.platform.clone().unwrap_or_default(),
        host.last_seen.map(|seen| seen.to_string()).unwrap_or_default(),
        format!("{:?}", host.contact),
        of(&|component| Some(component.name.clone())),
        of(&|component| component.active.clone()),
        of(&|component| component.state.map(|state| format!("{state:?}"))),
        of(&|component| component.reason.clone()),
        of(&|component| component.target.as_ref().map(ToString::to_string)),
        of(&|component| component.next.as_ref().map(|next| next.version.to_string())),
        of(&|component| component.next.as_ref().map(|next| next.at.to_string())),
        of(&|component| component.until.map(|until| until.to_string())),
        of(&|component| component.since.map(|since| since.to_string())),
        of(&|component| component.message.clone()),
    ];
    let quoted: Vec<_> = fields.iter().map(|field| quoted(field)).collect();
    text.push_str(&quoted.join(","));
    text.push_str("\r\n");
}

/// Quotes a field where that is needed. A text that a spreadsheet would read as a formula gets an apostrophe: hosts
/// write these texts, and admins open them.
fn quoted(field: &str) -> Cow<'_, str> {
    let is_formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if !is_formula && !field.contains([',', '"', '\n', '\r']) {
        return Cow::Borrowed(field);
    }
    let apostrophe = if is_formula { "'" } else { "" };
    Cow::Owned(format!("\"{apostrophe}{}\"", field.replace('"', "\"\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted() {
        for (field, expected) in [
            ("v1.0.0", "v1.0.0"),
            ("", ""),
            ("a, b", "\"a, b\""),
            ("a \"b\"", "\"a \"\"b\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=HYPERLINK(1)", "\"'=HYPERLINK(1)\""),
            ("-1", "\"'-1\""),
        ] {
            assert_eq!(quoted(field), expected);
        }
    }
}
