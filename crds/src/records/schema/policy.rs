//! Rules and columns of `PluginPolicy`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceColumnDefinition;

use super::{
    columns::{age, column, condition_column},
    common,
    editor::SchemaEditor,
};
use crate::values::{duration::Bounds, limits};

pub(super) fn columns() -> Vec<CustomResourceColumnDefinition> {
    vec![
        column("Paused", "boolean", ".spec.paused", "Whether the policy stops every change"),
        column(
            "Emergency",
            "string",
            ".spec.emergency.until",
            "Time until which the policy lifts time gates of others",
        ),
        column("Hosts", "integer", ".status.hosts.matched", "Number of selected hosts"),
        column("Behind", "integer", ".status.hosts.held", "Number of hosts that wait for a change"),
        column("Failed", "integer", ".status.hosts.failed", "Number of hosts whose last change failed"),
        // A column of type date shows a future time as <invalid>.
        column("Next-Window", "string", ".status.nextWindow", "Time at which switches may begin next"),
        condition_column("Ready", "Ready", "status", "Whether the policy is in effect"),
        condition_column("Reason", "Ready", "reason", "Reason of the Ready condition"),
        age(),
    ]
}

pub(super) fn rules(editor: &mut SchemaEditor) {
    common::named_by_label(editor);
    common::selector(editor, "spec.hostSelector");
    subjects(editor, "spec.subjects");
    editor
        .at("spec.defaults.access")
        .rule("self != 'Require'", "Require is not allowed here; set it in a rule that names the plugins");
    editor.at("spec.defaults.minAge").duration(Bounds::MIN_AGE);

    editor.at("spec.rules").list(limits::RULES);
    let rule = "spec.rules[]";
    deny_alone(editor, rule);
    editor.at(rule).rule_on(
        "plugins",
        "!has(self.access) || self.access != 'Require' || self.plugins.all(plugin, !plugin.endsWith('*'))",
        "Require needs full plugin names without *",
    );
    editor.at(&format!("{rule}.plugins")).list(limits::RULE_PLUGINS).not_empty();
    editor
        .at(&format!("{rule}.plugins[]"))
        .text(limits::NAME)
        .rule(
            "self.matches('^([a-z0-9]+([._-][a-z0-9]+)*|([a-z0-9][a-z0-9._-]*)?[*])$')",
            "must be a plugin name (lower-case letters and digits joined by single -, . or _) or the beginning of one and *",
        )
        .rule("self != 'd8'", "d8 is not a plugin; its rule is spec.cli");
    for rule in [rule, "spec.cli"] {
        versions(editor, rule);
    }

    emergency(editor);
    windows(editor, "spec.windows");
    blackouts(editor, "spec.blackouts");
    editor.at("spec.rollout.over").duration(Bounds::ROLLOUT);
    editor.at("spec.rollout.maxFailed").number(1, limits::MAX_FAILED);
    common::selector(editor, "spec.rollout.canarySelector");
    editor.at("spec.rollout.canaryPercent").number(1, limits::CANARY_PERCENT);
    editor.at("spec.rollout.requireSucceeded.hosts").number(1, limits::MAX_FAILED);
    editor.at("spec.rollout.requireSucceeded.for").duration(Bounds::EVIDENCE);
    editor.at("spec.rollout").rule_on(
        "requireSucceeded",
        "!has(self.requireSucceeded) || has(self.canarySelector) || has(self.canaryPercent)",
        "needs canarySelector or canaryPercent; without canaries no host gets a version first",
    );
    status(editor);
}

fn subjects(editor: &mut SchemaEditor, at: &str) {
    editor.at(at).rule(
        "(has(self.groups) && self.groups.size() > 0) || (has(self.users) && self.users.size() > 0)",
        "must name at least one group or user",
    );
    for list in ["groups", "users"] {
        editor.at(&format!("{at}.{list}")).list(limits::SUBJECTS);
        editor
            .at(&format!("{at}.{list}[]"))
            .text(limits::SUBJECT)
            .one_line()
            .rule("self.size() > 0", "must not be empty");
    }
}

/// Refuses fields that have no effect in a rule with `access: Deny`.
fn deny_alone(editor: &mut SchemaEditor, rule: &str) {
    let alone = "has no effect with access: Deny; remove it";
    for field in ["versions", "channel", "updates", "majorUpdates", "minAge"] {
        let cel = format!("!has(self.access) || self.access != 'Deny' || !has(self.{field})");
        editor.at(rule).rule_on(field, &cel, alone);
    }
    for list in ["block", "expedite", "pins"] {
        let cel = format!("!has(self.access) || self.access != 'Deny' || !has(self.{list}) || self.{list}.size() == 0");
        editor.at(rule).rule_on(list, &cel, alone);
    }
}

