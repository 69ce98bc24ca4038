//! Causes of each error, and how to fix them.

mod certificate;

pub(crate) use self::certificate::MAKE_SERVER_CERTIFICATE;

use d8_crds::values::name::Component;

use super::{Error, ImageReference, NoIdentity, OtherEntry, TimeoutPhase, connection::forward_proxy_advice};
use crate::protocol::cluster::{CONFIG_MAP, DOWNLOAD_ROLE, NAMESPACE, POD_SELECTOR};

/// A possible cause of an error, and how to fix it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// Why the error may have happened.
    pub cause: String,
    /// The next command or change.
    pub fix: String,
}

fn pair(cause: impl Into<String>, fix: impl Into<String>) -> Advice {
    Advice { cause: cause.into(), fix: fix.into() }
}

/// Returns the command that lists the published versions of a component.
fn list_command(component: &Component) -> String {
    match component {
        Component::D8 => "d8 cli versions".to_owned(),
        Component::Plugin(name) => format!("d8 plugins why {name}"),
    }
}

/// Returns the command that shows the proxy's Pods.
fn pods_command() -> String {
    format!("kubectl -n {NAMESPACE} get pods -l {POD_SELECTOR}")
}

/// Returns the command that binds the role for downloads to a user. Each user has a binding of their own, so that the
/// command works again for the next user.
fn bind_command(user: Option<&str>) -> String {
    let user = user.filter(|user| is_plain(user)).unwrap_or("NAME");
    let service_account = user.strip_prefix("system:serviceaccount:").and_then(|account| account.split_once(':'));
    match service_account.filter(|(_, name)| !name.contains(':')) {
        Some((namespace, name)) => format!(
            "kubectl create clusterrolebinding d8-cli-download-{namespace}:{name} --clusterrole={DOWNLOAD_ROLE} \
             --serviceaccount={namespace}:{name}"
        ),
        None => format!(
            "kubectl create clusterrolebinding d8-cli-download-{user} --clusterrole={DOWNLOAD_ROLE} --user={user}"
        ),
    }
}

/// Returns whether a user name can be typed into a shell, and be part of the name of a ClusterRoleBinding, as it is.
fn is_plain(user: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":._@-".contains(&byte);
    !user.is_empty() && !user.starts_with('-') && user.bytes().all(plain)
}

/// Returns how an admin permits a user to download.
fn bind_role(user: Option<&str>) -> String {
    let fix = format!("an admin binds it: `{}`", bind_command(user));
    match user.filter(|user| is_plain(user)) {
        Some(_) => fix,
        None => fix + ", with your user name for NAME: `kubectl auth whoami`",
    }
}

impl Error {
    /// Returns the error, the errors that caused it and the advice, for programs whose messages are plain lines.
    pub fn describe(&self) -> String {
        let lines = self.advice().into_iter().map(|advice| format!("\ncause: {}\nfix:   {}", advice.cause, advice.fix));
        [crate::text::error_chain(self)].into_iter().chain(lines).collect()
    }

