//! The text of a kubeconfig: what kubectl reads from one file, and how several files become one.
//!
//! As in client-go, unknown fields are ignored, `null` and empty values count as not set, later documents of a file
//! are ignored, and the first file that names an entry wins.

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
};

use d8_crds::values::{encoding, limits, text::printable};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;
use serde_saphyr::{DuplicateKeyPolicy, UserMessageFormatter};

/// A kubeconfig. It holds secrets, so it cannot be printed.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Kubeconfig {
    kind: String,
    #[serde(rename = "apiVersion")]
    api_version: String,
    #[serde(rename = "current-context")]
    pub(super) current_context: String,
    pub(super) clusters: Vec<NamedCluster>,
    pub(super) users: Vec<NamedUser>,
    pub(super) contexts: Vec<NamedContext>,
    /// The files that were read.
    #[serde(skip)]
    pub(super) files: Vec<PathBuf>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct NamedCluster {
    pub(super) name: String,
    pub(super) cluster: Cluster,
    /// The file that has the entry.
    #[serde(skip)]
    pub(super) file: PathBuf,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct NamedUser {
    pub(super) name: String,
    pub(super) user: User,
    /// The file that has the entry.
    #[serde(skip)]
    pub(super) file: PathBuf,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct NamedContext {
    pub(super) name: String,
    pub(super) context: Context,
    /// The file that has the entry.
    #[serde(skip)]
    pub(super) file: PathBuf,
}

/// How to reach a cluster.
#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Cluster {
    pub(super) server: String,
    pub(super) tls_server_name: String,
    #[serde(deserialize_with = "yes_or_no")]
    pub(super) insecure_skip_tls_verify: bool,
    pub(super) certificate_authority: String,
    pub(super) certificate_authority_data: String,
    pub(super) proxy_url: String,
    pub(super) extensions: Vec<Extension>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Extension {
    pub(super) name: String,
    pub(super) extension: Value,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Context {
    pub(super) cluster: String,
    pub(super) user: String,
    pub(super) namespace: String,
}

/// The credentials of a user.
#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct User {
    pub(super) client_certificate: String,
    pub(super) client_certificate_data: String,
    pub(super) client_key: String,
    pub(super) client_key_data: String,
    pub(super) token: String,
    #[serde(rename = "tokenFile")]
    pub(super) token_file: String,
    pub(super) username: String,
    pub(super) password: String,
    #[serde(rename = "as")]
    pub(super) impersonate: String,
    pub(super) as_uid: String,
    pub(super) as_groups: Vec<String>,
    pub(super) as_user_extra: BTreeMap<String, Vec<String>>,
    pub(super) auth_provider: Option<AuthProvider>,
    pub(super) exec: Option<Exec>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct AuthProvider {
    pub(super) name: String,
    pub(super) config: BTreeMap<String, String>,
}

/// A credential plugin: `exec` of a user.
#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Exec {
    pub(super) command: String,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<ExecVariable>,
    pub(super) api_version: String,
    pub(super) install_hint: String,
    #[serde(deserialize_with = "yes_or_no")]
    pub(super) provide_cluster_info: bool,
    pub(super) interactive_mode: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ExecVariable {
    pub(super) name: String,
    pub(super) value: String,
}

impl Kubeconfig {
    /// Reads the content of a file. Paths in it are relative to `directory`.
    ///
    /// # Errors
    /// What is wrong, and in which field. Never a value: it may be a secret.
    pub(super) fn read(bytes: &[u8], directory: &Path) -> Result<Self, String> {
        let text = encoding::decode(bytes).map_err(|error| error.to_string())?;
        let value = without_nulls(parse(&text)?);
        MAPPINGS.iter().try_for_each(|place| require_mapping(&value, place, ""))?;
        let mut document: Self = fields(value)?;
        document.check()?;
        document.resolve_paths(directory)?;
        Ok(document)
    }

    fn check(&self) -> Result<(), String> {
        for (field, value, only) in [("kind", &self.kind, "Config"), ("apiVersion", &self.api_version, "v1")] {
            if !value.is_empty() && value != only {
                return Err(format!("{field} is {:?}, expected {only:?}", printable(value)));
            }
        }
        unique("clusters", self.clusters.iter().map(|entry| &entry.name))?;
        unique("users", self.users.iter().map(|entry| &entry.name))?;
        unique("contexts", self.contexts.iter().map(|entry| &entry.name))
    }

    /// Makes the paths of files absolute. A command without a slash is looked up in `PATH` instead.
    fn resolve_paths(&mut self, directory: &Path) -> Result<(), String> {
        let clusters = self.clusters.iter_mut().map(|entry| &mut entry.cluster.certificate_authority);
        let users = self.users.iter_mut().flat_map(|NamedUser { user, .. }| {
            let command = user.exec.as_mut().map(|exec| &mut exec.command).filter(|command| command.contains('/'));
            [&mut user.client_certificate, &mut user.client_key, &mut user.token_file].into_iter().chain(command)
        });
        for path in clusters.chain(users).filter(|path| !path.is_empty()) {
            let absolute = directory.join(&*path);
            absolute.to_str().ok_or("it is in a directory whose name is not UTF-8")?.clone_into(path);
        }
        Ok(())
    }

    /// Records the file that the document is from.
    pub(super) fn of_file(mut self, path: &Path) -> Self {
        self.clusters.iter_mut().for_each(|entry| path.clone_into(&mut entry.file));
        self.users.iter_mut().for_each(|entry| path.clone_into(&mut entry.file));
        self.contexts.iter_mut().for_each(|entry| path.clone_into(&mut entry.file));
        self.files = vec![path.to_owned()];
        self
    }

    /// Adds the entries of the next file whose names this one does not have.
    pub(super) fn merge(&mut self, next: Self) {
        if self.current_context.is_empty() {
            self.current_context = next.current_context;
        }
        self.files.extend(next.files);
        let known: HashSet<_> = self.clusters.iter().map(|entry| entry.name.clone()).collect();
        self.clusters.extend(next.clusters.into_iter().filter(|entry| !known.contains(&entry.name)));
        let known: HashSet<_> = self.users.iter().map(|entry| entry.name.clone()).collect();
        self.users.extend(next.users.into_iter().filter(|entry| !known.contains(&entry.name)));
        let known: HashSet<_> = self.contexts.iter().map(|entry| entry.name.clone()).collect();
        self.contexts.extend(next.contexts.into_iter().filter(|entry| !known.contains(&entry.name)));
    }
}

/// Parses the first document of a YAML or JSON text. An empty text is an empty kubeconfig.
fn parse(text: &str) -> Result<Value, String> {
    // JSON may be indented with tabs, which YAML does not allow.
    if text.trim_start().starts_with('{')
        && let Ok(value) = serde_json::from_str(text)
    {
        return Ok(value);
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: limits::YAML_DEPTH, max_nodes: limits::YAML_NODES },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: limits::YAML_REPLAYED_EVENTS },
        with_snippet: false,
        duplicate_keys: DuplicateKeyPolicy::LastWins,
    };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|error| printable(&error.render_with_formatter(&UserMessageFormatter)).into_owned())?;
    Ok(documents
        .into_iter()
        .next()
        .filter(|value| !value.is_null())
        .unwrap_or_else(|| Value::Object(serde_json::Map::new())))
}

