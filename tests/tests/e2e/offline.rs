//! The API server is down: installed plugins run under the cached policies, and nothing changes.

use std::path::Path;

use d8_tests::catalog::Plugin;
use d8_tests::{Lab, Result, Workstation, objects, workstation};
use serde_json::{Value, json};

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

/// Makes the cached policies look as if they were read ten minutes ago.
fn age_cached_policies(alice: &Workstation) {
    let directory = alice.home().join(".deckhouse-cli/policy");
    let long_ago = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(10);
    let is_copy = |name: &&String| Path::new(name).extension().is_some_and(|e| e == "json") && !name.contains('/');
    let names = workstation::files(&directory);
    let copies: Vec<_> = names.iter().filter(is_copy).collect();
    assert!(!copies.is_empty(), "{names:?}");
    for path in copies.into_iter().map(|name| directory.join(name)) {
        let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut copy: Value = serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{error}"));
        copy["confirmed"] = json!(long_ago);
        std::fs::write(&path, copy.to_string()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// A run reads policies again that are older than five minutes, and always before it refuses.
#[test]
fn a_block_and_its_end_arrive_at_runs() -> Result<()> {
    let mut lab = Lab::start(|_| {})?;
    lab.publish(&Plugin::new("tool", "v1.0.0"))?;
    let alice = lab.new_workstation()?;
    let rule = |rule: Value| json!({"hostSelector": {}, "rules": [objects::with(json!({"plugins": ["tool"]}), &rule)]});
    let (open, blocked) = (rule(json!({})), rule(json!({"block": ["1.0.x"]})));
    lab.apply_policy("cve", &open)?;
    alice.d8(["plugins", "install", "tool"])?.expect_code(0)?;

    lab.apply_policy("cve", &blocked)?;
    age_cached_policies(&alice);
    let refused = alice.d8(["tool"])?.expect_code(3)?;
    assert!(refused.stderr.contains("1.0.x") && refused.stdout.is_empty(), "{refused:?}");
    lab.apply_policy("cve", &open)?;
    alice.d8(["tool"])?.expect_code(0)?;

    // Without the cluster the cached policies count, whatever their age.
    age_cached_policies(&alice);
    lab.plane_mut().stop_api_server();
    let silent = alice.d8(["tool"])?.expect_code(0)?;
    assert_eq!(silent.stderr, "", "{silent:?}");
    lab.plane_mut().start_api_server()?;
    lab.apply_policy("cve", &blocked)?;
    alice.d8(["plugins", "why", "tool"])?.expect_code(0)?;
    lab.plane_mut().stop_api_server();
    age_cached_policies(&alice);
    let refused = alice.d8(["tool"])?.expect_code(3)?;
    assert!(refused.stderr.contains("as of"), "{refused:?}");
    Ok(())
}
