//! Records: the shipped operator with the chart's `ServiceAccount`, a real API server and a real proxy.

use std::time::Duration;

use d8_crds::records::release::{CliRelease, Fit};
use d8_tests::catalog::{self, Plugin};
use d8_tests::lab::Lab;
use d8_tests::pack::Pack;
use d8_tests::process::wait_for;
use d8_tests::status::{self, of_release, version};
use d8_tests::{Result, run, tools};
use serde_json::json;

fn unpublish(lab: &Lab, name: &str, version: &str) -> Result<()> {
    let layout = lab.proxy().layout().display().to_string();
    let args = ["unpublish", "--image", &catalog::image(name), "--version", version, "--from", &layout];
    run(tools::binary("d8-rpp")?, args, |_| {})?.expect_code(0).map(drop)
}

/// Returns a condition of a record as `True/Synced`.
fn condition(release: &CliRelease, kind: &str) -> String {
    status::condition(&of_release(release).conditions, kind)
}

/// Publishes a plugin and creates its record. Returns the record when it is synced.
fn publish(lab: &Lab, name: &str, versions: &[&str]) -> Result<CliRelease> {
    for version in versions {
        lab.publish(&Plugin::new(name, version))?;
    }
    lab.create_releases(&[name])?;
    synced(lab, name, versions.len())
}

fn synced(lab: &Lab, name: &str, versions: usize) -> Result<CliRelease> {
    lab.wait_for_release(name, "synced", |r| {
        of_release(r).versions.len() == versions && condition(r, "Synced") == "True/Synced"
    })
}

#[test]
fn a_record_has_the_published_versions_and_their_fit() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("stocked", "v1.0.0").with_description("Keeps stock").with_contract_env(&["KUBECONFIG"]))?;
    lab.publish(&Plugin::new("stocked", "v1.1.0-rc.1"))?;
    let unfit = json!({"kubernetes": {"constraint": ">=1.99"}, "deckhouse": {"constraint": ">=1.70"}});
    lab.publish(&Plugin::new("stocked", "v1.2.0").with_requirements(unfit))?;
    lab.create_releases(&["stocked"])?;
    let release = synced(lab, "stocked", 2)?;

    let found = of_release(&release);
    assert_eq!((found.latest.as_deref(), found.latest_fitting.as_deref()), (Some("v1.2.0"), Some("v1.0.0")));
    assert_eq!(found.observed_generation, release.metadata.generation);
    assert!(found.conditions.iter().all(|c| c.observed_generation == release.metadata.generation));
    let cluster = found.cluster.expect("cluster facts");
    let uid = lab.plane().kubectl(["get", "namespace", "kube-system", "--output=jsonpath={.metadata.uid}"])?;
    assert_eq!(cluster.uid, Some(uid));
    assert_eq!(cluster.deckhouse.as_deref(), Some("v1.72.1"));
    let newest = version(&release, "v1.2.0");
    assert_eq!(newest.fit, Fit::Unfit);
    let kubernetes = cluster.kubernetes.expect("a Kubernetes version");
    assert_eq!(newest.reasons, [format!("requires Kubernetes >=1.99, the cluster runs {kubernetes}")]);
    let oldest = version(&release, "v1.0.0");
    assert_eq!((oldest.fit, oldest.description.as_deref()), (Fit::Fits, Some("Keeps stock")));
    assert_eq!(oldest.env[0].name, "KUBECONFIG");
    let platforms: Vec<_> = oldest.artifacts.iter().filter_map(|a| a.platform.as_deref()).collect();
    assert_eq!(platforms, ["darwin-arm64", "linux-amd64", "linux-arm64"]);
    assert!(oldest.artifacts.iter().all(|a| a.size_bytes > 0 && a.layer.starts_with("sha256:")));

    let table = lab.plane().kubectl(["get", "crel", "stocked"])?;
    let row: Vec<&str> = table.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert_eq!(row[..6], ["stocked", "Stable", "v1.2.0", "v1.0.0", "True", "True"], "{table}");
    Ok(())
}