/// Removes the fields that are `null`.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// Where a kubeconfig has mappings; `*` is each item of a list. serde would read their fields from a list, too.
const MAPPINGS: [&str; 11] = [
    "",
    "clusters.*",
    "clusters.*.cluster",
    "clusters.*.cluster.extensions.*",
    "users.*",
    "users.*.user",
    "users.*.user.auth-provider",
    "users.*.user.exec",
    "users.*.user.exec.env.*",
    "contexts.*",
    "contexts.*.context",
];

/// Checks that the values at a place are mappings. `field` is the place of `value` itself, for the error.
fn require_mapping(value: &Value, place: &str, field: &str) -> Result<(), String> {
    let (step, rest) = place.split_once('.').unwrap_or((place, ""));
    match (step, value) {
        ("", Value::Object(_)) => Ok(()),
        ("", _) if field.is_empty() => Err("it is not a mapping".to_owned()),
        ("", _) => Err(format!("field {field}: expected a mapping")),
        ("*", Value::Array(items)) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| require_mapping(item, rest, &format!("{field}[{index}]"))),
        (name, Value::Object(fields)) => {
            let path = if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") };
            fields.get(name).map_or(Ok(()), |value| require_mapping(value, rest, &path))
        }
        // Another type, which another place or the type of the field refuses.
        _ => Ok(()),
    }
}

/// Reads the fields. The error names the field and the types, not the value.
fn fields<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let message = error.inner().to_string();
        // `invalid type: integer `123`, expected a string`: the value may be a secret.
        let expected = match message.rsplit_once("expected ").map_or("another type", |(_, expected)| expected) {
            "a map" => "a mapping",
            "a sequence" => "a list",
            expected => expected,
        };
        format!("field {}: expected {}", printable(&error.path().to_string()), printable(expected))
    })
}

fn unique<'a>(field: &str, names: impl Iterator<Item = &'a String>) -> Result<(), String> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(format!("{field}: two entries have the name {:?}", printable(name)));
        }
    }
    Ok(())
}

