//! Value parsers and arguments that several commands share.

use std::{str::FromStr, time::Duration};

use clap::Args;
use d8_agent::cluster::{MAX_TOKEN_LIFE, MIN_TOKEN_LIFE};
use d8_crds::values::{
    name::{Component, NameError, PluginName},
    version::Version,
};

use crate::terminal::output::OutputFormat;

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct OutputArgs {
    /// Output format
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) format: OutputFormat,
}

impl OutputArgs {
    /// Returns whether the output is text for people, and not a document or a list of names.
    pub(super) fn prints_text(&self) -> bool {
        self.format == OutputFormat::Table
    }
}

/// Parses a duration such as `90s` or `1h30m`; `0` needs no unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    d8_crds::values::duration::parse(text).map_err(|error| error.to_string())
}

/// Parses how long a token is to be valid, within the bounds of the API server and of the chart.
pub(super) fn token_life(text: &str) -> Result<Duration, String> {
    let life = duration(text)?;
    if (MIN_TOKEN_LIFE..=MAX_TOKEN_LIFE).contains(&life) {
        Ok(life)
    } else {
        Err("a token of a host is valid for 10m to 168h".to_owned())
    }
}

/// Parses a label, `key=value`. The API server checks both.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label is KEY=VALUE, for example role=bastion".to_owned()),
    }
}

/// Parses the name of a plugin, component or host.
pub(super) fn name<T: FromStr<Err = NameError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: NameError| error.to_string())
}

/// Parses the name of a plugin to install. A version belongs into its flag.
pub(super) fn plugin_to_install(text: &str) -> Result<PluginName, String> {
    plugin_name(text, &|name, version| format!("d8 plugins install {name} --version {version}"))
}

/// Parses the name of a plugin, or of d8 itself, to explain. A version is the next argument.
pub(super) fn component_to_explain(text: &str) -> Result<Component, String> {
    if text == Component::D8_NAME {
        return Ok(Component::D8);
    }
    plugin_name(text, &|name, version| format!("d8 plugins why {name} {version}")).map(Component::Plugin)
}

/// Parses the name of a plugin. For `NAME@VERSION`, the error has the command that `command` returns.
fn plugin_name(text: &str, command: &dyn Fn(&str, &str) -> String) -> Result<PluginName, String> {
    match name_and_version(text) {
        Some((name, version)) => Err(format!("the version is an argument of its own: `{}`", command(name, version))),
        None => name(text),
    }
}

/// Splits `NAME@VERSION`, as other package managers write it.
pub(crate) fn name_and_version(text: &str) -> Option<(&str, &str)> {
    let (name, version) = text.split_once('@')?;
    (name.parse::<PluginName>().is_ok() && Version::parse(version).is_ok()).then_some((name, version))
}

/// Returns a word as a person types it in a shell: in quotes, if it has characters that a shell reads.
pub(super) fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_in_a_name_is_an_argument_of_its_own() {
        for (text, expected) in [
            ("hello@v1.2.0", Some("d8 plugins install hello --version v1.2.0")),
            ("hello@1.2", Some("d8 plugins install hello --version 1.2")),
            ("hello@$(id)", None),
            ("../x@v1.2.0", None),
            ("hello@", None),
        ] {
            let error = plugin_to_install(text).unwrap_err();
            assert_eq!(error.split('`').nth(1).filter(|command| command.starts_with("d8 ")), expected, "{error}");
        }
        assert!(component_to_explain("hello@v1.2.0").unwrap_err().contains("`d8 plugins why hello v1.2.0`"));
        assert!(plugin_to_install("hello").is_ok());
    }

    #[test]
    fn words_in_a_shell() {
        for (word, typed) in [
            ("v1.0.0", "v1.0.0"),
            ("--use-major=2", "--use-major=2"),
            ("", "''"),
            ("a b", "'a b'"),
            ("$(id)", "'$(id)'"),
            ("it's", r"'it'\''s'"),
        ] {
            assert_eq!(shell_word(word), typed);
        }
    }
}
