//! Credential plugins (`exec` of a user): runs the program, and reads the credential that it prints.
//!
//! The protocol is client-go's, `client.authentication.k8s.io/v1` and `v1beta1`. A plugin gets the terminal only if
//! stdin is one, so that it never reads the list that a shell loop passes to this program.

use std::{
    io::{self, IsTerminal as _, Write as _},
    pin::pin,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use d8_crds::values::text::printable_to;
use jiff::Timestamp;
use kube::config::ExecAuthCluster;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    time::timeout,
};

use crate::{error::CredentialError, text::one_line};

/// Bytes that a plugin may print to stdout.
const MAX_CREDENTIAL: usize = 1 << 20;
/// How long to read stdout and stderr after the plugin ended: a process that it left running may keep them open.
const PIPE_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of the end of a plugin's stderr that are kept for an error.
const KEPT_STDERR: usize = 2 << 10;
/// Lines of that end that an error shows.
const SHOWN_LINES: usize = 3;

/// When a plugin may use the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InteractiveMode {
    Never,
    IfAvailable,
    Always,
}

/// The API version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ApiVersion {
    V1,
    V1Beta1,
}

impl ApiVersion {
    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::V1, Self::V1Beta1].into_iter().find(|version| version.as_str() == text)
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "client.authentication.k8s.io/v1",
            Self::V1Beta1 => "client.authentication.k8s.io/v1beta1",
        }
    }
}

/// A credential plugin, as the kubeconfig configures it.
#[derive(Clone)]
pub(super) struct ExecPlugin {
    /// Absolute path, or a name that is looked up in `PATH`.
    pub(super) command: String,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) api_version: ApiVersion,
    pub(super) install_hint: String,
    pub(super) mode: InteractiveMode,
    /// The cluster, if the plugin wants to know it.
    pub(super) cluster: Option<ExecAuthCluster>,
}

/// What a plugin returned.
#[derive(Clone)]
pub(super) struct PluginCredential {
    pub(super) token: Option<String>,
    /// PEM of a certificate and of its key.
    pub(super) certificate: Option<(String, String)>,
    pub(super) expires: Option<Timestamp>,
}

/// The document of the protocol, in both directions.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredential {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    api_version: String,
    #[serde(default, skip_serializing_if = "Option::is_none", skip_deserializing)]
    spec: Option<Spec>,
    #[serde(default, skip_serializing)]
    status: Option<Status>,
}

#[derive(Serialize)]
struct Spec {
    interactive: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<ExecAuthCluster>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    expiration_timestamp: Option<Timestamp>,
}

/// With these variables a program can open a window, such as a browser for a login.
const GRAPHICAL: [&str; 3] = ["BROWSER", "DISPLAY", "WAYLAND_DISPLAY"];

impl ExecPlugin {
    /// Runs the plugin and reads its credential. Without `may_use_terminal` the plugin can neither ask a person for
    /// something on stdin nor print anything.
    ///
    /// # Errors
    /// The command, what went wrong, the install hint of a missing command, and the plugin's last words.
    pub(super) async fn run(&self, may_use_terminal: bool) -> Result<PluginCredential, CredentialError> {
        let terminal = may_use_terminal && io::stdin().is_terminal();
        if self.mode == InteractiveMode::Always && !terminal {
            return Err(self.failed("needs a terminal (interactiveMode: Always), but stdin is not a terminal"));
        }
        let interactive = terminal && self.mode != InteractiveMode::Never;
        let (status, stdout, words) = self.spawn(interactive, !may_use_terminal).await?;
        if !status.success() {
            let error = match status.code() {
                Some(code) => self.failed(&format!("failed with exit code {code}")),
                None => self.failed(&format!("failed: {status}")),
            };
            return Err(error.with_output(words));
        }
        self.parse(&stdout).map_err(|why| self.failed(&why).with_output(words))
    }

