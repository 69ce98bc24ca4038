//! Records of what an old proxy offers: the shipped operator and the shipped `d8` against `d8-rpp serve` as
//! of generations 1 and 2.

use std::ffi::OsString;
use std::time::Duration;

use d8_crds::records::release::{CliRelease, CliReleaseStatus, Fit, ReleaseVersion};
use d8_crds::values::platform::Platform;
use d8_tests::catalog::{Hostile, Plugin, image};
use d8_tests::lab::Lab;
use d8_tests::process::{Server, wait_for};
use d8_tests::registry::{CONFIG_MAP, NAMESPACE, serve};
use d8_tests::{Result, run, tools};
use serde_json::{Value, json};

/// A proxy of a generation over the lab's layout, which the cluster names from now on; the operator asks it anew.
fn old_proxy(lab: &mut Lab, generation: &str) -> Result<Server> {
    let layout = lab.registry().layout().to_owned();
    let flags: [OsString; 4] = ["--layout".into(), layout.into(), "--generation".into(), generation.into()];
    let (server, address) = serve(lab.plane(), &format!("proxy-{generation}"), flags)?;
    announce(lab, &address)?;
    Ok(server)
}

/// Has the cluster name the proxy at `host:port`, and the operator look where it is.
fn announce(lab: &mut Lab, address: &str) -> Result<()> {
    let config = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE},
        "data": {"endpoints": json!([address]).to_string(), "ca.crt": lab.plane().ca_pem()},
    });
    lab.plane().apply(&config.to_string())?;
    lab.stop_operator()?;
    lab.start_operator()
}

/// Publishes an image for each platform under a tag of its own.
fn publish_by_platform(lab: &Lab, name: &str, version: &str) -> Result<()> {
    let scratch = lab.plane().scratch();
    let script = scratch.write(&format!("{name}-{version}"), d8_tests::catalog::script(name, version))?;
    let contract =
        scratch.write(&format!("{name}-{version}.yaml"), format!("name: {name}\ndescription: by platform\n"))?;
    let mut args = vec!["pack".to_owned(), "--generation=1".into(), format!("--image={}", image(name))];
    args.push(format!("--version={version}"));
    for platform in ["linux-amd64", "linux-arm64"] {
        args.push(format!("--platform={platform}={}", script.display()));
    }
    args.push(format!("--contract={}", contract.display()));
    args.push(format!("--to={}", lab.registry().layout().display()));
    run(tools::binary("d8-rpp")?, args, |_| {})?.expect_code(0).map(drop)
}

/// Whole layers of a plugin that the proxy has given to the operator.
fn layers(proxy: &Server, name: &str) -> usize {
    let paths = [format!("{}/images/", image(name)), format!("{}/tags/", image(name))];
    let given = |line: &&str| {
        line.contains("d8-operator")
            && line.contains("GET")
            && line.contains("200")
            && line.contains("bytes=")
            && paths.iter().any(|path| line.contains(path))
    };
    proxy.log().lines().filter(given).count()
}

fn status(release: &CliRelease) -> CliReleaseStatus {
    release.status.clone().unwrap_or_default()
}

fn version(release: &CliRelease, name: &str) -> ReleaseVersion {
    let found = status(release).versions.into_iter().find(|version| version.version == name);
    found.unwrap_or_else(|| panic!("{name} is not in {:?}", release.status))
}

fn synced(lab: &Lab, name: &str, versions: usize) -> Result<CliRelease> {
    lab.release_when(name, "synced", |release| {
        let status = status(release);
        let is = |kind: &str| status.conditions.iter().any(|c| c.type_ == kind && c.status == "True");
        status.versions.len() == versions && is("Synced") && !is("Reconciling")
    })
}

fn names(release: &CliRelease, wanted: impl Fn(&ReleaseVersion) -> bool) -> Vec<String> {
    status(release).versions.iter().filter(|v| wanted(v)).map(|v| v.version.clone()).collect()
}

