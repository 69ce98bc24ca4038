//! Records for old proxies: the shipped operator and `d8` with `d8-rpp serve` of generations 1 and 2.

use std::ffi::OsString;
use std::time::Duration;

use d8_crds::records::release::{CliRelease, Fit, ReleaseVersion};
use d8_tests::catalog::{HostileImage, Plugin, image};
use d8_tests::lab::Lab;
use d8_tests::pack::Pack;
use d8_tests::process::{Server, wait_for};
use d8_tests::proxy::serve;
use d8_tests::status::{of_release, version};
use d8_tests::{Result, objects};
use serde_json::{Value, json};

/// Starts a proxy of a generation over the lab's layout and announces it in the cluster.
fn start_old_proxy(lab: &mut Lab, generation: &str) -> Result<Server> {
    let layout = lab.proxy().layout().to_owned();
    let flags: [OsString; 4] = ["--layout".into(), layout.into(), "--generation".into(), generation.into()];
    let (server, address) = serve(lab.plane(), &format!("proxy-{generation}"), flags)?;
    announce(lab, &address)?;
    Ok(server)
}

/// Announces the proxy at `host:port` in the cluster, and restarts the operator so that it finds it.
fn announce(lab: &mut Lab, address: &str) -> Result<()> {
    let config = objects::proxy_config(None, &[address], lab.plane().ca_pem());
    lab.plane().apply(&config.to_string())?;
    lab.stop_operator()?;
    lab.start_operator()
}

/// Publishes an image for each platform, each with its own tag.
fn publish_by_platform(lab: &Lab, name: &str, version: &str) -> Result<()> {
    let scratch = lab.plane().scratch();
    let script = scratch.write(&format!("{name}-{version}"), d8_tests::catalog::script(name, version))?;
    let contract =
        scratch.write(&format!("{name}-{version}.yaml"), format!("name: {name}\ndescription: by platform\n"))?;
    let mut pack = Pack::new(&image(name), version).flag("--generation", "1").contract(&contract);
    for platform in ["linux-amd64", "linux-arm64"] {
        pack = pack.platform(platform, &script);
    }
    pack.to(lab.proxy().layout())?.expect_code(0).map(drop)
}

/// Returns the number of whole layers of a plugin that the operator has downloaded from the proxy.
fn downloaded_layers(proxy: &Server, name: &str) -> usize {
    let paths = [format!("{}/images/", image(name)), format!("{}/tags/", image(name))];
    let is_download = |line: &&str| {
        line.contains("d8-operator")
            && line.contains("GET")
            && line.contains("200")
            && line.contains("bytes=")
            && paths.iter().any(|path| line.contains(path))
    };
    proxy.log().lines().filter(is_download).count()
}

fn synced(lab: &Lab, name: &str, versions: usize) -> Result<CliRelease> {
    lab.wait_for_release(name, "synced", |release| {
        let status = of_release(release);
        let is = |kind: &str| status.conditions.iter().any(|c| c.type_ == kind && c.status == "True");
        status.versions.len() == versions && is("Synced") && !is("Reconciling")
    })
}

fn names(release: &CliRelease, wanted: impl Fn(&ReleaseVersion) -> bool) -> Vec<String> {
    of_release(release).versions.iter().filter(|v| wanted(v)).map(|v| v.version.clone()).collect()
}

fn platforms(version: &ReleaseVersion) -> Vec<&str> {
    version.artifacts.iter().map(|artifact| artifact.platform.as_deref().unwrap_or("any")).collect()
}

/// Makes the operator poll the proxy, and waits until the poll has succeeded.
fn poll(lab: &Lab, name: &str) -> Result<()> {
    let polls = || {
        let (_, text) = lab.operator_get("/metrics")?;
        let line =
            |line: &str| line.strip_prefix("d8_operator_polls_total{reason=\"Success\"}")?.trim().parse::<u64>().ok();
        text.lines().find_map(line)
    };
    let before = polls();
    lab.request_poll(name)?;
    wait_for("a successful poll", Duration::from_secs(30), || (polls() > before).then_some(()))
}

