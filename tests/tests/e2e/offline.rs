//! The API server is down: installed plugins run under the cached policies, and nothing changes.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use d8_tests::catalog::Plugin;
use d8_tests::process::wait_for;
use d8_tests::{Lab, Result, Workstation, objects, tools, workstation};
use serde_json::{Value, json};

use crate::terminal::{Terminal, run_in};

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

/// Writes a kubeconfig with a credential plugin that logs whether it may ask a person, and complains. Returns its path.
fn kubeconfig_with_plugin(lab: &Lab, alice: &Workstation, mode: &str) -> PathBuf {
    let plugin = alice.home().join("login");
    let script = format!(
        "#!/bin/sh\ncase $KUBERNETES_EXEC_INFO in *'\"interactive\":true'*) echo asks ;; *) echo quiet ;; esac >>\"$0.log\"\n\
         [ -t 0 ] && echo terminal >>\"$0.log\"\necho 'logging in' >&2\n\
         echo '{{\"apiVersion\": \"client.authentication.k8s.io/v1\", \"kind\": \"ExecCredential\", \
         \"status\": {{\"token\": \"{}\"}}}}'\n",
        alice.identity().token
    );
    std::fs::write(&plugin, script).unwrap_or_else(|error| panic!("{error}"));
    std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).unwrap_or_else(|error| panic!("{error}"));
    let (user, plane) = (&alice.identity().user, lab.plane());
    let mut config = objects::kubeconfig(&plane.url(), plane.ca_pem(), user, "");
    let version = "client.authentication.k8s.io/v1";
    config["users"][0]["user"] = json!({"exec": {"command": plugin, "apiVersion": version, "interactiveMode": mode}});
    let path = alice.home().join(format!("kubeconfig-{mode}"));
    std::fs::write(&path, config.to_string()).unwrap_or_else(|error| panic!("{error}"));
    path
}

/// A run renews policies with a plugin that could ask a person something, without letting it. One that must ask is left
/// alone.
#[test]
fn runs_ask_credential_plugins_without_the_terminal() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("prompting", "v1.0.0"))?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "prompting"])?.expect_code(0)?;
    lab.apply_policy("prompting", &objects::one_rule("prompting", &json!({"block": ["1.0.x"]})))?;
    alice.d8(["plugins", "why", "prompting"])?.expect_code(0)?;
    lab.plane().kubectl(["delete", "ppol", "prompting"])?;

    let terminal = Terminal::open().unwrap_or_else(|error| panic!("{error}"));
    let line = [tools::binary("d8")?.into(), "prompting".into()];
    let run = |mode: &str| {
        let path = kubeconfig_with_plugin(lab, &alice, mode);
        let user = terminal.user.try_clone().unwrap_or_else(|error| panic!("{error}"));
        run_in(user, &alice.clone().with_env("KUBECONFIG", path), &line)
    };
    let log = || std::fs::read_to_string(alice.home().join("login.log")).unwrap_or_default();
    run("Always")?.expect_code(3)?;
    assert_eq!(log(), "", "it is not run");
    // The renewal has 300 ms, which a busy machine may exceed; each run tries again before it refuses.
    let ran = wait_for("the end of the block", Duration::from_mins(1), || {
        run("IfAvailable").ok().filter(|ran| ran.code() == 0)
    })?;
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("This is prompting v1.0.0.\n", ""));
    let log = log();
    assert!(log.lines().count() > 0 && log.lines().all(|line| line == "quiet"), "{log}");
    Ok(())
}
