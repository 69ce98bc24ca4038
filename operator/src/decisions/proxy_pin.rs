//! Which identity of the proxy counts as pinned: the stored pin, with what the settings and the annotations of the
//! pin's ConfigMap say.

use std::collections::BTreeSet;

use d8_crds::values::{digest::Digest, text::without_type_names};
use d8_rpp::{
    EndpointIdentity,
    endpoint_pin::{AcceptedIdentity, TRUST_CA, TRUST_HOST},
};

use super::ledger::Data;

/// Name of the ConfigMap in the operator's namespace.
pub(crate) const CONFIG_MAP: &str = "d8-proxy-pin";
/// Key of the ConfigMap with the pin, as JSON.
pub(crate) const DATA_KEY: &str = "pin.json";
/// Reads the stored pin; no data at all is the first contact.
///
/// # Errors
/// Why the data cannot be read. They do not count as the first contact.
pub(crate) fn from_data(data: &Data) -> Result<Option<EndpointIdentity>, String> {
    let Some(text) = data.get(DATA_KEY) else {
        return if data.is_empty() { Ok(None) } else { Err(format!("it has no key {DATA_KEY:?}")) };
    };
    serde_json::from_str(text)
        .map(Some)
        .map_err(|error| format!("key {DATA_KEY:?} is not readable: {}", without_type_names(&error.to_string())))
}

/// Returns the data of the ConfigMap.
pub(crate) fn to_data(pin: &EndpointIdentity) -> Data {
    // A pin has strings only, so it always becomes JSON.
    let text = serde_json::to_string(pin).unwrap_or_default();
    [(DATA_KEY.to_owned(), text)].into()
}

/// Returns the identity that counts as pinned, `None` on a first contact that nothing restricts.
///
/// `settings` replace the stored keys and the stored host, so an admin can always say what is pinned.
/// `accepted` adds keys and a host if they are announced.
pub(crate) fn effective_pin(
    stored: Option<&EndpointIdentity>,
    settings: &AcceptedIdentity,
    accepted: &AcceptedIdentity,
    announced: &EndpointIdentity,
) -> Option<EndpointIdentity> {
    let first_contact = stored.is_none_or(EndpointIdentity::is_empty);
    let mut pin = stored.cloned().unwrap_or_default();
    if !settings.keys.is_empty() {
        pin.keys.clone_from(&settings.keys);
    }
    if settings.host.is_some() {
        pin.host.clone_from(&settings.host);
    }
    accepted.add_to(&mut pin, announced);
    if pin.is_empty() {
        return None;
    }
    if first_contact {
        // The parts that nobody restricts are pinned as they are announced.
        pin.host = pin.host.or_else(|| announced.host.clone());
        if pin.keys.is_empty() {
            pin.keys.clone_from(&announced.keys);
        }
    }
    let keys = &pin.keys;
    pin.certificates.retain(|key, _| keys.contains(key));
    Some(pin)
}

