//! Installing, updating, running and removing plugins, from the registry to a run.

use d8_crds::records::release::Fit;
use d8_crds::values::platform::Platform;
use d8_tests::catalog::Plugin;
use d8_tests::{Lab, Result};
use serde_json::{Value, json};

#[test]
fn a_published_version_is_recorded_installed_and_run() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("trip", "v1.0.0").with_description("Goes all the way"))?;
    lab.create_releases(&["trip"])?;
    let status = lab.wait_for_version("trip", "v1.0.0")?.status.unwrap_or_default();
    assert_eq!(status.latest.as_deref(), Some("v1.0.0"));
    assert_eq!(status.latest_fitting.as_deref(), Some("v1.0.0"));
    let here = Platform::current().to_string();
    let version = &status.versions[0];
    assert_eq!(version.fit, Fit::Fits);
    assert_eq!(version.description.as_deref(), Some("Goes all the way"));
    let artifact = version.artifacts.iter().find(|artifact| artifact.platform.as_deref() == Some(&here));
    let layer = &artifact.expect("an artifact for this machine").layer;
    for kind in ["Synced", "Ready"] {
        let condition = status.conditions.iter().find(|condition| condition.type_ == kind);
        assert_eq!(condition.map(|condition| condition.status.as_str()), Some("True"), "{kind}");
    }

    let alice = lab.new_workstation()?;
    let installed = alice.d8(["plugins", "install", "trip"])?.expect_code(0)?;
    assert!(installed.stdout.contains("trip v1.0.0"), "{installed:?}");
    let receipt = std::fs::read_to_string(alice.root().join("plugins/trip/versions/v1.0.0/receipt.json"));
    let receipt: Value = serde_json::from_str(&receipt.expect("a receipt")).expect("of JSON");
    assert!(receipt.to_string().contains(layer), "the receipt has the layer of the record: {receipt}");
    assert_eq!(receipt["verified"], "digest", "{receipt}");

    assert_eq!(alice.d8(["trip"])?.ok()?, "This is trip v1.0.0.\n");
    let words = ["trip", "args", "a", "b c", "--", "-h", "--unknown", ""];
    assert_eq!(alice.d8(words)?.ok()?, "<a>\n<b c>\n<-->\n<-h>\n<--unknown>\n<>\n");
    for code in [0, 1, 3, 42, 255] {
        assert_eq!(alice.d8(["trip", "exit", &code.to_string()])?.code(), code);
    }
    let list = alice.d8(["plugins", "list"])?.ok()?;
    assert!(list.contains("trip") && list.contains("v1.0.0") && list.contains("Goes all the way"), "{list}");
    Ok(())
}

#[test]
fn update_stays_within_the_major_version() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("growing", "v1.0.0"))?;
    lab.create_releases(&["growing"])?;
    lab.wait_for_version("growing", "v1.0.0")?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "growing"])?.expect_code(0)?;

    for version in ["v1.1.0", "v1.2.0-rc.1", "v2.0.0"] {
        lab.publish(&Plugin::new("growing", version))?;
    }
    lab.request_poll("growing")?;
    lab.wait_for_version("growing", "v2.0.0")?;
    let updated = alice.d8(["plugins", "update", "all"])?.expect_code(0)?;
    assert!(updated.combined().contains("v1.1.0"), "{updated:?}");
    assert_eq!(alice.d8(["growing"])?.ok()?, "This is growing v1.1.0.\n");

    alice.d8(["plugins", "update", "growing", "--use-major", "2"])?.expect_code(0)?;
    assert_eq!(alice.d8(["growing"])?.ok()?, "This is growing v2.0.0.\n");
    alice.d8(["plugins", "install", "growing", "--version", "1.2.0-rc.1"])?.expect_code(0)?;
    assert_eq!(alice.d8(["growing"])?.ok()?, "This is growing v1.2.0-rc.1.\n");
    Ok(())
}

