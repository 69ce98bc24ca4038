//! Who may download, and what is said to those who may not; endpoints and authorities that are wrong.

use d8_tests::catalog::{Plugin, script};
use d8_tests::oci::{Entry, layer};
use d8_tests::{Finished, Identity, Lab, Result, Workstation};

/// Runs an install that must fail, change nothing, and say these words on stderr.
fn refused(alice: &Workstation, args: &[&str], code: i32, says: &[&str]) -> Result<Finished> {
    let before = alice.files();
    let finished = alice.d8([&["plugins", "install"], args].concat())?.expect_code(code)?;
    for words in says {
        assert!(finished.stderr.contains(words), "`{words}` is not in {finished:?}");
    }
    assert_eq!(alice.files(), before, "{finished:?}");
    Ok(finished)
}

/// A user who may read where the proxy is, and no more.
fn reader(lab: &Lab) -> Result<Workstation> {
    let who = lab.plane().new_user();
    let name = format!("{}-reads", who.user);
    let at = "--namespace=d8-cloud-instance-manager";
    let plane = lab.plane();
    let object = "--resource-name=registry-packages-proxy-config";
    plane.kubectl(["create", "role", &name, at, "--verb=get", "--resource=configmaps", object])?;
    plane.kubectl(["create", "rolebinding", &name, at, &format!("--role={name}"), &format!("--user={}", who.user)])?;
    lab.workstation(who)
}

#[test]
fn without_the_role_the_proxy_refuses_and_the_binding_is_shown() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("guarded", "v1.0.0"))?;
    let mallory = reader(lab)?;
    let binding = ["403", "d8:registry-packages-proxy:cli-download", "kubectl create clusterrolebinding", "30 s"];
    refused(&mallory, &["guarded"], 5, &binding)?;
    Ok(())
}

#[test]
fn a_record_does_not_open_the_download() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("recorded", "v1.0.0"))?;
    lab.track(&["recorded"])?;
    lab.release_with("recorded", "v1.0.0")?;
    refused(&reader(lab)?, &["recorded"], 5, &["403"])?;
    Ok(())
}

#[test]
fn who_may_not_read_where_the_proxy_is_is_told() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("hidden", "v1.0.0"))?;
    let stranger = lab.workstation(lab.plane().new_user())?;
    refused(&stranger, &["hidden"], 5, &["registry-packages-proxy"])?;
    Ok(())
}

#[test]
fn a_token_that_nobody_has_is_refused_by_the_api_first() -> Result<()> {
    let lab = Lab::shared();
    let ghost = lab.workstation(Identity { user: "ghost".into(), token: "no-such-token".into() })?;
    refused(&ghost, &["anything"], 5, &["401", "Kubernetes API"])?;
    Ok(())
}

#[test]
fn what_is_not_published_is_named_with_the_way_to_look() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("single", "v1.0.0"))?;
    let alice = lab.new_workstation()?;
    refused(&alice, &["no-such-plugin"], 1, &["no-such-plugin"])?;
    refused(&alice, &["single", "--version", "v9.9.9"], 1, &["v9.9.9"])?;
    refused(&alice, &["single", "--use-major", "7"], 1, &["7"])?;
    Ok(())
}

#[test]
fn endpoints_and_authorities_given_by_hand_are_checked_first() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("direct", "v1.0.0"))?;
    let alice = lab.new_workstation()?;
    let url = lab.registry().url();
    let ca = lab.plane().ca_file().display().to_string();
    let not_ca = alice.kubeconfig().display().to_string();
    let cases: [(&[&str], i32, &[&str]); 8] = [
        (&["--rpp-endpoint", "http://127.0.0.1:1"], 2, &["https"]),
        (&["--rpp-endpoint", "https://"], 2, &["host"]),
        (&["--rpp-endpoint", "not a url"], 2, &["https"]),
        (&["--rpp-endpoint", "https://127.0.0.1:1"], 5, &["127.0.0.1:1"]),
        (&["--rpp-endpoint", &url, "--rpp-ca-file", "/nowhere/ca.crt"], 2, &["/nowhere/ca.crt"]),
        (&["--rpp-endpoint", &url, "--rpp-ca-file", &not_ca], 2, &[&not_ca]),
        (&["--rpp-endpoint", &url, "--rpp-ca-file", &ca, "--rpp-insecure-skip-tls-verify"], 2, &["--rpp-ca-file"]),
        (&["--rpp-endpoint", &url], 5, &["certificate", "--rpp-ca-file"]),
    ];
    for (flags, code, says) in cases {
        refused(&alice, &[&["direct"], flags].concat(), code, says)?;
    }
    let flags = ["plugins", "install", "direct", "--rpp-endpoint", &url, "--rpp-ca-file", &ca];
    alice.d8(flags)?.expect_code(0)?;
    Ok(())
}

#[test]
fn bytes_that_are_not_those_of_the_record_are_never_installed() -> Result<()> {
    let lab = Lab::shared();
    for (name, other) in [
        ("swapped", layer(&[Entry::file("plugin", script("swapped", "v9.9.9"))])),
        ("cut", layer(&[Entry::file("plugin", "")])),
    ] {
        lab.publish(&Plugin::new(name, "v1.0.0"))?;
        lab.track(&[name])?;
        let status = lab.release_with(name, "v1.0.0")?.status.unwrap_or_default();
        for artifact in &status.versions[0].artifacts {
            let blob = lab.registry().layout().join("blobs").join(artifact.layer.replace(':', "/"));
            std::fs::write(&blob, &other).expect("the stored layer is exchanged");
        }
        refused(&lab.new_workstation()?, &[name], 1, &["sha256:"])?;
    }
    Ok(())
}

#[test]
fn the_proxy_that_is_away_is_said_to_be_and_plugins_still_run() -> Result<()> {
    let mut lab = Lab::start(|_| {})?;
    lab.publish(&Plugin::new("steady", "v1.0.0"))?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "steady"])?.expect_code(0)?;
    lab.stop_proxy();
    refused(&alice, &["other"], 5, &["registry-packages-proxy"])?;
    alice.d8(["plugins", "update", "all"])?.expect_code(5)?;
    alice.d8(["steady"])?.expect_code(0)?;
    alice.d8(["plugins", "list"])?.expect_code(0)?;
    Ok(())
}
