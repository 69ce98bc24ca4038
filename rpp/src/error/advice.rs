//! Cause and fix of each error, in words to type.

use d8_crds::values::name::Component;

use crate::{
    error::{CertificateProblem, Error, ImageReference, TimeoutPhase},
    protocol::cluster::{CONFIG_MAP, DOWNLOAD_ROLE, NAMESPACE},
};

/// One possible cause and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// Why it may have happened.
    pub cause: String,
    /// The next thing to type or change.
    pub fix: String,
}

/// A pair of cause and fix.
fn pair(cause: impl Into<String>, fix: impl Into<String>) -> Advice {
    Advice { cause: cause.into(), fix: fix.into() }
}

/// The command that lists what is published of a component.
fn list_command(component: &Component) -> String {
    match component {
        Component::D8 => "d8 cli versions".to_owned(),
        Component::Plugin(name) => format!("d8 plugins why {name}"),
    }
}

impl Error {
    /// Causes and fixes, the likeliest first.
    pub fn advice(&self) -> Vec<Advice> {
        match self {
            Self::Endpoint { .. } => vec![pair(
                "the endpoint must be an https URL with a host",
                "give one such as --rpp-endpoint https://packages.example.com, or leave it out to have it found",
            )],
            Self::CaFile { .. } => vec![pair(
                "--rpp-ca-file must name a readable file with PEM certificates",
                "give the file of the authority that signed the proxy's certificate, or leave the flag out",
            )],
            Self::CaWithInsecure => vec![pair(
                "a CA file means that the certificate is verified",
                "give either --rpp-ca-file or --rpp-insecure-skip-tls-verify",
            )],
            Self::Identity { .. } => vec![pair(
                "the kubeconfig's user has no token that can be used now",
                "log in again, or check the user with: kubectl auth whoami",
            )],
            Self::Discovery { server, denied, .. } => discovery(server, *denied),
            Self::ClusterUnauthorized { .. } => vec![pair(
                "the kubeconfig's credentials are not, or no longer, accepted by the Kubernetes API",
                "log in again, or check them with: kubectl auth whoami",
            )],
            Self::ClusterCertificate { .. } => vec![pair(
                "this is the connection to the Kubernetes API: only the kubeconfig's cluster CA vouches for it, --rpp-ca-file does not",
                "check certificate-authority and server of the kubeconfig's cluster: kubectl cluster-info",
            )],
            Self::EndpointChanged { .. } => vec![
                pair(
                    "whoever can edit the proxy's ConfigMap or Ingress may be leading tokens elsewhere; none was sent",
                    format!(
                        "ask the cluster's admins, and look: kubectl -n {NAMESPACE} get configmap {CONFIG_MAP} -o yaml"
                    ),
                ),
                pair("the proxy has moved, or has a new authority", "if they say so: d8 policy trust"),
            ],
            Self::Unauthorized { token_sent, .. } => unauthorized(*token_sent),
            Self::Forbidden { words, .. } => forbidden(words),
            Self::NotFound { subject } => not_found(subject),
            Self::Unavailable { .. } => vec![
                pair(
                    "the proxy's pods, or the registry behind them, are in trouble",
                    format!("look at them: kubectl -n {NAMESPACE} get pods -l app=registry-packages-proxy"),
                ),
                pair("it may pass", "run the command again in a moment"),
            ],
            Self::Status { .. } | Self::Malformed { subject: ImageReference { reference: None, .. }, .. } => {
                vec![pair(
                    "something other than the registry-packages-proxy answered, or one of another version",
                    "check the endpoint (--rpp-endpoint), and what stands between here and the proxy",
                )]
            }
            Self::Redirect { .. } => vec![pair(
                "the endpoint leads to a login page or to another host; the token was not sent there",
                "give the proxy's own address with --rpp-endpoint",
            )],
            Self::Unreachable { .. } | Self::Timeout { waiting: TimeoutPhase::Connection, .. } => vec![
                pair(
                    "the proxy's address can't be reached from here",
                    "check the network and HTTPS_PROXY/NO_PROXY, or give another address with --rpp-endpoint",
                ),
                pair(
                    "the proxy's pods are not running",
                    format!("look at them: kubectl -n {NAMESPACE} get pods -l app=registry-packages-proxy"),
                ),
            ],
            Self::Timeout { .. } => vec![pair(
                "the proxy, or the network to it, is too slow or stalled",
                "run the command again; if it stays, look at the proxy's pods",
            )],
            Self::Certificate { problem, .. } => certificate(problem),
            Self::Length { .. } => vec![pair(
                "the connection broke in the middle of the download; nothing was installed",
                "run the command again",
            )],
            Self::Digest { .. } => vec![pair(
                "the bytes were changed on the way, or the tag was moved since it was recorded; nothing was installed",
                "run the command again; if it stays, ask who publishes it whether the tag was moved",
            )],
            Self::TooLarge { .. }
            | Self::ArchiveTooLarge { .. }
            | Self::Malformed { .. }
            | Self::Contract(_)
            | Self::Archive { .. }
            | Self::MissingExecutable { .. } => vec![pair(
                "what is published is broken; nothing was installed",
                "tell its publisher, or ask for another version with --version",
            )],
            Self::Spool { .. } => vec![pair(
                "an old proxy has no contracts by themselves, so a version is downloaded before it is judged",
                "make room there, or name another folder with TMPDIR",
            )],
            Self::Client { .. } | Self::Sink(_) => Vec::new(),
        }
    }
}

