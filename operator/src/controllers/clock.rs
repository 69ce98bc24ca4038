//! The clock of the controllers.

use jiff::{SignedDuration, Timestamp};

/// Returns the current time in whole seconds. The API has no fractions of a second, and a written time must read back
/// the same.
pub(super) fn now() -> Timestamp {
    let now = Timestamp::now();
    now - SignedDuration::from_nanos(i64::from(now.subsec_nanosecond()))
}