#[test]
fn install_adds_dependencies() -> Result<()> {
    let lab = Lab::shared();
    let needs =
        |name: &str, constraint: &str| json!({"plugins": {"mandatory": [{"name": name, "constraint": constraint}]}});
    for version in ["v1.0.0", "v1.1.0", "v2.0.0"] {
        lab.publish(&Plugin::new("wheel", version))?;
    }
    lab.publish(&Plugin::new("axle", "v1.0.0").with_requirements(needs("wheel", "^1.0")))?;
    lab.publish(&Plugin::new("cart", "v1.0.0").with_requirements(needs("axle", ">=1")))?;
    lab.publish(&Plugin::new("cart", "v2.0.0").with_requirements(needs("nowhere", ">=1")))?;
    lab.create_releases(&["wheel", "axle", "cart"])?;
    for (name, version) in [("wheel", "v2.0.0"), ("axle", "v1.0.0"), ("cart", "v2.0.0")] {
        lab.wait_for_version(name, version)?;
    }
    let alice = lab.new_workstation()?;
    let before = alice.files();

    let verdicts = |rows: &str| -> Vec<(String, String)> {
        let document: Value = serde_json::from_str(rows).expect("JSON");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        document["versions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|row| (text(&row["version"]), text(&row["verdict"])))
            .collect()
    };
    let why = alice.d8(["plugins", "why", "cart", "-o", "json"])?.ok()?;
    let expected = [("v2.0.0", "Unfit"), ("v1.0.0", "Eligible")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(verdicts(&why), expected, "{why}");

    let refused = alice.d8(["plugins", "install", "cart", "--no-dependencies"])?.expect_code(4)?;
    assert!(refused.stderr.contains("d8 plugins install wheel --version v1.1.0"), "{refused:?}");
    assert_eq!(alice.files(), before, "a refusal changes nothing");

    let installed = alice.d8(["plugins", "install", "cart"])?.expect_code(0)?;
    for line in ["Installed wheel v1.1.0", "Installed axle v1.0.0 (needed by cart).", "Installed cart v1.0.0."] {
        assert!(installed.stdout.contains(line), "{line}: {installed:?}");
    }
    assert_eq!(alice.d8(["cart"])?.ok()?, "This is cart v1.0.0.\n");

    // The constraint of an installed plugin is not broken.
    let why = alice.d8(["plugins", "why", "wheel", "-o", "json"])?.ok()?;
    assert_eq!(verdicts(&why)[0], ("v2.0.0".to_owned(), "Unfit".to_owned()), "{why}");
    let why: Value = serde_json::from_str(&why).expect("JSON");
    let reason = &why["versions"][0]["reasons"][0];
    let keys = ["code", "component", "version", "conflict", "plugin", "installedVersion", "constraint"];
    let values = keys.map(|key| reason[key].as_str().unwrap_or_default());
    assert_eq!(values, ["Unfit", "wheel", "v2.0.0", "DependentPlugin", "axle", "v1.0.0", "^1.0"], "{reason}");
    alice.d8(["plugins", "install", "wheel", "--version", "v2.0.0"])?.expect_code(4)?;
    let removed = alice.d8(["plugins", "remove", "wheel"])?.expect_code(0)?;
    assert!(removed.stderr.contains("axle needs wheel"), "{removed:?}");
    alice.d8(["axle"])?.expect_code(4)?;
    Ok(())
}

#[test]
fn a_plugin_without_a_record_is_installed_from_the_proxy() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("untracked", "v0.1.0"))?;
    lab.publish(&Plugin::new("untracked", "v0.2.0"))?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "untracked"])?.expect_code(0)?;
    assert_eq!(alice.d8(["untracked"])?.ok()?, "This is untracked v0.2.0.\n");
    Ok(())
}

#[test]
fn an_unfit_version_is_skipped_with_its_reason() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("picky", "v1.0.0").with_requirements(json!({"kubernetes": {"constraint": ">=1.29"}})))?;
    lab.publish(&Plugin::new("picky", "v1.1.0").with_requirements(json!({"kubernetes": {"constraint": ">=1.99"}})))?;
    lab.create_releases(&["picky"])?;
    // A listed version may not have been read yet.
    let record = lab.wait_for_release("picky", "both versions to be checked", |record| {
        let versions: Vec<_> = record.status.iter().flat_map(|status| &status.versions).collect();
        versions.len() == 2 && versions.iter().all(|version| version.fit != Fit::Unknown)
    })?;
    let status = record.status.unwrap_or_default();
    assert_eq!((status.latest.as_deref(), status.latest_fitting.as_deref()), (Some("v1.1.0"), Some("v1.0.0")));
    let reasons = &status.versions[0].reasons;
    assert_eq!(reasons, &["requires Kubernetes >=1.99, the cluster runs v1.36.3"]);

    let alice = lab.new_workstation()?;
    let before = alice.files();
    let refused = alice.d8(["plugins", "install", "picky", "--version", "v1.1.0"])?.expect_code(4)?;
    assert!(refused.stderr.contains("requires Kubernetes >=1.99"), "{refused:?}");
    assert_eq!(alice.files(), before, "a refused install leaves nothing");

    let installed = alice.d8(["plugins", "install", "picky"])?.expect_code(0)?;
    assert!(
        installed.stderr.contains("v1.1.0") && installed.stderr.contains("requires Kubernetes >=1.99"),
        "{installed:?}"
    );
    assert_eq!(alice.d8(["picky"])?.ok()?, "This is picky v1.0.0.\n");
    Ok(())
}

#[test]
fn a_pre_release_needs_the_version_flag() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("early", "v0.1.0-alpha.1"))?;
    let alice = lab.new_workstation()?;
    let refused = alice.d8(["plugins", "install", "early"])?.expect_code(1)?;
    assert!(refused.stderr.contains("pre-release") && refused.stderr.contains("--version"), "{refused:?}");
    alice.d8(["plugins", "install", "early", "--version", "0.1.0-alpha.1"])?.expect_code(0)?;
    Ok(())
}

