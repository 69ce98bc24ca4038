//! How often what failed is tried, and how long between.

use std::time::Duration;

use crate::{client::options::Timeouts, error::Error};

/// The tries left of one request, or of one download.
#[derive(Debug)]
pub struct Retry {
    left: u32,
    pause: Duration,
}

impl Retry {
    /// All of them.
    pub fn new(timeouts: &Timeouts) -> Self {
        Self { left: timeouts.attempts.saturating_sub(1), pause: timeouts.backoff }
    }

    /// Waits until it may be tried again; gives the error back if it may not: tries are for what failed
    /// by the network or with 5xx.
    pub async fn again(&mut self, error: Error) -> Result<(), Error> {
        let pause = self.pause(error, rand::random_range(0.5..1.5))?;
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// How long to wait before the next try: doubled each time, and by this much more or less, lest all
    /// who failed at once come back at once.
    fn pause(&mut self, error: Error, jitter: f64) -> Result<Duration, Error> {
        if self.left == 0 || !error.is_transient() {
            return Err(error);
        }
        let pause = self.pause.mul_f64(jitter);
        tracing::debug!(%error, left = self.left, ?pause, "trying again");
        self.left -= 1;
        self.pause *= 2;
        Ok(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn three_tries_and_the_pauses_between() {
        let unavailable =
            || Error::Unavailable { host: String::new(), path: String::new(), status: 503, words: String::new() };
        let mut tries = Retry::new(&Timeouts::default());
        assert_eq!(tries.pause(unavailable(), 1.0).unwrap(), Duration::from_millis(250));
        assert_eq!(tries.pause(unavailable(), 1.5).unwrap(), Duration::from_millis(750));
        assert_eq!(tries.pause(unavailable(), 1.0).unwrap_err().kind(), ErrorKind::Unavailable);
        let mut tries = Retry::new(&Timeouts::default());
        let refused = Error::Forbidden { host: String::new(), words: String::new() };
        assert_eq!(tries.pause(refused, 1.0).unwrap_err().kind(), ErrorKind::Forbidden);
    }
}