fn platforms(version: &ReleaseVersion) -> Vec<&str> {
    version.artifacts.iter().map(|artifact| artifact.platform.as_deref().unwrap_or("any")).collect()
}

/// The operator asks the proxy once more, and has its answer.
fn poll(lab: &Lab, name: &str) -> Result<()> {
    let polls = || {
        let (_, text) = lab.operator_get("/metrics")?;
        let line =
            |line: &str| line.strip_prefix("d8_operator_polls_total{reason=\"Success\"}")?.trim().parse::<u64>().ok();
        text.lines().find_map(line)
    };
    let before = polls();
    lab.poll(name)?;
    wait_for("a poll", Duration::from_secs(30), || (polls() > before).then_some(()))
}

/// How an installed plugin was verified.
fn verified(listed: &str, name: &str) -> Value {
    let rows: Value = serde_json::from_str(listed).unwrap_or_else(|error| panic!("{error}: {listed}"));
    let row = rows.as_array().and_then(|rows| rows.iter().find(|row| row["name"] == name)).cloned();
    row.unwrap_or_default()["verified"].clone()
}

#[test]
fn records_of_old_proxies() -> Result<()> {
    let mut lab = Lab::start(|_| {})?;
    for (generation, broken) in [("2", "broken-2"), ("1", "broken-1")] {
        let (whole, split) = (format!("whole-{generation}"), format!("split-{generation}"));
        let demands = json!({"kubernetes": {"constraint": ">=99"}});
        for version in ["v1.0.0", "v1.1.0", "v1.2.0", "v1.3.0"] {
            lab.publish(&Plugin::new(&whole, version).described("in one"))?;
        }
        lab.publish(&Plugin::new(&whole, "v1.4.0").requires(demands))?;
        for version in ["v1.0.0", "v1.1.0"] {
            publish_by_platform(&lab, &split, version)?;
        }
        let (layer, annotations) = (b"no archive".to_vec(), json!({}));
        lab.registry().push(&Hostile { name: broken, version: "v1.0.0", layer, annotations, harm: "no archive" })?;
        lab.publish(&Plugin::new("d8", "v0.0.1"))?;
        let proxy = old_proxy(&mut lab, generation)?;
        lab.track(&[&whole, &split, broken])?;

        // Versions, fit, contract.
        let release = synced(&lab, &whole, 5)?;
        let found = status(&release);
        assert_eq!((found.latest.as_deref(), found.latest_fitting.as_deref()), (Some("v1.4.0"), Some("v1.3.0")));
        assert_eq!(names(&release, |v| !v.artifacts.is_empty()), ["v1.4.0", "v1.3.0", "v1.2.0"], "{generation}");
        assert_eq!(names(&release, |v| v.fit == Fit::Unknown), ["v1.1.0", "v1.0.0"]);
        assert!(version(&release, "v1.1.0").reasons[0].contains("the contract was not read"), "{release:?}");
        assert!(version(&release, "v1.4.0").reasons[0].contains("requires Kubernetes >=99"), "{release:?}");
        let newest = version(&release, "v1.3.0");
        assert_eq!(newest.description.as_deref(), Some("in one"));
        // The route of generation 1 knows no platforms.
        let seen = if generation == "2" { vec!["linux-amd64", "linux-arm64", "darwin-arm64"] } else { vec!["any"] };
        assert_eq!(platforms(&newest), seen);
        let release = synced(&lab, &split, 2)?;
        let newest = version(&release, "v1.1.0");
        assert_eq!((newest.description.as_deref(), newest.fit), (Some("by platform"), Fit::Fits));
        assert_eq!(platforms(&newest), ["linux-amd64", "linux-arm64"]);

        let d8 = version(&lab.release_with("d8", "v0.0.1")?, "v0.0.1");
        assert_eq!((d8.fit, d8.artifacts.is_empty()), (Fit::Fits, false));

        // What can't be read is not tried again and again.
        let found_broken = version(&synced(&lab, broken, 1)?, "v1.0.0");
        assert_eq!((found_broken.fit, found_broken.artifacts.len()), (Fit::Unknown, 0));
        let tried = layers(&proxy, broken);
        poll(&lab, broken)?;
        assert_eq!((tried, layers(&proxy, broken)), (1, 1), "{}", proxy.log());

        // A quiet poll and a restart download nothing.
        let read = [layers(&proxy, &whole), layers(&proxy, &split)];
        assert_eq!(read, [3 * seen.len(), 4], "{}", proxy.log());
        poll(&lab, &whole)?;
        poll(&lab, &split)?;
        lab.stop_operator()?;
        lab.start_operator()?;
        poll(&lab, &whole)?;
        poll(&lab, &split)?;
        assert_eq!([layers(&proxy, &whole), layers(&proxy, &split)], read, "{}", proxy.log());
        let after = synced(&lab, &whole, 5)?;
        assert_eq!(status(&after).versions, found.versions, "and nothing of the record has changed");

        // What the operator hashed is what is checked.
        let station = lab.new_workstation()?;
        for name in [&whole, &split] {
            station.d8(["plugins", "install", name.as_str()])?.expect_code(0)?;
            assert_eq!(verified(&station.d8(["plugins", "list", "-o", "json"])?.ok()?, name), "digest", "{name}");
        }
        // What it did not read, the client does.
        station.d8(["plugins", "install", &whole, "--version", "v1.0.0"])?.expect_code(0)?;
        assert_eq!(verified(&station.d8(["plugins", "list", "-o", "json"])?.ok()?, &whole), "transport");

        // A pin has a version read; a moved tag is found, remembered, and its old record refuses its bytes.
        let digest = version(&after, "v1.0.0").digest;
        let pins = json!([{"version": "v1.0.0", "digest": digest}]);
        let rules = json!([{"plugins": [whole], "pins": pins}]);
        lab.policy(&format!("pin-{generation}"), &json!({"hostSelector": {}, "rules": rules}))?;
        lab.release_when(&whole, "v1.0.0 read", |release| !version(release, "v1.0.0").artifacts.is_empty())?;
        let before = version(&synced(&lab, &split, 2)?, "v1.1.0");
        let other = Plugin::new(&whole, "v1.3.0").described("in one").runs("#!/bin/sh\necho other bytes\n");
        lab.publish(&other)?;
        let platform = Platform::current();
        let late = lab.new_workstation()?;
        let refused = late.d8(["plugins", "install", whole.as_str()])?;
        assert_ne!(refused.code(), 0, "{platform}: {refused:?}");
        assert!(refused.stderr.contains("digest"), "{refused:?}");
        poll(&lab, &whole)?;
        let moved = lab.release_when(&whole, "moved", |release| version(release, "v1.3.0").moved.is_some())?;
        assert_eq!(platforms(&version(&moved, "v1.3.0")), seen);
        assert_eq!(version(&lab.release_with(&split, "v1.1.0")?, "v1.1.0"), before);
        drop(proxy);
    }

    // The proxy is updated: what it shows now is more, and nothing was moved.
    let before: Vec<CliRelease> =
        ["whole-2", "split-2", "whole-1", "split-1"].iter().filter_map(|name| lab.release(name)).collect();
    let newest = lab.registry().url().replace("https://", "");
    announce(&mut lab, &newest)?;
    for old in before {
        let name = old.metadata.name.clone().unwrap_or_default();
        poll(&lab, &name)?;
        let all = status(&old).versions.len();
        let read = |release: &CliRelease| status(release).versions.iter().all(|v| v.artifacts.len() > 1);
        // Known versions are read again in turn, some at each poll.
        let release = wait_for(&name, Duration::from_mins(1), || {
            poll(&lab, &name).ok()?;
            lab.release(&name).filter(|release| name.starts_with("split") || read(release))
        })?;
        for now in status(&release).versions {
            let then = version(&old, &now.version);
            assert_eq!((now.first_seen, now.moved), (then.first_seen, then.moved), "{name} {}", now.version);
        }
        assert_eq!(status(&release).versions.len(), all);
    }
    Ok(())
}
