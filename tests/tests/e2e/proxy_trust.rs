//! A cluster that announces another proxy or another authority than before, and connections that are not verified.

use std::fs;
use std::path::Path;

use d8_tests::foreign_proxy::ForeignProxy;
use d8_tests::proxy::serve_as;
use d8_tests::{Authority, ControlPlane, Proxy, Result, Workstation, catalog::Plugin, cluster, objects};
use serde_json::json;

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
        let directory = std::fs::read_dir(policy.join(what)).into_iter().flatten().flatten();
        directory.filter_map(|entry| std::fs::read_to_string(entry.path()).ok()).collect()
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
        std::fs::read_dir(policy.join("endpoints")).expect("the directory").flatten().next().expect("a file").path();
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

/// The number of keys in the pin, and whether it has this key.
fn pinned(home: &Path, key: &str) -> (usize, bool) {
    let directory = fs::read_dir(home.join(".deckhouse-cli/policy/endpoints")).into_iter().flatten().flatten();
    let text: String = directory.filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect();
    let pin: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let keys = pin["proxy"]["keys"].as_array().cloned().unwrap_or_default();
    (keys.len(), keys.contains(&json!(key)))
}

/// Announces an endpoint inside of the cluster with this bundle of authorities.
fn announce_bundle(plane: &ControlPlane, endpoint: &str, bundle: &str) -> Result<()> {
    plane.apply(&objects::proxy_config(None, &[endpoint], bundle).to_string()).map(drop)
}

/// A step of a rotation: what it is, the announced bundle, the server that answers, the exit code, texts on stderr, and
/// whether the new key is pinned afterwards.
type RotationCase<'a> = (&'a str, &'a str, &'a str, i32, &'a [&'a str], bool);

/// The authority of the proxy is replaced, in the ways that admins and attackers do it.
#[test]
fn only_pinned_keys_verify_the_proxy() -> Result<()> {
    let plane = ControlPlane::start()?;
    cluster::set_up(&plane)?;
    let proxy = Proxy::start(&plane)?;
    proxy.publish(&Plugin::new("hello", "v1.0.0"))?;
    let scratch = plane.scratch();
    let [old, new] = [Authority::new(scratch, "old-ca")?, Authority::new(scratch, "new-ca")?];
    let layout = || ["--layout".into(), proxy.layout().into()];
    let (_old_server, before) = serve_as(&plane, "before", old.server(scratch, "before")?, layout())?;
    let (_new_server, after) = serve_as(&plane, "after", new.server(scratch, "after")?, layout())?;
    let cross_signed = new.signed_by(&old)?;
    let both = format!("{}{}", old.pem, new.pem);
    let new_key = new.key().to_string();

    // Each case begins with a pin of the old key.
    let cases: [RotationCase<'_>; 8] = [
        ("the old authority alone", &old.pem, &before, 0, &[], false),
        ("a new authority beside it", &both, &before, 0, &["is not trusted", &new_key, "d8 policy trust"], false),
        ("its server", &both, &after, 5, &["not signed by a trusted key", &new_key, "d8 policy trust"], false),
        ("the new authority alone", &new.pem, &after, 5, &["has changed: pinned", &new_key, "d8 policy trust"], false),
        ("the old server after that", &new.pem, &before, 5, &["has changed: pinned"], false),
        ("cross-signed, beside the old one", &format!("{}{cross_signed}", old.pem), &after, 0, &[], true),
        ("cross-signed, alone", &cross_signed, &after, 0, &[], true),
        ("the server of the withdrawn authority", &cross_signed, &before, 5, &["authority"], true),
    ];
    let force = ["plugins", "install", "hello", "--force"];
    for (what, bundle, server, code, texts, learned) in cases {
        let who = plane.new_user();
        cluster::allow_download(&plane, &who.user)?;
        let user = Workstation::new(&plane, who)?;
        announce_bundle(&plane, &before, &old.pem)?;
        user.d8(["plugins", "install", "hello"])?.expect_code(0)?;
        assert_eq!(pinned(user.home(), &new_key), (1, false), "{what}");
        announce_bundle(&plane, server, bundle)?;
        let (installed, output) = (user.files(), user.d8(force)?);
        assert_eq!(output.code(), code, "{what}: {output:?}");
        for text in texts {
            assert!(output.stderr.contains(text), "{what}: {text}: {output:?}");
        }
        assert!(code == 0 || user.files() == installed, "{what}: something was installed");
        assert_eq!(pinned(user.home(), &new_key), (1 + usize::from(learned), learned), "{what}");
        if code == 5 && !learned {
            // A person accepts the new authority, and its server works.
            let shown = user.d8(["policy", "trust", "--yes"])?.ok()?;
            assert!(shown.contains(&format!("new keys:   {new_key}")), "{what}: {shown}");
            announce_bundle(&plane, &after, bundle)?;
            user.d8(force)?.expect_code(0)?;
        }
    }
    Ok(())
}