    /// Runs the process. Returns its stdout and the end of its stderr.
    async fn spawn(&self, interactive: bool, quiet: bool) -> Result<(ExitStatus, Vec<u8>, String), CredentialError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => self.failed("is not installed: no such command").with_hint(&self.hint()),
            _ => self.failed(&format!("cannot be run: {error}")).with_hint(&self.hint()),
        };
        // A person at a terminal sees the plugin's own stderr. Otherwise it is passed on, and its end kept.
        let errors = match (quiet, io::stderr().is_terminal()) {
            (true, _) => Stdio::null(),
            (false, true) => Stdio::inherit(),
            (false, false) => Stdio::piped(),
        };
        let mut command = Command::new(&self.command);
        if quiet {
            for variable in GRAPHICAL {
                command.env_remove(variable);
            }
        }
        let mut child = command
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .env("KUBERNETES_EXEC_INFO", self.info(interactive)?)
            .stdin(if interactive { Stdio::inherit() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(errors)
            // A quiet caller stops waiting soon. A plugin that ends between the renewal of a token and its storage
            // would lose the login, so it goes on.
            .kill_on_drop(!quiet)
            .spawn()
            .map_err(failed)?;
        let words = tokio::spawn(pass_on(child.stderr.take()));
        let (status, stdout) = wait(&mut child).await.map_err(failed)?;
        let words = timeout(PIPE_TIMEOUT, words).await.ok().and_then(Result::ok).unwrap_or_default();
        if stdout.len() > MAX_CREDENTIAL {
            return Err(self.failed(&format!("printed more than {MAX_CREDENTIAL} bytes")));
        }
        Ok((status, stdout, words))
    }

    /// The input of the plugin: `KUBERNETES_EXEC_INFO`.
    fn info(&self, interactive: bool) -> Result<String, CredentialError> {
        let info = ExecCredential {
            kind: "ExecCredential".to_owned(),
            api_version: self.api_version.as_str().to_owned(),
            spec: Some(Spec { interactive, cluster: self.cluster.clone() }),
            status: None,
        };
        serde_json::to_string(&info).map_err(|error| self.failed(&error.to_string()))
    }

    fn parse(&self, stdout: &[u8]) -> Result<PluginCredential, String> {
        // The text may be YAML, and it may contain a token: the parser's message is not shown.
        let text = std::str::from_utf8(stdout).map_err(|_| "printed bytes that are not UTF-8".to_owned())?;
        let printed: ExecCredential =
            serde_saphyr::from_str(text).map_err(|_| "did not print an ExecCredential".to_owned())?;
        if printed.kind != "ExecCredential" || printed.api_version != self.api_version.as_str() {
            return Err(format!(
                "printed {} {}, and the kubeconfig configures ExecCredential {}",
                printable_to(&printed.kind, 64),
                printable_to(&printed.api_version, 64),
                self.api_version.as_str()
            ));
        }
        let Some(status) = printed.status else { return Err("printed no status".to_owned()) };
        let set = |text: Option<String>| text.filter(|text| !text.is_empty());
        let token = set(status.token);
        let certificate = match (set(status.client_certificate_data), set(status.client_key_data)) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err("printed a certificate without its key, or a key without its certificate".to_owned()),
        };
        if token.is_none() && certificate.is_none() {
            return Err("printed neither a token nor a certificate".to_owned());
        }
        Ok(PluginCredential { token, certificate, expires: status.expiration_timestamp })
    }

    fn hint(&self) -> String {
        one_line(self.install_hint.as_bytes(), 512)
    }

    fn failed(&self, why: &str) -> CredentialError {
        CredentialError::new(format!("credential plugin `{}` {why}", printable_to(&self.command, 128)))
    }
}

/// Waits for the end of a plugin. Returns what it printed to stdout.
async fn wait(child: &mut Child) -> io::Result<(ExitStatus, Vec<u8>)> {
    let stdout = child.stdout.take();
    let mut printed = Vec::new();
    let status = {
        let mut reading = pin!(read_bounded(stdout, &mut printed));
        tokio::select! {
            read = &mut reading => {
                read?;
                child.wait().await?
            }
            status = child.wait() => {
                // What the plugin printed is in the pipe by now.
                timeout(PIPE_TIMEOUT, reading).await.unwrap_or(Ok(()))?;
                status?
            }
        }
    };
    Ok((status, printed))
}

