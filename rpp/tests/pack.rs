//! The packer as a command: its output, its errors, and that it is deterministic.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;

const CONTRACT: &str = "name: hello\ndescription: says hello\nrequirements:\n  kubernetes: {constraint: '>= 1.29'}\n";

/// Returns a directory with an executable and a contract.
fn workdir() -> TempDir {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("hello"), "#!/bin/sh\necho hello\n").unwrap();
    std::fs::write(directory.path().join("contract.yaml"), CONTRACT).unwrap();
    directory
}

fn run(directory: &Path, args: &str, env: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_d8-rpp"))
        .args(args.split_whitespace())
        .current_dir(directory)
        .env_remove("SOURCE_DATE_EPOCH")
        .envs(env.iter().copied())
        .output()
        .unwrap()
}

const HELLO: &str = "pack --image deckhouse-cli/plugins/hello --version v1.0.0 --to layout";

fn published(directory: &Path) -> BTreeMap<String, String> {
    let index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(directory.join("layout/index.json")).unwrap()).unwrap();
    let named = index["manifests"].as_array().unwrap().iter().map(|entry| {
        let name = entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap().to_owned();
        (name, entry["digest"].as_str().unwrap().to_owned())
    });
    named.collect()
}

fn blob(directory: &Path, digest: &str) -> serde_json::Value {
    let hex = digest.strip_prefix("sha256:").unwrap();
    serde_json::from_slice(&std::fs::read(directory.join("layout/blobs/sha256").join(hex)).unwrap()).unwrap()
}

#[test]
fn packing_is_deterministic() {
    let args = format!(
        "{HELLO} --platform linux-amd64=hello --platform darwin-arm64=./hello --contract contract.yaml \
         --created 2026-11-22T10:00:00.5Z"
    );
    let reordered = args.replace("--platform linux-amd64=hello --platform darwin-arm64=./hello", "")
        + " --platform darwin-arm64=hello --platform linux-amd64=hello";
    let mut lines = Vec::new();
    for args in [&args, &args, &reordered] {
        let directory = workdir();
        let output = run(directory.path(), args, &[]);
        assert!(output.status.success(), "{output:?}");
        lines.push(String::from_utf8(output.stdout).unwrap());
        let digest = published(directory.path())["deckhouse-cli/plugins/hello:v1.0.0"].clone();
        assert_eq!(lines[lines.len() - 1], format!("deckhouse-cli/plugins/hello:v1.0.0 {digest}\n"));

        let index = blob(directory.path(), &digest);
        let children = index["manifests"].as_array().unwrap();
        assert_eq!(children.len(), 2);
        for document in children
            .iter()
            .map(|child| blob(directory.path(), child["digest"].as_str().unwrap()))
            .chain([index.clone()])
        {
            assert_eq!(document["annotations"]["org.opencontainers.image.created"], "2026-11-22T10:00:00Z");
            assert!(document["annotations"]["contract"].is_string());
        }
    }
    assert!(lines.iter().all(|line| *line == lines[0]), "{lines:?}");
}

#[test]
fn the_format_of_generation_1() {
    let directory = workdir();
    let args = format!(
        "{HELLO} --generation 1 --platform linux-amd64=hello --platform darwin-arm64=hello --contract contract.yaml"
    );
    let output = run(directory.path(), &args, &[]);
    assert!(output.status.success(), "{output:?}");
    let names = published(directory.path());
    let expected =
        ["v1.0.0-darwin-arm64", "v1.0.0-linux-amd64"].map(|tag| format!("deckhouse-cli/plugins/hello:{tag}"));
    assert_eq!(names.keys().cloned().collect::<Vec<_>>(), expected);
    let lines: Vec<String> = names.iter().map(|(name, digest)| format!("{name} {digest}\n")).collect();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), lines.concat());
    let manifest = blob(directory.path(), &names[&expected[1]]);
    assert!(manifest["annotations"]["contract"].is_null(), "{manifest}");
    let layer = manifest["layers"][0]["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let tar = Command::new("tar")
        .arg("-xzOf")
        .arg(directory.path().join("layout/blobs/sha256").join(layer))
        .arg("contract.yaml")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(tar.stdout).unwrap(), CONTRACT, "the contract is stored unchanged");

    for (args, message) in [
        (
            format!("{HELLO} --generation 1 --platform linux-amd64=hello").replace("v1.0.0", "v1.0.0-linux-amd64"),
            "the tag already ends in platform linux-amd64",
        ),
        (format!("{HELLO} --generation 4 --platform linux-amd64=hello"), "1 or 3"),
        (format!("{HELLO} --generation 1 --platform linux-amd64=hello").replace("v1.0.0", &"v".repeat(120)), "tag"),
        (format!("{HELLO}://x --platform linux-amd64=hello"), "http"),
    ] {
        let output = run(directory.path(), &args, &[]);
        assert_eq!(output.status.code(), Some(2), "{args}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(message), "{args}: {output:?}");
    }
}

