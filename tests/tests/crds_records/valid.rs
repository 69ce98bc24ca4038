//! Valid objects with values at the limits.

use d8_crds::{decisions::validation::CheckedPolicy, records::policy::PluginPolicy};
use serde_json::{Value, json};

use crate::cluster::{Records, digest, object, policy, policy_check, release, rule};

#[tokio::test]
async fn values_at_the_limits_are_accepted() {
    let label = "a".repeat(63);
    let glob = format!("{}*", "a".repeat(62));
    let many = |count: usize, value: &dyn Fn(usize) -> Value| (0..count).map(value).collect::<Vec<_>>();
    let range = ["1.0.0"; 28].join(" || ");
    let selector = |selector: Value| policy(&json!({"hostSelector": selector}));
    let objects = [
        release(json!({})),
        object("CliRelease", "d8", json!({})),
        object("CliRelease", &label, json!({"channel": "Prerelease", "suspend": true})),
        release(json!({"interval": "30s", "history": 1, "versions": ""})),
        release(json!({"interval": "24h", "history": 50, "platforms": ["linux-amd64"]})),
        release(json!({"interval": "23h59m60s", "versions": "v".repeat(256)})),
        object("CliHost", &label, json!({"identity": "anna"})),
        policy(&json!({})),
        policy(&json!({"rules": [], "paused": true})),
        selector(json!({"matchLabels": {"a": "", "example.com/b-c_d.e": label}})),
        selector(json!({"matchExpressions": [{"key": "a", "operator": "DoesNotExist", "values": []}]})),
        selector(json!({"matchExpressions": [
            {"key": "x.y/a", "operator": "In", "values": many(32, &|i| json!(format!("v{i}")))}]})),
        rule(&json!({"plugins": ["*"]})),
        rule(&json!({"plugins": [label, glob, "a-*", "0"]})),
        rule(&json!({"plugins": ["x", "y-z"], "access": "Require"})),
        rule(&json!({"plugins": ["x*"], "access": "Deny", "message": "Ask Анна: \"why\""})),
        rule(&json!({"access": "Deny", "block": [], "pins": []})),
        rule(&json!({"block": ["1.2.x", "<1.4", ">=1.2 <1.2.7 || ~2", "0.13"]})),
        rule(&json!({"block": ["1.2.3", "v0.0.0-rc.1+b.01", "v18446744073709551615.0.0", "v1.0.0--"]})),
        rule(&json!({"pins": [{"version": "v1.2.3", "digest": digest()}]})),
        rule(&json!({"minAge": "0s", "message": "m".repeat(512), "versions": range})),
        rule(&json!({"minAge": "8760h"})),
        rule(&json!({"block": many(64, &|i| json!(format!("v1.0.{i}")))})),
        policy(&json!({"rules": many(128, &|i| json!({"plugins": many(64, &|j| json!(format!("p{i}-{j}")))}))})),
        policy(&json!({"windows": [{"start": "00:00", "duration": "1m", "timeZone": "UTC"},
            {"start": "23:59", "duration": "168h", "days": ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"],
             "timeZone": "America/Argentina/Buenos_Aires"}]})),
        policy(&json!({"rollout": {"over": "1m", "maxFailed": 1}})),
        policy(&json!({"rollout": {"over": "720h", "canarySelector": {}}})),
        policy(&json!({"integrity": {"movedTags": "Soak"}, "missingDependencies": "Refuse"})),
        policy(&json!({"cli": {}, "defaults": {}, "integrity": {}})),
        policy(&json!({"rules": [{"plugins": ["my_plugin", "a.b-c_d"], "access": "Deny"}, {"plugins": ["my_*"]}]})),
    ];
    let records = Records::new().await;
    for object in objects {
        records.dry_run(&object).await.unwrap_or_else(|refusal| panic!("{object}: {refusal}"));
        if object["kind"] == "PluginPolicy" {
            let (code, output) = policy_check(&object);
            assert_eq!(code, Some(0), "`d8 policy check` refuses {object}: {output}");
            // A client accepts what the API server accepts.
            let policy: PluginPolicy = serde_json::from_value(object.clone()).unwrap();
            CheckedPolicy::new(&policy).unwrap_or_else(|rejected| panic!("{object}: {rejected}"));
        }
    }
}
