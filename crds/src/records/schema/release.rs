//! What a `CliRelease` may hold, and how it is listed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceColumnDefinition;

use crate::values::limits;

use super::{age, column, common, condition_column, shape::Shape};
use crate::values::duration::Bounds;

pub(super) fn columns() -> Vec<CustomResourceColumnDefinition> {
    vec![
        column("Channel", "string", ".spec.channel", "What is published"),
        column("Latest", "string", ".status.latest", "Newest stable version published"),
        column("Fits", "string", ".status.latestFitting", "Newest stable version that fits this cluster"),
        condition_column("Synced", "Synced", "status", "Whether the proxy answered"),
        condition_column("Ready", "Ready", "status", "Whether the record may be used"),
        age(),
    ]
}

pub(super) fn rules(shape: &mut Shape) {
    // Stricter than a DNS label: a plugin's name has no two dashes in a row.
    shape.root().rule(
        "self.metadata.name.size() <= 63 && self.metadata.name.matches('^[a-z0-9]+(-[a-z0-9]+)*$')",
        "metadata.name: must be the plugin's name, or d8: lower-case letters and digits joined by single -, at most 63",
    );
    shape.at("spec.versions").constraint();
    shape.at("spec.interval").duration(Bounds::INTERVAL);
    shape.at("spec.history").number(1, 50);
    shape.at("spec.platforms").list(limits::PLATFORMS).not_empty();
    shape.at("spec.platforms[]").platform();

    for word in ["cluster.uid", "cluster.kubernetes", "cluster.deckhouse", "latest", "latestFitting"] {
        shape.at(&format!("status.{word}")).text(limits::WORD);
    }
    common::conditions(shape);
    shape.at("status.versions").list(limits::VERSIONS);
    version(shape, "status.versions[]");
}

fn version(shape: &mut Shape, at: &str) {
    shape.at(&format!("{at}.version")).text(limits::VERSION);
    shape.at(&format!("{at}.digest")).text(limits::DIGEST);
    shape.at(&format!("{at}.moved.from")).text(limits::DIGEST);
    shape.at(&format!("{at}.reasons")).list(limits::REASONS);
    shape.at(&format!("{at}.reasons[]")).text(limits::REASON_SENTENCE);
    shape.at(&format!("{at}.description")).text(limits::DESCRIPTION);
    for list in ["env", "flags"] {
        shape.at(&format!("{at}.{list}")).list(limits::CONTRACT_LIST);
        shape.at(&format!("{at}.{list}[].name")).text(limits::WORD);
    }
    shape.at(&format!("{at}.artifacts")).list(limits::PLATFORMS);
    shape.at(&format!("{at}.artifacts[].platform")).text(limits::PLATFORM);
    for digest in ["manifest", "layer"] {
        shape.at(&format!("{at}.artifacts[].{digest}")).text(limits::DIGEST);
    }
    requirements(shape, &format!("{at}.requirements"));
}

fn requirements(shape: &mut Shape, at: &str) {
    for one in ["kubernetes", "deckhouse"] {
        shape.at(&format!("{at}.{one}.constraint")).text(limits::CONSTRAINT);
    }
    for list in ["modules.mandatory", "modules.conditional", "plugins.mandatory", "plugins.conditional"] {
        named(shape, &format!("{at}.{list}"));
    }
    for groups in ["modules.anyOf", "modules.noneOf"] {
        let at = format!("{at}.{groups}");
        shape.at(&at).list(limits::GROUPS);
        shape.at(&format!("{at}[].name")).text(limits::WORD);
        shape.at(&format!("{at}[].description")).text(limits::DESCRIPTION);
        named(shape, &format!("{at}[].modules"));
    }
}

fn named(shape: &mut Shape, at: &str) {
    shape.at(at).list(limits::REQUIREMENTS);
    shape.at(&format!("{at}[].name")).text(limits::WORD);
    shape.at(&format!("{at}[].constraint")).text(limits::CONSTRAINT);
}
