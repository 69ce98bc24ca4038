//! Random cases from small sets of values, so that fields which interact often meet. Case n is the same on every
//! machine.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

mod block;
mod invalid;
mod people;
mod release;
mod rules;
mod timing;
mod waves;

const COMPONENTS: [&str; 6] = ["stronghold", "stronghold", "stronghold", "delivery-kit", "d8", "my_plugin"];
pub(crate) const VERSIONS: [&str; 15] = [
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

/// A field, or what belongs together, that cases may have or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Blackouts,
    WindowsFor,
    Emergency,
    CanaryPercent,
    RequireSucceeded,
    /// The annotation that resumes halted waves, and halted waves of policies without a rollout.
    Resume,
    Subjects,
    /// A moved version that a policy expedites.
    ExpediteOfMoved,
}

/// All of them.
pub(crate) const FIELDS: [Field; 8] = [
    Field::Blackouts,
    Field::WindowsFor,
    Field::Emergency,
    Field::CanaryPercent,
    Field::RequireSucceeded,
    Field::Resume,
    Field::Subjects,
    Field::ExpediteOfMoved,
];

/// Values that all parts of a case use.
struct Scenario {
    component: &'static str,
    version: &'static str,
    now: i64,
    fields: &'static [Field],
}

impl Scenario {
    fn has(&self, field: Field) -> bool {
        self.fields.contains(&field)
    }
}

/// Returns case number `seed`.
pub(crate) fn case(seed: u64) -> Value {
    case_with(seed, &FIELDS)
}

/// Returns case number `seed` of those with no other fields than these.
pub(crate) fn case_with(seed: u64, fields: &'static [Field]) -> Value {
    let mut random = Random::new(seed);
    let d = &mut random;
    let now = anchor(d);
    let scenario = Scenario { component: d.pick(&COMPONENTS), version: d.pick(&VERSIONS), now, fields };
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
    let mut policies: Vec<Value> = (0..count).map(|n| policy(d, &scenario, n)).collect();
    if scenario.has(Field::Emergency) && d.percent(14) {
        policies.push(timing::emergency(d, &scenario));
    }
    let mut case = json!({
        "component": scenario.component,
        "version": scenario.version,
        "active": active,
        "intent": d.pick(&["A", "A", "A", "U", "U", "X", "R"]),
        "now": at(now),
        "confirmed": at(now - [0, 60, 300, 599, 600, 601, 3600, -30][if d.percent(80) { 0 } else { d.below(8) }]),
        "host": host(d),
        "policies": policies,
        "release": if scenario.component == "my_plugin" { Value::Null } else { release::release(d, &scenario) },
    });
    if scenario.has(Field::Subjects) {
        people::add_person(d, &mut case);
    }
    if case["policies"].to_string().contains("expedite") {
        if !scenario.has(Field::ExpediteOfMoved) {
            release::without_moves(&mut case["release"]);
        } else if d.percent(60) {
            release::move_tag(&mut case["release"], &scenario);
        }
    }
    case
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
        fields: &FIELDS,
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

fn policy(d: &mut Random, scenario: &Scenario, number: usize) -> Value {
    let generation = 1 + d.below(4);
    let mut spec = json!({"hostSelector": selector(d)});
    let mut status = json!({});
    if d.percent(6) {
        put(&mut spec, "paused", true);
    }
    if d.percent(60) {
        let mut defaults = json!({});
        rules::common(d, &mut defaults, 25);
        if d.percent(20) {
            put(&mut defaults, "access", d.pick(&["Allow", "Allow", "Allow", "Deny"]));
        }
        put(&mut spec, "defaults", defaults);
    }
    let rules: Vec<Value> = (0..d.below(4)).map(|_| rules::rule(d, scenario)).collect();
    if !rules.is_empty() {
        put(&mut spec, "rules", rules);
    }
    if d.percent(if scenario.component == "d8" { 70 } else { 10 }) {
        let mut cli = json!({});
        rules::rule_fields(d, scenario, &mut cli);
        put(&mut spec, "cli", cli);
    }
    timing::add_times(d, scenario, &mut spec);
    if d.percent(30) {
        integrity(d, &mut spec);
    }
    if d.percent(85) {
        put(&mut status, "observedGeneration", generation);
    } else if d.percent(60) {
        put(&mut status, "observedGeneration", generation - 1);
    }
    let mut metadata = json!({"name": format!("policy-{number}"), "generation": generation});
    waves::add_waves(d, scenario, &mut spec, &mut status, &mut metadata);
    if scenario.has(Field::Subjects) && d.percent(25) {
        let subjects = people::subjects(d);
        put(&mut spec, "subjects", subjects);
    }
    if d.percent(10) {
        put(&mut spec, "missingDependencies", d.pick(&["Install", "Refuse"]));
    }
    if d.percent(5) {
        invalid::invalidate(d, scenario, &mut spec, &mut status, generation);
    }
    if d.percent(2) {
        invalid::add_unknown_field(d, &mut spec);
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