#[test]
fn the_time_of_publishing() {
    for (args, env, expected) in [
        (" --created 2026-11-22T10:00:00Z", &[("SOURCE_DATE_EPOCH", "1700000000")][..], Some("2026-11-22T10:00:00Z")),
        ("", &[("SOURCE_DATE_EPOCH", "1700000000")][..], Some("2023-11-14T22:13:20Z")),
        ("", &[][..], None),
    ] {
        let directory = workdir();
        let output = run(directory.path(), &format!("{HELLO} --platform linux-amd64=hello{args}"), env);
        assert!(output.status.success(), "{output:?}");
        let digest = published(directory.path()).into_values().next().unwrap();
        let created = blob(directory.path(), &digest)["annotations"]["org.opencontainers.image.created"].clone();
        let created = created.as_str().unwrap();
        match expected {
            Some(expected) => assert_eq!(created, expected),
            None => assert!(created.parse::<jiff::Timestamp>().is_ok(), "{created}"),
        }
    }
}

#[test]
fn publishing_again_moves_the_tag_and_unpublishing_removes_it() {
    let directory = workdir();
    let pack = |tag: &str| {
        let args =
            format!("{} --platform linux-amd64=hello --created 2026-01-02T03:04:05Z", HELLO.replace("v1.0.0", tag));
        run(directory.path(), &args, &[])
    };
    assert!(pack("v1.0.0").status.success());
    assert!(pack("v1.1.0").status.success());
    let again = pack("v1.1.0");
    assert!(again.status.success() && again.stderr.is_empty(), "the same image: {again:?}");
    let before = published(directory.path());
    std::fs::write(directory.path().join("hello"), "another").unwrap();
    let moved = pack("v1.0.0");
    assert!(moved.status.success(), "{moved:?}");
    let after = published(directory.path());
    let [from, to] = [&before, &after].map(|names| &names["deckhouse-cli/plugins/hello:v1.0.0"]);
    let warning = format!("warning: deckhouse-cli/plugins/hello:v1.0.0 moved from {from} to {to}; ");
    assert!(String::from_utf8_lossy(&moved.stderr).starts_with(&warning), "{moved:?}");
    assert_eq!(after.len(), 2);
    assert_ne!(before["deckhouse-cli/plugins/hello:v1.0.0"], after["deckhouse-cli/plugins/hello:v1.0.0"]);
    assert_eq!(before["deckhouse-cli/plugins/hello:v1.1.0"], after["deckhouse-cli/plugins/hello:v1.1.0"]);

    let unpublish = "unpublish --image deckhouse-cli/plugins/hello --version v1.0.0 --from layout";
    assert_eq!(run(directory.path(), unpublish, &[]).status.code(), Some(0));
    assert_eq!(published(directory.path()).into_keys().collect::<Vec<_>>(), ["deckhouse-cli/plugins/hello:v1.1.0"]);
    let again = run(directory.path(), unpublish, &[]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&again.stderr)
            .contains("deckhouse-cli/plugins/hello:v1.0.0 is not published in layout")
    );
}