    /// Returns possible causes with their fixes, the likeliest first.
    pub fn advice(&self) -> Vec<Advice> {
        match self {
            Self::Endpoint { .. } => vec![pair(
                "the endpoint must be an https URL with a host",
                "pass one such as `--rpp-endpoint https://packages.example.com`, or omit the flag to find it automatically",
            )],
            Self::CaFile { .. } => vec![pair(
                "`--rpp-ca-file` must name a readable file with PEM certificates",
                "pass the certificate of the authority that signed the proxy's certificate, or omit the flag",
            )],
            Self::CaWithInsecure => vec![pair(
                "a CA file is only used when the certificate is verified",
                "pass either `--rpp-ca-file` or `--rpp-insecure-skip-tls-verify`",
            )],
            Self::Kubeconfig(error) => vec![error.advice()],
            Self::Identity(error) => vec![error.advice()],
            Self::ClusterClient { .. } => vec![pair(
                "a certificate or a key in the kubeconfig cannot be used",
                "check the cluster and the user: `kubectl config view --minify`, `kubectl cluster-info`",
            )],
            Self::Anonymous { why, .. } => vec![why.advice()],
            Self::PlainHttp { .. } => vec![NoIdentity::PlainHttp.advice()],
            Self::ClusterUnreachable { proxy, .. } | Self::ForwardProxy { proxy, .. } => {
                vec![forward_proxy_advice(proxy)]
            }
            Self::Discovery { server, denied, .. } => discovery(server, denied.as_deref()),
            Self::ClusterUnauthorized { .. } => vec![pair(
                "the Kubernetes API rejects the credentials in the kubeconfig; they may have expired",
                "log in again, or check the user: `kubectl auth whoami`",
            )],
            Self::ClusterCertificate { problem, .. } => vec![certificate::of_cluster(problem)],
            Self::EndpointChanged { .. } | Self::UntrustedKey { .. } => vec![
                pair(
                    "someone who can edit the proxy's ConfigMap or Ingress may be redirecting tokens; no token was sent",
                    format!(
                        "ask the cluster's admins, and check: `kubectl -n {NAMESPACE} get configmap {CONFIG_MAP} -o yaml`"
                    ),
                ),
                pair(
                    "the proxy moved, or its certificate authority was replaced",
                    "if the admins confirm that: `d8 policy trust`",
                ),
            ],
            Self::Unauthorized { token_sent, .. } => unauthorized(*token_sent),
            Self::Forbidden { message, .. } => forbidden(message),
            Self::NotFound { reference } => not_found(reference),
            Self::Unavailable { .. } => vec![
                pair(
                    "the proxy's Pods, or the registry behind them, fail",
                    format!("check them: `{}`", pods_command()),
                ),
                pair("the failure may be temporary", "run the command again in a minute"),
            ],
            Self::Status { .. } | Self::Malformed { reference: ImageReference { reference: None, .. }, .. } => {
                vec![pair(
                    "the server is not a registry-packages-proxy, or its version is unknown",
                    "check the address (`--rpp-endpoint`), and HTTP proxies between this machine and it",
                )]
            }
            Self::Redirect { .. } => vec![pair(
                "the address leads to a login page or to another host; no token was sent there",
                "pass the proxy's own address with `--rpp-endpoint`",
            )],
            Self::Unreachable { .. } | Self::Timeout { phase: TimeoutPhase::Connect, .. } => vec![
                pair(
                    "the proxy's address cannot be reached from this machine",
                    "check the network and `HTTPS_PROXY`/`NO_PROXY`, or pass another address with `--rpp-endpoint`",
                ),
                pair("the proxy's Pods are not running", format!("check them: `{}`", pods_command())),
            ],
            Self::Timeout { .. } => vec![pair(
                "the proxy or the network is too slow",
                format!("run the command again; if the error persists, check the proxy's Pods: `{}`", pods_command()),
            )],
            Self::Certificate { problem, .. } => vec![certificate::of_proxy(problem)],
            Self::Length { .. } => {
                vec![pair("the connection broke during the download; nothing was installed", "run the command again")]
            }
            Self::Digest { .. } => vec![pair(
                "the bytes were changed on the way, or the tag was moved after it was recorded; nothing was installed",
                "run the command again; if the error persists, ask the publisher whether the tag was moved",
            )],
            Self::LayerFormat { .. } => vec![repack(
                "d8 installs from the last layer of an image, which must be a gzip tar with the executable",
            )],
            Self::MissingExecutable { entry, found, .. } => missing_executable(entry, found.as_ref()),
            Self::TooLarge { .. }
            | Self::ArchiveTooLarge { .. }
            | Self::Malformed { .. }
            | Self::Contract(_)
            | Self::Archive { .. } => vec![pair(
                "the published image is broken; nothing was installed",
                "report it to the publisher, or choose another version with `--version`",
            )],
            Self::Spool { .. } => vec![pair(
                "this proxy serves no manifests, so a version is downloaded before its contract can be checked",
                "free some space there, or choose another directory with `TMPDIR`",
            )],
            Self::Client { .. } | Self::Sink(_) => Vec::new(),
        }
    }
}

fn discovery(server: &str, denied: Option<&str>) -> Vec<Advice> {
    if let Some(answer) = denied {
        let cause = format!(
            "ClusterRole {DOWNLOAD_ROLE}, which allows reading the proxy's address and downloading, is not bound by default"
        );
        return vec![pair(cause, bind_role(user_in_status(answer)))];
    }
    vec![
        pair(
            format!("the Kubernetes API at {server} cannot be reached, or the cluster does not run Deckhouse"),
            "check the kubeconfig and its context: `kubectl cluster-info`",
        ),
        pair(
            "the cluster does not publish the proxy's address",
            "pass the address with `--rpp-endpoint https://…` (D8_RPP_ENDPOINT)",
        ),
        pair(
            "this is a master node, and its kubeconfig names another address than the local API server",
            "use server https://127.0.0.1:6445 with /etc/kubernetes/pki/ca.crt",
        ),
    ]
}

