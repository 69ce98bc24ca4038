//! `d8 policy check`: all errors of all files at once, each with its place and the right form; and the same warnings in
//! `d8 policy diff` and in condition `Accepted`, with the facts of the cluster.

use d8_tests::catalog::Plugin;
use d8_tests::status::{condition_message, of_policy};
use d8_tests::{Lab, Result, objects};
use serde_json::{Value, json};

use super::policy_commands::admin;

const POLICIES: &str = r#"
apiVersion: cli.deckhouse.io/v1alpha1
kind: PluginPolicy
metadata: {name: contradicts-itself}
spec:
  hostSelector: {}
  defaults: {minAge: 72h}
  rules:
  - {plugins: [tool], versions: ">=2 <1", block: [1.2.x], expedite: [v1.2.7]}
---
apiVersion: cli.deckhouse.io/v1alpha1
kind: PluginPolicy
metadata: {name: mistyped}
spec:
  hostSelector: {role: bastion}
  defaults: {minage: 1h, updates: auto}
  rules:
  - {plugins: [tool], minAge: 3d, message: 5}
  windows: [{days: [Saturday, weekend], start: "8:00", duration: 2 days, timeZone: Berlin}]
"#;

const LIST: &str = r"
apiVersion: v1
kind: List
items:
- {apiVersion: cli.deckhouse.io/v1alpha1, kind: PluginPolicy, metadata: {name: fine}, spec: {hostSelector: {}}}
- apiVersion: cli.deckhouse.io/v1alpha1
  kind: PluginPolicies
  metadata: {name: ends}
  spec:
    hostSelector: {}
    emergency: {until: 2026-12-01}
    rules: [{plugins: tool, expedite: [v1.0.0]}]
";