#[test]
fn concurrent_packing_loses_nothing() {
    let directory = workdir();
    let children: Vec<_> = (0..8)
        .map(|number| {
            let args = format!("{} --platform linux-amd64=hello", HELLO.replace("v1.0.0", &format!("v1.{number}.0")));
            Command::new(env!("CARGO_BIN_EXE_d8-rpp"))
                .args(args.split_whitespace())
                .current_dir(directory.path())
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(published(directory.path()).len(), 8);
}

#[test]
fn invalid_requests_write_nothing() {
    let contracts = [
        ("other.yaml", "name: other\n"),
        ("flat.yaml", "requirements:\n  modules: [{name: x}]\n"),
        ("constraint.json", r#"{"requirements": {"kubernetes": {"constraint": "not a constraint"}}}"#),
        ("broken.yaml", "name: [\n"),
        ("list.yaml", "- name: hello\n"),
        ("typo.yaml", "requirements:\n  kubernets: {constraint: '>=1.30'}\n"),
    ];
    let with_tag = |tag: &str| format!("{HELLO} --platform linux-amd64=hello").replace("v1.0.0", tag);
    let cases = [
        ("pack --image other --version v1 --platform linux-amd64=hello --to layout", "deckhouse-cli/plugins/"),
        (
            "pack --image deckhouse-cli/plugins/../x --version v1 --platform linux-amd64=hello --to layout",
            "deckhouse-cli/plugins/",
        ),
        (
            "pack --image deckhouse-cli/plugins/A --version v1 --platform linux-amd64=hello --to layout",
            "the name of a plugin",
        ),
        ("pack --image deckhouse-cli/plugins/hello --version a/b --platform linux-amd64=hello --to layout", "tag"),
        (&format!("{HELLO} --platform linux=hello"), "platform"),
        (&format!("{HELLO} --platform hello"), "OS-ARCH=FILE"),
        (HELLO, "--platform"),
        (&format!("{HELLO} --platform linux-amd64=hello --platform linux-amd64=hello"), "twice"),
        (&format!("{HELLO} --platform linux-amd64=missing"), "missing"),
        (&format!("{HELLO} --platform linux-amd64=."), "not a regular file"),
        (&format!("{HELLO} --platform linux-amd64=empty"), "empty"),
        (&format!("{HELLO} --platform linux-amd64=hello --created yesterday"), "--created"),
        (&format!("{HELLO} --platform linux-amd64=hello --contract missing.yaml"), "missing.yaml"),
        (&format!("{HELLO} --platform linux-amd64=hello --contract other.yaml"), "name"),
        (&format!("{HELLO} --platform linux-amd64=hello --contract flat.yaml"), "requirements.modules"),
        (
            &format!("{HELLO} --platform linux-amd64=hello --contract constraint.json"),
            "requirements.kubernetes.constraint",
        ),
        (&format!("{HELLO} --platform linux-amd64=hello --contract broken.yaml"), "broken.yaml"),
        (
            &format!("{HELLO} --platform linux-amd64=hello --contract typo.yaml"),
            "typo.yaml: key `requirements.kubernets` is not part of a contract; did you mean `kubernetes`?",
        ),
        (&format!("{HELLO} --platform linux-amd64=hello --contract list.yaml"), "list.yaml"),
        (
            "pack --image deckhouse-cli --version v1.0.0 --to layout --platform linux-amd64=hello --contract contract.yaml",
            "no contract",
        ),
        (&with_tag("v1.2"), "tag `v1.2` is not a version: it must have three numbers joined by `.`"),
        (&with_tag("v1.2"), "pass, for example, `--version v1.2.0`"),
        (&with_tag("2"), "pass, for example, `--version v2.0.0`"),
        (&with_tag("latest"), "pass, for example, `--version v1.2.3`"),
        (&with_tag("20240101"), "clients would ignore it"),
        (&with_tag("v01.2.3"), "clients would ignore it"),
    ];
    for (args, message) in cases {
        let directory = workdir();
        std::fs::write(directory.path().join("empty"), "").unwrap();
        for (name, text) in contracts {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let output = run(directory.path(), args, &[]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args}: {errors}");
        assert!(errors.contains(message), "{args}: {errors}");
        assert!(!directory.path().join("layout").exists(), "{args}");
    }
    let directory = workdir();
    let output =
        run(directory.path(), &format!("{HELLO} --platform linux-amd64=hello"), &[("SOURCE_DATE_EPOCH", "soon")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!directory.path().join("layout").exists());
}

#[test]
fn another_version_in_the_contract_is_a_warning() {
    let directory = workdir();
    std::fs::write(directory.path().join("contract.yaml"), format!("{CONTRACT}version: v9.9.9\n")).unwrap();
    let output = run(directory.path(), &format!("{HELLO} --platform linux-amd64=hello --contract contract.yaml"), &[]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("v9.9.9"));
}

#[test]
fn a_key_that_nothing_reads_is_a_warning() {
    let directory = workdir();
    std::fs::write(directory.path().join("contract.yaml"), format!("{CONTRACT}maintainers: [me]\n")).unwrap();
    let output = run(directory.path(), &format!("{HELLO} --platform linux-amd64=hello --contract contract.yaml"), &[]);
    assert!(output.status.success(), "{output:?}");
    let warning = "warning: contract.yaml: key `maintainers` is not part of a contract, so nothing reads it";
    assert!(String::from_utf8_lossy(&output.stderr).contains(warning), "{output:?}");
}

#[test]
fn unusable_files_are_invalid_input() {
    const KUBECONFIG: &str = "clusters: [{name: a, cluster: {server: 'https://127.0.0.1:1'}}]\n\
                              users: [{name: a, user: {token: a}}]\n\
                              contexts: [{name: a, context: {cluster: a, user: a}}]\ncurrent-context: a\n";
    let directory = workdir();
    let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    for (name, text) in [
        ("kubeconfig", KUBECONFIG),
        ("tls.crt", &certificate.cert.pem()),
        ("tls.key", &certificate.signing_key.serialize_pem()),
        ("bad", "neither JSON nor YAML: ["),
        ("refresh.json", r#"{"auths": {"127.0.0.1:1": {"identitytoken": "s3cret"}}}"#),
        ("token.json", r#"{"auths": {"127.0.0.1:1": {"registrytoken": "s3cret\r\n"}}}"#),
        ("helper.json", r#"{"auths": {"127.0.0.1:1": {}}, "credsStore": "s3cret"}"#),
    ] {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let pack = "pack --image deckhouse-cli/plugins/hello --version v1.0.0 --platform linux-amd64=hello \
                --to http://127.0.0.1:1";
    let serve = "serve --listen 127.0.0.1:0 --kubeconfig kubeconfig --tls-cert tls.crt --tls-key tls.key";
    let registry = format!("{serve} --registry http://127.0.0.1:1 --cache cache");
    let swapped = |from: &str, to: &str| format!("{serve} --layout layout").replace(from, to);
    for (args, env, code, named) in [
        (format!("{pack} --registry-credentials bad"), None, 2, "bad: line 1"),
        (format!("{pack} --registry-credentials missing"), None, 2, "missing: "),
        (
            format!("{pack} --registry-credentials refresh.json"),
            None,
            2,
            "refresh.json: entry `127.0.0.1:1`: `identitytoken`",
        ),
        (
            format!("{pack} --registry-credentials token.json"),
            None,
            2,
            "token.json: entry `127.0.0.1:1`: `registrytoken`",
        ),
        (
            format!("{registry} --registry-credentials token.json"),
            None,
            2,
            "token.json: entry `127.0.0.1:1`: `registryt",
        ),
        (format!("{pack} --registry-credentials helper.json"), None, 2, "helper.json: `credsStore` names a credential"),
        (format!("{registry} --registry-credentials helper.json"), None, 2, "helper.json: `credsStore` names a"),
        (format!("{pack} --registry-ca-file bad"), None, 2, "bad: "),
        (format!("{pack} --registry-ca-file missing"), None, 2, "missing: "),
        (format!("{registry} --registry-credentials bad"), None, 2, "bad: line 1"),
        (format!("{registry} --registry-ca-file bad"), None, 2, "bad: "),
        (swapped("--tls-cert tls.crt", "--tls-cert bad"), None, 2, "bad: "),
        (swapped("--tls-cert tls.crt", "--tls-cert missing"), None, 2, "missing: "),
        (swapped("--tls-key tls.key", "--tls-key tls.crt"), None, 2, "tls.crt: "),
        (swapped("--kubeconfig kubeconfig", "--kubeconfig bad"), None, 2, "kubeconfig"),
        (format!("{HELLO} --platform linux-amd64=hello"), Some(("LOG_LEVEL", "d8=nonsense")), 2, "LOG_LEVEL"),
        // These are no input files: the layout, the registry and the cache.
        (pack.to_owned(), None, 1, "the registry: "),
        (swapped("--layout layout", "--layout missing"), None, 1, "layout missing: "),
        (
            swapped("--layout layout", "--layout ."),
            None,
            1,
            "layout .: index.json is missing; an OCI image layout has it",
        ),
        (registry.replace("--cache cache", "--cache bad"), None, 1, "cache bad: "),
    ] {
        let output = run(directory.path(), &args, env.as_slice());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args}: {errors}");
        assert!(errors.contains(named) && !errors.contains("s3cret"), "{args}: {errors}");
    }
}

#[test]
fn encodings_of_a_contract() {
    let utf16 = |bytes: fn(u16) -> [u8; 2]| format!("\u{feff}{CONTRACT}").encode_utf16().flat_map(bytes).collect();
    let args = format!(
        "{HELLO} --generation 1 --created 2026-01-02T03:04:05Z --platform linux-amd64=hello --contract contract.yaml"
    );
    let pack = |contract: Vec<u8>| {
        let directory = workdir();
        std::fs::write(directory.path().join("contract.yaml"), contract).unwrap();
        let output = run(directory.path(), &args, &[]);
        let digests = if output.status.success() { published(directory.path()) } else { BTreeMap::new() };
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned(), digests)
    };
    let plain = pack(CONTRACT.into());
    assert_eq!(plain.0, Some(0), "{}", plain.1);
    for (what, contract) in [
        ("UTF-8 with a mark", format!("\u{feff}{CONTRACT}").into_bytes()),
        ("UTF-16, little endian", utf16(u16::to_le_bytes)),
        ("UTF-16, big endian", utf16(u16::to_be_bytes)),
    ] {
        assert_eq!(pack(contract), plain, "{what}: the stored contract is UTF-8");
    }
    let (code, errors, _) = pack([CONTRACT.as_bytes(), b"# caf\xe9\n"].concat());
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("byte 0xe9 in line") && errors.contains("iconv -f ISO-8859-1"), "{errors}");
}

/// Another user may serve the layout.
#[test]
fn a_layout_is_readable_by_others_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = workdir();
    let args = HELLO.replace("layout", "new/layout");
    let command = format!("umask 077; exec \"$0\" {args} --platform linux-amd64=hello");
    let packed =
        Command::new("sh").args(["-c", &command, env!("CARGO_BIN_EXE_d8-rpp")]).current_dir(directory.path()).status();
    assert!(packed.unwrap().success());
    let mut found = Vec::new();
    let mut directories = vec![directory.path().join("new")];
    while let Some(path) = directories.pop() {
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o755, "{}", path.display());
        for entry in std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap()) {
            let is_lock = entry.file_name() == ".lock";
            if entry.path().is_dir() {
                directories.push(entry.path());
            } else if !is_lock {
                assert_eq!(mode(&entry.path()), 0o644, "{}", entry.path().display());
                found.push(entry.file_name());
            }
        }
    }
    // The index, the marker, and blobs: a layer, a config, a manifest and an index.
    assert_eq!(found.len(), 6, "{found:?}");
}
