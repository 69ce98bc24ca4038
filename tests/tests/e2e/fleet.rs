//! `d8 fleet`: what managed hosts run, where policies lead them, and what keeps them.

use std::path::Path;

use d8_crds::records::policy::WaveState;
use d8_tests::{CommandOutput, Lab, Result, Workstation, lab::TIMEOUT, process::wait_for, status::of_policy};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::repair::{document, publish};

/// Starts a lab with a rollout of `tool` v1.1.0 on four bastions, and a host that nothing is to be installed on.
fn start() -> Result<(Lab, Workstation)> {
    let lab = Lab::start(|_| {})?;
    publish(&lab, "tool", &["v1.0.0", "v1.1.0"])?;
    lab.create_releases(&["tool"])?;
    lab.wait_for_version("tool", "v1.1.0")?;
    let now = Timestamp::now();
    let report = |component: Value, seen: Timestamp| json!({"platform": "linux-amd64", "lastSeen": seen, "components": [component]});
    let held = json!({"name": "tool", "active": "v1.0.0", "target": "v1.1.0", "state": "Held", "reason": "NotInWave",
        "message": "policy bastions, rollout: =its wave has not reached the host", "lastChange": now});
    let current =
        json!({"name": "tool", "active": "v1.1.0", "target": "v1.1.0", "state": "UpToDate", "lastChange": now});
    let failed = json!({"name": "tool", "active": "v1.0.0", "target": "v1.1.0", "state": "Failed", "reason": "Smoke",
        "message": "=exit status 1, <b>\u{1b}[31m", "lastChange": now});
    lab.apply_host("bastion-1", "bastion", &report(held, now))?;
    lab.apply_host("bastion-2", "bastion", &report(current, now - SignedDuration::from_hours(7)))?;
    lab.apply_host("bastion-3", "bastion", &report(failed, now))?;
    lab.apply_host("bastion-4", "bastion", &json!({"platform": "linux-amd64"}))?;
    lab.apply_host("ci-1", "ci", &json!({"platform": "linux-amd64", "lastSeen": now, "components": []}))?;
    let bastions = json!({
        "hostSelector": {"matchLabels": {"role": "bastion"}},
        "defaults": {"updates": "Auto"},
        "rollout": {"over": "100h", "maxFailed": 4},
    });
    lab.apply_policy("bastions", &bastions)?;
    wait_for("the wave of v1.1.0", TIMEOUT, || {
        let components = of_policy(&lab.get_policy("bastions")?).components;
        let mut waves = components.into_iter().flat_map(|component| component.waves);
        waves.find(|wave| wave.version == "v1.1.0" && wave.since.is_some() && wave.failed == 1)
    })?;
    let alice = lab.new_workstation()?;
    let user = format!("--user={}", alice.identity().user);
    let binding = ["create", "clusterrolebinding", "fleet", "--clusterrole=d8:cli:fleet-viewer", &user];
    lab.plane().kubectl(binding)?;
    Ok((lab, alice))
}

#[test]
fn the_state_of_a_fleet_as_text_documents_and_a_page() -> Result<()> {
    let (lab, alice) = start()?;
    text(&alice)?;
    documents(&alice)?;
    page(&alice)?;
    wrong_requests(&lab, &alice)
}

fn text(alice: &Workstation) -> Result<()> {
    let status = alice.d8(["fleet", "status"])?.ok()?;
    let line = |start: &str| status.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned();
    assert!(line("tool ").contains("v1.1.0 1, v1.0.0 2"), "{status}");
    assert!(line("tool ").contains("Failed 1, Held 1, UpToDate 1"), "{status}");
    let totals = "5 hosts: 2 up to date, 1 held, 1 failed, 1 never reported; 1 silent for more than 6h";
    assert_eq!(line("5 hosts"), totals, "{status}");
    let wave = "wave of tool v1.1.0, policy bastions: has reached 0%; on 1 of 3 hosts, 1 failed";
    assert_eq!(line("wave of"), wave, "{status}");
    let failed = "failed on bastion-3: tool v1.1.0 (Smoke): =exit status 1, <b>\\u{1b}[31m";
    assert_eq!(line("failed on"), failed, "{status}");
    assert!(line("Held on bastion-1: tool v1.1.0 (NotInWave)").len() > 10, "{status}");
    assert_eq!(line("has never"), "has never reported: bastion-4", "{status}");
    assert!(line("silent since").ends_with(": bastion-2"), "{status}");

    let wide = alice.d8(["fleet", "status", "--wide", "tool", "-l", "role=bastion"])?.ok()?;
    let lines: Vec<_> = wide.lines().collect();
    assert_eq!(lines.len(), 5, "{wide}");
    assert!(lines[0].starts_with("HOST ") && lines[0].ends_with("TOOL"), "{wide}");
    assert!(lines[1].contains("v1.0.0 -> v1.1.0, Held (NotInWave), next 20"), "{wide}");
    assert!(lines[2].ends_with("  v1.1.0") && lines[4].ends_with("  -"), "{wide}");
    Ok(())
}

