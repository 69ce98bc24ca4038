//! The time that decisions use: the local clock, checked against the API server's clock
//! (`docs/policies.md`, rule 12). Both times are arguments.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::{decisions::intent::Intent, values::duration::FormattedDuration};

/// Largest allowed difference between the local clock and the API server's clock, inclusive. It is much
/// longer than the error of the server's `Date`, which has whole seconds and the age of the response.
pub const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// The local clock differs too much from the API server's clock, so an agent must not act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClockSkew {
    /// Time of the local clock.
    pub local: Timestamp,
    /// Time of the API server.
    pub server: Timestamp,
}

impl fmt::Display for ClockSkew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let difference = FormattedDuration(self.local.duration_since(self.server).unsigned_abs());
        let side = if self.local < self.server { "behind" } else { "ahead of" };
        write!(
            f,
            "the local clock is {difference} {side} the API server's clock (local {:.0}, server {:.0}); synchronize \
             it, for example with `timedatectl set-ntp true`",
            self.local, self.server
        )
    }
}

impl std::error::Error for ClockSkew {}

/// Returns the time that a decision uses. `server` is the `Date` of the API server's response; without it
/// the local clock is used unchecked.
///
/// If the clocks differ by more than [`TOLERANCE`], a person's change uses the earlier time, so that no
/// time gate opens early.
///
/// # Errors
/// [`ClockSkew`] for the agent if the clocks differ by more than [`TOLERANCE`].
pub fn decision_time(local: Timestamp, server: Option<Timestamp>, intent: Intent) -> Result<Timestamp, ClockSkew> {
    let Some(server) = server else { return Ok(local) };
    if local.duration_since(server).abs() <= TOLERANCE {
        return Ok(local);
    }
    match intent {
        Intent::Agent => Err(ClockSkew { local, server }),
        Intent::Update | Intent::Explicit | Intent::Repair => Ok(local.min(server)),
    }
}

/// Parses an HTTP `Date` header in the format that servers must send (RFC 9110, 5.6.7).
pub fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text.trim()).ok().map(|date| date.timestamp())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTENTS: [Intent; 4] = [Intent::Agent, Intent::Update, Intent::Explicit, Intent::Repair];

    #[test]
    fn rule_12_clock_skew_limits_the_time() {
        let server = "2026-11-22T12:00:00Z";
        for (local, by_agent, by_person) in [
            ("2026-11-22T12:00:00Z", Some("2026-11-22T12:00:00Z"), "2026-11-22T12:00:00Z"),
            ("2026-11-22T12:05:00Z", Some("2026-11-22T12:05:00Z"), "2026-11-22T12:05:00Z"),
            ("2026-11-22T11:55:00Z", Some("2026-11-22T11:55:00Z"), "2026-11-22T11:55:00Z"),
            ("2026-11-22T12:05:00.000000001Z", None, "2026-11-22T12:00:00Z"),
            ("2026-11-22T11:54:59.999999999Z", None, "2026-11-22T11:54:59.999999999Z"),
            ("9999-12-30T22:00:00.999999999Z", None, "2026-11-22T12:00:00Z"),
            ("-009999-01-02T01:59:59Z", None, "-009999-01-02T01:59:59Z"),
        ] {
            let [local, server] = [local, server].map(|text| text.parse::<Timestamp>().unwrap());
            for intent in INTENTS {
                let expected = match intent {
                    Intent::Agent => by_agent.map(|text| text.parse().unwrap()).ok_or(ClockSkew { local, server }),
                    _ => Ok(by_person.parse().unwrap()),
                };
                assert_eq!(decision_time(local, Some(server), intent), expected, "{local} {intent:?}");
                assert_eq!(decision_time(local, None, intent), Ok(local), "{local} {intent:?}, no server");
            }
        }
    }

    #[test]
    fn http_dates_are_parsed() {
        for (text, expected) in [
            ("Sun, 22 Nov 2026 16:27:17 GMT", Some("2026-11-22T16:27:17Z")),
            (" Sun, 06 Nov 1994 08:49:37 GMT ", Some("1994-11-06T08:49:37Z")),
            ("Mon, 22 Nov 2026 16:27:17 GMT", None),
            ("2026-11-22T16:27:17Z", None),
            ("Sun, 22 Nov 2026", None),
            ("", None),
        ] {
            assert_eq!(http_date(text), expected.map(|date| date.parse().unwrap()), "{text:?}");
        }
    }

    #[test]
    fn rule_12_message_has_direction_and_remedy() {
        let [early, late] =
            ["2026-11-22T12:00:00.25Z", "2026-11-22T13:10:00Z"].map(|t| t.parse::<Timestamp>().unwrap());
        assert_eq!(
            ClockSkew { local: early, server: late }.to_string(),
            "the local clock is 1h9m59s behind the API server's clock (local 2026-11-22T12:00:00Z, server \
             2026-11-22T13:10:00Z); synchronize it, for example with `timedatectl set-ntp true`"
        );
        let ahead = ClockSkew { local: late, server: early }.to_string();
        assert!(ahead.starts_with("the local clock is 1h9m59s ahead of the API server's clock ("), "{ahead}");
    }

    proptest! {
        #[test]
        fn the_time_is_never_later_than_the_local_clock(local: i64, server: i64) {
            let at = |n: i64| {
                Timestamp::from_second(n.rem_euclid(Timestamp::MAX.as_second() - Timestamp::MIN.as_second()) + Timestamp::MIN.as_second()).unwrap()
            };
            let (local, server) = (at(local), at(server));
            for intent in INTENTS {
                match decision_time(local, Some(server), intent) {
                    Ok(time) => prop_assert!(time == local || time == local.min(server)),
                    Err(skew) => prop_assert!(intent == Intent::Agent && !skew.to_string().is_empty()),
                }
            }
        }
    }
}
