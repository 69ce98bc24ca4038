//! Authorities: the digests of their keys, and which of them another authority signed.
//!
//! rustls verifies the certificates of servers only, so the certificate of one authority is verified here.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use d8_crds::values::digest::Digest;
use rustls::{RootCertStore, pki_types::CertificateDer};
use x509_parser::{
    certificate::X509Certificate,
    oid_registry::{OID_PKCS1_SHA1WITHRSA, OID_SHA1_WITH_RSA},
    parse_x509_certificate,
    time::ASN1Time,
};

use crate::endpoint_pin::EndpointIdentity;

/// Returns the digest of an authority's key: SHA-256 of the `SubjectPublicKeyInfo`, as
/// `openssl x509 -noout -pubkey | openssl pkey -pubin -outform der | sha256sum` prints it. `None` if the certificate
/// is not usable as an authority.
pub(crate) fn key_digest(authority: &CertificateDer<'_>) -> Option<Digest> {
    let mut store = RootCertStore::empty();
    store.add(authority.clone().into_owned()).ok()?;
    store.roots.first().map(|root| Digest::of(&sequence(&root.subject_public_key_info)))
}

/// Returns an identity without a host: the keys of these authorities, and a certificate of each.
pub(crate) fn identity(authorities: &[CertificateDer<'_>]) -> EndpointIdentity {
    let mut identity = EndpointIdentity::default();
    for authority in authorities {
        if let Some(key) = key_digest(authority) {
            identity.keys.insert(key.clone());
            identity.certificates.entry(key).or_insert_with(|| BASE64_STANDARD.encode(authority));
        }
    }
    identity
}

/// Returns the keys of the announced authorities that a pinned key signed, directly or through another announced
/// authority. The stored certificate of a pinned key counts, and not an announced one: nobody needs the key to make
/// another certificate of it, without the constraints of the stored one.
pub(crate) fn signed_keys(
    pinned: &EndpointIdentity,
    announced: &[CertificateDer<'_>],
    now: SystemTime,
) -> BTreeSet<Digest> {
    let stored = pinned.certificates.values().filter_map(|text| BASE64_STANDARD.decode(text).ok());
    let stored: Vec<CertificateDer<'_>> = stored.map(CertificateDer::from).collect();
    let is_pinned =
        |certificate: &&CertificateDer<'_>| key_digest(certificate).is_some_and(|k| pinned.keys.contains(&k));
    let with_stored: BTreeSet<Digest> = stored.iter().filter_map(key_digest).collect();
    let is_needed =
        |certificate: &&CertificateDer<'_>| key_digest(certificate).is_some_and(|k| !with_stored.contains(&k));
    let mut issuers: Vec<&CertificateDer<'_>> = stored.iter().filter(is_pinned).collect();
    issuers.extend(announced.iter().filter(is_pinned).filter(is_needed));
    let mut candidates: Vec<&CertificateDer<'_>> = announced.iter().filter(|one| !is_pinned(one)).collect();
    let mut signed = BTreeSet::new();
    while let Some(issuer) = issuers.pop() {
        let (found, rest): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|certificate| is_signed_by(certificate, issuer, now));
        signed.extend(found.iter().filter_map(|certificate| key_digest(certificate)));
        issuers.extend(found);
        candidates = rest;
    }
    signed
}

/// Returns whether `certificate` is one of an authority that is valid now, and `issuer` may sign authorities and
/// signed it.
fn is_signed_by(certificate: &CertificateDer<'_>, issuer: &CertificateDer<'_>, now: SystemTime) -> bool {
    let (Ok((_, certificate)), Ok((_, issuer))) = (parse_x509_certificate(certificate), parse_x509_certificate(issuer))
    else {
        return false;
    };
    let algorithm = &certificate.signature_algorithm.algorithm;
    let is_weak = *algorithm == OID_PKCS1_SHA1WITHRSA || *algorithm == OID_SHA1_WITH_RSA;
    let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let now = i64::try_from(now).ok().and_then(|now| ASN1Time::from_timestamp(now).ok());
    // An issuer with name constraints is refused: they would not bind the names below a key that is trusted by itself.
    let is_constrained = !matches!(issuer.name_constraints(), Ok(None));
    certificate.issuer() == issuer.subject()
        && authority_depth(&certificate).is_some()
        && authority_depth(&issuer).is_some_and(|depth| depth > 0)
        && !is_constrained
        && !is_weak
        && now.is_some_and(|now| certificate.validity().is_valid_at(now))
        && certificate.verify_signature(Some(issuer.public_key())).is_ok()
}

/// Returns how many authorities may follow below an authority, `None` if the certificate is not one of an authority.
fn authority_depth(certificate: &X509Certificate<'_>) -> Option<u32> {
    let constraints = certificate.basic_constraints().ok()??.value;
    let may_sign = certificate.key_usage().ok()?.is_none_or(|usage| usage.value.key_cert_sign());
    (constraints.ca && may_sign).then_some(constraints.path_len_constraint.unwrap_or(u32::MAX))
}

/// Adds the header of a DER sequence to its content (X.690, 8.1.3). rustls stores the content only.
fn sequence(content: &[u8]) -> Vec<u8> {
    const SEQUENCE: u8 = 0x30;
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let head = match significant {
        [] => vec![SEQUENCE, 0],
        [short] if *short < 0x80 => vec![SEQUENCE, *short],
        // At most eight bytes.
        long => [&[SEQUENCE, 0x80 | u8::try_from(long.len()).unwrap_or_default()], long].concat(),
    };
    [&head, content].concat()
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
        PublicKeyData as _, date_time_ymd,
    };

    use super::*;

    /// An EC key has 91 bytes in openssl, an RSA key of 2048 bits has 294.
    #[test]
    fn der_headers_of_all_lengths() {
        for (length, head) in [
            (0, &[0x30, 0][..]),
            (0x7f, &[0x30, 0x7f]),
            (0x80, &[0x30, 0x81, 0x80]),
            (0xff, &[0x30, 0x81, 0xff]),
            (0x122, &[0x30, 0x82, 0x01, 0x22]),
        ] {
            let content = vec![7; length];
            assert_eq!(sequence(&content), [head, &content].concat(), "{length}");
        }
    }

    #[test]
    fn a_key_has_the_same_digest_in_every_certificate() {
        let key = KeyPair::generate().unwrap();
        let certificate = |name: &str| {
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            CertificateDer::from(params.self_signed(&key).unwrap().der().to_vec())
        };
        let digest = Digest::of(&key.subject_public_key_info());
        let (old, new) = (certificate("old"), certificate("new"));
        assert_eq!((key_digest(&old), key_digest(&new)), (Some(digest.clone()), Some(digest.clone())));
        assert_eq!(identity(&[old, new]).keys, [digest].into());
        assert_eq!(key_digest(&CertificateDer::from(vec![1, 2, 3])), None);
    }

    /// A certificate of an authority with this name.
    fn authority(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    fn changed(name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
        let mut params = authority(name);
        change(&mut params);
        params
    }

    fn der(certificate: &rcgen::Certificate) -> CertificateDer<'static> {
        CertificateDer::from(certificate.der().to_vec())
    }

    #[test]
    fn which_authorities_a_pinned_one_signed() {
        let [old, new] = std::array::from_fn(|_| KeyPair::generate().unwrap());
        let plain = || authority("old");
        let subtree = NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("x".to_owned())],
            excluded_subtrees: Vec::new(),
        };
        // The pinned issuer, the announced certificate, and whether the issuer's signature counts.
        let cases = [
            ("cross-signed", plain(), authority("new"), true),
            (
                "with the right usage",
                plain(),
                changed("new", |p| p.key_usages = vec![KeyUsagePurpose::KeyCertSign]),
                true,
            ),
            ("the certificate of a server", plain(), changed("new", |p| p.is_ca = IsCa::NoCa), false),
            ("explicitly no authority", plain(), changed("new", |p| p.is_ca = IsCa::ExplicitNoCa), false),
            ("another usage", plain(), changed("new", |p| p.key_usages = vec![KeyUsagePurpose::CrlSign]), false),
            ("expired", plain(), changed("new", |p| p.not_after = date_time_ymd(2020, 1, 1)), false),
            ("not valid yet", plain(), changed("new", |p| p.not_before = date_time_ymd(4000, 1, 1)), false),
            ("signed by a server", changed("old", |p| p.is_ca = IsCa::NoCa), authority("new"), false),
            (
                "below the last authority",
                changed("old", |p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))),
                authority("new"),
                false,
            ),
            ("of constrained names", changed("old", |p| p.name_constraints = Some(subtree)), authority("new"), false),
        ];
        for (what, issuer, params, expected) in cases {
            let pinned_certificate = der(&issuer.self_signed(&old).unwrap());
            let announced = der(&params.signed_by(&new, &Issuer::new(issuer, &old)).unwrap());
            let pinned = identity(std::slice::from_ref(&pinned_certificate));
            let signed = signed_keys(&pinned, std::slice::from_ref(&announced), SystemTime::now());
            assert_eq!(!signed.is_empty(), expected, "{what}, alone");
            let bundle = [announced.clone(), pinned_certificate];
            let without_certificates = EndpointIdentity { certificates: [].into(), ..pinned.clone() };
            let signed = signed_keys(&without_certificates, &bundle, SystemTime::now());
            assert_eq!(signed.contains(&key_digest(&announced).unwrap()), expected, "{what}, beside its issuer");
        }
    }

    #[test]
    fn signatures_of_other_keys_do_not_count() {
        let [old, new, newest, foreign] = std::array::from_fn(|_| KeyPair::generate().unwrap());
        let root = der(&authority("old").self_signed(&old).unwrap());
        let pinned = identity(std::slice::from_ref(&root));
        let cross = der(&authority("new").signed_by(&new, &Issuer::new(authority("old"), &old)).unwrap());
        let chained = der(&authority("newest").signed_by(&newest, &Issuer::new(authority("new"), &new)).unwrap());
        // The names are right, the key is another one.
        let forged = der(&authority("new").signed_by(&new, &Issuer::new(authority("old"), &foreign)).unwrap());
        let of_the_same_name = der(&authority("old").self_signed(&new).unwrap());
        let digest = |certificate: &CertificateDer<'_>| key_digest(certificate).unwrap();
        for (what, announced, expected) in [
            ("a chain", vec![chained.clone(), root.clone(), cross.clone()], vec![digest(&cross), digest(&chained)]),
            ("a chain without its middle", vec![chained, root.clone()], vec![]),
            ("forged", vec![root.clone(), forged], vec![]),
            ("self-signed with the old name", vec![root, of_the_same_name], vec![]),
        ] {
            let signed = signed_keys(&pinned, &announced, SystemTime::now());
            assert_eq!(signed, expected.into_iter().collect(), "{what}");
        }
        // The key of an authority that may sign servers only, in an announced certificate that says otherwise.
        let constrained = changed("old", |p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
        let stored = identity(&[der(&constrained.self_signed(&old).unwrap())]);
        let bundle = [der(&authority("old").self_signed(&old).unwrap()), cross];
        assert_eq!(signed_keys(&stored, &bundle, SystemTime::now()), BTreeSet::new());
        // A stored certificate counts for its own key only.
        let stored = EndpointIdentity {
            certificates: identity(&[der(&authority("old").self_signed(&foreign).unwrap())]).certificates,
            ..pinned
        };
        let by_foreign = der(&authority("new").signed_by(&new, &Issuer::new(authority("old"), &foreign)).unwrap());
        assert_eq!(signed_keys(&stored, &[by_foreign], SystemTime::now()), BTreeSet::new());
    }
}
