//! Emergency policies: what they may set, and when they end.

use jiff::Timestamp;

use crate::{
    records::policy::{PluginPolicySpec, Rule},
    values::{correction, field_error::FieldErrors, instant::rfc3339},
};

/// Checks an emergency policy and returns when the emergency ends. `None`: it is an ordinary policy, or the time is
/// malformed.
pub(super) fn emergency(spec: &PluginPolicySpec, errors: &mut FieldErrors) -> Option<Timestamp> {
    let emergency = spec.emergency.as_ref()?;
    refuse("spec", &of_spec(spec), errors);
    for (i, rule) in spec.rules.iter().enumerate() {
        refuse(&format!("spec.rules[{i}]"), &of_rule(rule), errors);
    }
    if let Some(cli) = &spec.cli {
        refuse("spec.cli", &of_rule(&cli.clone().into()), errors);
    }
    let until = rfc3339(&emergency.until).ok_or_else(|| {
        let hint = correction::rfc3339_hint(&emergency.until).map(|hint| format!(": {hint}"));
        let example = "a time in RFC 3339 such as `2026-12-01T12:00:00Z`";
        format!("{:?} is not {example}{}", emergency.until, hint.unwrap_or_default())
    });
    errors.ok("spec.emergency.until", until)
}

/// Fields that an emergency policy must not set, each with whether it is set.
type Settings = Vec<(&'static str, bool)>;

fn refuse(parent: &str, settings: &Settings, errors: &mut FieldErrors) {
    for (field, _) in settings.iter().filter(|(_, is_set)| *is_set) {
        errors.add(format!("{parent}.{field}"), "has no place in an emergency policy; set it in another policy");
    }
}

// Each field is named, so that a new field is refused or permitted on purpose.

fn of_spec(spec: &PluginPolicySpec) -> Settings {
    let PluginPolicySpec {
        host_selector: _,
        emergency: _,
        subjects,
        paused,
        defaults,
        rules: _,
        cli: _,
        missing_dependencies,
        windows,
        blackouts,
        windows_for,
        rollout,
        integrity,
    } = spec;
    vec![
        ("subjects", subjects.is_some()),
        ("paused", *paused),
        ("defaults", defaults.is_some()),
        ("missingDependencies", missing_dependencies.is_some()),
        ("windows", windows.is_some()),
        ("blackouts", !blackouts.is_empty()),
        ("windowsFor", windows_for.is_some()),
        ("rollout", rollout.is_some()),
        ("integrity", integrity.is_some()),
    ]
}

fn of_rule(rule: &Rule) -> Settings {
    let Rule {
        plugins: _,
        access,
        versions,
        block,
        expedite: _,
        pins,
        channel,
        updates,
        major_updates,
        min_age,
        message: _,
    } = rule;
    vec![
        ("access", access.is_some()),
        ("versions", versions.is_some()),
        ("block", !block.is_empty()),
        ("pins", !pins.is_empty()),
        ("channel", channel.is_some()),
        ("updates", updates.is_some()),
        ("majorUpdates", major_updates.is_some()),
        ("minAge", min_age.is_some()),
    ]
}