/// Adds the rules that are the same for plugins and for d8 itself.
fn versions(editor: &mut SchemaEditor, rule: &str) {
    editor.at(&format!("{rule}.versions")).constraint();
    for list in ["block", "expedite", "pins"] {
        editor.at(&format!("{rule}.{list}")).list(limits::RULE_VERSIONS);
    }
    editor.at(&format!("{rule}.block[]")).constraint().rule("self.trim().size() > 0", "must not be empty");
    editor.at(&format!("{rule}.expedite[]")).full_version();
    editor.at(&format!("{rule}.pins[].version")).full_version();
    editor.at(&format!("{rule}.pins[].digest")).digest();
    editor.at(&format!("{rule}.minAge")).duration(Bounds::MIN_AGE);
    editor.at(&format!("{rule}.message")).text(limits::RULE_MESSAGE).one_line();
}

/// Refuses everything in an emergency policy but what it lifts gates for.
fn emergency(editor: &mut SchemaEditor) {
    editor.at("spec.emergency.until").text(limits::TIMESTAMP).rule(
        "self.matches('^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$') \
         && timestamp(self).getFullYear() >= 0",
        "must be a time in RFC 3339 such as 2026-12-01T12:00:00Z",
    );
    let alone = "has no place in an emergency policy; set it in another policy";
    let unset = |field: &str| format!("!has(self.emergency) || !has(self.{field})");
    for field in ["subjects", "defaults", "missingDependencies", "windows", "windowsFor", "rollout", "integrity"] {
        editor.at("spec").rule_on(field, &unset(field), alone);
    }
    editor.at("spec").rule_on("paused", &format!("{} || !self.paused", unset("paused")), alone);
    editor.at("spec").rule_on("blackouts", &format!("{} || self.blackouts.size() == 0", unset("blackouts")), alone);
    let only = |object: &str, settings: &[&str]| {
        let lists = ["block", "pins"].map(|list| format!("(!has({object}.{list}) || {object}.{list}.size() == 0)"));
        let settings = settings.iter().map(|setting| format!("!has({object}.{setting})"));
        settings.chain(lists).collect::<Vec<_>>().join(" && ")
    };
    let rule = only("rule", &["access", "versions", "channel", "updates", "majorUpdates", "minAge"]);
    let cel = format!("{} || self.rules.all(rule, {rule})", unset("rules"));
    editor.at("spec").rule_on("rules", &cel, "may have only plugins, expedite and message in an emergency policy");
    let cli = only("self.cli", &["versions", "channel", "updates", "majorUpdates", "minAge"]);
    let cel = format!("{} || ({cli})", unset("cli"));
    editor.at("spec").rule_on("cli", &cel, "may have only expedite and message in an emergency policy");
}

fn windows(editor: &mut SchemaEditor, at: &str) {
    editor.at(at).list(limits::WINDOWS).not_empty();
    editor.at(&format!("{at}[].days")).list(7).not_empty();
    editor
        .at(&format!("{at}[].start"))
        .text(5)
        .rule("self.matches('^([01][0-9]|2[0-3]):[0-5][0-9]$')", "must be a time of day such as 02:00");
    editor.at(&format!("{at}[].duration")).duration(Bounds::WINDOW);
    time_zone(editor, &format!("{at}[].timeZone"));
}

fn blackouts(editor: &mut SchemaEditor, at: &str) {
    editor.at(at).list(limits::BLACKOUTS);
    for end in ["from", "to"] {
        // The conversion fails for a date that does not exist.
        editor.at(&format!("{at}[].{end}")).text("2026-11-27T00:00:00".len()).rule(
            "self.matches('^[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$') && \
             timestamp(self.size() == 16 ? self + ':00Z' : self + 'Z').getFullYear() >= 0",
            "must be a local date and time such as 2026-11-27T00:00",
        );
    }
    editor.at(&format!("{at}[]")).rule_on("to", "self.from < self.to", "must be later than from");
    time_zone(editor, &format!("{at}[].timeZone"));
    editor
        .at(&format!("{at}[].reason"))
        .text(limits::BLACKOUT_REASON)
        .one_line()
        .rule("self.trim().size() > 0", "must not be empty");
}

fn time_zone(editor: &mut SchemaEditor, at: &str) {
    // The conversion of a fixed instant fails for an unknown zone.
    editor.at(at).text(limits::NAME).rule(
        "self.matches('^[A-Z]') && timestamp('2026-01-01T00:00:00Z').getFullYear(self) >= 2025",
        "must be an IANA time zone such as Europe/Berlin",
    );
}

fn status(editor: &mut SchemaEditor) {
    common::conditions(editor);
    for field in ["clusterUID", "nextWindow"] {
        editor.at(&format!("status.{field}")).text(limits::SHORT_TEXT);
    }
    let at = "status.components";
    editor.at(at).list(limits::COMPONENTS);
    editor.at(&format!("{at}[].name")).text(limits::COMPONENT);
    editor.at(&format!("{at}[].target")).text(limits::VERSION);
    editor.at(&format!("{at}[].hold")).text(limits::REASON);
    editor.at(&format!("{at}[].waves")).list(limits::WAVES);
    editor.at(&format!("{at}[].waves[].version")).text(limits::VERSION);
}
