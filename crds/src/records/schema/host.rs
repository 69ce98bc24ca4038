//! What a `CliHost` may hold, and how it is listed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceColumnDefinition;

use crate::values::limits;

use super::{column, common, condition_column, shape::Shape};

pub(super) fn columns() -> Vec<CustomResourceColumnDefinition> {
    vec![
        column("Platform", "string", ".status.platform", "Operating system and architecture"),
        column("D8", "string", ".status.components[?(@.name==\"d8\")].active", "Version of d8 that runs there"),
        condition_column("Ready", "Ready", "status", "Whether it is on policy"),
        condition_column("Reason", "Ready", "reason", "Why, or why not"),
        column("Seen", "date", ".status.lastSeen", "Time since it last reported"),
    ]
}

pub(super) fn rules(shape: &mut Shape) {
    common::named_by_label(shape);
    shape
        .at("spec.identity")
        .text(limits::IDENTITY)
        .one_line()
        .rule("self.size() > 0", "must name a user")
        .rule("self == oldSelf", "is immutable: revoke the host and enrol it again");

    common::conditions(shape);
    shape.at("status.platform").text(limits::PLATFORM);
    shape.at("status.agentVersion").text(limits::VERSION);
    shape.at("status.policies").list(limits::POLICIES);
    shape.at("status.policies[].name").text(limits::NAME);
    let at = "status.components";
    shape.at(at).list(limits::COMPONENTS);
    shape.at(&format!("{at}[].name")).text(limits::COMPONENT);
    for version in ["active", "target"] {
        shape.at(&format!("{at}[].{version}")).text(limits::VERSION);
    }
    shape.at(&format!("{at}[].digest")).text(limits::DIGEST);
    shape.at(&format!("{at}[].reason")).text(limits::REASON);
    shape.at(&format!("{at}[].message")).text(limits::SENTENCE);
}
