//! `d8 policy get` and `d8 policy diff`. These commands show every policy of a cluster, so these tests have their
//! own lab.

use std::sync::OnceLock;

use d8_tests::catalog::Plugin;
use d8_tests::{Lab, Result, Workstation, objects};
use serde_json::{Value, json};

/// Returns a lab that has only the policies of [`set_up`].
fn lab() -> &'static Lab {
    static LAB: OnceLock<Lab> = OnceLock::new();
    LAB.get_or_init(|| {
        let lab = Lab::start(|_| {}).unwrap_or_else(|error| panic!("{error}"));
        set_up(&lab).unwrap_or_else(|error| panic!("{error}"));
        lab
    })
}

fn set_up(lab: &Lab) -> Result<()> {
    for version in ["v1.0.0", "v1.1.0"] {
        lab.publish(&Plugin::new("tool", version))?;
    }
    lab.create_releases(&["tool"])?;
    for version in ["v1.0.0", "v1.1.0"] {
        lab.wait_for_version("tool", version)?;
    }
    let digest = format!("sha256:{}", "a".repeat(64));
    for (name, role) in [("bastion-1", "bastion"), ("ci-1", "ci")] {
        let component = json!({"name": "tool", "active": "v1.0.0", "digest": digest, "state": "UpToDate"});
        lab.apply_host(name, role, &json!({"platform": "linux-amd64", "components": [component]}))?;
    }
    lab.apply_policy(
        "bastions",
        &json!({
            "hostSelector": {"matchLabels": {"role": "bastion"}},
            "defaults": {"updates": "Auto"},
            "rules": [{"plugins": ["tool"], "access": "Require", "versions": "^1.0"}],
        }),
    )?;
    lab.apply_policy(
        "everybody",
        &json!({"hostSelector": {}, "rules": [{"plugins": ["tool"], "updates": "Manual", "block": ["v0.9.0"]}]}),
    )?;
    lab.wait_for_accepted("bastions")?;
    lab.wait_for_accepted("everybody").map(drop)
}