/// Field `verified` of an installed plugin in the output of `list`.
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
        let unmet = json!({"kubernetes": {"constraint": ">=99"}});
        for version in ["v1.0.0", "v1.1.0", "v1.2.0", "v1.3.0"] {
            lab.publish(&Plugin::new(&whole, version).with_description("in one"))?;
        }
        lab.publish(&Plugin::new(&whole, "v1.4.0").with_requirements(unmet))?;
        for version in ["v1.0.0", "v1.1.0"] {
            publish_by_platform(&lab, &split, version)?;
        }
        let (layer, annotations) = (b"no archive".to_vec(), json!({}));
        lab.proxy().publish_hostile(&HostileImage {
            name: broken,
            version: "v1.0.0",
            layer,
            annotations,
            defect: "no archive",
            installs: false,
        })?;
        lab.publish(&Plugin::new("d8", "v0.0.1"))?;
        let proxy = start_old_proxy(&mut lab, generation)?;
        lab.create_releases(&[&whole, &split, broken])?;

        // Versions, fit, contract.
        let release = synced(&lab, &whole, 5)?;
        let found = of_release(&release);
        assert_eq!((found.latest.as_deref(), found.latest_fitting.as_deref()), (Some("v1.4.0"), Some("v1.3.0")));
        assert_eq!(names(&release, |v| !v.artifacts.is_empty()), ["v1.4.0", "v1.3.0", "v1.2.0"], "{generation}");
        assert_eq!(names(&release, |v| v.fit == Fit::Unknown), ["v1.1.0", "v1.0.0"]);
        assert!(version(&release, "v1.1.0").reasons[0].contains("the contract was not read"), "{release:?}");
        assert!(version(&release, "v1.4.0").reasons[0].contains("requires Kubernetes >=99"), "{release:?}");
        let newest = version(&release, "v1.3.0");
        assert_eq!(newest.description.as_deref(), Some("in one"));
        // The route of generation 1 has no platforms.
        let expected_platforms =
            if generation == "2" { vec!["linux-amd64", "linux-arm64", "darwin-arm64"] } else { vec!["any"] };
        assert_eq!(platforms(&newest), expected_platforms);
        let release = synced(&lab, &split, 2)?;
        let newest = version(&release, "v1.1.0");
        assert_eq!((newest.description.as_deref(), newest.fit), (Some("by platform"), Fit::Fits));
        assert_eq!(platforms(&newest), ["linux-amd64", "linux-arm64"]);

        let d8 = version(&lab.wait_for_version("d8", "v0.0.1")?, "v0.0.1");
        assert_eq!((d8.fit, d8.artifacts.is_empty()), (Fit::Fits, false));

        // An unreadable layer is not downloaded at every poll.
        let found_broken = version(&synced(&lab, broken, 1)?, "v1.0.0");
        assert_eq!((found_broken.fit, found_broken.artifacts.len()), (Fit::Unfit, 0));
        assert!(found_broken.reasons.join(" ").contains("expected a gzip tar"), "{found_broken:?}");
        let attempts = downloaded_layers(&proxy, broken);
        poll(&lab, broken)?;
        assert_eq!((attempts, downloaded_layers(&proxy, broken)), (1, 1), "{}", proxy.log());

        // A poll without changes and a restart download nothing.
        let read = [downloaded_layers(&proxy, &whole), downloaded_layers(&proxy, &split)];
        assert_eq!(read, [3 * expected_platforms.len(), 4], "{}", proxy.log());
        poll(&lab, &whole)?;
        poll(&lab, &split)?;
        lab.stop_operator()?;
        lab.start_operator()?;
        poll(&lab, &whole)?;
        poll(&lab, &split)?;
        assert_eq!([downloaded_layers(&proxy, &whole), downloaded_layers(&proxy, &split)], read, "{}", proxy.log());
        let after = synced(&lab, &whole, 5)?;
        assert_eq!(of_release(&after).versions, found.versions, "the record does not change");

        // d8 verifies the digest that the operator computed.
        let station = lab.new_workstation()?;
        for name in [&whole, &split] {
            station.d8(["plugins", "install", name.as_str()])?.expect_code(0)?;
            assert_eq!(verified(&station.d8(["plugins", "list", "-o", "json"])?.ok()?, name), "digest", "{name}");
        }
        // d8 itself reads a layer that the operator did not read.
        station.d8(["plugins", "install", &whole, "--version", "v1.0.0"])?.expect_code(0)?;
        assert_eq!(verified(&station.d8(["plugins", "list", "-o", "json"])?.ok()?, &whole), "transport");

        // A pinned version is read. A moved tag is detected, and d8 refuses its bytes by the old record.
        let digest = version(&after, "v1.0.0").digest;
        let pins = json!([{"version": "v1.0.0", "digest": digest}]);
        let rules = json!([{"plugins": [whole], "pins": pins}]);
        lab.apply_policy(&format!("pin-{generation}"), &json!({"hostSelector": {}, "rules": rules}))?;
        lab.wait_for_release(&whole, "v1.0.0 read", |release| !version(release, "v1.0.0").artifacts.is_empty())?;
        let before = version(&synced(&lab, &split, 2)?, "v1.1.0");
        let other =
            Plugin::new(&whole, "v1.3.0").with_description("in one").with_executable("#!/bin/sh\necho other bytes\n");
        lab.publish(&other)?;
        let late = lab.new_workstation()?;
        let refused = late.d8(["plugins", "install", whole.as_str()])?.expect_code(1)?;
        assert!(refused.stderr.contains("digest"), "{refused:?}");
        poll(&lab, &whole)?;
        let moved = lab.wait_for_release(&whole, "moved", |release| version(release, "v1.3.0").moved.is_some())?;
        assert_eq!(platforms(&version(&moved, "v1.3.0")), expected_platforms);
        assert_eq!(version(&lab.wait_for_version(&split, "v1.1.0")?, "v1.1.0"), before);
        drop(proxy);
    }

    an_updated_proxy_moves_no_tag(&mut lab)
}

/// The proxy is updated to generation 3: records get more data, and no tag counts as moved.
fn an_updated_proxy_moves_no_tag(lab: &mut Lab) -> Result<()> {
    let before: Vec<CliRelease> =
        ["whole-2", "split-2", "whole-1", "split-1"].iter().filter_map(|name| lab.get_release(name)).collect();
    let newest = lab.proxy().address().to_owned();
    announce(lab, &newest)?;
    for old in before {
        let name = old.metadata.name.clone().unwrap_or_default();
        poll(lab, &name)?;
        let all = of_release(&old).versions.len();
        let read = |release: &CliRelease| of_release(release).versions.iter().all(|v| v.artifacts.len() > 1);
        // Each poll reads some of the known versions again.
        let release = wait_for(&name, Duration::from_mins(1), || {
            poll(lab, &name).ok()?;
            lab.get_release(&name).filter(|release| name.starts_with("split") || read(release))
        })?;
        for now in of_release(&release).versions {
            let then = version(&old, &now.version);
            assert_eq!((now.first_seen, now.moved), (then.first_seen, then.moved), "{name} {}", now.version);
        }
        assert_eq!(of_release(&release).versions.len(), all);
    }
    Ok(())
}
