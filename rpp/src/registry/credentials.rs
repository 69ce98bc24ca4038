//! Credentials in the format of docker's `config.json`: `auths` by registry, each with `auth` (base64 of
//! `user:password`), with `username` and `password`, or with a `registrytoken`.

use std::{collections::BTreeMap, fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use d8_crds::values::limits::CREDENTIALS_BYTES;
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;

#[derive(Deserialize)]
struct ConfigFile {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// Returns the credentials for a host and a path: those of the entry with the longest matching path, anonymous
/// if no entry matches. Errors never quote the file.
pub(super) fn read(path: &Path, host: &str, prefix: &str) -> Result<RegistryAuth, String> {
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if metadata.len() > CREDENTIALS_BYTES {
        return Err(format!("it is larger than {CREDENTIALS_BYTES} bytes"));
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    choose(&bytes, host, prefix)
}

fn choose(bytes: &[u8], host: &str, prefix: &str) -> Result<RegistryAuth, String> {
    let file: ConfigFile = serde_json::from_slice(bytes)
        .map_err(|error| format!("line {}, column {}: it is not a docker config", error.line(), error.column()))?;
    let wanted = format!("{host}/{prefix}");
    let entry = file.auths.iter().filter_map(|(key, entry)| Some((matches(key, &wanted)?, entry)));
    match entry.max_by_key(|(length, _)| *length) {
        None => Ok(RegistryAuth::Anonymous),
        Some((_, entry)) => of_entry(entry),
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

fn of_entry(entry: &Entry) -> Result<RegistryAuth, String> {
    if !entry.registrytoken.is_empty() {
        return Ok(RegistryAuth::Bearer(entry.registrytoken.clone()));
    }
    if !entry.username.is_empty() {
        return Ok(RegistryAuth::Basic(entry.username.clone(), entry.password.clone()));
    }
    // A refresh token for an authorization server must not be sent to a registry.
    if !entry.identitytoken.is_empty() {
        return Err("`identitytoken` is not supported; give `auth`, or `username` and `password`".to_owned());
    }
    if entry.auth.is_empty() {
        return Ok(RegistryAuth::Anonymous);
    }
    let bad = || "`auth` of an entry is not base64 of `user:password`".to_owned();
    let text = STANDARD.decode(entry.auth.trim()).map_err(|_| bad())?;
    let text = String::from_utf8(text).map_err(|_| bad())?;
    let (user, password) = text.split_once(':').ok_or_else(bad)?;
    Ok(RegistryAuth::Basic(user.to_owned(), password.to_owned()))
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
        let basic = |user: &str, password: &str| Ok(RegistryAuth::Basic(user.to_owned(), password.to_owned()));
        for (host, prefix, expected) in [
            ("registry.example.com", "", basic("host", "a:b")),
            ("registry.example.com", "d8", basic("host", "a:b")),
            ("registry.example.com", "d8/ee", basic("path", "p")),
            ("registry.example.com", "d8/ee/x", basic("path", "p")),
            ("registry.example.com", "d8/eel", basic("host", "a:b")),
            ("registry.example.com:5000", "", Ok(RegistryAuth::Anonymous)),
            ("other.example.com", "x", basic("docker", "p")),
            ("token.example.com", "", Ok(RegistryAuth::Bearer("t".to_owned()))),
            ("refresh.example.com", "", Err(())),
            ("empty.example.com", "", Ok(RegistryAuth::Anonymous)),
            ("nobody.example.com", "", Ok(RegistryAuth::Anonymous)),
            ("bad.example.com", "", Err(())),
        ] {
            let found = choose(file.as_bytes(), host, prefix).map_err(|_| ());
            assert_eq!(found, expected, "{host}/{prefix}");
        }
        let error = choose(br#"{"auths": {"h": {"auth": s3cret}}}"#, "h", "").unwrap_err();
        assert!(!error.contains("s3cret"), "{error}");
    }
}
