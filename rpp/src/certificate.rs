//! Why a certificate was refused, in words for people.

use std::{error::Error as StdError, fmt};

use jiff::Timestamp;
use rustls::{
    CertificateError,
    pki_types::{ServerName, UnixTime},
};

use crate::text::{find, one_line};

/// Why a certificate was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateProblem {
    /// No trusted authority signed it.
    UnknownIssuer,
    /// It was issued for other names.
    OtherHost {
        /// Names that it was issued for.
        presented: Vec<String>,
        /// The requested host is an IP address, and the certificate names no IP address.
        no_ip_names: bool,
    },
    /// Its validity ended before `now`.
    Expired {
        /// End of its validity.
        until: Timestamp,
        /// Time by the clock of this machine.
        now: Timestamp,
    },
    /// It is not valid yet.
    NotYetValid {
        /// Begin of its validity.
        from: Timestamp,
        /// Time by the clock of this machine.
        now: Timestamp,
    },
    /// It is the certificate of an authority, as `openssl req -x509` makes it by default.
    AuthorityAsServer,
    /// Another problem, in words.
    Other(String),
}

impl fmt::Display for CertificateProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownIssuer => f.write_str("signed by an authority that is not trusted here"),
            Self::OtherHost { presented, .. } if presented.is_empty() => f.write_str("issued for another host"),
            Self::OtherHost { presented, .. } => write!(f, "issued for {}", presented.join(", ")),
            Self::Expired { until, now } => {
                write!(f, "it expired at {until}, and the clock of this machine says {now}")
            }
            Self::NotYetValid { from, now } => {
                write!(f, "it is valid from {from}, and the clock of this machine says {now}")
            }
            Self::AuthorityAsServer => f.write_str("it is the certificate of an authority, not of a server"),
            Self::Other(why) => f.write_str(why),
        }
    }
}

/// Returns why the certificate of a failed connection was refused, `None` if the connection failed otherwise.
pub(crate) fn problem_of(error: &(dyn StdError + 'static)) -> Option<CertificateProblem> {
    match find::<rustls::Error>(error)? {
        rustls::Error::InvalidCertificate(problem) => Some(describe(problem)),
        rustls::Error::NoCertificatesPresented => Some(CertificateProblem::Other("the server sent none".to_owned())),
        _ => None,
    }
}

/// Describes why rustls refused a certificate.
pub(crate) fn describe(problem: &CertificateError) -> CertificateProblem {
    match problem {
        // A bad signature: another authority with the same name. All clusters name theirs `kubernetes`.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => CertificateProblem::UnknownIssuer,
        CertificateError::NotValidForNameContext { expected, presented } => CertificateProblem::OtherHost {
            presented: presented.iter().take(8).map(|name| one_line(name.as_bytes(), 128)).collect(),
            no_ip_names: matches!(expected, ServerName::IpAddress(_))
                && !presented.iter().any(|name| name.starts_with("IpAddress")),
        },
        CertificateError::NotValidForName => {
            CertificateProblem::OtherHost { presented: Vec::new(), no_ip_names: false }
        }
        CertificateError::ExpiredContext { time, not_after } => {
            CertificateProblem::Expired { until: timestamp(*not_after), now: timestamp(*time) }
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            CertificateProblem::NotYetValid { from: timestamp(*not_before), now: timestamp(*time) }
        }
        CertificateError::Other(other) => describe_other(&*other.0),
        other => CertificateProblem::Other(one_line(other.to_string().as_bytes(), 256)),
    }
}

/// Describes a problem that rustls passes on from the verifier, whose own text is the name of a variant.
fn describe_other(error: &(dyn StdError + 'static)) -> CertificateProblem {
    use webpki::Error as Webpki;
    let words = match error.downcast_ref::<Webpki>() {
        Some(Webpki::CaUsedAsEndEntity) => return CertificateProblem::AuthorityAsServer,
        Some(Webpki::EndEntityUsedAsCa) => "signed by a certificate that is not one of an authority",
        Some(Webpki::UnsupportedCertVersion) => "of an old version; it must be X.509 version 3",
        Some(Webpki::UnsupportedCriticalExtension) => "with a critical extension that is not supported",
        Some(Webpki::PathLenConstraintViolated | Webpki::MaximumPathDepthExceeded) => {
            "signed through more authorities than one of them allows"
        }
        Some(Webpki::NameConstraintViolation) => "for a name that its authority may not sign",
        Some(Webpki::InvalidSerialNumber) => "with a serial number that is not valid",
        Some(_) => "not a valid server certificate",
        None => return CertificateProblem::Other(one_line(error.to_string().as_bytes(), 256)),
    };
    CertificateProblem::Other(words.to_owned())
}

/// Converts the time of a certificate. Times that a timestamp cannot have are the nearest one.
fn timestamp(time: UnixTime) -> Timestamp {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::MAX)
}
