//! Names of plugins and components, and tags. A text is checked here before it becomes a path or a URL.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::values::limits;

/// A text that is not a valid name, tag, digest or platform. The message quotes the text with escapes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?} is not valid: {why}")]
pub struct NameError {
    /// The expected kind of text: `plugin name`, `tag`, `digest` or `platform`.
    pub what: &'static str,
    /// The given text, cut to [`limits::REFUSED_TEXT`] characters.
    pub text: String,
    /// The rule that the text breaks.
    pub why: &'static str,
}

impl NameError {
    pub(crate) fn new(what: &'static str, text: &str, why: &'static str) -> Self {
        Self { what, text: text.chars().take(limits::REFUSED_TEXT).collect(), why }
    }
}

/// Implements the methods and traits that all checked texts share.
macro_rules! checked_text {
    ($name:ident) => {
        impl $name {
            /// Returns the text as a string slice.
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

/// A plugin's name: lower-case letters and digits joined by single `.`, `_` or `-` (the grammar of a path
/// component of a repository in the OCI distribution spec), at most [`limits::PLUGIN_NAME`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PluginName(String);
checked_text!(PluginName);

impl PluginName {
    /// Returns whether the name is a DNS label, so that a record can have it. `my_plugin` is not one.
    pub fn is_dns_label(&self) -> bool {
        self.0.len() <= limits::NAME && !self.0.contains(['.', '_'])
    }
}

impl FromStr for PluginName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let bad = |why| Err(NameError::new("plugin name", text, why));
        if text.is_empty() {
            return bad("it is empty");
        }
        if text.len() > limits::PLUGIN_NAME {
            return bad("it is longer than 128 bytes");
        }
        if text == Component::D8_NAME {
            return bad("d8 is not a plugin; see `d8 cli --help`");
        }
        let is_valid = text
            .split(['.', '_', '-'])
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
        if is_valid {
            Ok(Self(text.to_owned()))
        } else {
            bad("use lower-case letters and digits, joined by single `.`, `_` or `-`")
        }
    }
}

/// A component that is delivered: d8 itself or one of its plugins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Component {
    /// The `d8` command itself. Its record is named `d8`.
    D8,
    /// A plugin of d8.
    Plugin(PluginName),
}

impl Component {
    /// Name of the record of d8 itself.
    pub const D8_NAME: &str = "d8";

    /// Returns the name of the component, which is also the name of its record.
    pub fn name(&self) -> &str {
        match self {
            Self::D8 => Self::D8_NAME,
            Self::Plugin(name) => name.as_str(),
        }
    }

    /// Returns the name of the executable in the component's layer: `d8` or `plugin`.
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
        if text.len() > limits::TAG {
            return bad("it is longer than 128 bytes");
        }
        if text.starts_with(['.', '-']) {
            return bad("it starts with `.` or `-`");
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
            return bad("use only letters, digits, `.`, `_` and `-`");
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_and_invalid_plugin_names() {
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
    fn names_that_are_dns_labels() {
        for (name, label) in [("a", true), ("a-b", true), ("my_plugin", false), ("a.b", false)] {
            assert_eq!(name.parse::<PluginName>().map(|n| n.is_dns_label()), Ok(label), "{name}");
        }
        assert_eq!("a".repeat(64).parse::<PluginName>().map(|n| n.is_dns_label()), Ok(false));
    }

    #[test]
    fn valid_and_invalid_tags() {
        for good in ["v1.2.3", "1.2.3", "_x", "latest", "v1.0.0-rc.1"] {
            assert!(good.parse::<Tag>().is_ok(), "{good}");
        }
        for bad in ["", ".x", "-x", "v1+meta", "a/b", "a b", "\u{1b}[31m", &"x".repeat(129)] {
            assert!(bad.parse::<Tag>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn errors_escape_control_characters() {
        let error = "\u{1b}[31mred".parse::<Tag>().unwrap_err().to_string();
        assert!(!error.contains('\u{1b}'), "{error}");
    }
}
