//! The names of reasons, and a reason with its origin and its sentence.

use std::fmt;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// What a version is for a host. Ordered by strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Class {
    /// It may be installed.
    Eligible,
    /// Not now.
    Held,
    /// Its requirements are not met.
    Unfit,
    /// Policy rules it out.
    Forbidden,
}

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident => $class:ident,)*) => {
        /// Why a version is not eligible. The names are stable: they stand in `why`, in `CliHost`, in
        /// `PluginPolicy.status` and in metrics, and are listed in `docs/policies.md`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ReasonCode {
            $($(#[$doc])* $name,)*
        }

        impl ReasonCode {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its stable name.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// What it makes of a version.
            pub fn class(self) -> Class {
                match self {
                    $(Self::$name => Class::$class,)*
                }
            }
        }
    };
}

reason_codes! {
    /// A policy denies the component.
    Denied => Forbidden,
    /// A policy blocks this version.
    Blocked => Forbidden,
    /// It is outside a policy's constraint.
    VersionNotPermitted => Forbidden,
    /// A pin binds it to another digest.
    NotPinned => Forbidden,
    /// A pre-release where a policy sets the stable channel.
    ChannelNotPermitted => Forbidden,
    /// Its requirements are not met.
    Unfit => Unfit,
    /// Its tag points at other bytes than before.
    TagMoved => Held,
    /// A policy stops every change.
    Paused => Held,
    /// A policy that is invalid stops every change.
    InvalidPolicy => Held,
    /// What is installed stays.
    Frozen => Held,
    /// A person starts updates here.
    Manual => Held,
    /// It has not been published long enough.
    Soaking => Held,
    /// A gate needs a record and there is none.
    NoRecord => Held,
    /// A gate needs a fresh record.
    RecordStale => Held,
    /// Its wave has not reached this host.
    NotInWave => Held,
    /// Its wave was halted.
    WaveHalted => Held,
    /// No window is open.
    OutsideWindow => Held,
    /// The windows of the policies never open together.
    WindowsNeverMeet => Held,
    /// The policies were not confirmed recently.
    PolicyStale => Held,
    /// The operator has not seen the policy's last edit.
    PolicyNotObserved => Held,
    /// It has another major version than the installed one.
    MajorStays => Held,
    /// A pre-release, and nobody speaks of channels.
    PreRelease => Held,
    /// No policy speaks for this host.
    NotGoverned => Held,
    /// The local clock is too far from the API server's.
    ClockSkew => Held,
    /// That d8 does not know policies.
    PolicyUnaware => Held,
    /// A policy requires what was to be removed.
    Required => Held,
    /// A policy forbids a plugin that it needs.
    DependencyDenied => Held,
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ReasonCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Where in a policy's spec something is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// `rules[i]`.
    Rule(usize),
    /// `cli`.
    Cli,
    /// `defaults`.
    Defaults,
    /// A field of the spec itself, by its name.
    Spec(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(i) => write!(f, "rules[{i}]"),
            Self::Cli => f.write_str("cli"),
            Self::Defaults => f.write_str("defaults"),
            Self::Spec(field) => f.write_str(field),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One reason, with who says so and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Its stable name.
    pub code: ReasonCode,
    /// The policy that says so; absent where it is nobody's word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Where in the policy's spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Origin>,
    /// A sentence that names policy, rule and the next step. Printable.
    pub message: String,
    /// When it ends by itself, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Reason {
    /// What it makes of a version.
    pub fn class(&self) -> Class {
        self.code.class()
    }

    pub(super) fn key(&self) -> (&'static str, Option<&str>, Option<Origin>, &str) {
        (self.code.as_str(), self.policy.as_deref(), self.rule, &self.message)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