#[test]
fn a_new_version_is_recorded_with_an_event() -> Result<()> {
    let lab = Lab::shared();
    let first = publish(lab, "growing", &["v1.0.0"])?;
    lab.publish(&Plugin::new("growing", "v1.1.0"))?;
    lab.request_poll("growing")?;
    let second = lab.wait_for_version("growing", "v1.1.0")?;
    assert_eq!(version(&second, "v1.0.0"), version(&first, "v1.0.0"), "the known version does not change");
    // Times are in whole seconds, so both may be equal.
    assert!(version(&second, "v1.1.0").first_seen >= version(&second, "v1.0.0").first_seen);
    let events = ["get", "events.events.k8s.io", "--namespace=default", "--output=json"];
    let found = wait_for("an event", Duration::from_secs(20), || {
        let list: serde_json::Value = serde_json::from_str(&lab.plane().kubectl(events).ok()?).ok()?;
        let of_growing =
            |event: &&serde_json::Value| event["regarding"]["name"] == "growing" && event["reason"] == "Published";
        list["items"].as_array()?.iter().find(of_growing).cloned()
    })?;
    assert_eq!((&found["action"], &found["type"]), (&json!("v1.1.0"), &json!("Normal")));
    Ok(())
}

#[test]
fn a_moved_tag_is_recorded() -> Result<()> {
    let lab = Lab::shared();
    let before = version(&publish(lab, "moving", &["v1.0.0"])?, "v1.0.0");
    lab.publish(&Plugin::new("moving", "v1.0.0").with_executable("#!/bin/sh\necho other bytes\n"))?;
    lab.request_poll("moving")?;
    let moved =
        lab.wait_for_release("moving", "moved", |r| of_release(r).versions.iter().any(|v| v.moved.is_some()))?;
    let after = version(&moved, "v1.0.0");
    assert_eq!(after.moved.as_ref().map(|m| m.from.as_str()), Some(before.digest.as_str()));
    assert_ne!(after.digest, before.digest);
    assert_eq!(
        after.first_seen.as_ref().map(|t| &t.0),
        after.moved.as_ref().map(|m| &m.at.0),
        "its age counts from the move"
    );
    Ok(())
}

#[test]
fn an_added_platform_is_not_a_move() -> Result<()> {
    let lab = Lab::shared();
    let script = lab.plane().scratch().write("spreading", catalog::script("spreading", "v1.0.0"))?;
    // A build for more platforms from the same source has the same date, so the same manifests.
    let pack = |platforms: &[&str]| {
        let mut pack = Pack::new(&catalog::image("spreading"), "v1.0.0").flag("--created", "2026-01-02T03:04:05Z");
        for platform in platforms {
            pack = pack.platform(platform, &script);
        }
        pack.to(lab.proxy().layout())?.expect_code(0)
    };
    pack(&["linux-amd64"])?;
    lab.create_releases(&["spreading"])?;
    let before = version(&synced(lab, "spreading", 1)?, "v1.0.0");
    let date = before.first_seen.as_ref().map(|seen| seen.0.to_string());
    assert_eq!(date.as_deref(), Some("2026-01-02T03:04:05Z"), "the first sync uses the date of the image");
    pack(&["linux-amd64", "darwin-arm64"])?;
    lab.request_poll("spreading")?;
    let release = lab.wait_for_release("spreading", "more platforms", |r| {
        of_release(r).versions.iter().any(|v| v.artifacts.len() == 2)
    })?;
    let after = version(&release, "v1.0.0");
    assert_ne!(after.digest, before.digest);
    assert_eq!((after.moved, after.first_seen), (None, before.first_seen));
    Ok(())
}

#[test]
fn a_withdrawn_version_is_marked_and_a_large_shrink_needs_confirmation() -> Result<()> {
    let lab = Lab::shared();
    publish(lab, "shrinking", &["v1.0.0", "v1.1.0", "v1.2.0", "v1.3.0"])?;
    unpublish(lab, "shrinking", "v1.3.0")?;
    lab.request_poll("shrinking")?;
    let release =
        lab.wait_for_release("shrinking", "withdrawn", |r| of_release(r).latest.as_deref() == Some("v1.2.0"))?;
    assert!(version(&release, "v1.3.0").withdrawn.is_some());
    assert_eq!(of_release(&release).latest_fitting.as_deref(), Some("v1.2.0"));

    unpublish(lab, "shrinking", "v1.2.0")?;
    unpublish(lab, "shrinking", "v1.1.0")?;
    lab.request_poll("shrinking")?;
    let suspicious = |r: &CliRelease| condition(r, "Synced") == "False/SuspiciousShrink";
    let release = lab.wait_for_release("shrinking", "suspicious", suspicious)?;
    assert_eq!(of_release(&release).latest.as_deref(), Some("v1.2.0"), "the data is kept");
    assert_eq!(condition(&release, "Ready"), "True/Published");
    let accept = "cli.deckhouse.io/accept-shrink=1";
    lab.plane().kubectl(["annotate", "--overwrite", "clirelease", "shrinking", accept])?;
    let release =
        lab.wait_for_release("shrinking", "accepted", |r| of_release(r).latest.as_deref() == Some("v1.0.0"))?;
    assert_eq!(condition(&release, "Synced"), "True/Synced");
    Ok(())
}

