//! Credentials in the format of docker's `config.json`: `auths` by registry, each with `auth` (base64 of
//! `user:password`), with `username` and `password`, or with a `registrytoken`. Programs that store credentials
//! (credential helpers) are not started: a file that needs one is an error, and never read as "no credentials".

use std::{collections::BTreeMap, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use d8_crds::values::limits::CREDENTIALS_BYTES;
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;

use super::token::is_token;
use crate::{
    file::read_regular,
    text::{MAX_MESSAGE, one_line},
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigFile {
    auths: Option<BTreeMap<String, AuthConfig>>,
    /// The credential helper of all registries.
    #[serde(default)]
    creds_store: String,
    /// Credential helpers by registry.
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    /// Every other key. The former format, `.dockercfg`, has the registries at the top.
    #[serde(flatten)]
    others: serde_json::Map<String, serde_json::Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AuthConfig {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// Returns the credentials for a host and a path: those of the entry with the longest matching path, `None` if no
/// entry matches. Errors never quote the file.
pub(super) fn read(path: &Path, host: &str, prefix: &str) -> Result<Option<RegistryAuth>, String> {
    let bytes = read_regular(path, CREDENTIALS_BYTES).map_err(|error| error.to_string())?;
    choose(&bytes, host, prefix)
}

fn choose(bytes: &[u8], host: &str, prefix: &str) -> Result<Option<RegistryAuth>, String> {
    let file: ConfigFile = serde_json::from_slice(bytes).map_err(|error| {
        format!("line {}, column {}: it is not a configuration of docker in JSON", error.line(), error.column())
    })?;
    let wanted = format!("{host}/{prefix}");
    let entries = file.auths.iter().flatten().filter_map(|(key, entry)| Some((matches(key, &wanted)?, key, entry)));
    let found = match entries.max_by_key(|(length, ..)| *length) {
        Some((_, key, entry)) => {
            of_entry(entry).map_err(|why| format!("entry `{}`: {why}", one_line(key.as_bytes(), MAX_MESSAGE)))?
        }
        None => None,
    };
    if found.is_some() {
        return Ok(found);
    }
    if let Some(helper) = file.helper(&wanted) {
        return Err(format!(
            "{helper} names a credential helper, which is not supported; write the credentials into `auths`: \
             {{\"auths\": {{\"{host}\": {{\"username\": \"…\", \"password\": \"…\"}}}}}}"
        ));
    }
    if file.auths.is_none() && !file.others.is_empty() {
        return Err("it has no `auths`; a file in the former format (`.dockercfg`) belongs into `auths`".to_owned());
    }
    Ok(None)
}

impl ConfigFile {
    /// Returns the setting that names a credential helper for a registry.
    fn helper(&self, wanted: &str) -> Option<String> {
        let own = self.cred_helpers.iter().find(|(key, helper)| !helper.is_empty() && matches(key, wanted).is_some());
        own.map(|_| "`credHelpers`".to_owned())
            .or_else(|| (!self.creds_store.is_empty()).then(|| "`credsStore`".to_owned()))
    }
}

/// Returns the length of an entry's key if the key matches: `host`, `host/path`, or `https://host/v1/` as docker
/// writes it.
fn matches(key: &str, wanted: &str) -> Option<usize> {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    let rest = wanted.strip_prefix(key)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(key.len())
}

/// Returns the credentials of an entry, `None` for one without: docker writes such entries beside a credential helper.
fn of_entry(entry: &AuthConfig) -> Result<Option<RegistryAuth>, String> {
    if !entry.registrytoken.is_empty() {
        if !is_token(&entry.registrytoken) {
            return Err(
                "`registrytoken` has a line end, a blank or another character that no token may have".to_owned()
            );
        }
        return Ok(Some(RegistryAuth::Bearer(entry.registrytoken.clone())));
    }
    if !entry.username.is_empty() {
        return basic(&entry.username, &entry.password, ["`username`", "`password`"]);
    }
    // A refresh token for an authorization server must not be sent to a registry.
    if !entry.identitytoken.is_empty() {
        return Err("`identitytoken` is not supported; give `auth`, or `username` and `password`".to_owned());
    }
    if entry.auth.is_empty() {
        return Ok(None);
    }
    let bad = || "`auth` is not base64 of `user:password`".to_owned();
    let text = STANDARD.decode(entry.auth.trim()).map_err(|_| bad())?;
    let text = String::from_utf8(text).map_err(|_| bad())?;
    let (user, password) = text.split_once(':').ok_or_else(bad)?;
    basic(user, password, ["the user in `auth`", "the password in `auth`"])
}

/// Returns credentials with a user and a password. `names` are what errors call both.
fn basic(user: &str, password: &str, names: [&str; 2]) -> Result<Option<RegistryAuth>, String> {
    for (name, value) in names.into_iter().zip([user, password]) {
        if value.chars().any(char::is_control) {
            return Err(format!("{name} has a line end or another control character"));
        }
    }
    Ok(Some(RegistryAuth::Basic(user.to_owned(), password.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_by_host_and_path() {
        let auth = |text: &str| STANDARD.encode(text);
        let file = serde_json::json!({"auths": {
            "registry.example.com": {"auth": auth("host:a:b")},
            "registry.example.com/d8/ee": {"username": "path", "password": "p"},
            "https://other.example.com/v1/": {"auth": auth("docker:p")},
            "token.example.com": {"registrytoken": "t"},
            "refresh.example.com": {"identitytoken": "t"},
            "empty.example.com": {},
            "bad.example.com": {"auth": "%%%"},
        }, "credHelpers": {}})
        .to_string();
        let basic = |user: &str, password: &str| Ok(Some(RegistryAuth::Basic(user.to_owned(), password.to_owned())));
        for (host, prefix, expected) in [
            ("registry.example.com", "", basic("host", "a:b")),
            ("registry.example.com", "d8", basic("host", "a:b")),
            ("registry.example.com", "d8/ee", basic("path", "p")),
            ("registry.example.com", "d8/ee/x", basic("path", "p")),
            ("registry.example.com", "d8/eel", basic("host", "a:b")),
            ("registry.example.com:5000", "", Ok(None)),
            ("other.example.com", "x", basic("docker", "p")),
            ("token.example.com", "", Ok(Some(RegistryAuth::Bearer("t".to_owned())))),
            ("refresh.example.com", "", Err(())),
            ("empty.example.com", "", Ok(None)),
            ("nobody.example.com", "", Ok(None)),
            ("bad.example.com", "", Err(())),
        ] {
            let found = choose(file.as_bytes(), host, prefix).map_err(|_| ());
            assert_eq!(found, expected, "{host}/{prefix}");
        }
        let error = choose(br#"{"auths": {"h": {"auth": s3cret}}}"#, "h", "").unwrap_err();
        assert!(!error.contains("s3cret"), "{error}");
    }

    #[test]
    fn characters_that_no_header_may_have_are_an_error() {
        for (entry, part) in [
            (serde_json::json!({"registrytoken": "s3cret\r\nX: y"}), "`registrytoken` has"),
            (serde_json::json!({"registrytoken": "s3cret\n"}), "`registrytoken` has"),
            (serde_json::json!({"registrytoken": "s3cret \u{2603}"}), "`registrytoken` has"),
            (serde_json::json!({"username": "u\r\ns3cret", "password": "p"}), "`username` has"),
            (serde_json::json!({"username": "u", "password": "s3cret\n"}), "`password` has"),
            (serde_json::json!({"auth": STANDARD.encode("u\0s3cret:p")}), "the user in `auth` has"),
            (serde_json::json!({"auth": STANDARD.encode("u:s3cret\n")}), "the password in `auth` has"),
        ] {
            let file = serde_json::json!({"auths": {"https://h/v1/": &entry}}).to_string();
            let error = choose(file.as_bytes(), "h", "").unwrap_err();
            assert!(error.starts_with(&format!("entry `https://h/v1/`: {part}")), "{entry}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
            assert_eq!(choose(file.as_bytes(), "other", ""), Ok(None), "other entries are not used");
        }
    }

    #[test]
    fn credentials_that_only_a_helper_has_are_an_error() {
        let (ok, anonymous, error) = (Ok(true), Ok(false), Err);
        for (file, expected) in [
            (r#"{"credsStore": "desktop"}"#, error("`credsStore` names a credential helper")),
            (r#"{"auths": {"h": {}}, "credsStore": "desktop"}"#, error("`credsStore` names a credential helper")),
            (r#"{"auths": {"h": {"auth": "YTpi"}}, "credsStore": "desktop"}"#, ok),
            (r#"{"credHelpers": {"h": "ecr-login"}}"#, error("`credHelpers` names a credential helper")),
            (r#"{"credHelpers": {"https://h": "ecr-login"}}"#, error("`credHelpers` names a credential helper")),
            (r#"{"credHelpers": {"other": "ecr-login"}}"#, anonymous),
            (r#"{"credHelpers": {}, "credsStore": ""}"#, anonymous),
            (r#"{"h": {"auth": "YTpi"}}"#, error("it has no `auths`")),
            (r#"{"auths": {}}"#, anonymous),
            (r#"{"auths": null}"#, anonymous),
            ("{}", anonymous),
            ("[]", error("it is not a configuration of docker")),
            ("auths:\n  h: {}", error("line 1, column 1: it is not a configuration of docker in JSON")),
        ] {
            let found = choose(file.as_bytes(), "h", "x").map(|auth| auth.is_some());
            match expected {
                Err(part) => assert!(found.as_ref().is_err_and(|why| why.contains(part)), "{file}: {found:?}"),
                expected => assert_eq!(found.map_err(|_| ""), expected, "{file}"),
            }
        }
    }
}