/// Reads a boolean of YAML 1.1, in which `yes` and `on` are booleans, too.
fn yes_or_no<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Bool(value) => Ok(value),
        Value::String(word) if matches!(word.to_ascii_lowercase().as_str(), "yes" | "on" | "y" | "true") => Ok(true),
        Value::String(word) if matches!(word.to_ascii_lowercase().as_str(), "no" | "off" | "n" | "false") => Ok(false),
        _ => Err(serde::de::Error::custom("expected a boolean")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Kubeconfig, String> {
        Kubeconfig::read(text.as_bytes(), Path::new("/directory"))
    }

    #[test]
    fn what_is_accepted() {
        for (what, text) in [
            ("empty", ""),
            ("a comment", "# nothing\n"),
            ("a document mark", "---\n"),
            ("null lists", "clusters: null\nusers:\ncontexts: ~\ncurrent-context: null\n"),
            ("null fields", "users: [{name: u, user: {token: null, exec: null, as-groups: null}}]\n"),
            ("unknown fields", "preferences: {colors: true}\nx: [1]\nusers: [{name: u, user: {future: 1}, y: 2}]\n"),
            ("JSON with tabs", "{\n\t\"users\": [\n\t\t{\"name\": \"u\", \"user\": {}}\n\t]\n}\n"),
            ("CRLF", "kind: Config\r\nusers:\r\n- name: u\r\n  user: {token: t}\r\n"),
            ("a later document", "kind: Config\n---\nkind: Other\n"),
            ("booleans of YAML 1.1", "clusters: [{name: c, cluster: {insecure-skip-tls-verify: yes}}]\n"),
            ("a key twice", "current-context: a\ncurrent-context: b\n"),
            ("anchors", "users: [{name: a, user: &u {token: t}}, {name: b, user: *u}]\n"),
        ] {
            assert!(read(text).is_ok(), "{what}: {:?}", read(text).err());
        }
    }

    #[test]
    fn what_is_refused_by_its_field() {
        for (text, message) in [
            ("users: [{name: u, user: {token: 12345}}]", "field users[0].user.token: expected a string"),
            ("clusters: {}", "field clusters: expected a list"),
            ("clusters: [", "line"),
            ("users: [{name: u}, {name: u}]", "users: two entries have the name \"u\""),
            ("kind: Deployment", "kind is \"Deployment\", expected \"Config\""),
            ("apiVersion: v2", "apiVersion is \"v2\", expected \"v1\""),
            ("just words", "it is not a mapping"),
            ("- a list", "it is not a mapping"),
            ("12345", "it is not a mapping"),
            ("users: [words]", "field users[0]: expected a mapping"),
            ("users: [{name: u, user: words}]", "field users[0].user: expected a mapping"),
            ("users: [{name: u, user: {exec: [a]}}]", "field users[0].user.exec: expected a mapping"),
            ("users: [{name: u, user: {auth-provider: {config: words}}}]", "auth-provider.config: expected a mapping"),
            ("clusters: [{name: c, cluster: ['https://api']}]", "field clusters[0].cluster: expected a mapping"),
            ("clusters: [{name: c, cluster: {insecure-skip-tls-verify: 7}}]", "expected a boolean"),
        ] {
            let error = read(text).err().unwrap_or_default();
            assert!(
                error.contains(message) && !error.contains("12345") && !error.contains("struct"),
                "{text}: {error}"
            );
        }
        let latin = Kubeconfig::read(b"users:\n- name: caf\xe9\n", Path::new("/")).err().unwrap_or_default();
        assert!(latin.contains("byte 0xe9 in line 2"), "{latin}");
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let text = "clusters: [{name: c, cluster: {certificate-authority: ca.crt}}]\n\
            users: [{name: u, user: {client-certificate: /abs, client-key: '', tokenFile: ../t, exec: {command: ./x}}},\n\
            {name: v, user: {exec: {command: x}}}]\n";
        let document = read(text).unwrap();
        assert_eq!(document.clusters[0].cluster.certificate_authority, "/directory/ca.crt");
        let user = &document.users[0].user;
        assert_eq!((&*user.client_certificate, &*user.client_key), ("/abs", ""));
        assert_eq!(user.token_file, "/directory/../t");
        assert_eq!(user.exec.as_ref().unwrap().command, "/directory/./x");
        assert_eq!(document.users[1].user.exec.as_ref().unwrap().command, "x");
    }

    #[test]
    fn the_first_file_wins() {
        let mut first = read("current-context: ''\nusers: [{name: u, user: {token: first}}]").unwrap();
        first.merge(read("current-context: c\nusers: [{name: u, user: {username: x}}, {name: v}]").unwrap());
        first.merge(read("current-context: d").unwrap());
        assert_eq!(first.current_context, "c");
        assert_eq!(first.users.len(), 2);
        assert_eq!((&*first.users[0].user.token, &*first.users[0].user.username), ("first", ""));
    }
}
