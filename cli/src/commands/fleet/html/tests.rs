//! The page is read with a strict parser.

use std::collections::BTreeSet;

use d8_crds::{
    decisions::{
        fleet::{FleetInputs, ObservedHost},
        verdict::PolicySet,
    },
    records::host::CliHost,
};
use roxmltree::{Document, Node, ParsingOptions};
use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-11-22T12:00:00Z";
/// A text that would end an element, an attribute or a line, and one that XML does not permit.
const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;\u{0}\u{1b}[31m\u{202e}]]>";

fn host(name: &str, status: &Value) -> ObservedHost {
    let host =
        json!({"metadata": {"name": name, "labels": {"role": "bastion"}}, "spec": {"identity": ""}, "status": status});
    ObservedHost::new(serde_json::from_value::<CliHost>(host).unwrap())
}

fn component(name: &str, active: &str, state: &str, text: &str) -> Value {
    json!({"name": name, "active": active, "target": "v1.1.0", "state": state, "reason": text, "message": text,
        "until": "2026-11-23T00:00:00Z", "lastChange": "2026-11-22T11:00:00Z"})
}

fn policy(name: &str, text: &str) -> Value {
    let wave = |version: &str, state: &str| {
        json!({"version": version, "since": "2026-11-21T12:00:00Z", "state": state,
        "failed": 1, "haltedAt": if state == "Halted" { json!("2026-11-22T00:00:00Z") } else { Value::Null }})
    };
    let waves = json!([wave("v1.1.0", "Running"), wave("v1.2.0", "Halted"), wave("v1.0.0", "Complete")]);
    json!({"metadata": {"name": name}, "spec": {"hostSelector": {}, "rollout": {"over": "48h"}}, "status": {
        "observedGeneration": 1, "components": [{"name": "tool", "waves": waves}],
        "conditions": [{"type": "Ready", "status": "True", "reason": "RollingOut", "message": text, "lastTransitionTime": NOW}]}})
}

fn page_of(hosts: &[ObservedHost], policies: &[Value], cluster: &str) -> String {
    let (set, records) = (PolicySet::from_json(policies), std::collections::BTreeMap::new());
    let inputs = FleetInputs {
        hosts,
        policies,
        set: &set,
        records: &records,
        components: &BTreeSet::new(),
        now: NOW.parse().unwrap(),
    };
    page(&Fleet::new(inputs), cluster)
}

fn parse(page: &str) -> Document<'_> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    Document::parse_with_options(page, options).unwrap_or_else(|error| panic!("{error}"))
}

fn all_text(node: Node<'_, '_>) -> String {
    node.descendants().filter(Node::is_text).filter_map(|text| text.text()).collect()
}

/// Returns the rows of a section, each with the texts of its cells.
fn rows(document: &Document<'_>, section: &str) -> Vec<Vec<String>> {
    let section = document.descendants().find(|node| node.attribute("id") == Some(section)).unwrap();
    let rows = section.descendants().filter(|node| node.has_tag_name("tr"));
    let cells = |row: Node<'_, '_>| row.children().filter(|cell| cell.has_tag_name("td")).map(all_text).collect();
    rows.map(cells).filter(|cells: &Vec<String>| !cells.is_empty()).collect()
}

#[test]
fn the_page_has_everything_in_it() {
    let seen = |components: Value| json!({"platform": "linux-amd64", "lastSeen": "2026-11-22T11:00:00Z", "components": components});
    let hosts = [
        host("bastion-1", &seen(json!([component("tool", "v1.0.0", "Held", "NotInWave")]))),
        host("bastion-2", &seen(json!([component("tool", "v1.0.0", "Failed", "Smoke")]))),
        host("bastion-3", &seen(json!([{"name": "tool", "active": "v1.1.0", "state": "UpToDate", "lastChange": NOW}]))),
        host("bastion-4", &json!({})),
    ];
    let page = page_of(&hosts, &[policy("bastions", "tool v1.1.0")], "prod");
    let document = parse(&page);
    assert_eq!(all_text(document.descendants().find(|node| node.has_tag_name("h1")).unwrap()), "Fleet of prod");
    let tiles = document.descendants().filter(|node| node.has_tag_name("b")).map(all_text).collect::<Vec<_>>();
    assert_eq!(tiles, ["1", "0", "1", "1", "0", "0", "0", "1"]);
    assert_eq!(rows(&document, "failed")[0][..4], ["bastion-2", "tool", "v1.1.0", "Smoke"]);
    assert_eq!(rows(&document, "components")[0][..3], ["tool", "3", "v1.1.0 1 v1.0.0 2"]);
    let holds = rows(&document, "holds");
    assert_eq!((holds.len(), &*holds[0][2], &*holds[0][3]), (1, "Held (NotInWave)", "1 hostbastion-1"));
    assert_eq!(rows(&document, "silent"), [["bastion-4", "never"]]);
    assert_eq!(rows(&document, "policies")[0], ["bastions", "", "True RollingOut", "tool v1.1.0"]);
    let named: Vec<_> = rows(&document, "hosts").into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(named, ["bastion-2", "bastion-1", "bastion-3", "bastion-4"], "the worst first");
    // The halted wave comes first; the complete one is not shown.
    let cards = document.descendants().filter(|node| node.has_tag_name("h3")).map(all_text).collect::<Vec<_>>();
    assert_eq!(cards, ["tool v1.2.0", "tool v1.1.0"]);
    let charts = document.descendants().filter(|node| node.attribute("class") == Some("wave"));
    assert_eq!(charts.count(), 2);
}

