//! Content digests.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::values::name::{NameError, checked_text};

/// A content digest: `sha256:` and 64 lower-case hex digits (OCI image spec, "Digests"). Other algorithms
/// are refused because the proxy does not use them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);
checked_text!(Digest);

impl Digest {
    /// Computes the digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_sha256(Sha256::digest(bytes).into())
    }

    /// Makes a digest from a computed SHA-256.
    pub fn from_sha256(hash: [u8; 32]) -> Self {
        use fmt::Write as _;
        let mut text = String::with_capacity(7 + 64);
        text.push_str("sha256:");
        for byte in hash {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// Returns the first twelve hex digits, for messages.
    pub fn short(&self) -> &str {
        &self.0[7..19]
    }
}

impl FromStr for Digest {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let bad = |why| Err(NameError::new("digest", text, why));
        let Some(hex) = text.strip_prefix("sha256:") else {
            return bad("it does not start with `sha256:`");
        };
        if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return bad("it must be `sha256:` followed by 64 lower-case hex digits");
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_no_bytes_is_the_known_sha256() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").as_str(), empty);
        assert_eq!(empty.parse::<Digest>().map(|d| d.short().to_owned()), Ok("e3b0c44298fc".to_owned()));
    }

    #[test]
    fn invalid_digests_are_refused() {
        let short = format!("sha256:{}", "a".repeat(63));
        let upper = format!("sha256:{}", "A".repeat(64));
        for bad in ["", "sha256:", "md5:00", short.as_str(), upper.as_str()] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
