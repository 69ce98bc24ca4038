//! Files: encodings, damage, lists, and the other binaries.

use std::ffi::OsString;

use d8_tests::{Result, tools};

use super::{CLUSTER, Expected, Fixture};

#[test]
fn texts() -> Result<()> {
    let fixture = Fixture::new()?;
    let good = fixture.kubeconfig(CLUSTER, "token: $TOKEN");
    let utf16 =
        |bytes: fn(u16) -> [u8; 2]| format!("\u{feff}{good}").encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    let json: serde_json::Value = serde_saphyr::from_str(&good).expect("YAML");
    let tabs = {
        let mut bytes = Vec::new();
        let style = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        serde::Serialize::serialize(&json, &mut serde_json::Serializer::with_formatter(&mut bytes, style))
            .expect("JSON");
        bytes
    };
    let odd = [utf16(u16::to_le_bytes), vec![b'x']].concat();
    let cases: Vec<(&str, Vec<u8>, Expected<'_>)> = vec![
        ("YAML", good.clone().into(), Ok(())),
        ("JSON", json.to_string().into(), Ok(())),
        ("JSON with tabs", tabs, Ok(())),
        ("UTF-8 with a mark", format!("\u{feff}{good}").into(), Ok(())),
        ("UTF-16, little endian", utf16(u16::to_le_bytes), Ok(())),
        ("UTF-16, big endian", utf16(u16::to_be_bytes), Ok(())),
        ("UTF-16 with an odd length", odd, Err("kubeconfig")),
        ("Latin-1", [good.as_bytes(), b"# caf\xe9\n"].concat(), Err("byte 0xe9 in line")),
        ("CRLF", good.replace('\n', "\r\n").into(), Ok(())),
        ("a document mark", format!("---\n{good}").into(), Ok(())),
        ("no kind", good.replace("kind: Config\n", "").replace("apiVersion: v1\n", "").into(), Ok(())),
        ("another kind", good.replace("kind: Config", "kind: Pod").into(), Err("kind is \"Pod\"")),
        ("unknown fields", format!("{good}preferences: {{colors: true}}\nfuture: [1]\n").into(), Ok(())),
        (
            "an entry twice",
            good.replace("users: [", "users: [{name: u, user: {}}, ").into(),
            Err("two entries have the name"),
        ),
        (
            "a missing context",
            good.replace("current-context: c", "current-context: other").into(),
            Err("no context \"other\""),
        ),
        ("no current context", good.replace("current-context: c\n", "").into(), Err("no current context")),
        ("a missing cluster", good.replace("cluster: c,", "cluster: other,").into(), Err("it does not exist")),
        ("a missing user", good.replace("user: u}", "user: other}").into(), Err("you are anonymous")),
        ("a namespace", good.replace("user: u}", "user: u, namespace: x}").into(), Ok(())),
        ("broken YAML", b"clusters: [".to_vec(), Err("kubeconfig")),
        ("words", b"hello".to_vec(), Err("kubeconfig: it is not a mapping")),
        ("a list", b"- hello".to_vec(), Err("kubeconfig: it is not a mapping")),
        ("empty", Vec::new(), Err("no current context")),
        ("zeros", vec![0; 64], Err("kubeconfig")),
    ];
    for (what, content, expected) in cases {
        fixture.check_file(what, content, expected)?;
    }
    Ok(())
}

#[test]
fn lists_of_files() -> Result<()> {
    let fixture = Fixture::new()?;
    let good = fixture.kubeconfig(CLUSTER, "token: $TOKEN");
    let file = |name: &str, content: &str| fixture.write(name, content).display().to_string();
    let all = file("all", &good);
    let empty = file("empty", "");
    let no_context = file("no-context", "current-context: ''\nusers: [{name: other, user: {token: x}}]\n");
    let wrong_user = file("wrong-user", "users: [{name: u, user: {token: wrong}}]\n");
    let other_context = file("other-context", "current-context: other\n");
    let broken = file("broken", "clusters: [");
    let entry = |start: &str| good.lines().filter(|line| !line.starts_with(start)).collect::<Vec<_>>().join("\n");
    let (no_user, no_cluster) = (file("no-user", &entry("users:")), file("no-cluster", &entry("clusters:")));
    let bad_user = file("bad-user", "users: [{name: u, user: {client-certificate: /nowhere/client.crt}}]\n");
    let bad_cluster =
        file("bad-cluster", "clusters: [{name: c, cluster: {server: $URL, certificate-authority: /no/ca}}]\n");
    let directory = fixture.directory.display();
    for (what, list, expected) in [
        ("missing files", format!("/nowhere:{all}:{directory}/nothing"), Ok(())),
        ("empty entries", format!(":{all}::"), Ok(())),
        ("an empty file", format!("{empty}:{all}"), Ok(())),
        ("a file twice", format!("{all}:{all}"), Ok(())),
        ("an empty current context", format!("{no_context}:{all}"), Ok(())),
        ("the first user wins", format!("{wrong_user}:{all}"), Err("missing, invalid or expired")),
        ("a later user is not read", format!("{all}:{wrong_user}"), Ok(())),
        ("the first current context wins", format!("{other_context}:{all}"), Err("no context \"other\"")),
        ("a broken file", format!("{all}:{broken}"), Err("broken")),
        ("a directory", format!("{all}:{directory}"), Err("Is a directory")),
        (
            "only missing files",
            "/nowhere:/nothing".to_owned(),
            Err("no kubeconfig found: KUBECONFIG names /nowhere, /nothing, and none of them exists"),
        ),
        ("a typing error", "/typo".to_owned(), Err("KUBECONFIG names /typo, which does not exist")),
        (
            "the file of a user is named",
            format!("{no_user}:{bad_user}"),
            Err("user \"u\" in the kubeconfig $DIR/bad-user: "),
        ),
        (
            "the file of a cluster is named",
            format!("{no_cluster}:{bad_cluster}"),
            Err("cluster \"c\" in the kubeconfig $DIR/bad-cluster: "),
        ),
        (
            "the files without the context are named",
            format!("{empty}:{other_context}"),
            Err("(read: $DIR/empty, $DIR/other-context)"),
        ),
        ("nothing", "/dev/null".to_owned(), Err("no current context")),
    ] {
        let words = expected.as_ref().err().map(|words| fixture.fill(words));
        let expected = words.as_deref().map_or(Ok(()), Err);
        fixture.check(what, &[("KUBECONFIG", list.into())], expected)?;
    }
    Ok(())
}

