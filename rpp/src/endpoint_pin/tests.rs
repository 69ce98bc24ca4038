use super::*;

fn keys(names: &str) -> BTreeSet<Digest> {
    names.split_whitespace().map(|name| Digest::of(name.as_bytes())).collect()
}

/// Reads `host a b`: a host or `-`, then names of keys.
fn identity(text: &str) -> EndpointIdentity {
    let (host, names) = text.split_once(' ').unwrap_or((text, ""));
    let host = Some(host).filter(|host| *host != "-").map(str::to_owned);
    EndpointIdentity { host, keys: keys(names), ..EndpointIdentity::default() }
}

/// Trusted, and the pin changes.
fn updated(pin: &str) -> PinCheck {
    PinCheck::Trusted { update: Some(identity(pin)), untrusted: BTreeSet::new() }
}

/// Trusted, and the pin stays. These keys are announced and verify nothing.
fn same(untrusted: &str) -> PinCheck {
    PinCheck::Trusted { update: None, untrusted: keys(untrusted) }
}

#[test]
fn changes_of_an_identity() {
    // Pinned, announced, and the keys whose certificates a pinned key signed.
    let cases = [
        ("nothing is announced", "-", "-", "", same("")),
        ("first contact: a host", "-", "h", "", updated("h")),
        ("first contact: a host and a key", "-", "h a", "", updated("h a")),
        ("first contact: a bundle", "-", "- a b", "", updated("- a b")),
        ("no change", "h a", "h a", "", same("")),
        ("the ConfigMap may not be read: only the Ingress", "h a", "h", "", same("")),
        ("no public endpoint any more", "h a", "- a", "", same("")),
        ("only a Pod", "h a", "-", "", same("")),
        ("rotation: a new authority beside the old one", "h a", "h a b", "", same("b")),
        ("rotation: two new authorities", "- a", "- a b c", "", same("b c")),
        ("rotation: the new authority is signed", "h a", "h a b", "b", updated("h a b")),
        ("rotation: one of two is signed", "- a", "- a b c", "c", {
            PinCheck::Trusted { update: Some(identity("- a c")), untrusted: keys("b") }
        }),
        ("rotation: only the signed one is left", "h a", "h b", "b", updated("h a b")),
        ("rotation: the old authority is removed after the new one was trusted", "h a b", "h b", "", same("")),
        ("rotation: the old authority is removed too early", "h a", "h b", "", PinCheck::Changed),
        ("a withdrawn authority comes back", "h a b", "- b c", "", same("c")),
        ("another host", "h", "other", "", PinCheck::Changed),
        ("another host, the same key", "h a", "other a", "", PinCheck::Changed),
        ("another port", "h a", "h:8443 a", "", PinCheck::Changed),
        ("other keys", "h a", "- b c", "", PinCheck::Changed),
        ("a signed key does not confirm a host", "h a", "other a b", "b", PinCheck::Changed),
        // An endpoint that did not exist before may be somebody else's, too.
        ("the first public endpoint", "- a", "h a", "", PinCheck::Changed),
        ("the first endpoint inside of the cluster", "h", "h a", "", PinCheck::Changed),
        ("a key that is signed and not announced", "h a", "h a", "b", same("")),
    ];
    for (what, pinned, announced, signed, expected) in cases {
        let check = check_pin(Some(&identity(pinned)), &identity(announced), &keys(signed));
        assert_eq!(check, expected, "{what}: {pinned} -> {announced}");
    }
    assert_eq!(check_pin(None, &identity("h a"), &keys("")), updated("h a"));
}

#[test]
fn a_pin_keeps_the_certificates_of_its_keys_only() {
    let with = |text: &str, certificates: &[(&str, &str)]| EndpointIdentity {
        certificates: certificates.iter().map(|(key, text)| (Digest::of(key.as_bytes()), (*text).to_owned())).collect(),
        ..identity(text)
    };
    let announced = with("- a b", &[("a", "renewed"), ("b", "new")]);
    let update = |pinned: &EndpointIdentity| match check_pin(Some(pinned), &announced, &keys("")) {
        PinCheck::Trusted { update, .. } => update,
        PinCheck::Changed => panic!("{pinned} changed"),
    };
    assert_eq!(update(&identity("- a")), Some(with("- a", &[("a", "renewed")])), "a pin of an older version");
    assert_eq!(update(&with("- a", &[("a", "first")])), None, "a renewed certificate of the same key");
}

#[test]
fn accepted_identities_replace_pinned_ones() {
    for (pinned, announced, expected) in [
        ("h a", "h a b", "h a b"),
        ("h a", "h b", "h b"),
        ("h a b", "h b", "h b"),
        ("h a", "other", "other a"),
        ("h a", "- b", "h b"),
        ("-", "h a", "h a"),
    ] {
        let accepted = accept(Some(&identity(pinned)), &identity(announced));
        assert_eq!(accepted, identity(expected), "{pinned} -> {announced}");
    }
    assert_eq!(accept(None, &identity("h a")), identity("h a"));
}

#[test]
fn text_and_json() {
    let both = identity("h a");
    assert!(both.to_string().starts_with("host h, keys sha256:"), "{both}");
    assert_eq!(identity("-").to_string(), "no public host");
    let text = serde_json::to_string(&both).unwrap();
    assert_eq!(serde_json::from_str::<EndpointIdentity>(&text).unwrap(), both);
    assert_eq!(serde_json::to_string(&identity("-")).unwrap(), "{}");
}
