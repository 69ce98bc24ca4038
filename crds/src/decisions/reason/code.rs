//! Names of reasons and their classes: the stable part that records, metrics and scripts rely on.

use std::{cmp::Ordering, fmt};

use serde::{Serialize, Serializer};

/// Class of a verdict, ordered by strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Class {
    /// The version may be installed.
    Eligible,
    /// The version may not be installed now.
    Held,
    /// Requirements of the version are not met.
    Unfit,
    /// A policy rules the version out.
    Forbidden,
}

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident => $class:ident,)*) => {
        /// Name of a reason why a version is not eligible. The names are stable: they appear in `why`, in
        /// `CliHost`, in `PluginPolicy.status` and in metrics. `docs/policies.md` lists them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ReasonCode {
            $($(#[$doc])* $name,)*
        }

        impl ReasonCode {
            /// All codes, each once, in the order of the enum.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns the stable name.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// Returns the class that a version gets from this reason.
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
    /// A policy blocks the version.
    Blocked => Forbidden,
    /// The version is outside a policy's constraint.
    VersionNotPermitted => Forbidden,
    /// The version is below the host's own minimum.
    BelowMinimum => Forbidden,
    /// A policy pins the version to another digest.
    NotPinned => Forbidden,
    /// The version is a pre-release and a policy sets the stable channel.
    ChannelNotPermitted => Forbidden,
    /// A requirement of the version is not met.
    Unfit => Unfit,
    /// Whether a requirement of the version is met is unknown.
    RequirementsUnknown => Held,
    /// The version's tag moved to another digest.
    TagMoved => Held,
    /// A policy pauses all changes.
    Paused => Held,
    /// An invalid policy pauses all changes.
    InvalidPolicy => Held,
    /// A policy forbids to replace the installed version.
    Frozen => Held,
    /// Only a person starts updates.
    Manual => Held,
    /// The version was published too recently.
    Soaking => Held,
    /// A rule needs a record of the version and there is none.
    NoRecord => Held,
    /// A rule needs a recently synced record.
    RecordStale => Held,
    /// The version's wave has not reached the host.
    NotInWave => Held,
    /// The version has not succeeded on enough hosts, so that its wave does not begin.
    AwaitingEvidence => Held,
    /// The version's wave was halted.
    WaveHalted => Held,
    /// No window is open.
    OutsideWindow => Held,
    /// A blackout lasts.
    Blackout => Held,
    /// The windows and blackouts of the policies never permit a switch.
    WindowsNeverMeet => Held,
    /// The policies were not confirmed recently.
    PolicyStale => Held,
    /// The operator has not processed the policy's last edit.
    PolicyNotObserved => Held,
    /// The version has another major version than the installed one.
    MajorStays => Held,
    /// The version is a pre-release and no policy sets a channel.
    PreRelease => Held,
    /// No policy applies to the host.
    NotGoverned => Held,
    /// The local clock differs too much from the API server's.
    ClockSkew => Held,
    /// That version of d8 does not support policies.
    PolicyUnaware => Held,
    /// A policy requires the plugin, so it cannot be removed.
    Required => Held,
    /// A policy forbids a plugin that the version depends on.
    DependencyDenied => Held,
}

impl ReasonCode {
    /// Orders reasons as they are shown: the strongest class first, then by name.
    pub(crate) fn order(self, other: Self) -> Ordering {
        if self == other {
            return Ordering::Equal;
        }
        other.class().cmp(&self.class()).then_with(|| self.as_str().cmp(other.as_str()))
    }
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