fn discovery(server: &str, denied: bool) -> Vec<Advice> {
    let right = pair(
        format!(
            "ClusterRole {DOWNLOAD_ROLE}, which lets one find the proxy and download, is bound to nobody by default"
        ),
        format!("an admin binds it: {} --user=<you>", bind()),
    );
    let mut advice = if denied { vec![right] } else { Vec::new() };
    advice.extend([
        pair(
            format!("the Kubernetes API at {server} can't be reached, or is not a Deckhouse cluster's"),
            "check the kubeconfig and its context: kubectl cluster-info",
        ),
        pair(
            "the cluster does not say, or not to you, where its proxy is",
            "give the address yourself with --rpp-endpoint https://… (D8_RPP_ENDPOINT)",
        ),
        pair(
            "on a master node the kubeconfig may lead past the local API server",
            "use the server https://127.0.0.1:6445 with /etc/kubernetes/pki/ca.crt",
        ),
    ]);
    advice
}

fn unauthorized(token_sent: bool) -> Vec<Advice> {
    if token_sent {
        vec![pair(
            "the proxy does not accept the kubeconfig's token: it may have expired",
            "log in again; a kubeconfig with OIDC or a fresh ServiceAccount token is accepted",
        )]
    } else {
        vec![pair(
            "the kubeconfig has no Bearer token, and the proxy may not accept client certificates",
            "use a kubeconfig that ends in a token: OIDC, an exec plugin, or a ServiceAccount token",
        )]
    }
}

/// The command that binds the role, but for whom.
fn bind() -> String {
    format!("kubectl create clusterrolebinding d8-cli-download --clusterrole={DOWNLOAD_ROLE}")
}

fn forbidden(words: &str) -> Vec<Advice> {
    let whom = denied(words).unwrap_or_else(|| "--user=<you>".to_owned());
    vec![
        pair(
            format!("ClusterRole {DOWNLOAD_ROLE} is bound to nobody by default"),
            format!("an admin binds it: {} {whom}", bind()),
        ),
        pair("it was bound a moment ago: a denial is cached for 30 s", "wait half a minute and run the command again"),
    ]
}

/// Whom kube-rbac-proxy names in `Forbidden (user=…, verb=…`, as a flag of kubectl. Only what can be
/// typed into a shell as it is.
fn denied(words: &str) -> Option<String> {
    let user = words.split_once("(user=")?.1.split([',', ')']).next()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":._@-".contains(&byte);
    if user.is_empty() || user.starts_with('-') || !user.bytes().all(plain) {
        return None;
    }
    Some(match user.strip_prefix("system:serviceaccount:").filter(|account| account.split(':').count() == 2) {
        Some(account) => format!("--serviceaccount={account}"),
        None => format!("--user={user}"),
    })
}

fn not_found(subject: &ImageReference) -> Vec<Advice> {
    let list = list_command(&subject.component);
    match subject.reference {
        Some(_) => vec![pair("this version is not published", format!("see what is: {list}"))],
        None => vec![pair(
            "no image of that name is published",
            "check the name; those this cluster knows of: kubectl get clireleases",
        )],
    }
}

fn certificate(problem: &CertificateProblem) -> Vec<Advice> {
    match problem {
        CertificateProblem::UnknownIssuer => vec![pair(
            "this is the connection to the proxy, which the kubeconfig's CA does not vouch for; an authority of your own signed its certificate",
            "give that authority's certificate with --rpp-ca-file FILE (D8_RPP_CA_FILE)",
        )],
        CertificateProblem::OtherHost { no_ip_names: true, .. } => vec![pair(
            "the proxy was addressed by IP, and its certificate names no IP addresses",
            "use the public endpoint: --rpp-endpoint https://<host of the Ingress>",
        )],
        CertificateProblem::OtherHost { .. } => vec![pair(
            "the address given is not the one the proxy's certificate was made for",
            "give the proxy's own host name with --rpp-endpoint",
        )],
        CertificateProblem::Expired => vec![pair(
            "the proxy's certificate has expired, or a clock is wrong",
            "check the clock here, then the certificate of the proxy",
        )],
        CertificateProblem::Other(_) => vec![pair(
            "the proxy's certificate could not be verified",
            "check it, and the authority given with --rpp-ca-file",
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_a_denial_names() {
        for (words, flag) in [
            ("Forbidden (user=alice, verb=get, resource=deployments)", Some("--user=alice")),
            ("Forbidden (user=alice@example.com)", Some("--user=alice@example.com")),
            ("Forbidden (user=system:serviceaccount:ci:runner, verb=get)", Some("--serviceaccount=ci:runner")),
            ("Forbidden (user=system:serviceaccount:odd, verb=get)", Some("--user=system:serviceaccount:odd")),
            ("Forbidden (user=a;rm -rf, verb=get)", None),
            ("Forbidden (user=--all, verb=get)", None),
            ("Forbidden (user=, verb=get)", None),
            ("Forbidden", None),
        ] {
            assert_eq!(denied(words).as_deref(), flag, "{words}");
        }
    }
}