fn document(alice: &Workstation, args: &[&str]) -> Result<Value> {
    let text = alice.d8(args)?.ok()?;
    Ok(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

/// Returns a workstation of a user who may also read hosts.
pub(super) fn admin(lab: &Lab) -> Result<Workstation> {
    let alice = lab.new_workstation()?;
    let (plane, user) = (lab.plane(), &alice.identity().user);
    let role = format!("{user}-hosts");
    plane.kubectl(["create", "clusterrole", &role, "--verb=get,list", "--resource=clihosts.cli.deckhouse.io"])?;
    plane.kubectl([
        "create",
        "clusterrolebinding",
        &role,
        &format!("--clusterrole={role}"),
        &format!("--user={user}"),
    ])?;
    Ok(alice)
}

#[test]
fn get_lists_policies() -> Result<()> {
    let alice = lab().new_workstation()?;
    let listed = document(&alice, &["policy", "get", "-o", "json"])?;
    let rows: Vec<_> = listed.as_array().into_iter().flatten().map(|row| [&row["name"], &row["accepted"]]).collect();
    let [bastions, everybody, yes] = ["bastions", "everybody", "True"].map(Value::from);
    assert_eq!(rows, [[&bastions, &yes], [&everybody, &yes]]);
    assert_eq!((&listed[0]["here"], &listed[1]["here"]), (&json!(false), &json!(true)));
    assert_eq!(alice.d8(["policy", "get", "-o", "name"])?.ok()?, "bastions\neverybody\n");
    let table = alice.d8(["policy", "get", "everybody", "-o", "table"])?.ok()?;
    assert!(table.starts_with("NAME ") && table.contains("everybody") && !table.contains("bastions"), "{table}");
    let missing = alice.d8(["policy", "get", "nobody"])?.expect_code(1)?;
    assert!(missing.stderr.contains("nobody") && missing.stderr.contains("d8 policy get"), "{missing:?}");
    alice.d8(["policy", "get", "everybody", "--effective"])?.expect_code(2)?;
    alice.d8(["policy", "get", "--host", "bastion-1"])?.expect_code(2)?;
    Ok(())
}

#[test]
fn get_effective_shows_the_origin_of_each_field() -> Result<()> {
    let alice = admin(lab())?;
    let here = document(&alice, &["policy", "get", "--effective", "-o", "json"])?;
    assert_eq!(here["host"]["labels"]["cli.deckhouse.io/managed"], "false");
    assert_eq!(here["policies"], json!([{"name": "everybody", "valid": true}]));
    let names: Vec<_> = here["components"].as_array().into_iter().flatten().map(|c| &c["component"]).collect();
    assert_eq!(names, ["d8", "tool", "*"]);
    let tool = &here["components"][1];
    assert_eq!(tool["access"], json!({"value": "Allow", "from": []}));
    assert_eq!(tool["block"], json!([{"value": "v0.9.0", "policy": "everybody", "field": "rules[0].block"}]));

    let there = ["policy", "get", "--effective", "--host", "bastion-1", "--plugin", "tool"];
    let bastion = document(&alice, &[&there[..], &["-o", "json"]].concat())?;
    assert_eq!(bastion["host"], json!({"name": "bastion-1", "labels": {"role": "bastion"}}));
    assert_eq!(bastion["components"].as_array().map(Vec::len), Some(1));
    let tool = &bastion["components"][0];
    assert_eq!(
        tool["access"],
        json!({"value": "Require", "from": [{"policy": "bastions", "field": "rules[0].access"}]})
    );
    assert_eq!(
        tool["updates"],
        json!({"value": "Manual", "from": [{"policy": "everybody", "field": "rules[0].updates"}]})
    );
    let yaml = alice.d8([&there[..], &["-o", "yaml"]].concat())?.ok()?;
    assert!(yaml.contains("component: tool"), "{yaml}");
    let table = alice.d8(there)?.ok()?;
    let line = table.lines().find(|line| line.contains("versions")).unwrap_or_default();
    assert!(line.contains("^1.0") && line.contains("policy bastions, rules[0].versions"), "{table}");

    let missing = alice.d8(["policy", "get", "--effective", "--host", "nowhere"])?.expect_code(1)?;
    assert!(missing.stderr.contains("nowhere") && missing.stderr.contains("kubectl get clihosts"), "{missing:?}");
    let stranger = lab().new_workstation()?;
    let refused = stranger.d8(["policy", "get", "--effective", "--host", "bastion-1"])?.expect_code(5)?;
    assert!(refused.stderr.contains("may not read clihosts"), "{refused:?}");
    Ok(())
}

/// Writes a file and returns its path.
fn file(name: &str, text: &str) -> Result<String> {
    Ok(lab().plane().scratch().write(name, text)?.display().to_string())
}

/// Policy `bastions` with other versions.
fn bastions(versions: &str) -> Value {
    let spec = json!({
        "hostSelector": {"matchLabels": {"role": "bastion"}},
        "defaults": {"updates": "Auto"},
        "rules": [{"plugins": ["tool"], "access": "Require", "versions": versions}],
    });
    objects::policy("bastions", &spec)
}

#[test]
fn diff_lists_changes_by_host() -> Result<()> {
    let alice = admin(lab())?;
    alice.d8(["plugins", "install", "tool", "--version", "v1.0.0"])?.expect_code(0)?;
    let same = file("same.json", &bastions("^1.0").to_string())?;
    let nothing = alice.d8(["policy", "diff", "-f", &same, "--exit-code"])?.ok()?;
    assert_eq!(nothing, "Nothing would change on 2 managed hosts and this machine.\n");

    // The first policy forbids v1.0.0 on the bastion. The second one freezes the tool on every host.
    let freeze = objects::policy("freeze", &objects::one_rule("tool", &json!({"updates": "Frozen"})));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [bastions(">1.0.0")]});
    let both = file("both.yaml", &format!("{list}\n---\n{freeze}\n"))?;
    let changed = alice.d8(["policy", "diff", "-f", &both, "--exit-code", "-o", "json"])?.expect_code(100)?;
    let changed: Value = serde_json::from_str(&changed.stdout).unwrap_or_else(|error| panic!("{error}: {changed:?}"));
    assert_eq!(changed["managedHosts"], 2);
    let rows: Vec<_> = changed["changes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| {
            let place = |at: &str| json!([row[at]["verdict"], row[at]["target"], row[at]["reason"]["code"]]);
            json!([row["host"], row["component"], row["active"], place("old"), place("new"), row["moves"]])
        })
        .collect();
    let frozen = json!(["Held", "v1.1.0", "Frozen"]);
    assert_eq!(
        Value::from(rows),
        json!([
            [
                "bastion-1",
                "tool",
                "v1.0.0",
                ["Held", "v1.1.0", "Manual"],
                ["Forbidden", null, "VersionNotPermitted"],
                true
            ],
            ["ci-1", "tool", "v1.0.0", ["Held", "v1.1.0", "Manual"], frozen, false],
            [null, "tool", "v1.0.0", ["Eligible", "v1.1.0", null], frozen, true],
        ])
    );
    let reason = &changed["changes"][0]["new"]["reason"];
    let keys = ["component", "version", "policy", "rule", "constraint"].map(|key| &reason[key]);
    assert_eq!(
        keys.map(|value| value.as_str().unwrap_or_default()),
        ["tool", "v1.0.0", "bastions", "rules[0]", ">1.0.0"]
    );
    let reason = &changed["changes"][2]["new"]["reason"];
    let keys = ["component", "version", "policy", "rule"].map(|key| &reason[key]);
    assert_eq!(keys.map(|value| value.as_str().unwrap_or_default()), ["tool", "v1.1.0", "freeze", "rules[0]"]);
    // The command changes nothing.
    assert!(lab().get_policy("freeze").is_none());
    alice.d8(["policy", "diff", "-f", &both])?.expect_code(0)?;
    let names = alice.d8(["policy", "diff", "-f", &both, "-o", "name"])?.ok()?;
    assert_eq!(names, "bastion-1\nci-1\nthis machine\n");
    let text = alice.d8(["policy", "diff", "-f", &both])?.ok()?;
    let expected = "\
tool
  on v1.0.0: v1.1.0 -> v1.1.0 held   1 host: this machine
    policy freeze, rules[0].updates: tool is frozen at v1.0.0; ask an admin for `updates: Manual` to replace it
  on v1.0.0: v1.1.0 held -> must be replaced, nothing is eligible   1 host: bastion-1
    policy bastions, rules[0].versions: tool v1.0.0 is outside `>1.0.0`; run `d8 plugins why tool --host bastion-1` to see the permitted \
