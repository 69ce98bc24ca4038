//! A cluster that announces another proxy than before.

use d8_tests::{ControlPlane, Proxy, Result, Workstation, catalog::Plugin, cluster, objects};

/// Announces these endpoints in the cluster.
fn announce(plane: &ControlPlane, public_endpoint: Option<&str>, endpoints: &[&str]) -> Result<()> {
    plane.apply(&objects::proxy_config(public_endpoint, endpoints, plane.ca_pem()).to_string()).map(drop)
}

/// This test has its own control plane, because all users of one find the proxy through the same ConfigMap.
#[test]
fn a_changed_proxy_needs_confirmation() -> Result<()> {
    let plane = ControlPlane::start()?;
    cluster::set_up(&plane)?;
    let proxy = Proxy::start(&plane)?;
    proxy.publish(&Plugin::new("hello", "v1.0.0"))?;
    let address = proxy.address();
    let who = plane.new_user();
    cluster::allow_download(&plane, &who.user)?;
    let alice = Workstation::new(&plane, who)?;
    let policy = alice.home().join(".deckhouse-cli/policy");

    alice.d8(["plugins", "install", "hello"])?.expect_code(0)?;
    let files_of = |what: &str| -> Vec<String> {
        let folder = std::fs::read_dir(policy.join(what)).into_iter().flatten().flatten();
        folder.filter_map(|entry| std::fs::read_to_string(entry.path()).ok()).collect()
    };
    let first = files_of("endpoints");
    assert!(first.len() == 1 && first[0].contains("sha256:"), "{first:?}");

    // Another address with the same key needs no confirmation. Another public host does.
    let force = ["plugins", "install", "hello", "--force"];
    announce(&plane, None, &["127.0.0.1:1", address])?;
    alice.d8(force)?.expect_code(0)?;
    announce(&plane, Some(&proxy.url()), &[address])?;
    let before = alice.files();
    let refused = alice.d8(force)?.expect_code(5)?;
    for text in
        ["has changed: pinned", "no public host, keys sha256:", &format!("now host {address}"), "d8 policy trust"]
    {
        assert!(refused.stderr.contains(text), "{text}: {refused:?}");
    }
    assert_eq!((alice.files(), files_of("endpoints")), (before, first));

    let unasked = alice.d8(["policy", "trust"])?.expect_code(2)?;
    assert!(unasked.stdout.contains(&format!("now:        host {address}")), "{unasked:?}");
    assert!(unasked.stderr.contains("d8 policy trust --yes"), "{unasked:?}");
    alice.d8(force)?.expect_code(5)?;
    let trusted = alice.d8(["policy", "trust", "--yes"])?.ok()?;
    assert!(trusted.contains("pinned:     no public host, keys sha256:"), "{trusted}");
    assert!(trusted.ends_with("The proxy is trusted from now on.\n"), "{trusted}");
    assert!(alice.d8(["policy", "trust"])?.ok()?.ends_with("The proxy is already trusted.\n"));
    // Here the certificate of the public host is signed by the CA in this file.
    let ca = plane.ca_file().display().to_string();
    alice.d8(["plugins", "install", "hello", "--force", "--rpp-ca-file", &ca])?.expect_code(0)?;

    // An unreadable file does not count as a first contact.
    let file =
        std::fs::read_dir(policy.join("endpoints")).expect("the folder").flatten().next().expect("a file").path();
    std::fs::write(&file, "{").expect("the file is written");
    let refused = alice.d8(force)?.expect_code(5)?;
    assert!(
        refused.stderr.contains("failed to read the pinned proxy") && refused.stderr.contains("d8 policy trust"),
        "{refused:?}"
    );
    alice.d8(["policy", "trust", "--yes"])?.expect_code(0)?;
    alice.d8(["plugins", "install", "hello", "--force", "--rpp-ca-file", &ca])?.expect_code(0)?;
    Ok(())
}
