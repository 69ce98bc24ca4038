//! A cluster that names another proxy than the one it named before.

use d8_tests::registry::{CONFIG_MAP, NAMESPACE};
use d8_tests::{ControlPlane, Registry, Result, Workstation, catalog::Plugin, cluster};
use serde_json::{Value, json};

fn announce(plane: &ControlPlane, data: &Value) -> Result<()> {
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE}, "data": data,
    });
    plane.apply(&map.to_string()).map(drop)
}

/// A control plane of its own: all that share one find the proxy by the same ConfigMap.
#[test]
fn a_changed_proxy_is_used_after_a_person_has_seen_it() -> Result<()> {
    let plane = ControlPlane::start()?;
    cluster::furnish(&plane)?;
    let registry = Registry::start(&plane)?;
    registry.publish(&Plugin::new("hello", "v1.0.0"))?;
    let address = registry.url().replace("https://", "");
    let endpoints = json!([address]).to_string();
    let who = plane.new_user();
    cluster::allow_download(&plane, &who.user)?;
    let alice = Workstation::new(&plane, who)?;
    let policy = alice.home().join(".deckhouse-cli/policy");

    alice.d8(["plugins", "install", "hello"])?.expect_code(0)?;
    let kept = |what: &str| -> Vec<String> {
        let folder = std::fs::read_dir(policy.join(what)).into_iter().flatten().flatten();
        folder.filter_map(|entry| std::fs::read_to_string(entry.path()).ok()).collect()
    };
    let first = kept("endpoints");
    assert!(first.len() == 1 && first[0].contains("sha256:"), "{first:?}");

    // Another address under the same key is no change; another host is.
    let force = ["plugins", "install", "hello", "--force"];
    let again = json!(["127.0.0.1:1", address]).to_string();
    announce(&plane, &json!({"endpoints": again, "ca.crt": plane.ca_pem()}))?;
    alice.d8(force)?.expect_code(0)?;
    let public = format!("https://{address}");
    announce(&plane, &json!({"publicEndpoint": public, "endpoints": endpoints, "ca.crt": plane.ca_pem()}))?;
    let before = alice.files();
    let refused = alice.d8(force)?.expect_code(5)?;
    for words in
        ["is not the one remembered", "no public host, keys sha256:", &format!("now host {address}"), "d8 policy trust"]
    {
        assert!(refused.stderr.contains(words), "{words}: {refused:?}");
    }
    assert_eq!((alice.files(), kept("endpoints")), (before, first));

    let unasked = alice.d8(["policy", "trust"])?.expect_code(2)?;
    assert!(unasked.stdout.contains(&format!("now:        host {address}")), "{unasked:?}");
    assert!(unasked.stderr.contains("d8 policy trust --yes"), "{unasked:?}");
    alice.d8(force)?.expect_code(5)?;
    let trusted = alice.d8(["policy", "trust", "--yes"])?.ok()?;
    assert!(trusted.contains("remembered: no public host, keys sha256:"), "{trusted}");
    assert!(trusted.ends_with("It is trusted from now on.\n"), "{trusted}");
    assert!(alice.d8(["policy", "trust"])?.ok()?.ends_with("It is trusted already.\n"));
    // The public host has a certificate that only a file vouches for here.
    let ca = plane.ca_file().display().to_string();
    alice.d8(["plugins", "install", "hello", "--force", "--rpp-ca-file", &ca])?.expect_code(0)?;

    // What cannot be read is not taken for a first meeting.
    let file = std::fs::read_dir(policy.join("endpoints")).expect("it is there").flatten().next().expect("one").path();
    std::fs::write(&file, "{").expect("it is ours");
    let refused = alice.d8(force)?.expect_code(5)?;
    assert!(refused.stderr.contains("cannot be read") && refused.stderr.contains("d8 policy trust"), "{refused:?}");
    alice.d8(["policy", "trust", "--yes"])?.expect_code(0)?;
    alice.d8(["plugins", "install", "hello", "--force", "--rpp-ca-file", &ca])?.expect_code(0)?;
    Ok(())
}
