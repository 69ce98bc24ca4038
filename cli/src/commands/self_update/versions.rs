//! `d8 cli versions`: what is published and what is in the store.

use d8_crds::values::version::Version;
use serde::Serialize;

use crate::{
    args,
    commands::self_update::select::{D8Planning, nothing_published},
    context::Context,
    running_d8::{Current, Own},
    terminal::{failure::Failure, output},
};

/// The document's shape (`docs/self-update.md`).
#[derive(Serialize)]
struct Document {
    current: String,
    versions: Vec<Row>,
}

#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a label of the list")]
struct Row {
    version: String,
    current: bool,
    newer: bool,
    installed: bool,
    published: bool,
}

pub(crate) async fn run(context: &Context, args: &args::SelfVersionsArgs) -> Result<(), Failure> {
    let own = Own::find(context)?;
    let current = own.current()?;
    let stored = match own.store() {
        Ok(store) => store.versions()?,
        Err(failure) => {
            output::warn(failure.headline());
            Vec::new()
        }
    };
    let planning = D8Planning::fetch(context, &own, &current, None).await?;
    let published = &planning.list().published;
    if published.is_empty() && stored.is_empty() {
        return Err(nothing_published());
    }
    let row = |tag: String, version: &Version, published: bool| Row {
        current: current.is(version),
        newer: current.version().is_some_and(|current| current < version),
        installed: stored.iter().any(|stored| stored.version == *version),
        version: tag,
        published,
    };
    let mut versions: Vec<Row> = published.iter().map(|p| row(p.tag.to_string(), &p.version, true)).collect();
    let alone = stored.iter().filter(|stored| !published.iter().any(|p| p.version == stored.version));
    versions.extend(alone.map(|stored| row(stored.tag.to_string(), &stored.version, false)));
    let document = Document { current: current.to_string(), versions };
    let names = document.versions.iter().map(|row| &row.version);
    output::print_document(args.output.format, &document, names, |document| {
        lines(&current, &document.versions).iter().for_each(output::print);
    })
}

/// The list as people see it.
fn lines(current: &Current, rows: &[Row]) -> Vec<String> {
    let width = rows.iter().map(|row| row.version.len()).max().unwrap_or_default();
    let line = |row: &Row| {
        let labels = [(row.current, "current"), (row.newer, "newer"), (row.installed, "installed")];
        let labels: Vec<&str> = labels.into_iter().filter(|(holds, _)| *holds).map(|(_, label)| label).collect();
        let mark = if row.current { "*" } else { " " };
        format!("{mark} {:width$}  {}", row.version, labels.join("  ")).trim_end().to_owned()
    };
    if *current == Current::Development {
        // There is nothing to compare with.
        return rows.iter().map(|row| row.version.clone()).collect();
    }
    let mut lines: Vec<String> = rows.iter().filter(|row| row.published).map(line).collect();
    let alone: Vec<String> = rows.iter().filter(|row| !row.published).map(line).collect();
    if !alone.is_empty() {
        lines.push("Installed, and not published:".to_owned());
        lines.extend(alone);
    }
    if !rows.iter().any(|row| row.current && row.published) {
        lines.push(format!("The active version {current} is not published."));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(list: &[(&str, &str)]) -> Vec<Row> {
        let has = |labels: &str, label: &str| labels.contains(label);
        list.iter()
            .map(|(version, labels)| Row {
                version: (*version).to_owned(),
                current: has(labels, "current"),
                newer: has(labels, "newer"),
                installed: has(labels, "installed"),
                published: !has(labels, "alone"),
            })
            .collect()
    }

    #[test]
    fn the_list_as_people_see_it() {
        let release = |text: &str| Current::Release(text.parse().unwrap(), Version::parse(text).unwrap());
        let published = [("v0.14.0", "newer"), ("v0.13.1", "current installed"), ("v0.9.0", "")];
        assert_eq!(
            lines(&release("v0.13.1"), &rows(&published)),
            ["  v0.14.0  newer", "* v0.13.1  current  installed", "  v0.9.0"]
        );
        let alone = [("v0.14.0", ""), ("v0.15.0-rc.1", "current installed alone")];
        assert_eq!(
            lines(&release("v0.15.0-rc.1"), &rows(&alone)),
            [
                "  v0.14.0",
                "Installed, and not published:",
                "* v0.15.0-rc.1  current  installed",
                "The active version v0.15.0-rc.1 is not published.",
            ]
        );
        assert_eq!(lines(&Current::Development, &rows(&published)), ["v0.14.0", "v0.13.1", "v0.9.0"]);
    }
}
