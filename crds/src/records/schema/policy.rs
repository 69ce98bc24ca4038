//! What a `PluginPolicy` may hold, and how it is listed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceColumnDefinition;

use crate::values::limits;

use super::{age, column, common, condition_column, shape::Shape};
use crate::values::duration::Bounds;

pub(super) fn columns() -> Vec<CustomResourceColumnDefinition> {
    vec![
        column("Paused", "boolean", ".spec.paused", "Whether it stops every change"),
        column("Hosts", "integer", ".status.hosts.matched", "Hosts it speaks for"),
        column("Behind", "integer", ".status.hosts.held", "Hosts that wait"),
        column("Failed", "integer", ".status.hosts.failed", "Hosts whose change failed"),
        // Not a date: that type shows a time to come as <invalid>.
        column("Next-Window", "string", ".status.nextWindow", "When switches may begin next"),
        condition_column("Ready", "Ready", "status", "Whether it is enforced as written"),
        condition_column("Reason", "Ready", "reason", "Why, or why not"),
        age(),
    ]
}

pub(super) fn rules(shape: &mut Shape) {
    common::named_by_label(shape);
    common::selector(shape, "spec.hostSelector");
    shape.at("spec.defaults.access").rule("self != 'Require'", "Require needs the plugins' names: set it in a rule");
    shape.at("spec.defaults.minAge").duration(Bounds::MIN_AGE);

    shape.at("spec.rules").list(limits::RULES);
    let rule = "spec.rules[]";
    deny_alone(shape, rule);
    shape.at(rule).rule_on(
        "plugins",
        "!has(self.access) || self.access != 'Require' || self.plugins.all(plugin, !plugin.endsWith('*'))",
        "Require takes whole names, no *",
    );
    shape.at(&format!("{rule}.plugins")).list(limits::RULE_PLUGINS).not_empty();
    shape
        .at(&format!("{rule}.plugins[]"))
        .text(limits::NAME)
        .rule(
            "self.matches('^([a-z0-9]+([._-][a-z0-9]+)*|([a-z0-9][a-z0-9._-]*)?[*])$')",
            "must be a plugin's name, lower-case letters and digits joined by single -, . or _, or its beginning and *",
        )
        .rule("self != 'd8'", "d8 is no plugin: its rule is spec.cli");
    for rule in [rule, "spec.cli"] {
        versions(shape, rule);
    }

    windows(shape, "spec.windows");
    shape.at("spec.rollout.over").duration(Bounds::ROLLOUT);
    shape.at("spec.rollout.maxFailed").number(1, limits::MAX_FAILED);
    common::selector(shape, "spec.rollout.canarySelector");
    status(shape);
}

/// Beside `access: Deny` nothing about versions or updates has a meaning.
fn deny_alone(shape: &mut Shape, rule: &str) {
    let alone = "has no meaning beside access: Deny";
    for field in ["versions", "channel", "updates", "majorUpdates", "minAge"] {
        let cel = format!("!has(self.access) || self.access != 'Deny' || !has(self.{field})");
        shape.at(rule).rule_on(field, &cel, alone);
    }
    for list in ["block", "expedite", "pins"] {
        let cel = format!("!has(self.access) || self.access != 'Deny' || !has(self.{list}) || self.{list}.size() == 0");
        shape.at(rule).rule_on(list, &cel, alone);
    }
}

/// What rules for plugins and d8's own rule share.
fn versions(shape: &mut Shape, rule: &str) {
    shape.at(&format!("{rule}.versions")).constraint();
    for list in ["block", "expedite"] {
        shape.at(&format!("{rule}.{list}")).list(limits::RULE_VERSIONS);
        shape.at(&format!("{rule}.{list}[]")).full_version();
    }
    shape.at(&format!("{rule}.pins")).list(limits::RULE_VERSIONS);
    shape.at(&format!("{rule}.pins[].version")).full_version();
    shape.at(&format!("{rule}.pins[].digest")).digest();
    shape.at(&format!("{rule}.minAge")).duration(Bounds::MIN_AGE);
    shape.at(&format!("{rule}.message")).text(limits::MESSAGE).one_line();
}

fn windows(shape: &mut Shape, at: &str) {
    shape.at(at).list(limits::WINDOWS).not_empty();
    shape.at(&format!("{at}[].days")).list(7).not_empty();
    shape
        .at(&format!("{at}[].start"))
        .text(5)
        .rule("self.matches('^([01][0-9]|2[0-3]):[0-5][0-9]$')", "must be a time of day, as in 02:00");
    shape.at(&format!("{at}[].duration")).duration(Bounds::WINDOW);
    // An unknown zone fails the conversion itself, so a known instant is converted.
    shape.at(&format!("{at}[].timeZone")).text(limits::NAME).rule(
        "self.matches('^[A-Z]') && timestamp('2026-01-01T00:00:00Z').getFullYear(self) >= 2025",
        "must be an IANA time zone, as in Europe/Berlin",
    );
}

fn status(shape: &mut Shape) {
    common::conditions(shape);
    for word in ["clusterUID", "nextWindow"] {
        shape.at(&format!("status.{word}")).text(limits::WORD);
    }
    let at = "status.components";
    shape.at(at).list(limits::COMPONENTS);
    shape.at(&format!("{at}[].name")).text(limits::COMPONENT);
    shape.at(&format!("{at}[].target")).text(limits::VERSION);
    shape.at(&format!("{at}[].hold")).text(limits::REASON);
    shape.at(&format!("{at}[].waves")).list(limits::WAVES);
    shape.at(&format!("{at}[].waves[].version")).text(limits::VERSION);
}
