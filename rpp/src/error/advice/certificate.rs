//! Causes of a refused certificate, and how to fix them.

use super::{Advice, pair};
use crate::certificate::CertificateProblem;

/// The command that makes a server certificate without an authority. `HOST` is to be replaced.
pub(crate) const MAKE_SERVER_CERTIFICATE: &str = "openssl req -x509 -newkey rsa:2048 -nodes -days 365 -keyout tls.key -out tls.crt \
    -subj /CN=HOST -addext subjectAltName=DNS:HOST -addext basicConstraints=critical,CA:FALSE";

/// What to do about the certificate of the proxy.
pub(super) fn of_proxy(problem: &CertificateProblem) -> Advice {
    match problem {
        CertificateProblem::UnknownIssuer => pair(
            "this is the connection to the proxy, not to the Kubernetes API; the CA in the kubeconfig is not used for it, and a private authority signed the proxy's certificate",
            "pass that authority's certificate with `--rpp-ca-file FILE` (D8_RPP_CA_FILE)",
        ),
        CertificateProblem::OtherHost { no_ip_names: true, .. } => pair(
            "the address is an IP address, and the proxy's certificate names none",
            "use the public endpoint: `--rpp-endpoint https://<host of the Ingress>`",
        ),
        CertificateProblem::OtherHost { .. } => pair(
            "the address is not one that the proxy's certificate was issued for",
            "pass the proxy's own host name with `--rpp-endpoint`",
        ),
        CertificateProblem::Expired { .. } | CertificateProblem::NotYetValid { .. } => pair(
            "the clock of this machine is wrong, or the proxy's certificate has to be renewed",
            "check the clock of this machine: `date -u`; then the proxy's certificate",
        ),
        CertificateProblem::AuthorityAsServer => make_server_certificate(),
        CertificateProblem::Other(_) => pair(
            "the proxy's certificate cannot be verified",
            "check the certificate, and the authority passed with `--rpp-ca-file`",
        ),
    }
}

/// What to do about the certificate of the Kubernetes API.
pub(super) fn of_cluster(problem: &CertificateProblem) -> Advice {
    match problem {
        CertificateProblem::Expired { .. } | CertificateProblem::NotYetValid { .. } => pair(
            "the clock of this machine is wrong, or the certificate of the Kubernetes API has to be renewed",
            "check the clock of this machine: `date -u`; then the certificates of the API server",
        ),
        CertificateProblem::AuthorityAsServer => make_server_certificate(),
        _ => pair(
            "this is the connection to the Kubernetes API; its certificate is verified with the CA in the kubeconfig, not with `--rpp-ca-file`",
            "check `certificate-authority` and `server` of the cluster in the kubeconfig: `kubectl cluster-info`",
        ),
    }
}

/// How to replace the certificate of an authority by one of a server.
fn make_server_certificate() -> Advice {
    pair(
        "the server uses a certificate with `CA:TRUE`, as `openssl req -x509` makes it by default",
        MAKE_SERVER_CERTIFICATE,
    )
}
