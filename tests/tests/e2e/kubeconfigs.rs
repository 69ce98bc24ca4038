//! Kubeconfigs: what kubectl accepts, `d8` accepts in the same way. Each case runs both with the same files and the
//! same environment against the same API server.
// Helpers of the tests panic, as the tests do.
#![allow(clippy::expect_used)]

mod clusters;
mod credentials;
mod files;

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use d8_tests::tools::{self, Tools};
use d8_tests::{CommandOutput, Lab, Result, Workstation, run};

/// Whether an API server answered, and what `d8` says if not.
type Expected<'a> = std::result::Result<(), &'a str>;

/// A directory with the files that kubeconfigs of this test name, and the texts that replace `$NAME` in them.
struct Fixture {
    user: Workstation,
    directory: PathBuf,
    words: Vec<(&'static str, String)>,
}

impl Fixture {
    fn new() -> Result<Self> {
        let lab = Lab::shared();
        let user = lab.new_workstation()?;
        let directory = user.home().to_owned();
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
            std::fs::write(directory.join(name), content).expect("a file");
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
            let path = directory.join(name);
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
            ("$DIR", directory.display().to_string()),
        ];
        Ok(Self { user, directory, words })
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
        let path = self.directory.join(name);
        std::fs::write(&path, content).expect("a kubeconfig");
        path
    }

    /// Runs kubectl and d8 with this environment, and compares both with what is expected.
    fn check(&self, what: &str, env: &[(&str, OsString)], expected: Expected<'_>) -> Result<()> {
        let theirs = self.run(&Tools::get()?.path("kubectl"), &KUBECTL_GET, env)?;
        let ours = self.run(&tools::binary("d8")?, &D8_GET, env)?;
        self.compare(what, &theirs, &ours, expected);
        Ok(())
    }

    /// As [`Self::check`], in a Pod with a `ServiceAccount`: with its variables, and with its files in a mount
    /// namespace. kubectl has no other flag: with `--request-timeout` it would never look for the `ServiceAccount`.
    fn check_in_pod(&self, what: &str, env: &[(&str, OsString)], flags: &[&str], expected: Expected<'_>) -> Result<()> {
        let script = self.fill(
            "mount -t tmpfs tmpfs /run && d=/run/secrets/kubernetes.io/serviceaccount && mkdir -p $d && \
             cp $DIR/token $DIR/ca.crt $d/ && printf default >$d/namespace && exec \"$@\"",
        );
        let variables =
            [("KUBERNETES_SERVICE_HOST", "127.0.0.1".into()), ("KUBERNETES_SERVICE_PORT", self.fill("$PORT"))];
        let env: Vec<_> =
            env.iter().cloned().chain(variables.map(|(name, value): (_, String)| (name, value.into()))).collect();
        let run = |program: &Path, args: &[&str]| {
            let program = program.display().to_string();
            let words = ["--map-root-user", "--mount", "sh", "-c", &script, "sh", &program].into_iter();
            self.run(Path::new("unshare"), &words.chain(args.iter().chain(flags).copied()).collect::<Vec<_>>(), &env)
        };
        self.compare(
            what,
            &run(&Tools::get()?.path("kubectl"), &KUBECTL_GET[..2])?,
            &run(&tools::binary("d8")?, &D8_GET)?,
            expected,
        );
        Ok(())
    }

    fn compare(&self, what: &str, theirs: &CommandOutput, ours: &CommandOutput, expected: Expected<'_>) {
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
    }

    fn run(&self, program: &Path, args: &[&str], env: &[(&str, OsString)]) -> Result<CommandOutput> {
        run(program, args.iter().copied(), |command| {
            self.user.environment(command);
            command.env_remove("KUBECONFIG").envs(env.iter().map(|(name, value)| (name, value)));
        })
    }

    fn check_file(&self, what: &str, content: impl AsRef<[u8]>, expected: Expected<'_>) -> Result<()> {
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

const KUBECTL_GET: [&str; 3] = ["get", "--raw=/apis/cli.deckhouse.io/v1alpha1/pluginpolicies", "--request-timeout=10s"];
const D8_GET: [&str; 2] = ["policy", "get"];

const CLUSTER: &str = "server: $URL, certificate-authority-data: $CA";