#[test]
fn a_server_that_expects_tls_is_not_spoken_to_in_plain_http() -> Result<()> {
    let fixture = Fixture::new()?;
    for cluster in ["server: 'http://$HOST'", "server: $HOST"] {
        let what = "spoken to in plain HTTP and answered 400: it expects https";
        fixture.check_file(cluster, fixture.kubeconfig(cluster, "token: $TOKEN"), Err(what))?;
        let config = fixture.directory.join("kubeconfig");
        let install = ["-k", &config.display().to_string(), "plugins", "install", "anything"].map(str::to_owned);
        let refused = fixture.user.d8(install)?.expect_code(5)?;
        assert!(refused.stderr.contains(what) && refused.stderr.contains("--server=https://"), "{refused:?}");
    }
    Ok(())
}

/// In a Pod, kubectl and d8 use the `ServiceAccount` if no kubeconfig chooses a context. A kubeconfig that cannot be read
/// is an error for both.
#[test]
fn the_service_account_of_a_pod() -> Result<()> {
    let fixture = Fixture::new()?;
    let good = fixture.kubeconfig(CLUSTER, "token: $TOKEN");
    let no_context = good.replace("current-context: c\n", "");
    let other_context = good.replace("current-context: c", "current-context: other");
    let directory = fixture.directory.join(".kube");
    let file = directory.join("config");
    for (what, content, list, expected) in [
        ("no kubeconfig", None, None, Ok(())),
        ("an empty one", Some(""), None, Ok(())),
        ("a comment", Some("# nothing\n"), None, Ok(())),
        ("only its kind", Some("apiVersion: v1\nkind: Config\n"), None, Ok(())),
        ("no current context", Some(&no_context), None, Ok(())),
        ("an empty file in the list", Some(&good), Some("/dev/null"), Ok(())),
        ("a missing file in the list", Some(&good), Some("/nowhere"), Ok(())),
        ("a context that does not exist", Some(&other_context), None, Err("no context \"other\"")),
        ("broken YAML", Some("clusters: ["), None, Err("kubeconfig ")),
        ("words", Some("hello"), None, Err("it is not a mapping")),
    ] {
        let _ = std::fs::remove_dir_all(&directory);
        if let Some(content) = content {
            std::fs::create_dir_all(&directory).expect("a directory");
            std::fs::write(&file, content).expect("a kubeconfig");
        }
        let list: Vec<(&str, OsString)> = list.map(|list| ("KUBECONFIG", list.into())).into_iter().collect();
        fixture.check_in_pod(what, &list, &[], expected)?;
    }
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&file).expect("a directory");
    fixture.check_in_pod("one that cannot be read", &[], &[], Err("Is a directory"))?;
    let _ = std::fs::remove_dir_all(&directory);
    let other = ["--context", "other"];
    fixture.check_in_pod("a context without a kubeconfig", &[], &other, Err("no context \"other\""))
}

/// The servers read their kubeconfig with the same code. An unusable one ends them with a message, not with a panic.
#[test]
fn the_servers_name_what_is_wrong() -> Result<()> {
    let fixture = Fixture::new()?;
    let exec = "apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never";
    let failing = fixture.kubeconfig(CLUSTER, &format!("exec: {{command: $DIR/plugin-fails, {exec}}}"));
    let cases: [(&str, String, &str); 6] = [
        ("a token with a line end", fixture.kubeconfig(CLUSTER, "token: \"$TOKEN\\n\""), "it ends with a line break"),
        (
            "a broken certificate",
            fixture.kubeconfig("server: $URL, certificate-authority-data: '*'", ""),
            "is not base64",
        ),
        ("a missing context", "current-context: other\n".into(), "no context \"other\""),
        ("broken YAML", "clusters: [".into(), "kubeconfig "),
        ("a zero", "\u{0}".into(), "kubeconfig "),
        ("a plugin that fails", failing, "the session has ended"),
    ];
    for (what, content, words) in cases {
        let path = fixture.write("server-kubeconfig", content);
        let env = [("KUBECONFIG", OsString::from(path))];
        let serve = ["serve", "--layout", ".", "--listen", "127.0.0.1:0", "--tls-cert", "none", "--tls-key", "none"];
        for (binary, args) in [("d8-rpp", &serve[..]), ("d8-operator", &["--listen", "127.0.0.1:0"])] {
            let ended = fixture.run(&tools::binary(binary)?, args, &env)?;
            assert!(matches!(ended.code(), 1 | 2), "{binary}, {what}: {}", ended.combined());
            assert!(ended.stderr.contains(words), "{binary}, {what}: {}", ended.stderr);
            for dump in [&fixture.user.identity().token, "panicked", "Error {", "Some("] {
                assert!(!ended.combined().contains(dump), "{binary}, {what}: {}", ended.combined());
            }
        }
    }
    Ok(())
}
