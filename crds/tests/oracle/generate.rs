//! Random cases from small sets of values, so that fields which interact often meet. Case n is the same on every
//! machine.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

mod block;

const COMPONENTS: [&str; 6] = ["stronghold", "stronghold", "stronghold", "delivery-kit", "d8", "my_plugin"];
const VERSIONS: [&str; 15] = [
    "v1.2.0",
    "v1.3.1",
    "v1.3.2",
    "v1.3.3",
    "v1.3.3-rc.1",
    "v1.4.0",
    "v1.4.0-rc.1",
    "v1.3.4-main",
    "v2.0.0",
    "v2.0.0-rc.1",
    "v0.9.0",
    "v3.1.0",
    "v1.3.0-rc.1",
    "v0.10.0-rc.1",
    "v0.0.3",
];
const CONSTRAINTS: [&str; 20] = [
    "",
    "*",
    ">=1.2 <2",
    ">=1.2, <2",
    "^1.3",
    "~1.3.2",
    "<2",
    "<=1.3.3",
    ">1.3.2",
    "=1.3.3",
    "1.3.2",
    "=1.3",
    "!=1.3.3",
    "1.x",
    "1.2 - 1.4",
    ">=1.3.3-rc.1",
    "=1.4.0-rc.1",
    ">=2 || ~1.3",
    "!=1.4.0 >=1",
    "=2.0.0 || <1.3",
];
const AGES: [&str; 6] = ["1h", "24h", "72h", "1h30m", "240h", "0s"];
const ZONES: [&str; 5] = ["Europe/Berlin", "UTC", "America/New_York", "Australia/Lord_Howe", "America/Nuuk"];
/// Times around which cases are: an ordinary week, and changes of the clocks.
const ANCHORS: [&str; 6] = [
    "2026-11-22T09:00:00Z",
    "2026-11-28T01:00:00Z",
    "2026-03-29T01:00:00Z",
    "2026-10-25T01:00:00Z",
    "2026-04-04T15:00:00Z",
    "2026-06-06T02:00:00Z",
];

/// `splitmix64`: random numbers from a seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xD1B5_4A32_D192_ED03) ^ 0x5851_F42D_4C95_7F2D)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).expect("small")).expect("small")
    }

    /// True with this probability, in percent.
    pub(crate) fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    /// One of these values.
    pub(crate) fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

fn at(seconds: i64) -> String {
    Timestamp::from_second(seconds).expect("in range").to_string()
}

/// Values that all parts of a case use.
struct Scenario {
    component: &'static str,
    version: &'static str,
    now: i64,
}

/// Returns case number `seed`.
pub(crate) fn case(seed: u64) -> Value {
    let mut random = Random::new(seed);
    let d = &mut random;
    let now = anchor(d);
    let scenario = Scenario { component: d.pick(&COMPONENTS), version: d.pick(&VERSIONS), now };
    let active = match d.below(10) {
        0..=2 => Value::Null,
        3 => json!(scenario.version),
        _ => json!(d.pick(&VERSIONS)),
    };
    let count = match d.below(20) {
        0 => 0,
        1..=9 => 1,
        10..=15 => 2,
        _ => 3,
    };
    let policies: Vec<Value> = (0..count).map(|n| policy(d, &scenario, n)).collect();
    json!({
        "component": scenario.component,
        "version": scenario.version,
        "active": active,
        "intent": d.pick(&["A", "A", "A", "U", "U", "X", "R"]),
        "now": at(now),
        "confirmed": at(now - [0, 60, 300, 599, 600, 601, 3600, -30][if d.percent(80) { 0 } else { d.below(8) }]),
        "host": host(d),
        "policies": policies,
        "release": if scenario.component == "my_plugin" { Value::Null } else { release(d, &scenario) },
    })
}