versions, or ask an admin for a wider range
  on v1.0.0: v1.1.0 held, for another reason   1 host: ci-1
    policy freeze, rules[0].updates: tool is frozen at v1.0.0; ask an admin for `updates: Manual` to replace it
3 hosts would change, 2 of them in more than why or until when a version is held. Compared 2 managed hosts and this machine.
";
    assert_eq!(text, expected);
    assert_eq!(alice.d8(["policy", "diff", "-f", &both, "-o", "wide"])?.ok()?, expected);
    Ok(())
}

#[test]
fn diff_names_what_is_deleted_locked_out_and_not_permitted() -> Result<()> {
    let alice = admin(lab())?;
    let none = file("none.json", &bastions(">1.1.0").to_string())?;
    let plain = alice.d8(["policy", "diff", "-f", &none])?.ok()?;
    let refused = "tool would be required on 1 host, but policies permit no published version there (bastion-1).";
    assert!(plain.starts_with(refused) && !plain.contains("deleted"), "{plain}");
    let pruned = alice.d8(["policy", "diff", "-f", &none, "--prune"])?.ok()?;
    assert!(pruned.starts_with("Policy everybody would be deleted.\n") && pruned.contains(refused), "{pruned}");
    let json = document(&alice, &["policy", "diff", "-f", &none, "--prune", "-o", "json"])?;
    assert_eq!(json["deleted"], json!(["everybody"]));
    let entry = &json["notPermitted"][0];
    assert_eq!(entry["message"].as_str().map(|message| message.contains("`>1.1.0`")), Some(true), "{entry}");
    assert_eq!(
        [&entry["host"], &entry["component"], &entry["required"]],
        [&json!("bastion-1"), &json!("tool"), &json!(true)]
    );

    let block = json!({"block": ["v1.0.0"], "minAge": "8760h"});
    let blocked = objects::policy("stop", &objects::one_rule("tool", &block));
    let blocked = file("blocked.json", &blocked.to_string())?;
    let text = alice.d8(["policy", "diff", "-f", &blocked])?.ok()?;
    assert!(
        text.starts_with("Nobody could run tool on 2 hosts, nor replace it") && text.contains("(bastion-1, ci-1)"),
        "{text}"
    );
    let json = document(&alice, &["policy", "diff", "-f", &blocked, "-o", "json"])?;
    let locked: Vec<_> = json["lockedOut"].as_array().into_iter().flatten().map(|entry| &entry["active"]).collect();
    assert_eq!(locked, ["v1.0.0", "v1.0.0"]);
    Ok(())
}

