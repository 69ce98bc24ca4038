//! The retry loop of requests and downloads.

use std::{fmt, time::Duration};

use super::options::Timeouts;
use crate::error::Error;

/// Why an attempt failed, and whether [`retry`] makes another one.
#[derive(Debug)]
pub enum AttemptError<E> {
    /// Another attempt may succeed.
    Transient(E),
    /// Another attempt would fail in the same way, or has been made already.
    Permanent(E),
}

impl From<Error> for AttemptError<Error> {
    /// Network errors and 5xx are transient, see [`Error::is_transient`].
    fn from(error: Error) -> Self {
        if error.is_transient() { Self::Transient(error) } else { Self::Permanent(error) }
    }
}

/// Repeats `attempt` while it fails with a transient error, up to [`Timeouts::attempts`] times, and waits
/// [`Timeouts::backoff`] and longer in between.
///
/// # Errors
/// The permanent error, or the transient error of the last attempt.
pub async fn retry<T, E, F>(timeouts: &Timeouts, mut attempt: impl FnMut() -> F) -> Result<T, E>
where
    E: fmt::Display,
    F: Future<Output = Result<T, AttemptError<E>>>,
{
    let mut waits = Backoff::new(timeouts);
    loop {
        let error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(AttemptError::Permanent(error)) => return Err(error),
            Err(AttemptError::Transient(error)) => error,
        };
        let Some(wait) = waits.next(rand::random_range(0.5..1.5)) else { return Err(error) };
        tracing::debug!(%error, ?wait, "retrying");
        tokio::time::sleep(wait).await;
    }
}

/// The waits between the attempts that are left.
struct Backoff {
    left: u32,
    wait: Duration,
}

impl Backoff {
    fn new(timeouts: &Timeouts) -> Self {
        Self { left: timeouts.attempts.saturating_sub(1), wait: timeouts.backoff }
    }

    /// Returns the wait before the next attempt, `None` if none is left. `jitter` is a factor that keeps
    /// clients that failed at the same time from coming back at the same time.
    fn next(&mut self, jitter: f64) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        let wait = self.wait.mul_f64(jitter);
        self.wait *= 2;
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn waits_double_and_end_with_the_last_attempt() {
        let mut waits = Backoff::new(&Timeouts::default());
        assert_eq!(waits.next(1.0), Some(Duration::from_millis(250)));
        assert_eq!(waits.next(1.5), Some(Duration::from_millis(750)));
        assert_eq!(waits.next(1.0), None);
    }

    #[tokio::test]
    async fn only_transient_errors_are_retried() {
        let unavailable =
            || Error::Unavailable { host: String::new(), path: String::new(), status: 503, message: String::new() };
        let forbidden = || Error::Forbidden { host: String::new(), message: String::new() };
        // The number of transient errors before a permanent one, the kind of the result, the attempts made.
        for (transient, kind, expected) in [(3, ErrorKind::Unavailable, 3), (1, ErrorKind::Forbidden, 2)] {
            let timeouts = Timeouts { backoff: Duration::from_millis(1), ..Timeouts::default() };
            let mut attempts = 0;
            let result: Result<(), Error> = retry(&timeouts, || {
                attempts += 1;
                let error = if attempts <= transient { unavailable() } else { forbidden() };
                async move { Err(error.into()) }
            })
            .await;
            assert_eq!((result.unwrap_err().kind(), attempts), (kind, expected));
        }
    }
}