/// Returns an additional policy for a case.
pub(crate) fn another_policy(case: &Value, random: &mut Random) -> Value {
    let known = |values: &[&'static str], value: &Value| -> &'static str {
        values.iter().copied().find(|known| value == known).expect("a known value")
    };
    let now = case["now"].as_str().expect("text").parse::<Timestamp>().expect("an instant").as_second();
    let scenario = Scenario {
        component: known(&COMPONENTS, &case["component"]),
        version: known(&VERSIONS, &case["version"]),
        now,
    };
    policy(random, &scenario, 9)
}

fn anchor(d: &mut Random) -> i64 {
    let anchor = d.pick(&ANCHORS).parse::<Timestamp>().expect("an instant").as_second();
    let quarters = i64::try_from(d.below(4 * 24 * 7)).expect("small") - 4 * 24 * 3;
    let offset = if d.percent(20) { [1, -1, 59, 1799][d.below(4)] } else { 0 };
    let near = if d.percent(30) { quarters % 8 } else { quarters };
    anchor + near * 900 + offset
}

fn host(d: &mut Random) -> Value {
    let mut labels = Map::new();
    if d.percent(70) {
        labels.insert("role".into(), json!(d.pick(&["bastion", "ci"])));
    }
    if d.percent(30) {
        labels.insert("canary".into(), json!(d.pick(&["true", "false"])));
    }
    if d.percent(20) {
        labels.insert("cli.deckhouse.io/managed".into(), json!("false"));
    }
    let id = format!("bastion-{}", d.below(40));
    let mut host = json!({"id": id, "labels": labels, "newRoot": d.percent(8)});
    if d.percent(60) {
        put(&mut host, "platform", d.pick(&["linux-amd64", "linux-amd64", "darwin-arm64"]));
    }
    host
}

fn digest(of: usize) -> String {
    format!("sha256:{:064x}", of + 1)
}

fn selector(d: &mut Random) -> Value {
    match d.below(16) {
        0..=8 => json!({}),
        9 | 10 => json!({"matchLabels": {"role": "bastion"}}),
        11 => json!({"matchExpressions": [{"key": "role", "operator": "In", "values": ["bastion", "ci"]}]}),
        12 => json!({"matchExpressions": [{"key": "role", "operator": "NotIn", "values": ["ci"]}]}),
        13 => json!({"matchExpressions": [{"key": "canary", "operator": "Exists"}]}),
        14 => json!({"matchExpressions": [{"key": "cli.deckhouse.io/managed", "operator": "DoesNotExist"}]}),
        _ => json!({"matchLabels": {"role": "ci"}, "matchExpressions": [{"key": "canary", "operator": "Exists"}]}),
    }
}

fn put(object: &mut Value, field: &str, value: impl Into<Value>) {
    object[field] = value.into();
}

/// Adds fields that rules, `cli` and `defaults` have.
fn common(d: &mut Random, rule: &mut Value, share: usize) {
    if d.percent(share) {
        put(rule, "channel", d.pick(&["Stable", "Prerelease", "Prerelease"]));
    }
    if d.percent(share * 2) {
        put(rule, "updates", d.pick(&["Auto", "Auto", "Auto", "Auto", "Manual", "Frozen"]));
    }
    if d.percent(share) {
        put(rule, "majorUpdates", d.pick(&["Stay", "Cross", "Cross"]));
    }
    if d.percent(share) {
        put(rule, "minAge", d.pick(&AGES));
    }
}

/// A version for a list of a policy: often the candidate, sometimes without its `v`.
fn listed(d: &mut Random, scenario: &Scenario) -> String {
    let version = if d.percent(50) { scenario.version } else { d.pick(&VERSIONS) };
    if d.percent(10) { version.trim_start_matches('v').to_owned() } else { version.to_owned() }
}

fn rule_fields(d: &mut Random, scenario: &Scenario, rule: &mut Value) {
    common(d, rule, 25);
    if d.percent(30) {
        put(rule, "versions", d.pick(&CONSTRAINTS));
    }
    if d.percent(18) {
        let entries = block::entries(d, scenario);
        put(rule, "block", entries);
    }
    if d.percent(12) {
        put(rule, "expedite", vec![listed(d, scenario)]);
    }
    if d.percent(15) {
        let mut pins = vec![json!({"version": listed(d, scenario), "digest": digest(d.below(4))})];
        if d.percent(20) {
            pins.push(json!({"version": listed(d, scenario), "digest": digest(d.below(4))}));
        }
        put(rule, "pins", pins);
    }
    if d.percent(5) {
        put(rule, "message", "Runbook: https://wiki.example/x");
    }
}

fn rule(d: &mut Random, scenario: &Scenario) -> Value {
    let names: &[&[&str]] = &[
        &["stronghold"],
        &["stronghold"],
        &["*"],
        &["*"],
        &["delivery-*"],
        &["strong*", "delivery-kit"],
        &["my*"],
        &["my_plugin"],
    ];
    let plugins = d.pick(names);
    let mut rule = json!({"plugins": plugins});
    match d.below(20) {
        0 | 1 => {
            put(&mut rule, "access", "Deny");
            return rule;
        }
        2..=6 => put(&mut rule, "access", "Allow"),
        7..=10 if !plugins.iter().any(|name| name.ends_with('*')) => put(&mut rule, "access", "Require"),
        _ => {}
    }
    rule_fields(d, scenario, &mut rule);
    rule
}

fn window(d: &mut Random) -> Value {
    let mut window = json!({
        "start": d.pick(&["00:00", "02:00", "02:30", "12:00", "23:00", "23:30"]),
        "duration": d.pick(&["1h", "3h", "30m", "24h", "1h30m"]),
    });
    match d.below(6) {
        0 => put(&mut window, "days", vec!["Sat", "Sun"]),
        1 => put(&mut window, "days", vec!["Sun"]),
        2 => put(&mut window, "days", vec!["Tue", "Thu"]),
        3 => put(&mut window, "days", vec!["Mon", "Tue", "Wed", "Thu", "Fri"]),
        _ => {}
    }
    if d.percent(70) {
        put(&mut window, "timeZone", d.pick(&ZONES));
    }
    window
}

fn policy(d: &mut Random, scenario: &Scenario, number: usize) -> Value {
    let generation = 1 + d.below(4);
    let mut spec = json!({"hostSelector": selector(d)});
    let mut status = json!({});
    if d.percent(6) {
        put(&mut spec, "paused", true);
    }
    if d.percent(60) {
        let mut defaults = json!({});
        common(d, &mut defaults, 25);
        if d.percent(20) {
            put(&mut defaults, "access", d.pick(&["Allow", "Allow", "Allow", "Deny"]));
        }
        put(&mut spec, "defaults", defaults);
    }
    let rules: Vec<Value> = (0..d.below(4)).map(|_| rule(d, scenario)).collect();
    if !rules.is_empty() {
        put(&mut spec, "rules", rules);
    }
    if d.percent(if scenario.component == "d8" { 70 } else { 10 }) {
        let mut cli = json!({});
        rule_fields(d, scenario, &mut cli);
        put(&mut spec, "cli", cli);
    }
    if d.percent(25) {
        let windows: Vec<Value> = (0..=d.below(2)).map(|_| window(d)).collect();
        put(&mut spec, "windows", windows);
    }
    if d.percent(30) {
        integrity(d, &mut spec);
    }
    if d.percent(85) {
        put(&mut status, "observedGeneration", generation);
    } else if d.percent(60) {
        put(&mut status, "observedGeneration", generation - 1);
    }
    let mut metadata = json!({"name": format!("policy-{number}"), "generation": generation});
    if d.percent(35) {
        rollout(d, scenario, &mut spec, &mut status, &mut metadata);
    }
    if d.percent(10) {
        put(&mut spec, "missingDependencies", d.pick(&["Install", "Refuse"]));
    }
    if d.percent(5) {
        invalidate(d, &mut spec, &mut status, generation);
    }
    if d.percent(2) {
        add_unknown_field(d, &mut spec);
    }
    json!({
        "apiVersion": "cli.deckhouse.io/v1alpha1",
        "kind": "PluginPolicy",
        "metadata": metadata,
        "spec": spec,
        "status": status,
    })
}

fn integrity(d: &mut Random, spec: &mut Value) {
    let mut integrity = json!({});
    if d.percent(80) {
        put(&mut integrity, "movedTags", d.pick(&["Refuse", "Soak"]));
    }
    if d.percent(20) {
        put(&mut integrity, "signature", "Ignore");
    }
    put(spec, "integrity", integrity);
}

fn rollout(d: &mut Random, scenario: &Scenario, spec: &mut Value, status: &mut Value, metadata: &mut Value) {
    let mut rollout = json!({"over": d.pick(&["48h", "1h", "1m", "720h", "24h"])});
    if d.percent(40) {
        put(
            &mut rollout,
            "canarySelector",
            match d.below(4) {
                0 => json!({"matchExpressions": [{"key": "canary", "operator": "In", "values": ["true"]}]}),
                1 => json!({"matchLabels": {"role": "ci"}}),
                _ => json!({"matchLabels": {"canary": "true"}}),
            },
        );
    }
    if d.percent(40) {
        put(&mut rollout, "maxFailed", 1 + d.below(3));
    }
    put(spec, "rollout", rollout);

    let mut waves = Vec::new();
    for version in [scenario.version, d.pick(&VERSIONS)] {
        if d.percent(40) || waves.iter().any(|wave: &Value| wave["version"] == version) {
            continue;
        }
        let since = scenario.now - ago(d);
        let mut wave = json!({"version": version, "since": at(since), "state": "Running", "failed": 0});
        if d.percent(20) {
            put(&mut wave, "state", "Halted");
            put(&mut wave, "failed", 3);
            let halted = at(since + 600);
            if d.percent(25) {
                let other = at(since + 601);
                let resume = format!("{version}@{}", if d.percent(50) { &halted } else { &other });
                put(metadata, "annotations", json!({"cli.deckhouse.io/resume": resume}));
            }
            put(&mut wave, "haltedAt", halted);
        }
        waves.push(wave);
    }
    let name = if d.percent(85) { scenario.component } else { "hello" };
    put(status, "components", vec![json!({"name": name, "waves": waves})]);
}

/// An age in seconds, often near a limit.
fn ago(d: &mut Random) -> i64 {
    let hour = 3600;
    match d.below(12) {
        0 => 0,
        1 => -hour,
        2 => hour,
        3 => 24 * hour - 1,
        4 => 72 * hour,
        5 => 72 * hour - 1,
        6 => 1000 * hour,
        7 | 8 => i64::try_from(d.below(100)).expect("small") * hour,
        9 => i64::try_from(d.below(7200)).expect("small"),
        _ => i64::try_from(d.below(900)).expect("small") * hour,
    }
}

/// Makes a policy invalid or undecodable.
fn invalidate(d: &mut Random, spec: &mut Value, status: &mut Value, generation: usize) {
    match d.below(20) {
        // Invalid.
        0 => put(spec, "windows", json!([])),
        1 => put(spec, "windows", json!([{"start": "25:00", "duration": "1h"}])),
        2 => put(spec, "windows", json!([{"start": "02:00", "duration": "1h", "timeZone": "Mars/Olympus"}])),
        3 => put(spec, "windows", json!([{"start": "02:00", "duration": "soon"}])),
        4 => put(spec, "rollout", json!({"over": d.pick(&["59s", "721h", "2 days"])})),
        5 => put(spec, "defaults", json!({"minAge": "three days"})),
        6 => put(spec, "rules", json!([{"plugins": ["stronghold"], "versions": ">>1"}])),
        7 => put(spec, "rules", json!([{"plugins": ["strong*"], "access": "Require"}])),
        8 => put(spec, "rules", json!([{"plugins": ["stronghold"], "access": "Deny", "versions": "<2"}])),
        9 => put(
            spec,
            "rules",
            json!([{"plugins": ["stronghold"], "block": [d.pick(&[">>1", "newest", "1.3.2.1", "~", "<1.3.01", "1.3 -"])]}]),
        ),
        10 => put(spec, "cli", json!({"pins": [{"version": "v1.3.3", "digest": "sha256:abc"}]})),
        11 => put(
            spec,
            "hostSelector",
            json!({"matchExpressions": [{"key": "role", "operator": "Like", "values": ["a"]}]}),
        ),
        12 => put(spec, "hostSelector", json!({"matchExpressions": [{"key": "role", "operator": "In"}]})),
        13 => put(spec, "defaults", json!({"access": "Require"})),
        14 => put(
            status,
            "conditions",
            json!([{
                "type": "Accepted", "status": "False", "reason": "Invalid", "message": "spec.rules[0]: …",
                "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": generation,
            }]),
        ),
        // Undecodable.
        15 => put(spec, "rules", json!([{"plugins": ["stronghold"], "access": "Perhaps"}])),
        16 => put(spec, "rules", json!("none")),
        17 => put(spec, "defaults", json!({"updates": "Weekly"})),
        18 => put(spec, "integrity", json!({"movedTags": "Ask"})),
        _ => put(spec, "hostSelector", json!("everyone")),
    }
}

/// Makes a policy undecodable: adds a field that the schema does not have at this place.
fn add_unknown_field(d: &mut Random, spec: &mut Value) {
    let places = [
        "",
        "/hostSelector",
        "/hostSelector/matchExpressions/0",
        "/defaults",
        "/rules/0",
        "/rules/1",
        "/rules/0/pins/0",
        "/cli",
        "/windows/0",
        "/rollout",
        "/rollout/canarySelector",
        "/integrity",
    ];
    let places: Vec<&str> =
        places.into_iter().filter(|place| spec.pointer(place).is_some_and(Value::is_object)).collect();
    let place = d.pick(&places);
    let field = match place {
        "/defaults" => d.pick(&["versions", "block", "later"]),
        "/cli" => d.pick(&["access", "plugins", "later"]),
        "/rules/0" => d.pick(&["paused", "later"]),
        _ => "later",
    };
    if let Some(object) = spec.pointer_mut(place) {
        put(object, field, d.pick(&["Allow", "v1.3.3"]));
    }
}

fn release(d: &mut Random, scenario: &Scenario) -> Value {
    if d.percent(8) {
        return Value::Null;
    }
    let mut versions = Vec::new();
    for (number, version) in VERSIONS.iter().enumerate() {
        if *version == scenario.version {
            if d.percent(6) {
                continue;
            }
        } else if d.percent(70) {
            continue;
        }
        let mut entry = json!({
            "version": version,
            "digest": digest(d.below(3)),
            "fit": d.pick(&["Fits", "Fits", "Fits", "Fits", "Fits", "Fits", "Fits", "Fits", "Unfit", "Unknown"]),
        });
        if d.percent(97) {
            put(&mut entry, "firstSeen", at(scenario.now - ago(d)));
        }
        if d.percent(60) {
            put(
                &mut entry,
                "artifacts",
                json!([{"platform": "linux-amd64", "manifest": digest(d.below(4)), "layer": digest(d.below(4)),
                        "sizeBytes": 1000 + number}]),
            );
        }
        if d.percent(12) {
            put(&mut entry, "moved", json!({"from": digest(9), "at": at(scenario.now - ago(d).abs())}));
        }
        if d.percent(5) {
            put(&mut entry, "withdrawn", at(scenario.now - 3600));
        }
        versions.push(entry);
    }
    let synced = [60, 3 * 3600 + 1, 86_399, 86_400, 86_401, 200_000][if d.percent(70) { 0 } else { d.below(6) }];
    let mut status = json!({"versions": versions});
    if d.percent(99) {
        put(&mut status, "lastSyncTime", at(scenario.now - synced));
    }
    json!({
        "apiVersion": "cli.deckhouse.io/v1alpha1",
        "kind": "CliRelease",
        "metadata": {"name": scenario.component},
        "spec": {"channel": "Prerelease"},
        "status": status,
    })
}
