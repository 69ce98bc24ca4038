//! Rules and columns of `CliHost`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceColumnDefinition;

use super::{
    columns::{column, condition_column},
    common,
    editor::SchemaEditor,
};
use crate::values::limits;

pub(super) fn columns() -> Vec<CustomResourceColumnDefinition> {
    vec![
        column("Platform", "string", ".status.platform", "Operating system and architecture"),
        column("D8", "string", ".status.components[?(@.name==\"d8\")].active", "Active version of d8"),
        condition_column("Ready", "Ready", "status", "Whether the host follows its policies"),
        condition_column("Reason", "Ready", "reason", "Reason of the Ready condition"),
        column("Seen", "date", ".status.lastSeen", "Time since the last report"),
    ]
}

pub(super) fn rules(editor: &mut SchemaEditor) {
    common::named_by_label(editor);
    editor
        .at("spec.identity")
        .text(limits::IDENTITY)
        .one_line()
        .rule("self.size() > 0", "must name a user")
        .rule("self == oldSelf", "is immutable; revoke the host and enrol it again");

    common::conditions(editor);
    editor.at("status.platform").text(limits::PLATFORM);
    editor.at("status.agentVersion").text(limits::VERSION);
    editor.at("status.machine").text(limits::MACHINE);
    editor.at("status.policies").list(limits::POLICIES);
    editor.at("status.policies[].name").text(limits::NAME);
    let at = "status.components";
    editor.at(at).list(limits::COMPONENTS);
    editor.at(&format!("{at}[].name")).text(limits::COMPONENT);
    for version in ["active", "target"] {
        editor.at(&format!("{at}[].{version}")).text(limits::VERSION);
    }
    editor.at(&format!("{at}[].digest")).text(limits::DIGEST);
    editor.at(&format!("{at}[].reason")).text(limits::REASON);
    editor.at(&format!("{at}[].message")).text(limits::STATUS_MESSAGE);
}