#[test]
fn an_unusable_contract_is_not_a_missing_contract() -> Result<()> {
    let lab = Lab::shared();
    for image in catalog::hostile() {
        lab.proxy().publish_hostile(&image)?;
    }
    let names: Vec<&str> = catalog::hostile().iter().map(|image| image.name).collect();
    lab.create_releases(&names)?;
    for (name, reason) in
        [("garbled", "requirements.modules"), ("nonsense", "annotation `contract`"), ("impostor", "hello")]
    {
        let release = lab.wait_for_version(name, "v1.0.0")?;
        let found = version(&release, "v1.0.0");
        assert_eq!(found.fit, Fit::Unknown, "{name}");
        assert!(found.reasons[0].contains(reason), "{name}: {:?}", found.reasons);
        assert_eq!(
            (of_release(&release).latest_fitting, of_release(&release).latest.as_deref()),
            (None, Some("v1.0.0"))
        );
    }
    let escape = lab.wait_for_version("escape", "v1.0.0")?;
    let shown = version(&escape, "v1.0.0").description.unwrap_or_default();
    assert!(!shown.chars().any(char::is_control) && shown.contains("innocent"), "{shown:?}");
    Ok(())
}

#[test]
fn a_contract_beyond_the_limits_does_not_stop_the_record() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("verbose", "v1.0.0"))?;
    let long = format!(">=1.0{}", ",>=1.0".repeat(80));
    lab.publish(&Plugin::new("verbose", "v1.1.0").with_requirements(json!({"kubernetes": {"constraint": long}})))?;
    let modules: Vec<_> = (0..300).map(|n| json!({"name": format!("module-with-a-long-name-{n}")})).collect();
    lab.publish(&Plugin::new("verbose", "v1.2.0").with_requirements(json!({"modules": {"mandatory": modules}})))?;
    lab.create_releases(&["verbose"])?;
    let release = synced(lab, "verbose", 3)?;
    assert_eq!(condition(&release, "Stalled"), "True/RecordTooLarge");
    for (name, why) in [("v1.1.0", "requirements.kubernetes.constraint"), ("v1.2.0", "bytes")] {
        let found = version(&release, name);
        assert!(found.fit == Fit::Unknown && found.reasons[0].contains(why), "{name}: {:?}", found.reasons);
    }
    assert_eq!(of_release(&release).latest_fitting.as_deref(), Some("v1.0.0"));
    Ok(())
}

#[test]
fn an_unpublished_plugin_is_reported() -> Result<()> {
    let lab = Lab::shared();
    lab.create_releases(&["missing"])?;
    let release =
        lab.wait_for_release("missing", "not published", |r| condition(r, "Synced") == "False/NotPublished")?;
    assert_eq!(condition(&release, "Ready"), "False/NeverSynced");
    let answered = release.metadata.creation_timestamp.map(|created| created.0);
    lab.publish(&Plugin::new("missing", "v1.0.0").with_age(jiff::SignedDuration::from_hours(1000)))?;
    lab.request_poll("missing")?;
    let first_seen = version(&synced(lab, "missing", 1)?, "v1.0.0").first_seen.map(|seen| seen.0);
    assert!(first_seen >= answered, "{first_seen:?}: the date of an image that was not there at first does not count");
    Ok(())
}