#[test]
fn diff_names_paused_hosts_and_components_without_a_record() -> Result<()> {
    let lab = Lab::start(|_| {})?;
    for name in ["listed", "stray"] {
        lab.publish(&Plugin::new(name, "v1.0.0"))?;
    }
    lab.create_releases(&["listed"])?;
    lab.wait_for_version("listed", "v1.0.0")?;
    let active = |name: &str| json!({"name": name, "active": "v1.0.0", "state": "UpToDate"});
    let components = json!([active("listed"), active("my_tool")]);
    lab.apply_host("bastion-1", "bastion", &json!({"platform": "linux-amd64", "components": components}))?;
    let alice = admin(&lab)?;
    alice.d8(["plugins", "install", "stray"])?.expect_code(0)?;
    let paused = objects::policy("freeze", &json!({"hostSelector": {}, "paused": true}));
    let path = alice.home().join("paused.json");
    std::fs::write(&path, paused.to_string()).unwrap_or_else(|error| panic!("{error}"));
    let path = path.display().to_string();
    // Nothing newer is published, so that no verdict changes.
    let diff = alice.d8(["policy", "diff", "-f", &path, "--exit-code"])?.expect_code(100)?;
    assert!(diff.stdout.starts_with("2 hosts would be paused: "), "{diff:?}");
    assert!(diff.stdout.contains("(bastion-1, this machine)"), "{diff:?}");
    assert!(diff.stdout.ends_with("Nothing else would change now on 1 managed host and this machine.\n"), "{diff:?}");
    assert!(diff.stderr.contains("my_tool is no DNS label"), "{diff:?}");
    let note = diff.stderr.lines().find(|line| line.starts_with("stray has no record")).unwrap_or_default();
    let record = note.split('\'').nth(1).unwrap_or_else(|| panic!("{diff:?}"));
    let document = document(&alice, &["policy", "diff", "-f", &path, "-o", "json"])?;
    assert_eq!(document["pauses"], json!([{"host": "bastion-1", "paused": true}, {"paused": true}]));
    assert_eq!(document["withoutRecord"], json!(["my_tool", "stray"]));
    // The command of the note makes the record.
    let file = lab.plane().scratch().write("stray.json", record)?.display().to_string();
    lab.plane().kubectl(["apply", "-f", &file])?;
    lab.wait_for_version("stray", "v1.0.0")?;
    let diff = alice.d8(["policy", "diff", "-f", &path])?.expect_code(0)?;
    assert!(!diff.stderr.contains("stray"), "{diff:?}");
    assert_eq!(alice.d8(["policy", "diff", "-f", &path, "-o", "name"])?.ok()?, "bastion-1\nthis machine\n");
    Ok(())
}

#[test]
fn diff_without_permission_to_read_hosts_and_with_an_invalid_policy() -> Result<()> {
    let alice = lab().new_workstation()?;
    let bad = file("bad.json", &bastions(">=one").to_string())?;
    let good = file("good.json", &bastions("<1.1").to_string())?;
    let refused = alice.d8(["policy", "diff", "-f", &good, &bad])?.expect_code(1)?;
    assert!(
        refused.stderr.contains("policy bastions: ") && refused.stderr.contains("rules[0].versions"),
        "{refused:?}"
    );
    assert_eq!(refused.stdout, "");
    alice.d8(["policy", "diff", "-f", "/no/such/file"])?.expect_code(1)?;
    alice.d8(["policy", "diff"])?.expect_code(2)?;

    let seen = alice.d8(["policy", "diff", "-f", &good, "--exit-code"])?.expect_code(0)?;
    assert!(seen.stderr.contains("clihosts") && seen.stderr.contains("only this machine is compared"), "{seen:?}");
    assert_eq!(seen.stdout, "Nothing would change on this machine.\n");
    let json = document(&alice, &["policy", "diff", "-f", &good, "-o", "json"])?;
    assert_eq!(json, json!({"changes": []}));
    Ok(())
}

#[test]
fn check_reads_the_encodings_of_editors() -> Result<()> {
    let alice = lab().new_workstation()?;
    let policy = bastions(">=1.0.0").to_string();
    let utf16 = |bytes: fn(u16) -> [u8; 2]| format!("\u{feff}{policy}").encode_utf16().flat_map(bytes).collect();
    for (what, content, refusal) in [
        ("UTF-8 with a mark", format!("\u{feff}{policy}").into_bytes(), None),
        ("UTF-16, little endian", utf16(u16::to_le_bytes), None),
        ("UTF-16, big endian", utf16(u16::to_be_bytes), None),
        ("Latin-1", [policy.as_bytes(), b"\n# caf\xe9\n"].concat(), Some("byte 0xe9 in line 2")),
        ("UTF-16 without a mark", policy.encode_utf16().flat_map(u16::to_le_bytes).collect(), Some("-f UTF-16LE")),
    ] {
        let path = alice.home().join("policy.yaml");
        std::fs::write(&path, content).expect("a file");
        let checked = alice.d8(["policy".as_ref(), "check".as_ref(), "-f".as_ref(), path.as_os_str()])?;
        match refusal {
            None => assert_eq!(checked.code(), 0, "{what}: {checked:?}"),
            Some(words) => assert!(checked.code() == 1 && checked.stderr.contains(words), "{what}: {checked:?}"),
        }
    }
    Ok(())
}
