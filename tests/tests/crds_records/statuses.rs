//! Invalid statuses: the API server refuses what the operator and agents must not write.

use d8_tests::objects;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::cluster::{Records, digest, object};

#[tokio::test]
async fn invalid_statuses_are_refused() {
    let records = Records::new().await;
    for (kind, spec) in [
        ("CliRelease", json!({"channel": "Stable"})),
        ("PluginPolicy", json!({"hostSelector": {}})),
        ("CliHost", json!({"identity": "anna"})),
    ] {
        records.apply(&object(kind, "statuses", spec)).await.unwrap();
    }
    let plain = json!({"version": "v1.0.0", "digest": digest(), "fit": "Fits"});
    let version = |fields: Value| ("CliRelease", json!({"versions": [objects::with(plain.clone(), &fields)]}));
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": "",
               "lastTransitionTime": "2026-11-22T09:00:00Z"})
    };
    let conditions = |list: Value| ("PluginPolicy", json!({"conditions": list}));
    let component = |fields: Value| ("CliHost", json!({"components": [fields]}));
    let cases: Vec<((&str, Value), &[&str])> = vec![
        (("CliRelease", json!({"latest": "v".repeat(129)})), &["status.latest", "128"]),
        (("CliRelease", json!({"lastSyncTime": "yesterday"})), &["status.lastSyncTime"]),
        (("CliRelease", json!({"newest": "v1.0.0"})), &["status.newest"]),
        // Clients cannot read such a time.
        (("CliRelease", json!({"lastSyncTime": "9999-12-31T23:59:59Z"})), &["status.lastSyncTime", "[12]"]),
        (version(json!({"firstSeen": "-9999-01-02T01:59:59Z"})), &["status.versions[0].firstSeen"]),
        (("CliHost", json!({"lastSeen": "9999-12-31T23:59:59Z"})), &["status.lastSeen", "[12]"]),
        (
            component(json!({"name": "x", "state": "Held", "lastChange": "9999-12-31T23:59:59Z"})),
            &["status.components[0].lastChange", "[12]"],
        ),
        (("CliRelease", json!({"versions": vec![plain.clone(); 251]})), &["status.versions", "250"]),
        (version(json!({"fit": "Perhaps"})), &["status.versions[0].fit"]),
        (version(json!({"reasons": vec!["x"; 9]})), &["status.versions[0].reasons", "8"]),
        (version(json!({"reasons": ["x".repeat(257)]})), &["status.versions[0].reasons[0]", "256"]),
        (version(json!({"digest": "d".repeat(72)})), &["status.versions[0].digest", "71"]),
        (
            version(json!({"artifacts": [{"manifest": "m", "layer": "l", "sizeBytes": -1}]})),
            &["artifacts[0].sizeBytes"],
        ),
        (
            version(json!({"requirements": {"modules": {"anyOf": [{"modules": vec![json!({"name": "m"}); 257]}]}}})),
            &["status.versions[0].requirements.modules.anyOf[0].modules", "256"],
        ),
        (conditions(json!([condition("Ready", "Perhaps", "X")])), &["status.conditions[0].status"]),
        (conditions(json!([condition("Ready", "True", "")])), &["status.conditions[0].reason"]),
        (
            conditions(json!([condition("Ready", "True", "X"), condition("Ready", "False", "X")])),
            &["status.conditions", "duplicate"],
        ),
        (("PluginPolicy", json!({"nextWindow": "x".repeat(129)})), &["status.nextWindow", "128"]),
        (
            (
                "PluginPolicy",
                json!({"components": [{"name": "x", "waves": [
                {"version": "v1", "since": "2026-11-22T09:00:00Z", "state": "Stopped"}]}]}),
            ),
            &["status.components[0].waves[0].state"],
        ),
        (component(json!({"name": "x", "state": "Fine"})), &["status.components[0].state"]),
        (
            component(json!({"name": "x", "state": "Held", "message": "m".repeat(1025)})),
            &["status.components[0].message", "1024"],
        ),
        (("CliHost", json!({"policies": [{"name": "p"}]})), &["status.policies[0].generation", "Required"]),
    ];
    for ((kind, status), texts) in cases {
        let mut record = object(kind, "statuses", Value::Null);
        record.as_object_mut().expect("an object").remove("spec");
        record["status"] = status;
        let refusal = records.dry_run_status(&record).await.expect_err("refused");
        for text in texts {
            assert!(refusal.contains(text), "{text:?} is not in the refusal of {record}:\n{refusal}");
        }
    }
    for kind in ["CliRelease", "PluginPolicy", "CliHost"] {
        records.api(kind).delete("statuses", &DeleteParams::default()).await.unwrap();
    }
}