#[test]
fn the_spec_selects_the_versions() -> Result<()> {
    let lab = Lab::shared();
    publish(lab, "chosen", &["v0.9.0", "v1.0.0", "v1.1.0", "v2.0.0"])?;
    let patch = |patch: serde_json::Value| {
        let patch = format!("--patch={patch}");
        lab.plane().kubectl(["patch", "clirelease", "chosen", "--type=merge", &patch]).map(drop)
    };
    let latest = |what, version: &'static str| {
        lab.wait_for_release("chosen", what, |r| of_release(r).latest.as_deref() == Some(version))
    };
    patch(json!({"spec": {"versions": "<2", "history": 1}}))?;
    let release = latest("a range and a short history", "v1.1.0")?;
    assert_eq!(of_release(&release).versions.len(), 1);
    patch(json!({"spec": {"versions": "not a range"}}))?;
    let release = lab.wait_for_release("chosen", "stalled", |r| condition(r, "Stalled") == "True/InvalidSpec")?;
    assert_eq!((condition(&release, "Synced"), of_release(&release).versions.len()), ("False/InvalidSpec".into(), 1));
    patch(json!({"spec": {"versions": null, "history": null, "platforms": ["linux-amd64"]}}))?;
    let release = latest("everything again", "v2.0.0")?;
    assert_eq!(condition(&release, "Stalled"), "");
    assert!(of_release(&release).versions.iter().all(|v| v.artifacts.len() == 1));
    patch(json!({"spec": {"platforms": null, "suspend": true}}))?;
    lab.wait_for_release("chosen", "suspended", |r| condition(r, "Synced") == "False/Suspended")?;
    Ok(())
}

#[test]
fn a_poll_without_changes_writes_nothing() -> Result<()> {
    let lab = Lab::shared();
    publish(lab, "quiet", &["v1.0.0", "v1.1.0"])?;
    let polls = || lab.proxy().log().matches("/plugins/quiet/tags\"").count();
    let version = || lab.get_release("quiet").and_then(|release| release.metadata.resource_version);
    let mut annotated = None;
    for _ in 0..4 {
        // The annotation that requested the poll is still the last write.
        if annotated.is_some() {
            assert_eq!(version(), annotated);
        }
        let polled = polls();
        annotated = Some(lab.request_poll("quiet")?);
        wait_for("a poll", Duration::from_secs(20), || (polls() > polled).then_some(()))?;
    }
    Ok(())
}

#[test]
fn a_change_in_the_cluster_is_evaluated_without_a_poll() -> Result<()> {
    let lab = Lab::shared();
    let needs = json!({"modules": {"mandatory": [{"name": "prometheus", "constraint": ">=2"}]}});
    lab.publish(&Plugin::new("watching", "v1.0.0"))?;
    lab.publish(&Plugin::new("watching", "v1.1.0").with_requirements(needs))?;
    lab.create_releases(&["watching"])?;
    synced(lab, "watching", 2)?;
    for (enabled, fitting) in [(false, "v1.0.0"), (true, "v1.1.0")] {
        // The next poll is ten minutes away; the wait ends after one.
        lab.set_module("prometheus", enabled)?;
        let fits = |r: &CliRelease| of_release(r).latest_fitting.as_deref() == Some(fitting);
        let release = lab.wait_for_release("watching", fitting, fits)?;
        if !enabled {
            assert!(version(&release, "v1.1.0").reasons[0].contains("prometheus"), "{:?}", release.status);
        }
    }
    Ok(())
}

/// Returns the value of a metric of the operator.
fn metric(lab: &Lab, name: &str) -> Option<f64> {
    let (code, text) = lab.operator_get("/metrics")?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.filter(|_| code == 200)
}

#[test]
fn metrics_have_components_and_reasons_only() -> Result<()> {
    let lab = Lab::shared();
    publish(lab, "measured", &["v1.0.0"])?;
    wait_for("the metrics of the record", Duration::from_secs(20), || {
        metric(lab, "d8_operator_release_synced{component=\"measured\"}").filter(|synced| *synced > 0.0)
    })?;
    assert_eq!(metric(lab, "d8_operator_leading"), Some(1.0));
    assert!(metric(lab, "d8_operator_proxy_requests_total") > Some(0.0));
    lab.plane().kubectl(["delete", "clirelease", "measured"])?;
    wait_for("the removal of its metrics", Duration::from_secs(20), || {
        let (_, text) = lab.operator_get("/metrics")?;
        (!text.contains("measured")).then_some(())
    })
}
