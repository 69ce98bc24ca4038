//! Names: of plugins, of components, of tags. Everything that becomes a path or a URL passes here first.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest plugin name accepted, in bytes. A repository path component of a registry ends here too
/// (OCI distribution spec: 255 for the whole name; the proxy's prefix takes its share).
pub const MAX_PLUGIN_NAME: usize = 128;

/// Longest name that can carry a record: a DNS label (RFC 1123).
pub const MAX_DNS_LABEL: usize = 63;

/// Why a text is no name, tag, digest or platform. The text itself is quoted with escapes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?} is not valid: {why}")]
pub struct NameError {
    /// What it was to be: `plugin name`, `tag`, `digest`, `platform`.
    pub what: &'static str,
    /// What was given, cut to 128 characters.
    pub text: String,
    /// The rule it breaks.
    pub why: &'static str,
}

impl NameError {
    pub(crate) fn new(what: &'static str, text: &str, why: &'static str) -> Self {
        Self { what, text: text.chars().take(128).collect(), why }
    }
}

/// Implements what every checked text shares: reading, showing, and serde as a string.
macro_rules! checked_text {
    ($name:ident) => {
        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}
pub(crate) use checked_text;

/// A plugin's name: lower-case alphanumerics joined by single `.`, `_` or `-` (the grammar of a
/// repository path component in the OCI distribution spec), at most [`MAX_PLUGIN_NAME`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PluginName(String);
checked_text!(PluginName);

impl PluginName {
    /// Whether a record can carry this name: a DNS label. `my_plugin` cannot.
    pub fn is_dns_label(&self) -> bool {
        self.0.len() <= MAX_DNS_LABEL && !self.0.contains(['.', '_'])
    }
}

impl FromStr for PluginName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let bad = |why| Err(NameError::new("plugin name", text, why));
        if text.is_empty() {
            return bad("it is empty");
        }
        if text.len() > MAX_PLUGIN_NAME {
            return bad("it is longer than 128 bytes");
        }
        if text == Component::D8_NAME {
            return bad("d8 is the command line itself: use `d8 cli`");
        }
        let parts_are_whole = text
            .split(['.', '_', '-'])
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
        if parts_are_whole {
            Ok(Self(text.to_owned()))
        } else {
            bad("use lower-case letters and digits, joined by single `.`, `_` or `-`")
        }
    }
}

/// What is delivered: the command line itself, or one of its plugins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Component {
    /// The command line itself; its record is named `d8`.
    D8,
    /// A plugin.
    Plugin(PluginName),
}

impl Component {
    /// The record's name of the command line itself.
    pub const D8_NAME: &str = "d8";

    /// The name its record bears.
    pub fn name(&self) -> &str {
        match self {
            Self::D8 => Self::D8_NAME,
            Self::Plugin(name) => name.as_str(),
        }
    }

    /// The executable in the component's layer: `d8`, or `plugin`.
    pub fn executable(&self) -> &'static str {
        match self {
            Self::D8 => "d8",
            Self::Plugin(_) => "plugin",
        }
    }
}

impl TryFrom<String> for Component {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Component> for String {
    fn from(component: Component) -> String {
        component.name().to_owned()
    }
}

impl From<PluginName> for Component {
    fn from(name: PluginName) -> Self {
        Self::Plugin(name)
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Component {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == Self::D8_NAME { Ok(Self::D8) } else { text.parse().map(Self::Plugin) }
    }
}

/// A tag in the grammar of the OCI distribution spec: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(String);
checked_text!(Tag);

impl FromStr for Tag {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let bad = |why| Err(NameError::new("tag", text, why));
        if text.is_empty() {
            return bad("it is empty");
        }
        if text.len() > 128 {
            return bad("it is longer than 128 bytes");
        }
        if text.starts_with(['.', '-']) {
            return bad("it starts with `.` or `-`");
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
            return bad("only letters, digits, `.`, `_` and `-` may stand in it");
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugin_names() {
        for good in ["stronghold", "delivery-kit", "a", "0", "my_plugin", "a.b-c_d", "images", "tags"] {
            assert!(good.parse::<PluginName>().is_ok(), "{good}");
        }
        let long = "a".repeat(129);
        for bad in
            ["", "..", "../x", "a/b", "a--b", "a._b", "Upper", "a b", "a?", "a#", "-a", "a-", "d8", "ä", "a\n", &long]
        {
            assert!(bad.parse::<PluginName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn dns_labels() {
        for (name, label) in [("a", true), ("a-b", true), ("my_plugin", false), ("a.b", false)] {
            assert_eq!(name.parse::<PluginName>().map(|n| n.is_dns_label()), Ok(label), "{name}");
        }
        assert_eq!("a".repeat(64).parse::<PluginName>().map(|n| n.is_dns_label()), Ok(false));
    }

    #[test]
    fn tags() {
        for good in ["v1.2.3", "1.2.3", "_x", "latest", "v1.0.0-rc.1"] {
            assert!(good.parse::<Tag>().is_ok(), "{good}");
        }
        for bad in ["", ".x", "-x", "v1+meta", "a/b", "a b", "\u{1b}[31m", &"x".repeat(129)] {
            assert!(bad.parse::<Tag>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_error_never_carries_control_characters_raw() {
        let error = "\u{1b}[31mred".parse::<Tag>().unwrap_err().to_string();
        assert!(!error.contains('\u{1b}'), "{error}");
    }
}