/// Reads to the end, and keeps at most one byte more than a credential may have. A plugin that prints more must not be
/// blocked or killed by the pipe.
async fn read_bounded(from: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) -> io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    let mut chunk = vec![0; 8 << 10];
    loop {
        let length = from.read(&mut chunk).await?;
        if length == 0 {
            return Ok(());
        }
        kept.extend_from_slice(&chunk[..length.min((MAX_CREDENTIAL + 1).saturating_sub(kept.len()))]);
    }
}

/// Copies a plugin's stderr to ours. Returns its last lines as one line.
async fn pass_on(from: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut from) = from else { return String::new() };
    let (mut kept, mut chunk) = (Vec::new(), vec![0; 4096]);
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        // If our stderr is closed, nobody reads it.
        let _ = io::stderr().write_all(&chunk[..length]);
        kept.extend_from_slice(&chunk[..length]);
        kept.drain(..kept.len().saturating_sub(KEPT_STDERR));
    }
    last_lines(&kept)
}

fn last_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(SHOWN_LINES)..].join(" / ");
    one_line(last.as_bytes(), 240)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    fn shell(script: &str, mode: InteractiveMode) -> ExecPlugin {
        ExecPlugin {
            command: "sh".to_owned(),
            args: vec!["-c".to_owned(), script.to_owned()],
            env: vec![("WORD".to_owned(), "from-env".to_owned())],
            api_version: ApiVersion::V1,
            install_hint: "brew install\n  it".to_owned(),
            mode,
            cluster: None,
        }
    }

    fn printing(api_version: &str, status: &str) -> String {
        format!(r#"printf '%s' '{{"apiVersion": "{api_version}", "kind": "ExecCredential", "status": {status}}}'"#)
    }

    #[tokio::test]
    async fn what_plugins_print() {
        const V1: &str = "client.authentication.k8s.io/v1";
        for (script, expected) in [
            (printing(V1, r#"{"token": "t"}"#), Ok("t")),
            (printing(V1, r#"{"token": "t", "expirationTimestamp": "2030-01-01T00:00:00Z"}"#), Ok("t")),
            (format!("{}; cat", printing(V1, r#"{"token": "t"}"#)), Ok("t")),
            (
                format!(r#"printf 'apiVersion: {V1}\nkind: ExecCredential\nstatus: {{token: "%s"}}\n' "$WORD""#),
                Ok("from-env"),
            ),
            (printing("client.authentication.k8s.io/v1beta1", r#"{"token": "t"}"#), Err("v1beta1")),
            (printing(V1, "{}"), Err("neither a token nor a certificate")),
            (printing(V1, r#"{"clientCertificateData": "x"}"#), Err("without its key")),
            (printing(V1, "null"), Err("no status")),
            (
                printing(V1, r#"{"token": "secret", "expirationTimestamp": "soon"}"#),
                Err("did not print an ExecCredential"),
            ),
            ("echo secret".to_owned(), Err("did not print an ExecCredential")),
            ("printf '\\377'".to_owned(), Err("not UTF-8")),
            ("head -c 2000000 /dev/zero".to_owned(), Err("more than 1048576 bytes")),
            ("exit 3".to_owned(), Err("exit code 3")),
            ("kill -9 $$".to_owned(), Err("signal: 9")),
        ] {
            let result = shell(&script, InteractiveMode::Never).run(true).await;
            match (result, expected) {
                (Ok(credential), Ok(token)) => assert_eq!(credential.token.as_deref(), Some(token), "{script}"),
                (Err(error), Err(words)) => {
                    assert!(error.to_string().contains(words), "{script}: {error}");
                    assert!(!error.to_string().contains("secret"), "{script}: {error}");
                }
                (result, _) => panic!("{script}: {:?}", result.map(|credential| credential.token)),
            }
        }
    }

    /// A run waits for 300 ms. A plugin that is killed while it stores a new token would lose the login.
    #[tokio::test]
    async fn a_plugin_that_is_asked_quietly_goes_on_after_nobody_waits_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let (fifo, out) = (path("fifo"), path("out"));
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let script = format!("read word <{fifo}; echo \"$word\" >{out}.new; mv {out}.new {out}");
        let plugin = shell(&script, InteractiveMode::IfAvailable);
        assert!(timeout(Duration::from_millis(50), plugin.run(false)).await.is_err(), "it waits for the word");
        // Opening the file waits for the plugin.
        std::fs::write(&fifo, "stored\n").unwrap();
        let stored = async {
            while !std::path::Path::new(&out).exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(30), stored).await.unwrap();
        assert_eq!(std::fs::read_to_string(&out).unwrap(), "stored\n");
    }

    /// A login helper often leaves an agent running, which inherits stdout and stderr.
    #[tokio::test]
    async fn a_process_that_a_plugin_leaves_running_keeps_nobody_waiting() {
        for (script, outcome) in [
            ("sleep 300 >/dev/null &", "exit 0"),
            ("sleep 300 2>/dev/null &", "exit 0"),
            ("sleep 300 &", "exit 0"),
            ("sleep 300 &", "echo no login >&2; exit 4"),
        ] {
            // The token is the process ID of the process that is left.
            let print = printing("client.authentication.k8s.io/v1", r#"{"token": "'$!'"}"#);
            let file = tempfile::NamedTempFile::new().unwrap();
            let script = format!("{script} echo $! >{}; {print}; {outcome}", file.path().display());
            let run = timeout(Duration::from_mins(1), shell(&script, InteractiveMode::Never).run(true)).await;
            let left = std::fs::read_to_string(file.path()).unwrap();
            let left = left.trim().to_owned();
            let process = rustix::process::Pid::from_raw(left.parse().unwrap()).unwrap();
            rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
            match run.unwrap_or_else(|_| panic!("{script}: it waits")) {
                Ok(credential) => assert_eq!(credential.token, Some(left), "{script}"),
                Err(error) => assert!(error.to_string().contains("exit code 4"), "{script}: {error}"),
            }
        }
    }

    #[tokio::test]
    async fn a_failing_plugin_keeps_its_words() {
        let script = "for i in 1 2 3 4; do echo \"line $i\" >&2; done; printf '\\033[31mlogin needed\\n' >&2; exit 1";
        let error = shell(script, InteractiveMode::Never).run(true).await.err().unwrap();
        let words = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(words, r"it wrote: line 3 / line 4 / \u{1b}[31mlogin needed");
        let missing = ExecPlugin { command: "/nonexistent/plugin".to_owned(), ..shell("", InteractiveMode::Never) };
        let error = missing.run(true).await.err().unwrap();
        assert!(error.to_string().contains("`/nonexistent/plugin` is not installed"), "{error}");
        assert_eq!(error.advice().fix, "brew install it");
    }

    #[tokio::test]
    async fn a_plugin_learns_what_it_may_do() {
        let script = r#"printf '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "%s"}}' "$(printf '%s' "$KUBERNETES_EXEC_INFO" | base64 -w 0)""#;
        let plugin = ExecPlugin {
            cluster: Some(ExecAuthCluster { server: Some("https://api".to_owned()), ..ExecAuthCluster::default() }),
            ..shell(script, InteractiveMode::Never)
        };
        let token = plugin.run(true).await.ok().and_then(|credential| credential.token).unwrap();
        let info = base64::engine::general_purpose::STANDARD.decode(token).unwrap();
        let info: serde_json::Value = serde_json::from_slice(&info).unwrap();
        let expected = serde_json::json!({"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1",
            "spec": {"interactive": false, "cluster": {"server": "https://api"}}});
        assert_eq!(info, expected);
    }
}
