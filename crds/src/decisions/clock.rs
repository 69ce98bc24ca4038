//! Which time to judge by: the local clock, checked against the API server's (`docs/policies.md`, rule
//! 12). Pure: both times are arguments.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::{decisions::intent::Intent, values::duration};

/// How far the local clock may be from the API server's, either way, this included. The server's
/// `Date` is cut to seconds and as old as its answer, which this dwarfs.
pub const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// The local clock is too far from the API server's for an agent to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockSkew {
    /// What the local clock says.
    pub local: Timestamp,
    /// What the API server says.
    pub server: Timestamp,
}

impl fmt::Display for ClockSkew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let apart = duration::show(self.local.duration_since(self.server).unsigned_abs());
        let side = if self.local < self.server { "behind" } else { "ahead of" };
        write!(
            f,
            "the local clock is {apart} {side} the API server's ({:.0} against {:.0}); set it, for example with \
             `timedatectl set-ntp true`",
            self.local, self.server
        )
    }
}

impl std::error::Error for ClockSkew {}

/// The time to judge by. `server` is the `Date` of the API server's answer; where none was had there is
/// nothing to check against, and the local clock counts.
///
/// # Errors
/// [`ClockSkew`] for the agent if the clocks are more than [`TOLERANCE`] apart. A person's change then
/// goes by the smaller of the two, which opens no time gate early.
pub fn judging_time(local: Timestamp, server: Option<Timestamp>, intent: Intent) -> Result<Timestamp, ClockSkew> {
    let Some(server) = server else { return Ok(local) };
    if local.duration_since(server).abs() <= TOLERANCE {
        return Ok(local);
    }
    match intent {
        Intent::Agent => Err(ClockSkew { local, server }),
        Intent::Update | Intent::Explicit | Intent::Repair => Ok(local.min(server)),
    }
}

/// The instant of an HTTP `Date` header (RFC 9110, 5.6.7, the form that servers must send); `None` if it
/// is none.
pub fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text.trim()).ok().map(|date| date.timestamp())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTENTS: [Intent; 4] = [Intent::Agent, Intent::Update, Intent::Explicit, Intent::Repair];

    #[test]
    fn rule_12_clock() {
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
                assert_eq!(judging_time(local, Some(server), intent), expected, "{local} {intent:?}");
                assert_eq!(judging_time(local, None, intent), Ok(local), "{local} {intent:?}, no server");
            }
        }
    }

    #[test]
    fn the_date_that_servers_send() {
        for (text, want) in [
            ("Sun, 22 Nov 2026 16:27:17 GMT", Some("2026-11-22T16:27:17Z")),
            (" Sun, 06 Nov 1994 08:49:37 GMT ", Some("1994-11-06T08:49:37Z")),
            ("Mon, 22 Nov 2026 16:27:17 GMT", None),
            ("2026-11-22T16:27:17Z", None),
            ("Sun, 22 Nov 2026", None),
            ("", None),
        ] {
            assert_eq!(http_date(text), want.map(|want| want.parse().unwrap()), "{text:?}");
        }
    }

    #[test]
    fn rule_12_says_which_way_and_what_to_do() {
        let [early, late] =
            ["2026-11-22T12:00:00.25Z", "2026-11-22T13:10:00Z"].map(|t| t.parse::<Timestamp>().unwrap());
        assert_eq!(
            ClockSkew { local: early, server: late }.to_string(),
            "the local clock is 1h9m59s behind the API server's (2026-11-22T12:00:00Z against 2026-11-22T13:10:00Z); \
             set it, for example with `timedatectl set-ntp true`"
        );
        let ahead = ClockSkew { local: late, server: early }.to_string();
        assert!(ahead.starts_with("the local clock is 1h9m59s ahead of the API server's ("), "{ahead}");
    }

    proptest! {
        #[test]
        fn never_a_time_that_neither_clock_shows(local: i64, server: i64) {
            let at = |n: i64| {
                Timestamp::from_second(n.rem_euclid(Timestamp::MAX.as_second() - Timestamp::MIN.as_second()) + Timestamp::MIN.as_second()).unwrap()
            };
            let (local, server) = (at(local), at(server));
            for intent in INTENTS {
                match judging_time(local, Some(server), intent) {
                    Ok(time) => prop_assert!(time == local || time == local.min(server)),
                    Err(skew) => prop_assert!(intent == Intent::Agent && !skew.to_string().is_empty()),
                }
            }
        }
    }
}
