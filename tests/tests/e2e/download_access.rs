//! Permission to download, and wrong proxy endpoints and CA files.

use d8_tests::catalog::{Plugin, script};
use d8_tests::oci::{Entry, layer};
use d8_tests::{CommandOutput, Identity, Lab, Result, Workstation};

/// Runs an install that must fail with these texts on stderr and change nothing.
fn refused(alice: &Workstation, args: &[&str], code: i32, texts: &[&str]) -> Result<CommandOutput> {
    let before = alice.files();
    let finished = alice.d8([&["plugins", "install"], args].concat())?.expect_code(code)?;
    for text in texts {
        assert!(finished.stderr.contains(text), "`{text}` is not in {finished:?}");
    }
    assert_eq!(alice.files(), before, "{finished:?}");
    Ok(finished)
}

/// Returns a user who may read the ConfigMap of the proxy and nothing else.
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
fn a_user_without_the_role_is_refused_with_the_binding_command() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("guarded", "v1.0.0"))?;
    let mallory = reader(lab)?;
    let binding = ["403", "d8:registry-packages-proxy:cli-download", "kubectl create clusterrolebinding", "30 s"];
    refused(&mallory, &["guarded"], 5, &binding)?;
    Ok(())
}

#[test]
fn a_record_does_not_permit_the_download() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("recorded", "v1.0.0"))?;
    lab.create_releases(&["recorded"])?;
    lab.wait_for_version("recorded", "v1.0.0")?;
    refused(&reader(lab)?, &["recorded"], 5, &["403"])?;
    Ok(())
}

#[test]
fn a_user_who_cannot_find_the_proxy_gets_an_error() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("hidden", "v1.0.0"))?;
    // Two users, so that the admin types the command of the message twice.
    for _ in 0..2 {
        let stranger = lab.workstation(lab.plane().new_user())?;
        let finished =
            refused(&stranger, &["hidden"], 5, &["may not read", "d8:registry-packages-proxy:cli-download"])?;
        assert_eq!(finished.stderr.matches("cause: ").count(), 1, "{finished:?}");
        let command = finished.stderr.split('`').find_map(|text| text.strip_prefix("kubectl "));
        let command = command.unwrap_or_else(|| panic!("no command in {finished:?}"));
        lab.plane().kubectl(command.split(' '))?;
        d8_tests::process::wait_for("the binding permits the download", d8_tests::lab::TIMEOUT, || {
            (stranger.d8(["plugins", "install", "hidden"]).ok()?.code() == 0).then_some(())
        })?;
    }
    Ok(())
}

#[test]
fn an_unknown_token_is_refused_by_the_kubernetes_api() -> Result<()> {
    let lab = Lab::shared();
    let ghost = lab.workstation(Identity { user: "ghost".into(), token: "no-such-token".into() })?;
    refused(&ghost, &["anything"], 5, &["401", "Kubernetes API"])?;
    Ok(())
}

#[test]
fn an_unpublished_plugin_or_version_is_named() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("single", "v1.0.0"))?;
    let alice = lab.new_workstation()?;
    refused(&alice, &["no-such-plugin"], 1, &["no-such-plugin"])?;
    refused(&alice, &["single", "--version", "v9.9.9"], 1, &["v9.9.9"])?;
    refused(&alice, &["single", "--use-major", "7"], 1, &["7"])?;
    Ok(())
}

#[test]
fn proxy_flags_are_validated() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("direct", "v1.0.0"))?;
    let alice = lab.new_workstation()?;
    let url = lab.proxy().url();
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
    for (flags, code, texts) in cases {
        refused(&alice, &[&["direct"], flags].concat(), code, texts)?;
    }
    let flags = ["plugins", "install", "direct", "--rpp-endpoint", &url, "--rpp-ca-file", &ca];
    alice.d8(flags)?.expect_code(0)?;
    Ok(())
}

#[test]
fn bytes_with_another_digest_are_not_installed() -> Result<()> {
    let lab = Lab::shared();
    for (name, other) in [
        ("swapped", layer(&[Entry::file("plugin", script("swapped", "v9.9.9"))])),
        ("cut", layer(&[Entry::file("plugin", "")])),
    ] {
        lab.publish(&Plugin::new(name, "v1.0.0"))?;
        lab.create_releases(&[name])?;
        let status = lab.wait_for_version(name, "v1.0.0")?.status.unwrap_or_default();
        for artifact in &status.versions[0].artifacts {
            let blob = lab.proxy().layout().join("blobs").join(artifact.layer.replace(':', "/"));
            std::fs::write(&blob, &other).expect("the stored layer is replaced");
        }
        refused(&lab.new_workstation()?, &[name], 1, &["sha256:"])?;
    }
    Ok(())
}

#[test]
fn plugins_run_while_the_proxy_is_down() -> Result<()> {
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