fn documents(alice: &Workstation) -> Result<()> {
    let fleet = document(alice, &["fleet", "status", "-o", "json"])?;
    assert_eq!((&fleet["cluster"], &fleet["totals"]["hosts"]), (&json!("lab"), &json!(5)), "{fleet:#}");
    let host = &fleet["hosts"][0];
    let tool = &host["components"][0];
    assert_eq!(
        (&host["name"], &host["contact"], &tool["state"]),
        (&json!("bastion-1"), &json!("Reports"), &json!("Held"))
    );
    assert_eq!((&tool["target"], &tool["next"]["version"]), (&json!("v1.1.0"), &json!("v1.1.0")), "{fleet:#}");
    // What is computed for the host is what `why` computes.
    let why = document(alice, &["plugins", "why", "tool", "--host", "bastion-1", "-o", "json"])?;
    assert_eq!((&tool["target"], &tool["next"]), (&why["target"], &why["nextVersion"]));
    assert_eq!(fleet["hosts"][3]["contact"], "Never");
    let wave = &fleet["waves"][0];
    assert_eq!((&wave["state"], &wave["active"], &wave["failed"]), (&json!("Running"), &json!(1), &json!(1)), "{wave}");
    assert!(wave["reached"].as_f64().is_some_and(|reached| (0.0..0.01).contains(&reached)), "{wave}");
    assert_eq!(fleet["holds"][0]["hosts"], json!(["bastion-1"]));

    let csv = alice.d8(["fleet", "status", "-o", "csv"])?.ok()?;
    let lines: Vec<_> = csv.split("\r\n").collect();
    assert!(lines[0].starts_with("host,platform,lastSeen,contact,component,active,state,reason,target,"), "{csv}");
    assert_eq!(lines.len(), 7, "a head, five hosts and the end: {csv}");
    let failed = lines.iter().find(|line| line.starts_with("bastion-3,")).copied().unwrap_or_default();
    assert!(failed.contains(",tool,v1.0.0,Failed,Smoke,v1.1.0,"), "{csv}");
    assert!(failed.contains(",\"'=exit status 1, <b>"), "no formula: {csv}");
    let ci = document(alice, &["fleet", "status", "-o", "json", "--selector", "role!=bastion"])?;
    assert_eq!((&ci["totals"]["hosts"], &ci["hosts"][0]["name"]), (&json!(1), &json!("ci-1")));
    Ok(())
}

fn page(alice: &Workstation) -> Result<()> {
    let file = alice.home().join("fleet.html");
    let path = file.display().to_string();
    std::fs::write(&file, "an older report").unwrap_or_else(|error| panic!("{error}"));
    let wrote = alice.d8(["fleet", "report", "--html", &path])?.ok()?;
    assert_eq!(wrote, format!("Wrote {path}: 5 hosts.\n"));
    let page = std::fs::read_to_string(&file).unwrap_or_default();
    for part in ["<!DOCTYPE html>", "<h1>Fleet of lab</h1>", "bastion-3", "&lt;b&gt;\\u{1b}[31m", "<polyline "] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(page.ends_with("</html>\n") && !page.contains("<b>\u{1b}"), "{page}");
    let printed = alice.d8(["fleet", "report", "--html", "-", "-l", "role=ci"])?.ok()?;
    assert!(printed.contains("ci-1") && !printed.contains("bastion-3"), "{printed}");
    let absent = alice.home().join("absent/fleet.html").display().to_string();
    let failed = alice.d8(["fleet", "report", "--html", &absent])?.expect_code(1)?;
    assert!(failed.stderr.contains("failed to write"), "{failed:?}");
    Ok(())
}

fn wrong_requests(lab: &Lab, alice: &Workstation) -> Result<()> {
    let unknown = alice.d8(["fleet", "status", "tol"])?.expect_code(0)?;
    assert!(unknown.stderr.contains("no host reports tol; did you mean tool?"), "{unknown:?}");
    let selector = alice.d8(["fleet", "status", "-l", "role in"])?.expect_code(2)?;
    assert!(selector.stderr.contains("label selector \"role in\" is not valid"), "{selector:?}");
    let none = alice.d8(["fleet", "status", "-l", "role=nobody"])?.expect_code(0)?;
    assert!(none.stderr.contains("No hosts were found"), "{none:?}");
    for args in [&["fleet", "status"][..], &["fleet", "report", "--html", "-"]] {
        let stranger = lab.new_workstation()?.d8(args.iter().copied())?.expect_code(5)?;
        for words in ["may not read clihosts", "--clusterrole=d8:cli:fleet-viewer"] {
            assert!(stranger.stderr.contains(words), "{words}: {stranger:?}");
        }
    }
    Ok(())
}