/// Returns the user in `… is forbidden: User "…" cannot …`, the answer of the API server.
fn user_in_status(message: &str) -> Option<&str> {
    message.split_once("User \"")?.1.split('"').next()
}

fn unauthorized(token_sent: bool) -> Vec<Advice> {
    if token_sent {
        vec![pair(
            "the proxy rejects the token in the kubeconfig; it may have expired",
            "log in again, or use a kubeconfig with OIDC or a fresh ServiceAccount token",
        )]
    } else {
        vec![pair(
            "the kubeconfig has no Bearer token, and the proxy may not accept client certificates",
            "use a kubeconfig with a token: OIDC, an exec plugin, or a ServiceAccount token",
        )]
    }
}

fn forbidden(message: &str) -> Vec<Advice> {
    let fix = bind_role(user_of_proxy(message));
    vec![pair(
        format!("ClusterRole {DOWNLOAD_ROLE} is not bound by default; the proxy caches a denial for 30 s"),
        format!("{fix}; then wait 30 s and run the command again"),
    )]
}

/// Returns the user in `Forbidden (user=…, verb=…`, the answer of kube-rbac-proxy.
fn user_of_proxy(message: &str) -> Option<&str> {
    message.split_once("(user=")?.1.split([',', ')']).next()
}

/// Advice for an image that its publisher must build again.
fn repack(cause: impl Into<String>) -> Advice {
    pair(
        cause,
        "tell the publisher to build the image again, for example with d8-rpp; choose another version with `--version` \
         until then",
    )
}

fn missing_executable(entry: &str, found: Option<&OtherEntry>) -> Vec<Advice> {
    let how = match found {
        Some(OtherEntry::Sparse) => "stored whole: `tar` without `--sparse`",
        Some(OtherEntry::HardLink(_)) => "a file with content: `tar --hard-dereference`",
        Some(OtherEntry::Symlink(_)) => "a file with content: `tar --dereference`",
        _ => "a regular file",
    };
    vec![repack(format!("d8 reads only the last layer of an image, and its entry `{entry}` must be {how}"))]
}

fn not_found(reference: &ImageReference) -> Vec<Advice> {
    let list = list_command(&reference.component);
    match reference.reference {
        Some(_) => vec![pair("this version is not published", format!("list the published versions: `{list}`"))],
        None => vec![pair(
            "no image of that name is published",
            "check the name; the cluster's records list the known names: `kubectl get clireleases`",
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_that_binds_the_role() {
        let command = |name: &str, subject: &str| {
            format!(
                "`kubectl create clusterrolebinding d8-cli-download-{name} \
                 --clusterrole=d8:registry-packages-proxy:cli-download {subject}`"
            )
        };
        let placeholder = command("NAME", "--user=NAME");
        for (user, expected) in [
            ("alice", command("alice", "--user=alice")),
            ("alice@example.com", command("alice@example.com", "--user=alice@example.com")),
            ("system:serviceaccount:ci:runner", command("ci:runner", "--serviceaccount=ci:runner")),
            ("system:serviceaccount:odd", command("system:serviceaccount:odd", "--user=system:serviceaccount:odd")),
            ("a;rm -rf", placeholder.clone()),
            ("a/b", placeholder.clone()),
            ("--all", placeholder.clone()),
            ("", placeholder.clone()),
        ] {
            let proxy = format!("Forbidden (user={user}, verb=get, resource=deployments)");
            let api = format!("configmaps \"c\" is forbidden: User \"{user}\" cannot get resource \"configmaps\"");
            for advice in [forbidden(&proxy), discovery("https://api", Some(&api))] {
                let [advice] = advice.as_slice() else { panic!("one cause: {advice:?}") };
                assert!(advice.fix.contains(&expected), "{user}: {}", advice.fix);
                assert_eq!(advice.fix.contains("kubectl auth whoami"), expected == placeholder, "{}", advice.fix);
                assert!(!advice.fix.contains(['<', '>']), "{}", advice.fix);
            }
        }
        assert!(forbidden("Forbidden")[0].fix.contains(&placeholder));
        assert!(discovery("https://api", Some("forbidden"))[0].fix.contains(&placeholder));
    }
}
