//! The configuration of a host, `/etc/d8/agent.toml`: how the agent runs, and the rules of the owner of the machine
//! (`docs/policies.md`, rule 20), which bind every d8 on it.
//!
//! An unknown key is an error: a misspelt rule would forbid nothing.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use d8_crds::{
    decisions::verdict::{LocalRules, LocalRulesError},
    values::limits,
};
use serde::Deserialize;

use crate::{disk, error::StoreError, install_root::trust};

/// Where the configuration of a machine is.
pub const FILE: &str = "/etc/d8/agent.toml";

/// Parallel downloads if the configuration does not say.
const DOWNLOADS: u8 = 4;
/// The most parallel downloads that a configuration may ask for.
const MAX_DOWNLOADS: u8 = 16;

/// The configuration of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    /// How the agent writes its log.
    pub log_format: LogFormat,
    /// File that the agent writes its metrics to, for the textfile collector of `node_exporter`.
    pub metrics_file: Option<PathBuf>,
    /// Downloads that the agent runs at the same time.
    pub parallel_downloads: usize,
    /// What the owner of the machine forbids; `None`: nothing.
    pub rules: Option<LocalRules>,
}

/// How the agent writes its log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The keys of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct Document {
    log_format: LogFormat,
    metrics_file: Option<PathBuf>,
    parallel_downloads: Option<u8>,
    minimum_versions: BTreeMap<String, String>,
    refuse: Vec<String>,
}

/// Why the configuration cannot be used. None of it is then in effect.
#[derive(Debug, thiserror::Error)]
pub enum AgentConfigError {
    /// Others than root can change it, so that it proves nothing.
    #[error(transparent)]
    Untrusted(#[from] StoreError),
    /// It cannot be read.
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    /// It is no text.
    #[error("it is not UTF-8")]
    Encoding,
    /// It is larger than a configuration is, or no regular file.
    #[error("it is no regular file of at most {} KiB", limits::HOST_CONFIG_BYTES / 1024)]
    TooLarge,
    /// It is no TOML, or has a wrong key or value.
    #[error("line {line}: {message}")]
    Syntax {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong, on one line.
        message: String,
    },
    /// A rule is malformed.
    #[error(transparent)]
    Rule(#[from] LocalRulesError),
    /// A value is out of its bounds.
    #[error("{key}: {why}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong.
        why: String,
    },
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self { log_format: LogFormat::Text, metrics_file: None, parallel_downloads: DOWNLOADS.into(), rules: None }
    }
}

impl AgentConfig {
    /// Reads a file. A file that does not exist sets nothing.
    ///
    /// # Errors
    /// [`AgentConfigError`]. A caller must not go on as if the owner of the machine forbade nothing.
    pub fn read(path: &Path) -> Result<Self, AgentConfigError> {
        if disk::lstat(path)?.is_none() {
            return Ok(Self::default());
        }
        trust::whole_path(path)?;
        // A link is a common way to deploy a configuration; its target was checked.
        let real = path.canonicalize()?;
        let bytes = disk::read_small_regular(&real, limits::HOST_CONFIG_BYTES)?.ok_or(AgentConfigError::TooLarge)?;
        Self::parse(std::str::from_utf8(&bytes).map_err(|_| AgentConfigError::Encoding)?)
    }

    /// Parses the text of a file.
    ///
    /// # Errors
    /// [`AgentConfigError`]
    pub fn parse(text: &str) -> Result<Self, AgentConfigError> {
        let document: Document = toml::from_str(text).map_err(|error| syntax(text, &error))?;
        let Document { log_format, metrics_file, parallel_downloads, minimum_versions, refuse } = document;
        if metrics_file.as_ref().is_some_and(|file| !file.is_absolute()) {
            let why = "it is not an absolute path".to_owned();
            return Err(AgentConfigError::Value { key: "metricsFile", why });
        }
        let downloads = parallel_downloads.unwrap_or(DOWNLOADS);
        if !(1..=MAX_DOWNLOADS).contains(&downloads) {
            let why = format!("{downloads} is not in 1..{MAX_DOWNLOADS}");
            return Err(AgentConfigError::Value { key: "parallelDownloads", why });
        }
        let minimum = minimum_versions.iter().map(|(name, version)| (name.as_str(), version.as_str()));
        let rules = LocalRules::read(minimum, refuse.iter().map(String::as_str))?;
        let rules = Some(rules).filter(|rules| *rules != LocalRules::default());
        Ok(Self { log_format, metrics_file, parallel_downloads: downloads.into(), rules })
    }
}

/// Returns where and why a text is no configuration, without the excerpt that the parser draws.
fn syntax(text: &str, error: &toml::de::Error) -> AgentConfigError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
    AgentConfigError::Syntax { line: before.matches('\n').count() + 1, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read() {
        let text = r#"
            logFormat = "json"
            metricsFile = "/var/lib/node_exporter/d8.prom"
            parallelDownloads = 2
            refuse = ["evil-*", "tool@v1.3.0"]
            [minimumVersions]
            d8 = "v0.14.0"
            stronghold = "1.2.0"
        "#;
        let config = AgentConfig::parse(text).unwrap();
        let rules = LocalRules::read([("d8", "v0.14.0"), ("stronghold", "1.2.0")], ["evil-*", "tool@v1.3.0"]).unwrap();
        assert_eq!(
            config,
            AgentConfig {
                log_format: LogFormat::Json,
                metrics_file: Some("/var/lib/node_exporter/d8.prom".into()),
                parallel_downloads: 2,
                rules: Some(rules),
            }
        );
        assert_eq!(AgentConfig::parse("").unwrap(), AgentConfig::default());
        assert_eq!(AgentConfig::read(Path::new("/nonexistent/agent.toml")).unwrap(), AgentConfig::default());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, expected) in [
            ("refused = []", "line 1: unknown field `refused`, expected one of"),
            ("\n\nlogFormat = \"xml\"", "line 3: unknown variant `xml`, expected `text` or `json`"),
            ("refuse = \"tool\"", "line 1: invalid type: string \"tool\", expected a sequence"),
            ("a = [", "line 1: "),
            ("parallelDownloads = 0", "parallelDownloads: 0 is not in 1..16"),
            ("parallelDownloads = 17", "parallelDownloads: 17 is not in 1..16"),
            ("parallelDownloads = 300", "line 1: invalid value: integer `300`, expected u8"),
            ("metricsFile = \"d8.prom\"", "metricsFile: it is not an absolute path"),
            ("[minimumVersions]\ntool = \"new\"", "minimumVersions: tool: "),
            ("[minimumVersions]\ntool = 1", "line 2: invalid type: integer `1`, expected a string"),
            ("refuse = [\"d8\"]", "refuse: d8 cannot be refused as a whole"),
            ("refuse = [\"A*\"]", "refuse: `A*` is not a pattern"),
        ] {
            let error = AgentConfig::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected) && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_that_is_no_configuration_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(matches!(AgentConfig::read(&path), Err(AgentConfigError::Encoding)));
        std::fs::write(&path, vec![b'#'; 200_000]).unwrap();
        assert!(matches!(AgentConfig::read(&path), Err(AgentConfigError::TooLarge)));
        std::fs::write(&path, "refuse = [\"tool\"]").unwrap();
        let link = dir.path().join("link.toml");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(AgentConfig::read(&link).unwrap().rules.is_some());
    }
}
