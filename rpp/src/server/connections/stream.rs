//! The stream of a connection. It fails when the connection makes no progress.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep},
};

use super::{
    ConnectionLimits,
    activity::{Activity, Phase},
    slots::Slot,
};

/// A TCP stream that fails when the connection makes no progress.
pub(in crate::server) struct GuardedStream {
    inner: TcpStream,
    activity: Arc<Activity>,
    progress: Progress,
    timer: Pin<Box<Sleep>>,
    /// Frees the place of the connection on drop.
    _slot: Slot,
}

impl GuardedStream {
    pub(super) fn new(inner: TcpStream, slot: Slot, activity: Arc<Activity>, limits: ConnectionLimits) -> Self {
        let progress = Progress::new(limits, Instant::now());
        Self { inner, activity, progress, timer: Box::pin(tokio::time::sleep(limits.idle)), _slot: slot }
    }

    /// Fails if the time without progress is over, else wakes the task when it will be.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let (phase, changes) = self.activity.phase();
        let Some(deadline) = self.progress.deadline(phase, changes, Instant::now()) else { return Ok(()) };
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the connection made no progress"));
        }
        Ok(())
    }
}

/// What a connection has done since when.
struct Progress {
    limits: ConnectionLimits,
    phase: Phase,
    changes: u64,
    /// Begin of the current period without enough progress.
    since: Instant,
    /// Bytes written in this period.
    written: u64,
}

impl Progress {
    fn new(limits: ConnectionLimits, now: Instant) -> Self {
        Self { limits, phase: Phase::Idle, changes: 0, since: now, written: 0 }
    }

    /// Returns when the connection has made no progress for too long. `None` while it waits for the server.
    fn deadline(&mut self, phase: Phase, changes: u64, now: Instant) -> Option<Instant> {
        let has_changed = (phase, changes) != (self.phase, self.changes);
        if has_changed || self.written >= self.limits.progress_bytes {
            (self.phase, self.changes, self.since, self.written) = (phase, changes, now, 0);
        }
        self.allowed().map(|allowed| self.since + allowed)
    }

    fn allowed(&self) -> Option<Duration> {
        match self.phase {
            Phase::Idle => Some(self.limits.idle),
            Phase::Client => Some(self.limits.progress),
            Phase::Server => None,
        }
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        Pin::new(&mut this.inner).poll_read(cx, buffer)
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check(cx)?;
        let written = Pin::new(&mut this.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = &written {
            this.progress.written += *written as u64;
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What, the phase, the changes, the time, bytes written since, and the deadline.
    type Step = (&'static str, Phase, u64, u64, u64, Option<u64>);

    #[test]
    fn deadlines_by_phase_and_progress() {
        let seconds = Duration::from_secs;
        let limits = ConnectionLimits {
            idle: seconds(100),
            progress: seconds(10),
            progress_bytes: 1000,
            ..ConnectionLimits::default()
        };
        let start = Instant::now();
        let mut progress = Progress::new(limits, start);
        let steps: [Step; 9] = [
            ("idle", Phase::Idle, 0, 0, 0, Some(100)),
            ("still idle", Phase::Idle, 0, 50, 0, Some(100)),
            ("a request", Phase::Server, 1, 60, 0, None),
            ("its response", Phase::Client, 1, 61, 0, Some(71)),
            ("too few bytes", Phase::Client, 1, 65, 999, Some(71)),
            ("enough bytes", Phase::Client, 1, 66, 1, Some(76)),
            ("the next bytes of the response", Phase::Server, 1, 67, 0, None),
            ("idle again", Phase::Idle, 2, 70, 0, Some(170)),
            ("another request between two looks", Phase::Idle, 4, 80, 0, Some(180)),
        ];
        for (what, phase, changes, now, written, expected) in steps {
            progress.written += written;
            let deadline = progress.deadline(phase, changes, start + seconds(now));
            assert_eq!(deadline, expected.map(|after| start + seconds(after)), "{what}");
        }
    }
}
