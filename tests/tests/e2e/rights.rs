//! Rights: what the chart gives to the operator and to everyone, and what happens without them.

use std::time::Duration;

use d8_tests::catalog::Plugin;
use d8_tests::lab::OPERATOR;
use d8_tests::process::wait_for;
use d8_tests::{Identity, Lab, Result};

/// Whether somebody may: verb, resource (with `/subresource`), and namespace or nothing.
fn may(lab: &Lab, who: &Identity, question: &str) -> Result<bool> {
    let mut words = question.split(' ');
    let (verb, resource) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let mut args = vec!["auth".to_owned(), "can-i".into(), verb.into(), resource.into()];
    if !subresource.is_empty() {
        args.push(format!("--subresource={subresource}"));
    }
    args.extend(words.next().map(|namespace| format!("--namespace={namespace}")));
    Ok(lab.plane().kubectl_as(who, args)?.stdout.trim() == "yes")
}

#[test]
fn the_operator_may_do_its_work_and_nothing_else() -> Result<()> {
    let lab = Lab::shared();
    let operator = lab.plane().service_account(OPERATOR, OPERATOR)?;
    for (question, expected) in [
        ("watch clireleases.cli.deckhouse.io", true),
        ("patch clireleases.cli.deckhouse.io/status", true),
        ("watch pluginpolicies.cli.deckhouse.io", true),
        ("patch pluginpolicies.cli.deckhouse.io/status", true),
        ("watch modules.deckhouse.io", true),
        // No write to what people decide.
        ("create pluginpolicies.cli.deckhouse.io", false),
        ("update pluginpolicies.cli.deckhouse.io", false),
        ("patch pluginpolicies.cli.deckhouse.io", false),
        ("delete pluginpolicies.cli.deckhouse.io", false),
        ("patch clihosts.cli.deckhouse.io", false),
        ("patch clihosts.cli.deckhouse.io/status", false),
        // No secrets, nowhere.
        ("get secrets", false),
        ("list secrets d8-operator", false),
        ("get secrets d8-cloud-instance-manager", false),
        ("create serviceaccounts/token d8-operator", false),
        ("create pods", false),
        ("patch modules.deckhouse.io", false),
        ("patch deployments.apps d8-system", false),
        ("create clusterrolebindings.rbac.authorization.k8s.io", false),
    ] {
        assert_eq!(may(lab, &operator, question)?, expected, "{question}");
    }
    Ok(())
}

#[test]
fn everyone_may_read_records_and_policies_and_write_neither() -> Result<()> {
    let lab = Lab::shared();
    let who = lab.plane().new_user();
    for (question, expected) in [
        ("list clireleases.cli.deckhouse.io", true),
        ("watch pluginpolicies.cli.deckhouse.io", true),
        ("create clireleases.cli.deckhouse.io", false),
        ("patch clireleases.cli.deckhouse.io/status", false),
        ("patch pluginpolicies.cli.deckhouse.io", false),
        ("patch pluginpolicies.cli.deckhouse.io/status", false),
        ("patch clihosts.cli.deckhouse.io", false),
        ("get deployments.apps/cli-binary d8-cloud-instance-manager", false),
    ] {
        assert_eq!(may(lab, &who, question)?, expected, "{question}");
    }
    Ok(())
}

#[test]
fn who_may_not_read_policies_changes_nothing() -> Result<()> {
    let lab = Lab::start(|_| {})?;
    lab.publish(&Plugin::new("unseen", "v1.0.0"))?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "unseen"])?.expect_code(0)?;
    lab.publish(&Plugin::new("unseen", "v1.1.0"))?;
    lab.plane().kubectl(["delete", "clusterrolebinding", "d8:cli:viewer"])?;
    let blind = || (!may(&lab, alice.who(), "list pluginpolicies.cli.deckhouse.io").ok()?).then_some(());
    wait_for("the right is gone", Duration::from_secs(20), blind)?;

    let before = alice.files();
    for line in ["plugins install other", "plugins update unseen"] {
        let refused = alice.d8(line.split(' '))?.expect_code(5)?;
        assert!(refused.stderr.contains("d8:cli:viewer"), "{refused:?}");
    }
    assert_eq!(alice.files(), before);
    alice.d8(["unseen"])?.expect_code(0)?;
    Ok(())
}

#[test]
fn another_operator_goes_on_where_one_ended() -> Result<()> {
    let mut lab = Lab::start(|_| {})?;
    lab.publish(&Plugin::new("handed-over", "v1.0.0"))?;
    lab.track(&["handed-over"])?;
    let seen = |lab: &Lab, version| -> Result<_> {
        let status = lab.release_with("handed-over", version)?.status.unwrap_or_default();
        let first = status.versions.iter().find(|known| known.version == "v1.0.0");
        Ok(first.and_then(|known| known.first_seen.clone()))
    };
    let first_seen = seen(&lab, "v1.0.0")?;
    assert!(first_seen.is_some());
    lab.restart_operator()?;
    lab.publish(&Plugin::new("handed-over", "v1.1.0"))?;
    lab.poll("handed-over")?;
    assert_eq!(seen(&lab, "v1.1.0")?, first_seen, "first seen is remembered");
    Ok(())
}
