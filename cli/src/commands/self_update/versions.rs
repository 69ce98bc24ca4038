//! `d8 cli versions`: lists published versions and versions in the store.

use d8_crds::values::version::Version;
use serde::Serialize;

use crate::{
    args,
    commands::self_update::choice::{D8Planning, nothing_published},
    context::Context,
    running_d8::{CurrentVersion, RunningD8},
    terminal::{failure::Failure, output},
};

/// The JSON document (`docs/self-update.md`).
#[derive(Serialize)]
struct VersionsReport {
    current: String,
    versions: Vec<ListedVersion>,
}

#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a label of the list")]
struct ListedVersion {
    version: String,
    current: bool,
    newer: bool,
    installed: bool,
    published: bool,
}

pub(crate) async fn run(context: &Context, args: &args::SelfVersionsArgs) -> Result<(), Failure> {
    let d8 = RunningD8::locate(context)?;
    let current = d8.current()?;
    let stored = match d8.store() {
        Ok(store) => store.versions()?,
        Err(failure) => {
            output::warn(failure.summary());
            Vec::new()
        }
    };
    let planning = D8Planning::fetch(context, &d8, &current, None).await?;
    let published = &planning.versions().published;
    if published.is_empty() && stored.is_empty() {
        return Err(nothing_published());
    }
    let row = |tag: String, version: &Version, published: bool| ListedVersion {
        current: current.is(version),
        newer: current.version().is_some_and(|current| current < version),
        installed: stored.iter().any(|stored| stored.version == *version),
        version: tag,
        published,
    };
    let mut versions: Vec<ListedVersion> = published.iter().map(|p| row(p.tag.to_string(), &p.version, true)).collect();
    let unpublished = stored.iter().filter(|stored| !published.iter().any(|p| p.version == stored.version));
    versions.extend(unpublished.map(|stored| row(stored.tag.to_string(), &stored.version, false)));
    let report = VersionsReport { current: current.to_string(), versions };
    let names = report.versions.iter().map(|row| &row.version);
    output::print_document(args.output.format, &report, names, |report| {
        lines(&current, &report.versions).iter().for_each(output::print);
    })
}

/// Returns the text for people.
fn lines(current: &CurrentVersion, rows: &[ListedVersion]) -> Vec<String> {
    let width = rows.iter().map(|row| row.version.len()).max().unwrap_or_default();
    let line = |row: &ListedVersion| {
        let labels = [(row.current, "current"), (row.newer, "newer"), (row.installed, "installed")];
        let labels: Vec<&str> = labels.into_iter().filter(|(holds, _)| *holds).map(|(_, label)| label).collect();
        let mark = if row.current { "*" } else { " " };
        format!("{mark} {:width$}  {}", row.version, labels.join("  ")).trim_end().to_owned()
    };
    if *current == CurrentVersion::Development {
        // Without a release there is nothing to compare with.
        return rows.iter().map(|row| row.version.clone()).collect();
    }
    let mut lines: Vec<String> = rows.iter().filter(|row| row.published).map(line).collect();
    let unpublished: Vec<String> = rows.iter().filter(|row| !row.published).map(line).collect();
    if !unpublished.is_empty() {
        lines.push("Installed but not published:".to_owned());
        lines.extend(unpublished);
    }
    if !rows.iter().any(|row| row.current && row.published) {
        lines.push(format!("The active version {current} is not published."));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(list: &[(&str, &str)]) -> Vec<ListedVersion> {
        let has = |labels: &str, label: &str| labels.contains(label);
        list.iter()
            .map(|(version, labels)| ListedVersion {
                version: (*version).to_owned(),
                current: has(labels, "current"),
                newer: has(labels, "newer"),
                installed: has(labels, "installed"),
                published: !has(labels, "unpublished"),
            })
            .collect()
    }

    #[test]
    fn text_for_people() {
        let release = |text: &str| CurrentVersion::Release(text.parse().unwrap(), Version::parse(text).unwrap());
        let published = [("v0.14.0", "newer"), ("v0.13.1", "current installed"), ("v0.9.0", "")];
        assert_eq!(
            lines(&release("v0.13.1"), &rows(&published)),
            ["  v0.14.0  newer", "* v0.13.1  current  installed", "  v0.9.0"]
        );
        let unpublished = [("v0.14.0", ""), ("v0.15.0-rc.1", "current installed unpublished")];
        assert_eq!(
            lines(&release("v0.15.0-rc.1"), &rows(&unpublished)),
            [
                "  v0.14.0",
                "Installed but not published:",
                "* v0.15.0-rc.1  current  installed",
                "The active version v0.15.0-rc.1 is not published.",
            ]
        );
        assert_eq!(lines(&CurrentVersion::Development, &rows(&published)), ["v0.14.0", "v0.13.1", "v0.9.0"]);
    }
}