/// Reports of hosts in all states, under a policy whose wave runs and one whose wave is halted.
fn start_large() -> Result<(Lab, Workstation)> {
    let (lab, alice) = start()?;
    publish(&lab, "stronghold", &["v1.3.2", "v1.3.3"])?;
    lab.create_releases(&["stronghold"])?;
    lab.wait_for_version("stronghold", "v1.3.3")?;
    let now = Timestamp::now();
    for i in 0..40 {
        let (state, active) = match i % 8 {
            0..3 => ("UpToDate", "v1.3.3"),
            3 => ("Failed", "v1.3.2"),
            4 => ("Forbidden", "v1.3.1"),
            _ => ("Held", "v1.3.2"),
        };
        let changed = now - SignedDuration::from_mins(i * 7);
        let stronghold = json!({"name": "stronghold", "active": active, "target": "v1.3.3", "state": state,
            "reason": if state == "Held" { "NotInWave" } else { "Smoke" }, "until": now + SignedDuration::from_hours(i),
            "message": "policy web, rollout: the wave has not reached this host", "lastChange": changed});
        let d8 = json!({"name": "d8", "active": if i < 9 { "v0.13.0" } else { "v0.14.0" }, "state": "UpToDate"});
        let components = json!([d8, stronghold]);
        let seen = now - SignedDuration::from_mins(i * 11);
        let report = json!({"platform": "linux-amd64", "lastSeen": seen, "components": components});
        lab.apply_host(&format!("web-{i:02}"), "web", &report)?;
    }
    let rollout = |max_failed: u32| {
        json!({
            "hostSelector": {"matchLabels": {"role": "web"}},
            "defaults": {"updates": "Auto"},
            "rollout": {"over": "1h", "maxFailed": max_failed},
        })
    };
    for (name, max_failed, state) in [("web", 9, WaveState::Running), ("web-careful", 2, WaveState::Halted)] {
        lab.apply_policy(name, &rollout(max_failed))?;
        wait_for(&format!("a wave of {name} that is {state:?}"), TIMEOUT, || {
            let components = of_policy(&lab.get_policy(name)?).components;
            components.into_iter().flat_map(|component| component.waves).find(|wave| wave.state == Some(state))
        })?;
    }
    Ok((lab, alice))
}

/// Opens a page in a browser. `scheme`: its number of the preferred colour scheme.
fn browse(page: &Path, scheme: u8, more: &[&str]) -> Result<CommandOutput> {
    let profile = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    let scheme = format!("--blink-settings=preferredColorScheme={scheme}");
    let profile_flag = format!("--user-data-dir={}", profile.path().display());
    let url = format!("file://{}", page.display());
    let flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"];
    let own = ["--window-size=1280,2600", &scheme, &profile_flag];
    d8_tests::run("chromium", flags.iter().chain(&own).chain(more).chain([&url.as_str()]), |_| {})
}

#[test]
#[ignore = "needs chromium: make test-page"]
fn the_page_in_a_browser() -> Result<()> {
    let (_lab, alice) = start_large()?;
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/fleet-page");
    std::fs::create_dir_all(&directory).unwrap_or_else(|error| panic!("{error}"));
    let directory = directory.canonicalize().unwrap_or_else(|error| panic!("{error}"));
    let page = directory.join("fleet.html");
    alice.d8(["fleet", "report", "--html", &page.display().to_string()])?.ok()?;
    for (name, scheme) in [("dark.png", 0), ("light.png", 1)] {
        let shot = directory.join(name);
        let _ = std::fs::remove_file(&shot);
        let seen = browse(&page, scheme, &[&format!("--screenshot={}", shot.display())])?.expect_code(0)?;
        let size = std::fs::metadata(&shot).map(|file| file.len()).unwrap_or_default();
        assert!(size > 50_000, "{name} has {size} bytes: {seen:?}");
        assert!(!seen.stderr.contains("Content Security Policy"), "{seen:?}");
    }
    // The browser reads the page as it is meant.
    let dom = browse(&page, 1, &["--dump-dom"])?.ok()?;
    let hosts = dom.split("id=\"hosts\"").nth(1).unwrap_or_default();
    assert_eq!(hosts.matches("<tr>").count(), 46, "a head and 45 hosts: {hosts}");
    assert!(dom.matches("<polyline").count() >= 4, "{dom}");
    Ok(())
}
