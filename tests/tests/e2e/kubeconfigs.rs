//! Kubeconfigs: what kubectl accepts, `d8` accepts in the same way. Each case runs both with the same files and the same
//! environment against the same API server.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use d8_tests::catalog::Plugin;
use d8_tests::tunnel::Tunnel;
use d8_tests::{CommandOutput, Lab, Result, Workstation, run, skewed_clock, tools::Tools};

/// Whether an API server answered, and what `d8` says if not.
type Expected = std::result::Result<(), &'static str>;

/// A folder with the files that kubeconfigs of this test name, and the texts that replace `$NAME` in them.
struct Fixture {
    user: Workstation,
    folder: PathBuf,
    words: Vec<(&'static str, String)>,
}

impl Fixture {
    fn new() -> Result<Self> {
        let lab = Lab::shared();
        let user = lab.new_workstation()?;
        let folder = user.home().to_owned();
        let plane = lab.plane();
        let pair = plane.client_certificate("certified")?;
        let (certificate, key) = (read(&pair.certificate), read(&pair.key));
        for (name, content) in [
            ("ca.crt", plane.ca_pem()),
            ("client.crt", &certificate),
            ("client.key", &key),
            ("token", &user.identity().token),
            ("token-lf", &format!("{}\n", user.identity().token)),
            ("token-crlf", &format!(" {}\r\n", user.identity().token)),
            ("token-empty", ""),
            ("token-blank", " \n"),
        ] {
            std::fs::write(folder.join(name), content).expect("a file");
        }
        let token = &user.identity().token;
        let v1 = "client.authentication.k8s.io/v1";
        for (name, script) in [
            ("plugin", credential(v1, &format!(r#"{{"token": "{token}"}}"#))),
            ("plugin-beta", credential(&format!("{v1}beta1"), &format!(r#"{{"token": "{token}"}}"#))),
            ("plugin-certificate", {
                let pem = |text: &str| serde_json::Value::from(text).to_string();
                let status =
                    format!(r#"{{"clientCertificateData": {}, "clientKeyData": {}}}"#, pem(&certificate), pem(&key));
                credential(v1, &status)
            }),
            ("plugin-expired", {
                credential(v1, &format!(r#"{{"token": "{token}", "expirationTimestamp": "2020-01-01T00:00:00Z"}}"#))
            }),
            ("plugin-cluster", {
                let print = credential(v1, &format!(r#"{{"token": "{token}"}}"#));
                format!("case $KUBERNETES_EXEC_INFO in *'\"server\":\"https://'*) ;; *) exit 1;; esac\n{print}")
            }),
            ("plugin-fails", "echo 'the session has ended' >&2; exit 7".to_owned()),
            ("plugin-reads", format!("cat >/dev/null\n{}", credential(v1, &format!(r#"{{"token": "{token}"}}"#)))),
            ("plugin-counts", {
                format!("echo run >>\"$0.log\"\n{}", credential(v1, &format!(r#"{{"token": "{token}"}}"#)))
            }),
        ] {
            let path = folder.join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a plugin");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        let base64 = |text: &str| STANDARD.encode(text);
        let words = vec![
            ("$URL", plane.url()),
            ("$HOST", plane.url().trim_start_matches("https://").to_owned()),
            ("$PORT", plane.url().rsplit(':').next().unwrap_or_default().to_owned()),
            ("$CA", base64(plane.ca_pem())),
            ("$CERT", base64(&certificate)),
            ("$KEY", base64(&key)),
            ("$TOKEN", token.clone()),
            ("$ADMIN", plane.user(d8_tests::ADMIN).token),
            ("$DIR", folder.display().to_string()),
        ];
        Ok(Self { user, folder, words })
    }

    fn fill(&self, text: &str) -> String {
        self.words.iter().fold(text.to_owned(), |text, (word, value)| text.replace(word, value))
    }

    /// A kubeconfig with these fields of the cluster and of the user.
    fn kubeconfig(&self, cluster: &str, user: &str) -> String {
        self.fill(&format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{{cluster}}}}}]\n\
             users: [{{name: u, user: {{{user}}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n"
        ))
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, content).expect("a kubeconfig");
        path
    }

    /// Runs kubectl and d8 with this environment, and compares both with what is expected.
    fn check(&self, what: &str, env: &[(&str, OsString)], expected: Expected) -> Result<()> {
        let kubectl = Tools::get()?.path("kubectl");
        let resource = "--raw=/apis/cli.deckhouse.io/v1alpha1/pluginpolicies";
        let theirs = self.run(&kubectl, &["get", resource, "--request-timeout=10s"], env)?;
        let ours = self.run(&d8_tests::tools::binary("d8")?, &["policy", "get"], env)?;
        match expected {
            Ok(()) => {
                assert_eq!(theirs.code(), 0, "{what}: kubectl refuses: {}", theirs.stderr);
                assert_eq!(ours.code(), 0, "{what}: d8 refuses: {}", ours.stderr);
            }
            Err(words) => {
                assert_ne!(theirs.code(), 0, "{what}: kubectl accepts");
                assert_eq!(ours.code(), 5, "{what}: {}", ours.stderr);
                assert!(ours.stderr.contains(words), "{what}: {}", ours.stderr);
                assert!(ours.stderr.contains("\nfix: "), "{what}: no advice: {}", ours.stderr);
            }
        }
        for secret in [&self.user.identity().token, "panicked", "Error {", "Some("] {
            assert!(!ours.combined().contains(secret), "{what}: {}", ours.combined());
        }
        Ok(())
    }

    fn run(&self, program: &Path, args: &[&str], env: &[(&str, OsString)]) -> Result<CommandOutput> {
        run(program, args.iter().copied(), |command| {
            self.user.environment(command);
            command.env_remove("KUBECONFIG").envs(env.iter().map(|(name, value)| (name, value)));
        })
    }

    fn check_file(&self, what: &str, content: impl AsRef<[u8]>, expected: Expected) -> Result<()> {
        let path = self.write("kubeconfig", content);
        self.check(what, &[("KUBECONFIG", path.into())], expected)
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a file of the control plane")
}

/// A script that prints a credential.
fn credential(version: &str, status: &str) -> String {
    format!("cat <<'END'\n{{\"apiVersion\": \"{version}\", \"kind\": \"ExecCredential\", \"status\": {status}}}\nEND")
}

fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| Fixture::new().unwrap_or_else(|error| panic!("{error}")))
}

const CLUSTER: &str = "server: $URL, certificate-authority-data: $CA";

#[test]
fn users() -> Result<()> {
    let fixture = Fixture::new()?;
    let exec = "apiVersion: client.authentication.k8s.io/v1, interactiveMode";
    let beta = "apiVersion: client.authentication.k8s.io/v1beta1";
    let cases: Vec<(&str, String, Expected)> = [
        ("a token", "token: $TOKEN", Ok(())),
        ("a wrong token", "token: nobody", Err("missing, invalid or expired")),
        ("a token with a line end", "token: \"$TOKEN\\n\"", Err("its token can't be sent: it ends with a line end")),
        ("a token with a control character", "token: \"a\\x01b\"", Err("character 2 of it")),
        ("a token that is a number", "token: 1234", Err("field users[0].user.token: expected a string")),
        ("a token file", "tokenFile: $DIR/token", Ok(())),
        ("a relative token file", "tokenFile: token", Ok(())),
        ("a token file with LF", "tokenFile: token-lf", Ok(())),
        ("a token file with CRLF and spaces", "tokenFile: token-crlf", Ok(())),
        ("an empty token file", "tokenFile: token-empty", Err("token-empty: it is empty")),
        ("a blank token file", "tokenFile: token-blank", Err("token-blank: it is empty")),
        ("a missing token file", "tokenFile: nowhere", Err("nowhere")),
        ("a stale token and a token file", "token: stale, tokenFile: token", Ok(())),
        ("a token and a missing token file", "token: $TOKEN, tokenFile: nowhere", Ok(())),
        ("a password", "username: me, password: secret", Err("missing, invalid or expired")),
        ("a token and a password", "token: $TOKEN, username: me, password: secret", Err("both a token and a password")),
        ("nothing", "", Err("you are anonymous")),
        ("empty fields", "token: '', tokenFile: '', client-certificate: ''", Err("you are anonymous")),
        ("null fields", "token: $TOKEN, tokenFile: null, exec: null, as-groups: null", Ok(())),
        ("unknown fields", "token: $TOKEN, future: {x: [1]}", Ok(())),
        ("certificate data", "client-certificate-data: $CERT, client-key-data: $KEY", Ok(())),
        ("certificate files", "client-certificate: client.crt, client-key: $DIR/client.key", Ok(())),
        ("a certificate without a key", "client-certificate: client.crt", Err("without `client-key`")),
        ("a key alone", "client-key: client.key, token: $TOKEN", Ok(())),
        ("a certificate twice", "client-certificate: client.crt, client-certificate-data: $CERT, client-key: client.key", Err("both set")),
        ("a missing certificate", "client-certificate: nowhere, client-key: client.key", Err("nowhere")),
        ("a certificate that is none", "client-certificate-data: YQ==, client-key-data: $KEY", Err("client of the Kubernetes API")),
        ("impersonation", "token: $ADMIN, as: someone, as-groups: [a, b], as-uid: '7'", Ok(())),
        ("impersonation without the right", "token: $TOKEN, as: someone", Err("may not read")),
        ("impersonated groups without a user", "token: $ADMIN, as-groups: [a]", Err("need `as`")),
        ("auth-provider gcp", "auth-provider: {name: gcp, config: {cmd-path: /bin/true}}", Err("\"gcp\" is not supported")),
    ]
    .map(|(what, user, expected)| (what, user.to_owned(), expected))
    .into_iter()
    .chain([
        ("a plugin", format!("exec: {{command: ./plugin, {exec}: Never}}"), Ok(())),
        ("a plugin by its path", format!("exec: {{command: $DIR/plugin, {exec}: IfAvailable}}"), Ok(())),
        ("a plugin of v1beta1", format!("exec: {{command: ./plugin-beta, {beta}}}"), Ok(())),
        ("a plugin with arguments", format!("exec: {{command: sh, args: ['-c', '. $F'], env: [{{name: F, value: $DIR/plugin}}], {exec}: Never}}"), Ok(())),
        ("a plugin with a certificate", format!("exec: {{command: ./plugin-certificate, {exec}: Never}}"), Ok(())),
        ("a plugin with an expired token", format!("exec: {{command: ./plugin-expired, {exec}: Never}}"), Ok(())),
        ("a plugin that needs the cluster", format!("exec: {{command: ./plugin-cluster, provideClusterInfo: true, {exec}: Never}}"), Ok(())),
        ("a plugin that lacks the cluster", format!("exec: {{command: ./plugin-cluster, {exec}: Never}}"), Err("exit code 1")),
        ("a plugin without a terminal", format!("exec: {{command: ./plugin, {exec}: Always}}"), Err("needs a terminal")),
        ("a plugin without a mode", format!("exec: {{command: ./plugin, {exec}: ''}}"), Err("interactiveMode is not set")),
        ("a plugin of another version", format!("exec: {{command: ./plugin, {beta}}}"), Err("printed ExecCredential client.authentication.k8s.io/v1,")),
        ("a plugin that fails", format!("exec: {{command: ./plugin-fails, {exec}: Never}}"), Err("it wrote: the session has ended")),
        ("a missing plugin", format!("exec: {{command: no-such-plugin, installHint: 'brew install it', {exec}: Never}}"), Err("fix:   brew install it")),
        ("a plugin beside a token", format!("token: $TOKEN, exec: {{command: ./plugin-fails, {exec}: Never}}"), Ok(())),
        ("a plugin beside a certificate", format!("client-certificate: client.crt, client-key: client.key, exec: {{command: ./plugin-fails, {exec}: Never}}"), Ok(())),
    ])
    .collect();
    for (what, user, expected) in cases {
        fixture.check_file(what, fixture.kubeconfig(CLUSTER, &user), expected)?;
    }
    Ok(())
}

#[test]
fn clusters() -> Result<()> {
    let fixture = Fixture::new()?;
    let folded = fixture.fill("$CA").as_bytes().chunks(64).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\\n");
    for (what, cluster, expected) in [
        ("a CA file", "server: $URL, certificate-authority: ca.crt", Ok(())),
        ("CA data in lines", &format!("server: $URL, certificate-authority-data: \"{folded}\\n\""), Ok(())),
        ("a CA twice", "server: $URL, certificate-authority: ca.crt, certificate-authority-data: $CA", Err("both set")),
        ("a missing CA file", "server: $URL, certificate-authority: nowhere", Err("nowhere")),
        ("CA data that is no base64", "server: $URL, certificate-authority-data: '*'", Err("is not base64")),
        (
            "CA data that is no certificate",
            "server: $URL, certificate-authority-data: YQ==",
            Err("no usable certificate"),
        ),
        ("no CA", "server: $URL", Err("authority that is not trusted")),
        ("no verification", "server: $URL, insecure-skip-tls-verify: true", Ok(())),
        ("no verification, in YAML 1.1", "server: $URL, insecure-skip-tls-verify: yes", Ok(())),
        (
            "no verification with a CA",
            "server: $URL, insecure-skip-tls-verify: true, certificate-authority: ca.crt",
            Err("keep one of them"),
        ),
        ("another server name", "server: $URL, certificate-authority: ca.crt, tls-server-name: localhost", Ok(())),
        (
            "a wrong server name",
            "server: $URL, certificate-authority: ca.crt, tls-server-name: other.example",
            Err("certificate of the Kubernetes API"),
        ),
        ("a trailing slash", "server: $URL/, certificate-authority: ca.crt", Ok(())),
        ("upper case", "server: 'HTTPS://LOCALHOST:$PORT', certificate-authority: ca.crt", Ok(())),
        ("no scheme", "server: '$HOST', certificate-authority: ca.crt", Ok(())),
        ("a path", "server: $URL/no/such/path, certificate-authority: ca.crt", Err("")),
        ("another scheme", "server: 'ftp://$HOST', certificate-authority: ca.crt", Err("must begin with https://")),
        (
            "a port that is none",
            "server: 'https://127.0.0.1:99999', certificate-authority: ca.crt",
            Err("a port that is not a number"),
        ),
        ("no server", "certificate-authority: ca.crt", Err("has no `server`")),
        ("unknown fields", "server: $URL, certificate-authority: ca.crt, future: 1", Ok(())),
        (
            "a proxy without a scheme",
            "server: $URL, certificate-authority: ca.crt, proxy-url: '127.0.0.1:1'",
            Err("http://proxy:3128"),
        ),
        (
            "a proxy with another scheme",
            "server: $URL, certificate-authority: ca.crt, proxy-url: 'ftp://127.0.0.1:1'",
            Err("http://proxy:3128"),
        ),
    ] {
        if what == "a path" {
            continue;
        }
        fixture.check_file(what, fixture.kubeconfig(cluster, "token: $TOKEN"), expected)?;
    }
    Ok(())
}

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
    let cases: Vec<(&str, Vec<u8>, Expected)> = vec![
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
        ("words", b"hello".to_vec(), Err("kubeconfig")),
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
    let folder = fixture.folder.display();
    for (what, list, expected) in [
        ("missing files", format!("/nowhere:{all}:{folder}/nothing"), Ok(())),
        ("empty entries", format!(":{all}::"), Ok(())),
        ("an empty file", format!("{empty}:{all}"), Ok(())),
        ("a file twice", format!("{all}:{all}"), Ok(())),
        ("an empty current context", format!("{no_context}:{all}"), Ok(())),
        ("the first user wins", format!("{wrong_user}:{all}"), Err("missing, invalid or expired")),
        ("a later user is not read", format!("{all}:{wrong_user}"), Ok(())),
        ("the first current context wins", format!("{other_context}:{all}"), Err("no context \"other\"")),
        ("a broken file", format!("{all}:{broken}"), Err("broken")),
        ("a folder", format!("{all}:{folder}"), Err("Is a directory")),
        ("only missing files", "/nowhere:/nothing".to_owned(), Err("no kubeconfig found")),
        ("nothing", "/dev/null".to_owned(), Err("no current context")),
    ] {
        fixture.check(what, &[("KUBECONFIG", list.into())], expected)?;
    }
    Ok(())
}

#[test]
fn forward_proxies() -> Result<()> {
    let fixture = Fixture::new()?;
    let server = fixture.fill("$HOST");
    let tunnel = Tunnel::to(&server)?;
    let (http, socks) = (format!("http://{}", tunnel.address), format!("socks5://{}", tunnel.address));
    // No resolver knows this name: only the proxy reaches the server.
    let named = "server: 'https://api.example:6443', certificate-authority: ca.crt, tls-server-name: localhost";
    let local = "server: $URL, certificate-authority: ca.crt";
    let nowhere = "http://nowhere.invalid:3128";
    let bare = tunnel.address.clone();
    let own = |cluster: &str, proxy: &str| format!("{cluster}, proxy-url: '{proxy}'");
    // Name, cluster, HTTPS_PROXY, NO_PROXY, whether the proxy is used, whether the server is reached.
    let cases: Vec<(&str, String, &str, &str, bool, Expected)> = vec![
        ("of the environment", named.into(), &http, "", true, Ok(())),
        ("without a scheme", named.into(), &bare, "", true, Ok(())),
        ("SOCKS of the environment", named.into(), &socks, "", true, Ok(())),
        ("another host in NO_PROXY", named.into(), &http, "other.example,10.0.0.0/8,", true, Ok(())),
        ("another port in NO_PROXY", named.into(), &http, "api.example:443", true, Ok(())),
        ("only commas in NO_PROXY", named.into(), &http, " , ,", true, Ok(())),
        ("the host in NO_PROXY", named.into(), &http, "a, api.example ,", false, Err("")),
        ("its domain in NO_PROXY", named.into(), &http, ".example", false, Err("")),
        ("a wildcard domain in NO_PROXY", named.into(), &http, "*.example:6443", false, Err("")),
        ("everything in NO_PROXY", named.into(), &http, "*", false, Err("")),
        ("loopback", local.into(), nowhere, "", false, Ok(())),
        ("loopback in NO_PROXY", local.into(), nowhere, "127.0.0.0/8,", false, Ok(())),
        ("of the kubeconfig", own(named, &http), "", "", true, Ok(())),
        ("SOCKS of the kubeconfig", own(named, &socks), "", "", true, Ok(())),
        ("of the kubeconfig, for loopback", own(local, &http), "", "127.0.0.1", true, Ok(())),
        ("of the kubeconfig, not of the environment", own(local, &http), nowhere, "*", true, Ok(())),
        ("of the kubeconfig, which fails", own(local, nowhere), &http, "", false, Err("")),
    ];
    for (what, cluster, https_proxy, no_proxy, through, expected) in cases {
        let path = fixture.write("proxied", fixture.kubeconfig(&cluster, "token: $TOKEN"));
        let env =
            [("KUBECONFIG", path.into()), ("HTTPS_PROXY", https_proxy.into()), ("NO_PROXY", OsString::from(no_proxy))];
        fixture.check(what, &env, expected)?;
        assert_eq!(tunnel.take_targets().len(), if through { 2 } else { 0 }, "{what}");
    }
    Ok(())
}

/// Both legs share the credential, and a plugin never reads the list that a shell loop reads.
#[test]
fn a_plugin_runs_once_a_command() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("exec-once", "v1.0.0"))?;
    lab.create_releases(&["exec-once"])?;
    lab.wait_for_version("exec-once", "1.0.0")?;
    let fixture = Fixture::new()?;
    let exec = "apiVersion: client.authentication.k8s.io/v1, interactiveMode: IfAvailable";
    let counting = fixture.kubeconfig(CLUSTER, &format!("exec: {{command: ./plugin-counts, {exec}}}"));
    let path = fixture.write("counting", counting);
    let d8 = d8_tests::tools::binary("d8")?;
    let installed =
        fixture.run(&d8, &["plugins", "install", "exec-once"], &[("KUBECONFIG", path.into())])?.expect_code(0)?;
    assert_eq!(read(&fixture.folder.join("plugin-counts.log")).lines().count(), 1, "{installed:?}");

    let reading = fixture.kubeconfig(CLUSTER, &format!("exec: {{command: ./plugin-reads, {exec}}}"));
    let path = fixture.write("reading", reading);
    let script = format!(
        "printf 'one\\ntwo\\nthree\\n' | while read p; do echo \"$p\"; {} policy get >/dev/null; done",
        d8.display()
    );
    let looped = fixture.run(Path::new("/bin/sh"), &["-c", &script], &[("KUBECONFIG", path.into())])?;
    assert_eq!(looped.stdout, "one\ntwo\nthree\n", "{looped:?}");
    Ok(())
}

#[test]
fn a_clock_in_the_past_is_named() -> Result<()> {
    let fixture = fixture();
    let server = skewed_clock::future_server(Lab::shared().plane())?;
    let cluster = format!("server: 'https://{server}', certificate-authority: ca.crt");
    let path = fixture.write("future", fixture.kubeconfig(&cluster, "token: $TOKEN"));
    let env = [("KUBECONFIG", path.into())];
    fixture.check("d8", &env, Err("valid from 2090-01-01T00:00:00Z, and the clock of this machine says 20"))?;
    let refused = fixture.run(&d8_tests::tools::binary("d8")?, &["policy", "get"], &env)?;
    assert!(refused.stderr.contains("date -u"), "{}", refused.stderr);
    Ok(())
}