#[test]
fn a_disabled_module_refuses_installs_and_runs() -> Result<()> {
    let lab = Lab::shared();
    let needs = json!({"modules": {"mandatory": [{"name": "prometheus", "constraint": ">=2.0"}]}});
    lab.publish(&Plugin::new("gauge", "v1.0.0").with_requirements(needs))?;
    lab.create_releases(&["gauge"])?;
    let fits = |wanted: &'static str| {
        lab.wait_for_release("gauge", wanted, |release| {
            let fit = release.status.as_ref().and_then(|status| status.versions.first()).map(|version| version.fit);
            fit.is_some_and(|fit| format!("{fit:?}") == wanted)
        })
    };
    fits("Fits")?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "gauge"])?.expect_code(0)?;
    alice.d8(["gauge"])?.expect_code(0)?;

    lab.set_module("prometheus", false)?;
    fits("Unfit")?;
    let refused = alice.d8(["gauge"])?.expect_code(4)?;
    assert!(refused.stderr.contains("prometheus"), "{refused:?}");
    assert_eq!(refused.stdout, "");
    alice.d8(["gauge", "--version"])?.expect_code(0)?;
    lab.new_workstation()?.d8(["plugins", "install", "gauge"])?.expect_code(4)?;

    lab.set_module("prometheus", true)?;
    fits("Fits")?;
    alice.d8(["gauge"])?.expect_code(0)?;
    Ok(())
}

#[test]
fn remove_leaves_no_files() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("brief", "v1.0.0"))?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "brief"])?.expect_code(0)?;
    alice.d8(["plugins", "remove", "brief"])?.expect_code(0)?;
    let left: Vec<_> = alice.files().into_iter().filter(|name| name.contains("brief")).collect();
    assert_eq!(left, [""; 0]);
    alice.d8(["plugins", "remove", "brief"])?.expect_code(0)?;
    alice.d8(["brief"])?.expect_code(2)?;
    Ok(())
}

#[test]
fn users_see_the_columns_and_the_operator_serves_health() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("shown", "v1.0.0"))?;
    lab.create_releases(&["shown"])?;
    lab.wait_for_version("shown", "v1.0.0")?;
    lab.apply_policy("shown", &json!({"hostSelector": {"matchLabels": {"role": "none"}}}))?;
    let who = lab.plane().new_user();
    let table = |kind: &str| lab.plane().kubectl_as(&who, ["get", kind])?.ok();
    let columns = |table: &str| {
        table.lines().next().unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(columns(&table("crel")?), ["NAME", "CHANNEL", "LATEST", "FITS", "SYNCED", "READY", "AGE"]);
    let expected =
        ["NAME", "PAUSED", "EMERGENCY", "HOSTS", "BEHIND", "FAILED", "NEXT-WINDOW", "READY", "REASON", "AGE"];
    assert_eq!(columns(&table("ppol")?), expected);
    assert!(lab.plane().kubectl(["get", "d8cli"])?.contains("clirelease.cli.deckhouse.io/shown"));
    let refused = lab.plane().kubectl_as(&who, ["delete", "crel", "shown"])?;
    assert!(refused.stderr.contains("Error from server (Forbidden)"), "{refused:?}");

    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(lab.operator_get(path).map(|(code, _)| code), Some(200), "{path}");
    }
    assert_eq!(lab.operator_get("/other").map(|(code, _)| code), Some(404));
    Ok(())
}

#[test]
fn parallel_commands_wait_for_the_lock() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("crowded", "v1.0.0"))?;
    lab.publish(&Plugin::new("crowded", "v1.1.0"))?;
    let alice = lab.new_workstation()?;
    let lines: [&[&str]; 5] = [
        &["plugins", "install", "crowded", "--version", "v1.0.0"],
        &["plugins", "install", "crowded", "--version", "v1.1.0"],
        &["plugins", "install", "crowded", "--version", "v1.0.0", "--force"],
        &["plugins", "install", "crowded", "--version", "v1.1.0", "--force"],
        &["plugins", "install", "crowded"],
    ];
    std::thread::scope(|scope| {
        let started: Vec<_> = lines.iter().map(|line| scope.spawn(|| alice.d8(*line))).collect();
        started.into_iter().try_for_each(|command| {
            let finished = command.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            finished.expect_code(0).map(drop)
        })
    })?;
    // Any of the commands may have been the last one. The store is consistent after each.
    let listed: Value = serde_json::from_str(&alice.d8(["plugins", "list", "-o", "json"])?.ok()?).expect("JSON");
    let active = listed[0]["version"].as_str().expect("an active version");
    assert_eq!(alice.d8(["crowded"])?.ok()?, format!("This is crowded {active}.\n"), "{listed}");
    let left: Vec<_> =
        alice.files().into_iter().filter(|name| name.contains("lock") || name.contains(".staging/")).collect();
    assert_eq!(left, [""; 0]);
    Ok(())
}