/// Returns the command that accepts these keys and this host; `None` if there is nothing to accept.
pub(crate) fn accept_command(namespace: &str, keys: &BTreeSet<Digest>, host: Option<&str>) -> Option<String> {
    let keys: Vec<&str> = keys.iter().map(Digest::as_str).collect();
    let keys = (!keys.is_empty()).then(|| format!("{TRUST_CA}={}", keys.join(",")));
    let host = host.map(|host| format!("{TRUST_HOST}={host}"));
    let annotations: Vec<String> = keys.into_iter().chain(host).collect();
    let command = ["kubectl", "-n", namespace, "annotate", "--overwrite", "configmap", CONFIG_MAP];
    (!annotations.is_empty()).then(|| [command.join(" "), annotations.join(" ")].join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &str) -> BTreeSet<Digest> {
        names.split_whitespace().map(|name| Digest::of(name.as_bytes())).collect()
    }

    /// Reads `host a b`: a host or `-`, then names of keys.
    fn parts(text: &str) -> (Option<String>, BTreeSet<Digest>) {
        let (host, names) = text.split_once(' ').unwrap_or((text, ""));
        (Some(host).filter(|host| *host != "-").map(str::to_owned), keys(names))
    }

    fn identity(text: &str) -> EndpointIdentity {
        let (host, keys) = parts(text);
        EndpointIdentity { host, keys, ..EndpointIdentity::default() }
    }

    fn accepted(text: &str) -> AcceptedIdentity {
        let (host, keys) = parts(text);
        AcceptedIdentity { keys, host }
    }

    #[test]
    fn what_counts_as_pinned() {
        // Stored, settings, annotations, announced, and what counts.
        for (what, stored, settings, annotations, announced, expected) in [
            ("first contact", "-", "-", "-", "h a", "-"),
            ("stored", "h a", "-", "-", "other b", "h a"),
            ("an accepted key", "h a", "-", "- b", "h b", "h a b"),
            ("an accepted key that is not announced", "h a", "-", "- b", "h c", "h a"),
            ("an accepted key does not accept a host", "h a", "-", "- b", "other b", "h a b"),
            ("an accepted host", "h a", "-", "other", "other a", "other a"),
            ("an accepted host that is not announced", "h a", "-", "other", "third a", "h a"),
            ("host and key", "h a", "-", "other b", "other b", "other a b"),
            ("settings before the first contact", "-", "- a", "-", "h b", "h a"),
            ("the host in the settings before the first contact", "-", "h", "-", "other a", "h a"),
            ("both before the first contact", "-", "h a", "-", "other b", "h a"),
            ("settings replace the stored keys", "h a", "- b", "-", "h a b", "h b"),
            ("settings replace the stored host", "h a", "other", "-", "h a", "other a"),
            ("settings and an annotation", "h a", "- b", "- c", "h c", "h b c"),
        ] {
            let stored = Some(identity(stored)).filter(|pin| !pin.is_empty());
            let pin = effective_pin(stored.as_ref(), &accepted(settings), &accepted(annotations), &identity(announced));
            assert_eq!(pin, Some(identity(expected)).filter(|pin| !pin.is_empty()), "{what}");
        }
    }

    #[test]
    fn annotations_name_what_they_accept() {
        let [a, b] = ["a", "b"].map(|name| Digest::of(name.as_bytes()).to_string());
        let both = format!(" {a}, {b},");
        for (ca, host, expected, malformed) in [
            (both.as_str(), "", "- a b", vec![]),
            (a.as_str(), " packages.example.com ", "packages.example.com a", vec![]),
            ("", "Packages.EXAMPLE.com:8443", "packages.example.com:8443", vec![]),
            ("yes", "", "-", vec!["yes"]),
            ("*", "", "-", vec!["*"]),
            ("", "", "-", vec![]),
        ] {
            let annotations = [(TRUST_CA, ca), (TRUST_HOST, host)].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
            let (read, words) = AcceptedIdentity::from_annotations(&annotations);
            assert_eq!((read, words), (accepted(expected), malformed.iter().map(|&w| w.to_owned()).collect()), "{ca}");
        }
    }

    #[test]
    fn a_host_in_upper_case_is_the_same_host() {
        let announced = identity("packages.example.com:8443 a");
        let upper = AcceptedIdentity::new([], Some(" Packages.EXAMPLE.com:8443"));
        assert_eq!(AcceptedIdentity::new([], Some(" ")), AcceptedIdentity::default());
        // In the settings, before the first contact; and in the annotation, for another host than the pinned one.
        assert_eq!(effective_pin(None, &upper, &accepted("-"), &announced), Some(announced.clone()));
        let pinned = identity("other a");
        assert_eq!(effective_pin(Some(&pinned), &accepted("-"), &upper, &announced), Some(announced));
    }

    #[test]
    fn the_stored_pin_is_read_back_or_refused() {
        assert_eq!(from_data(&Data::new()), Ok(None));
        let pin = identity("h a");
        assert_eq!(from_data(&to_data(&pin)), Ok(Some(pin)));
        for (key, text) in [("other", "{}"), (DATA_KEY, ""), (DATA_KEY, r#"{"x":1}"#), (DATA_KEY, r#"{"keys":["x"]}"#)]
        {
            let error = from_data(&[(key.to_owned(), text.to_owned())].into()).unwrap_err();
            assert!(error.contains(DATA_KEY), "{error}");
        }
    }

    #[test]
    fn the_command_names_what_it_accepts() {
        let a = Digest::of(b"a");
        let command = accept_command("ns", &keys("a"), Some("h")).unwrap();
        let start = "kubectl -n ns annotate --overwrite configmap d8-proxy-pin";
        assert_eq!(command, format!("{start} {TRUST_CA}={a} {TRUST_HOST}=h"));
        assert_eq!(accept_command("ns", &keys(""), Some("h")).unwrap(), format!("{start} {TRUST_HOST}=h"));
        assert_eq!(accept_command("ns", &keys(""), None), None);
    }
}