#[test]
fn nothing_comes_from_elsewhere() {
    let page = page_of(&[], &[], "prod");
    let document = parse(&page);
    let elements = document.descendants().filter(Node::is_element);
    let names: BTreeSet<_> = elements.clone().map(|node| node.tag_name().name()).collect();
    for forbidden in ["script", "link", "img", "iframe", "object", "embed", "form", "base", "image", "use"] {
        assert!(!names.contains(forbidden), "{forbidden}");
    }
    for attribute in elements.clone().flat_map(|node| node.attributes()) {
        let (name, value) = (attribute.name(), attribute.value());
        assert!(!name.starts_with("on") && name != "src" && name != "style", "{name}={value}");
        assert!(name != "href" || value.starts_with('#'), "{value}");
    }
    let policy = elements.clone().find(|node| node.attribute("http-equiv") == Some("Content-Security-Policy")).unwrap();
    assert!(policy.attribute("content").unwrap().starts_with("default-src 'none'"));
    let style = elements.clone().filter(|node| node.has_tag_name("style")).map(all_text).collect::<String>();
    assert!(style.contains("prefers-color-scheme: dark") && !style.contains("url(") && !style.contains("@import"));
    // Each link leads to a section.
    let ids: BTreeSet<_> = elements.clone().filter_map(|node| node.attribute("id")).collect();
    for target in elements.filter_map(|node| node.attribute("href")) {
        assert!(ids.contains(target.trim_start_matches('#')), "{target}");
    }
}

#[test]
fn hostile_texts_stay_texts() {
    let plain = page_of(&[host("a", &json!({}))], &[policy("p", "m")], "c");
    let status = json!({"platform": HOSTILE, "lastSeen": NOW, "components": [
        component("tool", HOSTILE, "Held", HOSTILE), component("other", "v1.0.0", "Failed", HOSTILE),
        component(HOSTILE, "v1.0.0", "Held", HOSTILE)]});
    let hostile = page_of(&[host(HOSTILE, &status)], &[policy(HOSTILE, HOSTILE)], HOSTILE);
    let names = |page: &str| -> BTreeSet<String> {
        let elements = parse(page);
        elements.descendants().filter(Node::is_element).map(|node| node.tag_name().name().to_owned()).collect()
    };
    let new: Vec<_> = names(&hostile).difference(&names(&plain)).cloned().collect();
    assert!(new.iter().all(|name| ["details", "summary", "rect", "br", "svg"].contains(&name.as_str())), "{new:?}");
    assert!(!hostile.contains("<script") && !hostile.contains("<img"));
    let document = parse(&hostile);
    assert!(all_text(document.root_element()).contains("<script>alert(1)</script>"), "it is shown as text");
    for attribute in document.descendants().flat_map(|node| node.attributes()) {
        assert!(!attribute.name().starts_with("on"), "{}", attribute.name());
    }
}

/// Returns a host with components in all states.
fn busy_host(i: usize, components: usize, name: &str) -> ObservedHost {
    let states = ["UpToDate", "Held", "Failed", "Forbidden", "Switching"];
    let component = |plugin: usize| {
        let (name, active) = (format!("plugin-{plugin}"), format!("v1.{}.0", (i + plugin) % 9));
        let mut component = component(&name, &active, states[(i * 7 + plugin) % 5], "RequirementsUnknown");
        component["message"] = json!("why ".repeat(60));
        component
    };
    let components: Vec<_> = (0..components).map(component).collect();
    let seen = if i.is_multiple_of(10) { "2026-11-21T12:00:00Z" } else { "2026-11-22T11:00:00Z" };
    host(&format!("{name}-{i}"), &json!({"platform": "linux-amd64", "lastSeen": seen, "components": components}))
}

#[test]
fn ten_thousand_hosts_stay_below_three_megabytes() {
    let long = "n".repeat(200);
    for (count, components, name, shows_all) in [(10_000, 5, "bastion", true), (6_000, 5, &*long, false)] {
        let hosts: Vec<_> = (0..count).map(|i| busy_host(i, components, name)).collect();
        let policies: Vec<_> = (0..40).map(|i| policy(&format!("policy-{i}"), "tool v1.1.0")).collect();
        let page = page_of(&hosts, &policies, "prod");
        assert!(page.len() < MAX_BYTES, "{} bytes", page.len());
        let document = parse(&page);
        let shown = rows(&document, "hosts").len();
        assert_eq!(shown == count, shows_all, "{shown} of {count} hosts in {} bytes", page.len());
        let hosts = document.descendants().find(|node| node.attribute("id") == Some("hosts")).unwrap();
        let more = format!("and {} more hosts", count - shown);
        assert_eq!(all_text(hosts).contains(&more), !shows_all, "{more}");
    }
}
