//! The API server is down: installed plugins run under the cached policies, and nothing changes.

use d8_tests::catalog::Plugin;
use d8_tests::{Lab, Result};
use serde_json::json;

#[test]
fn without_the_api_server_plugins_run_and_changes_are_refused() -> Result<()> {
    let mut lab = Lab::start(|_| {})?;
    for name in ["free", "blocked", "denied", "bound"] {
        let needs = if name == "bound" { json!({"kubernetes": {"constraint": ">=1.29"}}) } else { json!({}) };
        lab.publish(&Plugin::new(name, "v1.0.0").with_requirements(needs))?;
    }
    let alice = lab.new_workstation()?;
    for name in ["free", "blocked", "denied", "bound"] {
        alice.d8(["plugins", "install", name])?.expect_code(0)?;
    }
    lab.apply_policy(
        "offline",
        &json!({"hostSelector": {}, "rules": [
            {"plugins": ["blocked"], "block": ["v1.0.0"]},
            {"plugins": ["denied"], "access": "Deny"},
        ]}),
    )?;
    // Each command that reads the cluster caches its policies.
    alice.d8(["plugins", "why", "free"])?.expect_code(0)?;
    lab.plane_mut().stop_api_server();

    alice.d8(["free"])?.expect_code(0)?;
    // d8 does not know whether the plugin takes `-h` as a request for help.
    for name in ["blocked", "denied"] {
        for args in ["", "-h", "status --help", "help", "--version", "completion bash", "__complete st", "status -- -h"]
        {
            let refused = alice.d8([name].into_iter().chain(args.split_whitespace()))?.expect_code(3)?;
            assert!(refused.stderr.contains("offline") && refused.stdout.is_empty(), "{refused:?}");
        }
    }
    for args in ["-h", "status --help", "help", "--version", "-v", "completion bash", "__complete st"] {
        alice.d8(["bound"].into_iter().chain(args.split_whitespace()))?.expect_code(0)?;
    }
    let refused = alice.d8(["bound"])?.expect_code(5)?;
    assert!(refused.stderr.contains("`d8 --skip-cluster-checks bound`"), "{refused:?}");
    let refused = alice.d8(["bound", "status", "secret"])?.expect_code(5)?;
    assert!(refused.stderr.contains("`d8 --skip-cluster-checks bound …`"), "{refused:?}");
    assert!(!refused.stderr.contains("secret"), "{refused:?}");
    // The kubeconfig must be corrected first; without the checks the plugin would fail at the same place.
    let token = r#"{name: u, user: {token: "a\u0007b"}}"#;
    let authority = |data: &str| format!("{{name: c, cluster: {{server: 'https://127.0.0.1:1'{data}}}}}");
    for (what, cluster, user) in [
        ("a token that cannot be sent", authority(""), token),
        ("base64", authority(", certificate-authority-data: '%'"), "{name: u, user: {token: t}}"),
        ("no such cluster", "{name: other}".to_owned(), "{name: u, user: {token: t}}"),
    ] {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: x\nclusters: [{cluster}]\nusers: [{user}]\n\
             contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n"
        );
        let path = alice.home().join("broken-kubeconfig");
        std::fs::write(&path, text).expect("a kubeconfig");
        let refused = alice.d8(["-k".as_ref(), path.as_os_str(), "bound".as_ref()])?.expect_code(5)?;
        assert!(!refused.stderr.contains("skip"), "{what}: {refused:?}");
        assert!(refused.stderr.contains("fix: "), "{what}: {refused:?}");
    }
    let waived = alice.d8(["--skip-cluster-checks", "bound"])?.expect_code(0)?;
    assert!(waived.stderr.contains("not checked"), "{waived:?}");
    alice.clone().with_env("D8_PLUGINS_SKIP_CLUSTER_CHECKS", "1").d8(["bound"])?.expect_code(0)?;

    let before = alice.files();
    for change in [&["plugins", "install", "other"][..], &["plugins", "update", "all"], &["plugins", "why", "free"]] {
        let refused = alice.d8(change)?.expect_code(5)?;
        assert!(refused.stderr.contains("Kubernetes"), "{refused:?}");
    }
    assert_eq!(alice.files(), before);
    for offline in [&["plugins", "list"][..], &["plugins", "remove", "free"], &["--help"], &["completion", "bash"]] {
        alice.d8(offline)?.expect_code(0)?;
    }

    lab.plane_mut().start_api_server()?;
    alice.d8(["plugins", "install", "free"])?.expect_code(0)?;
    alice.d8(["bound"])?.expect_code(0)?;
    Ok(())
}