/// No request reaches a server with a foreign key, whatever the cluster announces.
#[test]
fn a_foreign_key_gets_no_request() -> Result<()> {
    let plane = ControlPlane::start()?;
    cluster::set_up(&plane)?;
    let proxy = Proxy::start(&plane)?;
    proxy.publish(&Plugin::new("hello", "v1.0.0"))?;
    let foreign_ca = Authority::new(plane.scratch(), "foreign-ca")?;
    let foreign = ForeignProxy::start(&foreign_ca.server(plane.scratch(), "foreign")?, "foreign")?;
    let who = plane.new_user();
    cluster::allow_download(&plane, &who.user)?;
    let user = Workstation::new(&plane, who)?;
    user.d8(["plugins", "install", "hello"])?.expect_code(0)?;
    let force = ["plugins", "install", "hello", "--force"];
    // Beside the real key: the foreign server refuses nothing, but its certificate is not verified by a pinned key.
    announce_bundle(&plane, foreign.address(), &format!("{}{}", foreign_ca.pem, plane.ca_pem()))?;
    let refused = user.d8(force)?.expect_code(5)?;
    assert!(refused.stderr.contains(foreign_ca.key().as_str()), "{refused:?}");
    assert!(foreign.connections() > 0, "the foreign server was never reached");
    announce_bundle(&plane, foreign.address(), &foreign_ca.pem)?;
    user.d8(force)?.expect_code(5)?;
    assert_eq!(foreign.received(), "");
    // The real proxy beside the foreign one still works.
    let endpoints = [foreign.address(), proxy.address()];
    let bundle = format!("{}{}", foreign_ca.pem, plane.ca_pem());
    plane.apply(&objects::proxy_config(None, &endpoints, &bundle).to_string())?;
    user.d8(force)?.expect_code(0)?;
    assert_eq!(foreign.received(), "");
    Ok(())
}

/// The effective setting counts: in the kubeconfig as well as on the command line.
#[test]
fn connections_that_are_not_verified() -> Result<()> {
    let plane = ControlPlane::start()?;
    cluster::set_up(&plane)?;
    let proxy = Proxy::start(&plane)?;
    proxy.publish(&Plugin::new("hello", "v1.0.0"))?;
    plane.apply(include_str!("../../../charts/d8-operator/templates/crds.yaml"))?;
    plane.kubectl(["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"])?;
    plane.apply(&objects::policy("deny", &objects::one_rule("other", &json!({"access": "Deny"}))).to_string())?;
    let who = plane.new_user();
    cluster::allow_download(&plane, &who.user)?;
    let resources = "--resource=clireleases.cli.deckhouse.io,pluginpolicies.cli.deckhouse.io";
    plane.kubectl(["create", "clusterrole", "viewer", "--verb=get,list,watch", resources])?;
    let user = format!("--user={}", who.user);
    plane.kubectl(["create", "clusterrolebinding", "viewer", "--clusterrole=viewer", &user])?;
    let config = objects::kubeconfig(&plane.url(), plane.ca_pem(), &who.user, &who.token);
    let mut insecure = config.clone();
    insecure["clusters"][0]["cluster"] = json!({"server": plane.url(), "insecure-skip-tls-verify": true});
    let insecure = plane.scratch().write("insecure.kubeconfig", insecure.to_string())?.display().to_string();
    let home_root = |user: &Workstation| user.home().join(".deckhouse-cli").display().to_string();

    let by_file: &[&str] = &["--kubeconfig", &insecure];
    // The flags, the exit codes for a shared root, for the root in the home, and of `policy trust`.
    let cases: [(&[&str], i32, i32, i32); 4] = [
        (by_file, 2, 0, 2),
        (&["--insecure-skip-tls-verify"], 2, 0, 2),
        (&["--rpp-insecure-skip-tls-verify"], 2, 0, 0),
        (&[], 0, 0, 0),
    ];
    for (flags, shared, own, trust) in cases {
        let user = Workstation::new(&plane, who.clone())?;
        let (policy, run) =
            (user.home().join(".deckhouse-cli/policy"), |args: &[&str]| user.d8([args, flags].concat()));
        let output = run(&["plugins", "install", "hello"])?.expect_code(shared)?;
        if shared == 2 {
            assert!(output.stderr.contains("is not verified"), "{flags:?}: {output:?}");
            assert!(output.stderr.contains("other users run the programs in this root"), "{flags:?}: {output:?}");
            assert_eq!(user.files(), [""; 0], "{flags:?}");
        }
        let root = home_root(&user);
        run(&["plugins", "install", "hello", "--plugins-dir", &root])?.expect_code(own)?;
        // Neither policies nor pins come from a server that is not verified.
        let kept = fs::read_dir(&policy).into_iter().flatten().count();
        let verified_cluster = trust == 0;
        assert_eq!(kept > 0, verified_cluster, "{flags:?}");
        let output = run(&["policy", "trust", "--yes"])?.expect_code(trust)?;
        assert_eq!(policy.join("endpoints").exists(), verified_cluster, "{flags:?}: {output:?}");
        assert_eq!(
            output.stderr.contains("refused to trust a proxy over a connection that is not verified"),
            trust == 2
        );
    }

    // d8-rpp and d8-operator would send tokens there.
    for (binary, args) in [
        ("d8-operator", vec!["--listen", "127.0.0.1:0"]),
        (
            "d8-rpp",
            vec!["serve", "--layout", ".", "--tls-cert", "none", "--tls-key", "none", "--listen", "127.0.0.1:0"],
        ),
    ] {
        let refused = d8_tests::run(d8_tests::tools::binary(binary)?, args, |command| {
            command.env("KUBECONFIG", &insecure);
        })?;
        assert_eq!(refused.code(), 2, "{binary}: {refused:?}");
        let text = "the certificate of the Kubernetes API is not verified (`insecure-skip-tls-verify: true`)";
        assert!(refused.stderr.contains(text) && refused.stdout.is_empty(), "{binary}: {refused:?}");
        assert!(refused.stderr.contains("set `certificate-authority`"), "{binary}: {refused:?}");
    }
    Ok(())
}
