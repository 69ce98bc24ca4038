//! Platforms in the notation of the proxy: `<os>-<arch>`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::values::name::{NameError, checked_text};

/// A platform, `<os>-<arch>` in the names of Go: `linux-amd64`, `darwin-arm64`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Platform(String);
checked_text!(Platform);

impl Platform {
    /// Returns the platform that this program was built for.
    pub fn current() -> Self {
        let os = match std::env::consts::OS {
            "macos" => "darwin",
            other => other,
        };
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            other => other,
        };
        Self(format!("{os}-{arch}"))
    }

    /// Returns the operating system, for example `linux`.
    pub fn os(&self) -> &str {
        self.0.split_once('-').map_or(self.as_str(), |(os, _)| os)
    }

    /// Returns the architecture, for example `amd64`.
    pub fn arch(&self) -> &str {
        self.0.split_once('-').map_or("", |(_, arch)| arch)
    }

    /// Splits a tag of proxy generation 1, for example `v1.2.3-linux-amd64`, into version and platform.
    /// Recognizes only the operating systems and architectures that d8 is built for: `v1.0.0-rc-1` has no
    /// platform.
    pub fn split_suffix(tag: &str) -> Option<(&str, Self)> {
        const OSES: [&str; 3] = ["linux", "darwin", "windows"];
        const ARCHES: [&str; 6] = ["amd64", "arm64", "386", "arm", "ppc64le", "s390x"];
        let (rest, arch) = tag.rsplit_once('-')?;
        let (rest, os) = rest.rsplit_once('-')?;
        (OSES.contains(&os) && ARCHES.contains(&arch) && !rest.is_empty()).then(|| (rest, Self(format!("{os}-{arch}"))))
    }
}

impl FromStr for Platform {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let word = |part: &str| {
            (1..=16).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        match text.split_once('-') {
            Some((os, arch)) if word(os) && word(arch) => Ok(Self(text.to_owned())),
            _ => Err(NameError::new("platform", text, "write `OS-ARCH`, for example `linux-amd64`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_and_invalid_platforms() {
        for good in ["linux-amd64", "darwin-arm64", "linux-386"] {
            assert!(good.parse::<Platform>().is_ok(), "{good}");
        }
        for bad in ["", "linux", "linux-", "-amd64", "linux-amd64-v2", "Linux-amd64", "linux/amd64"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
        let current = Platform::current();
        assert_eq!(current.as_str().parse(), Ok(current.clone()));
        assert!(!current.os().is_empty() && !current.arch().is_empty());
    }

    #[test]
    fn suffixes_of_generation_one() {
        let split = |tag| Platform::split_suffix(tag).map(|(rest, p)| (rest.to_owned(), p.to_string()));
        assert_eq!(split("v1.2.3-linux-amd64"), Some(("v1.2.3".into(), "linux-amd64".into())));
        assert_eq!(split("v1.2.3-rc.1-darwin-arm64"), Some(("v1.2.3-rc.1".into(), "darwin-arm64".into())));
        for none in ["v1.2.3", "v1.2.3-rc-1", "v1.2.3-main", "-linux-amd64"] {
            assert_eq!(split(none), None, "{none}");
        }
    }
}
