//! Rules and columns of `CliRelease`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceColumnDefinition;

use super::{
    columns::{age, column, condition_column},
    common,
    editor::SchemaEditor,
};
use crate::values::{duration::Bounds, limits};

pub(super) fn columns() -> Vec<CustomResourceColumnDefinition> {
    vec![
        column("Channel", "string", ".spec.channel", "Channel that is published"),
        column("Latest", "string", ".status.latest", "Newest published release"),
        column("Fits", "string", ".status.latestFitting", "Newest published release that fits this cluster"),
        condition_column("Synced", "Synced", "status", "Whether the last poll of the proxy succeeded"),
        condition_column("Ready", "Ready", "status", "Whether the record can be used"),
        age(),
    ]
}

pub(super) fn rules(editor: &mut SchemaEditor) {
    // Stricter than a DNS label: the name of a plugin has no consecutive dashes.
    editor.root().rule(
        "self.metadata.name.size() <= 63 && self.metadata.name.matches('^[a-z0-9]+(-[a-z0-9]+)*$')",
        "metadata.name: must be d8 or the name of a plugin: at most 63 lower-case letters and digits joined by single -",
    );
    editor.at("spec.versions").constraint();
    editor.at("spec.interval").duration(Bounds::INTERVAL);
    editor.at("spec.history").number(1, limits::HISTORY);
    editor.at("spec.platforms").list(limits::PLATFORMS).not_empty();
    editor.at("spec.platforms[]").platform();

    for field in ["cluster.uid", "cluster.kubernetes", "cluster.deckhouse", "latest", "latestFitting"] {
        editor.at(&format!("status.{field}")).text(limits::SHORT_TEXT);
    }
    editor.at("status.leftOutTags.tags").list(limits::LEFT_OUT_TAGS);
    editor.at("status.leftOutTags.tags[].tag").text(limits::TAG);
    editor.at("status.leftOutTags.tags[].reason").text(limits::FIT_REASON);
    common::conditions(editor);
    editor.at("status.versions").list(limits::VERSIONS);
    version(editor, "status.versions[]");
}

fn version(editor: &mut SchemaEditor, at: &str) {
    editor.at(&format!("{at}.version")).text(limits::VERSION);
    editor.at(&format!("{at}.digest")).text(limits::DIGEST);
    editor.at(&format!("{at}.moved.from")).text(limits::DIGEST);
    editor.at(&format!("{at}.reasons")).list(limits::FIT_REASONS);
    editor.at(&format!("{at}.reasons[]")).text(limits::FIT_REASON);
    editor.at(&format!("{at}.description")).text(limits::DESCRIPTION);
    for list in ["env", "flags"] {
        editor.at(&format!("{at}.{list}")).list(limits::CONTRACT_LIST);
        editor.at(&format!("{at}.{list}[].name")).text(limits::SHORT_TEXT);
    }
    editor.at(&format!("{at}.artifacts")).list(limits::PLATFORMS);
    editor.at(&format!("{at}.artifacts[].platform")).text(limits::PLATFORM);
    for digest in ["manifest", "layer"] {
        editor.at(&format!("{at}.artifacts[].{digest}")).text(limits::DIGEST);
    }
    editor.at(&format!("{at}.leftOut")).list(limits::LEFT_OUT);
    editor.at(&format!("{at}.leftOut[].platform")).text(limits::PLATFORM);
    editor.at(&format!("{at}.leftOut[].reason")).text(limits::FIT_REASON);
    requirements(editor, &format!("{at}.requirements"));
}

fn requirements(editor: &mut SchemaEditor, at: &str) {
    for one in ["kubernetes", "deckhouse"] {
        editor.at(&format!("{at}.{one}.constraint")).text(limits::CONSTRAINT);
    }
    for list in ["modules.mandatory", "modules.conditional", "plugins.mandatory", "plugins.conditional"] {
        named_requirements(editor, &format!("{at}.{list}"));
    }
    for groups in ["modules.anyOf", "modules.noneOf"] {
        let at = format!("{at}.{groups}");
        editor.at(&at).list(limits::GROUPS);
        editor.at(&format!("{at}[].name")).text(limits::SHORT_TEXT);
        editor.at(&format!("{at}[].description")).text(limits::DESCRIPTION);
        named_requirements(editor, &format!("{at}[].modules"));
    }
}

fn named_requirements(editor: &mut SchemaEditor, at: &str) {
    editor.at(at).list(limits::REQUIREMENTS);
    editor.at(&format!("{at}[].name")).text(limits::SHORT_TEXT);
    editor.at(&format!("{at}[].constraint")).text(limits::CONSTRAINT);
}
