//! Complete examples of the three kinds, with spec and status: the API server stores them unchanged and
//! lists them with their columns.

use d8_crds::records::{host::CliHost, policy::PluginPolicy, release::CliRelease};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::cluster::{Records, control_plane};

const RELEASE: &str = include_str!("examples/clirelease.yaml");
const POLICY: &str = include_str!("examples/pluginpolicy.yaml");
const HOST: &str = include_str!("examples/clihost.yaml");

fn read(yaml: &str) -> Value {
    serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

#[tokio::test]
async fn examples_are_stored_unchanged() {
    let records = Records::new().await;
    for yaml in [RELEASE, POLICY, HOST] {
        let whole = read(yaml);
        let mut without_status = whole.clone();
        without_status.as_object_mut().expect("an object").remove("status");
        records.apply(&without_status).await.unwrap();
        let mut only_status = whole.clone();
        only_status.as_object_mut().expect("an object").remove("spec");
        let kept = records.apply_status(&only_status).await.unwrap();
        assert_eq!(kept.data["spec"], whole["spec"]);
        assert_eq!(kept.data["status"], whole["status"]);

        // Applying the same status again writes nothing.
        let again = records.apply_status(&only_status).await.unwrap();
        assert_eq!(again.metadata.resource_version, kept.metadata.resource_version);
    }

    let listed = control_plane().kubectl(["get", "crel,ppol,chost"]).unwrap();
    let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    for expected in [
        &["NAME", "CHANNEL", "LATEST", "FITS", "SYNCED", "READY", "AGE"][..],
        &["clirelease.cli.deckhouse.io/stronghold", "Stable", "v1.4.0", "v1.3.3", "True", "True"],
        &["NAME", "PAUSED", "EMERGENCY", "HOSTS", "BEHIND", "FAILED", "NEXT-WINDOW", "READY", "REASON", "AGE"],
        &[
            "pluginpolicy.cli.deckhouse.io/production-bastions",
            "false",
            "120",
            "67",
            "1",
            "2026-11-28T01:00:00Z",
            "True",
            "RollingOut",
        ],
        &["NAME", "PLATFORM", "D8", "READY", "REASON", "SEEN"],
        &["clihost.cli.deckhouse.io/bastion-1", "linux-amd64", "v0.13.1", "False", "Held"],
    ] {
        assert!(lines.iter().any(|line| line.starts_with(expected)), "{expected:?} is not in\n{listed}");
    }
    let by_category = control_plane().kubectl(["get", "d8cli", "-o", "name"]).unwrap();
    for name in ["clirelease.cli.deckhouse.io/stronghold", "clihost.cli.deckhouse.io/bastion-1"] {
        assert!(by_category.lines().any(|line| line == name), "{by_category}");
    }
}

#[test]
fn the_examples_pass_through_the_types_unchanged() {
    fn through<T: DeserializeOwned + Serialize>(yaml: &str) -> (Value, Value) {
        let value = read(yaml);
        let typed: T = serde_json::from_value(value.clone()).expect("an example is a record");
        (value, serde_json::to_value(typed).expect("a record is JSON"))
    }
    for (mut before, after) in
        [through::<CliRelease>(RELEASE), through::<PluginPolicy>(POLICY), through::<CliHost>(HOST)]
    {
        // A field that is false is not serialized.
        let spec = before["spec"].as_object_mut().expect("a spec");
        spec.retain(|_, value| *value != false);
        assert_eq!(before, after);
    }
}

#[test]
fn the_example_policy_is_valid() {
    let policy: PluginPolicy = serde_json::from_value(read(POLICY)).expect("a policy");
    d8_crds::decisions::validation::CheckedPolicy::new(&policy).unwrap_or_else(|rejected| panic!("{rejected}"));
}