#[test]
fn check_reports_all_errors_of_all_files() -> Result<()> {
    let alice = Lab::shared().new_workstation()?;
    let write = |name: &str, text: &str| {
        let path = alice.home().join(name);
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{error}"));
        path.display().to_string()
    };
    let (policies, list, broken) =
        (write("policies.yaml", POLICIES), write("list.yaml", LIST), write("broken.yaml", "spec: ["));
    let line = ["policy", "check", "-f", &policies, &list, "-f", &broken];
    let checked = alice.d8(line)?.expect_code(1)?;
    let home = format!("{}/", alice.home().display());
    let (stdout, stderr) = (checked.stdout.replace(&home, ""), checked.stderr.replace(&home, ""));
    assert_eq!(
        stdout,
        "\
policies.yaml, document 1, policy contradicts-itself: warning: spec.rules[0].versions: no version can meet `>=2 <1`
policies.yaml, document 1, policy contradicts-itself: warning: spec.rules[0].expedite[0]: v1.2.7 has no effect, because \
`block` of the same rule takes it with `1.2.x`
policies.yaml, document 1, policy contradicts-itself: valid
list.yaml, document 1, item 1, policy fine: valid
"
    );
    let lines: Vec<&str> = stderr.lines().map(str::trim_start).collect();
    assert_eq!(lines[0], "error: 2 of 4 policies are invalid, and 1 file cannot be read");
    let broken = "broken.yaml: line 1, column 7: a bracket `[` or `{` is not closed";
    assert_eq!(lines[1], broken, "{stderr}");
    let mistyped = "policies.yaml, document 2, policy mistyped: spec";
    let ends = "list.yaml, document 1, item 2, policy ends:";
    let days = "must be one of Mon, Tue, Wed, Thu, Fri, Sat, Sun, not";
    for expected in [
        format!("{mistyped}.defaults.minage: unknown field; did you mean `minAge`?"),
        format!(r#"{mistyped}.defaults.updates: must be one of Auto, Manual, Frozen, not "auto"; write `Auto`"#),
        format!(
            "{mistyped}.hostSelector.role: unknown field; labels belong into matchLabels: `matchLabels: {{role: …}}`"
        ),
        format!(
            "{mistyped}.rules[0].message: must be a string, not 5; put it in quotes, so that YAML reads it as it is written"
        ),
        format!(r#"{mistyped}.rules[0].minAge: "3d" is not a duration: write `72h`"#),
        format!(r#"{mistyped}.windows[0].days[0]: {days} "Saturday"; write `Sat`"#),
        format!(r#"{mistyped}.windows[0].days[1]: {days} "weekend"; write `Sat, Sun`"#),
        format!(r#"{mistyped}.windows[0].start: "8:00" is not a time of day such as `02:00`: write `08:00`"#),
        format!(r#"{mistyped}.windows[0].duration: "2 days" is not a duration: write `48h`"#),
        format!(
            r#"{mistyped}.windows[0].timeZone: "Berlin" is not an IANA time zone such as `Europe/Berlin`: write `Europe/Berlin`"#
        ),
        format!(r#"{ends} kind: must be PluginPolicy, not "PluginPolicies""#),
        format!("{ends} spec.rules[0].plugins: must be a list, not \"tool\"; write `[tool]`"),
    ] {
        assert!(lines.contains(&expected.as_str()), "{expected}\nis not in\n{stderr}");
    }
    let document = alice.d8([&line[..], &["-o", "json"]].concat())?.expect_code(1)?.stdout;
    let document: Value = serde_json::from_str(&document).unwrap_or_else(|error| panic!("{error}: {document}"));
    let valid: Vec<_> = document.as_array().into_iter().flatten().map(|report| &report["valid"]).collect();
    assert_eq!(valid, [&json!(false), &json!(true), &json!(false), &json!(true), &json!(false)]);
    let errors = document[2]["errors"].as_array().cloned().unwrap_or_default();
    let age = errors.iter().find(|error| error["field"] == "spec.rules[0].minAge").cloned().unwrap_or_default();
    assert_eq!((&age["value"], &age["hint"]), (&json!("3d"), &json!("write `72h`")));
    Ok(())
}

const OTHER_KINDS: &str = r"
apiVersion: cli.deckhouse.io/v1alpha1
kind: CliRelease
metadata: {name: tool}
spec: {}
---
apiVersion: cli.deckhouse.io/v1alpha1
kind: PluginPolicy
metadata: {name: bastions}
spec: {hostSelector: {}}
";

#[test]
fn check_reads_directories_and_skips_other_kinds() -> Result<()> {
    let alice = Lab::shared().new_workstation()?;
    let directory = alice.home().join("policies");
    let write = |name: &str, text: &str| {
        std::fs::create_dir_all(directory.join("more")).unwrap_or_else(|error| panic!("{error}"));
        std::fs::write(directory.join(name), text).unwrap_or_else(|error| panic!("{error}"));
    };
    let path = directory.display().to_string();
    let check = || alice.d8(["policy", "check", "-f", &path]);
    write("README.md", "# Policies");
    assert!(check()?.expect_code(1)?.stderr.contains("it has no *.yaml, *.yml or *.json file"));
    write("a.yaml", OTHER_KINDS);
    write("b.yml", OTHER_KINDS.split("---").nth(1).unwrap_or_default());
    write("more/c.yaml", "spec: [");
    let checked = check()?.expect_code(0)?.stdout.replace(&format!("{path}/"), "");
    assert_eq!(
        checked,
        "\
a.yaml, document 1, CliRelease tool: skipped, it is no PluginPolicy
a.yaml, document 2, policy bastions: valid
b.yml, document 1, policy bastions: warning: the policy is also in a.yaml, document 2, policy bastions; of both, the \
one that is applied last counts
b.yml, document 1, policy bastions: valid
"
    );
    write("b.yml", "spec: {}\nkind: PluginPolicy\n");
    let refused = check()?.expect_code(1)?.stderr;
    assert!(refused.contains("error: 1 of 2 policies is invalid"), "{refused}");
    Ok(())
}

/// The operator and `policy diff` know what the cluster has.
#[test]
fn warnings_with_the_facts_of_the_cluster() -> Result<()> {
    let lab = Lab::start(|_| {})?;
    for version in ["v1.0.0", "v1.1.0"] {
        lab.publish(&Plugin::new("warned", version))?;
    }
    lab.create_releases(&["warned"])?;
    for version in ["v1.0.0", "v1.1.0"] {
        lab.wait_for_version("warned", version)?;
    }
    let active = json!({"name": "warned", "active": "v1.0.0", "state": "UpToDate"});
    lab.apply_host("bastion-1", "bastion", &json!({"platform": "linux-amd64", "components": [active]}))?;
    let alice = admin(&lab)?;
    let bastions = json!({"matchLabels": {"role": "bastion"}});
    let block = json!({"plugins": ["warned"], "block": ["v1.0.0"], "minAge": "8760h"});
    for (name, spec, expected) in [
        (
            "typo",
            json!({"hostSelector": {"matchLabels": {"role": "bastoin"}}}),
            "spec.hostSelector matches no host: no host has `role=bastoin`; did you mean `role=bastion`?",
        ),
        (
            "unknown",
            json!({"hostSelector": bastions, "rules": [{"plugins": ["wraned"]}]}),
            // The operator creates a record of it, in which nothing is published.
            "did you mean `warned`?",
        ),
        (
            "stranding",
            json!({"hostSelector": bastions, "rules": [block]}),
            "spec.rules[0].block: hosts with warned v1.0.0 cannot leave it before ",
        ),
        (
            "none",
            json!({"hostSelector": bastions, "rollout": {"over": "1h", "canaryPercent": 1,
                "requireSucceeded": {"hosts": 1, "for": "1h"}}}),
            "spec.rollout: canaryPercent: 1 does not choose the only host for warned v1.1.0",
        ),
        (
            "few",
            json!({"hostSelector": bastions, "rollout": {"over": "1h", "canaryPercent": 10,
                "requireSucceeded": {"hosts": 2, "for": "1h"}}}),
            "spec.rollout.requireSucceeded needs 2 hosts, and the policy selects 1: no wave can begin",
        ),
    ] {
        let path = alice.home().join("policy.json");
        std::fs::write(&path, objects::policy(name, &spec).to_string()).unwrap_or_else(|error| panic!("{error}"));
        let path = path.display().to_string();
        let diff = alice.d8(["policy", "diff", "-f", &path])?.expect_code(0)?;
        assert!(
            diff.stderr.contains(&format!("warning: policy {name}: ")) && diff.stderr.contains(expected),
            "{diff:?}"
        );
        lab.apply_policy(name, &spec)?;
        lab.wait_for_policy(name, expected, |policy| {
            condition_message(&of_policy(policy).conditions, "Accepted").contains(expected)
        })?;
        lab.plane().kubectl(["delete", "pluginpolicy", name])?;
    }
    Ok(())
}
