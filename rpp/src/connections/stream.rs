//! The stream of a connection. It fails when the connection makes no progress, or must make room for another one.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep},
};

use super::{
    ConnectionLimits,
    activity::{Activity, Phase, Status},
    slots::Slot,
};

/// A TCP stream that fails when the connection makes no progress, or must make room for another one.
pub struct GuardedStream {
    inner: TcpStream,
    activity: Arc<Activity>,
    idle: IdleTimer,
    timer: Pin<Box<Sleep>>,
    /// Frees the place of the connection on drop.
    _slot: Slot,
}

impl GuardedStream {
    pub(super) fn new(inner: TcpStream, slot: Slot, activity: Arc<Activity>, limits: ConnectionLimits) -> Self {
        let idle = IdleTimer::new(limits, Instant::now());
        Self { inner, activity, idle, timer: Box::pin(tokio::time::sleep(limits.idle)), _slot: slot }
    }

    /// Fails if the connection must end, else wakes the task when it must.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(status) = self.activity.status_unless_displaced(cx.waker()) else {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection makes room for another one"));
        };
        let now = Instant::now();
        let Some(deadline) = self.idle.deadline(status, now) else { return Ok(()) };
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        if deadline <= now || self.timer.as_mut().poll(cx).is_ready() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the connection made no progress"));
        }
        Ok(())
    }
}

/// Since when a connection has no request.
struct IdleTimer {
    limits: ConnectionLimits,
    phase: Phase,
    change: u64,
    /// Begin of the current phase.
    since: Instant,
    /// Arrival of the first bytes of a request whose headers are incomplete.
    headers_since: Option<Instant>,
}

impl IdleTimer {
    fn new(limits: ConnectionLimits, now: Instant) -> Self {
        Self { limits, phase: Phase::Idle, change: 0, since: now, headers_since: None }
    }

    /// Returns when the connection has made no progress for too long. `None` while it waits for the server.
    fn deadline(&mut self, status: Status, now: Instant) -> Option<Instant> {
        let Status { phase, change, read_deadline } = status;
        if (phase, change) != (self.phase, self.change) {
            *self = Self { phase, change, ..Self::new(self.limits, now) };
        }
        match (phase, self.headers_since) {
            (Phase::Idle, Some(first_bytes)) => Some(first_bytes + self.limits.headers),
            (Phase::Idle, None) => Some(self.since + self.limits.idle),
            (Phase::Client, _) => read_deadline,
            (Phase::Server, _) => None,
        }
    }

    /// Notes that bytes of headers arrived.
    fn read_headers(&mut self, now: Instant) {
        self.headers_since.get_or_insert(now);
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(cx, buffer);
        if buffer.filled().len() > before && this.activity.expects_headers() {
            this.idle.read_headers(Instant::now());
        }
        read
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check(cx)?;
        let written = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.activity.wrote(if let Poll::Ready(Ok(bytes)) = &written { *bytes } else { 0 });
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        let flushed = Pin::new(&mut this.inner).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            this.activity.flushed();
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::connections::{ConnectionMetrics, activity::RunningRequest, slots::Slots};

    /// The handler is done, and the protocol waits until the client reads the rest of the response.
    #[tokio::test]
    async fn a_connection_is_idle_only_when_the_response_is_sent() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, peer) = listener.accept().await.unwrap();
        let limits = ConnectionLimits { connections: 1, ..ConnectionLimits::default() };
        let slots = Arc::new(Slots::new(&limits, ConnectionMetrics::default()));
        let activity = Arc::new(Activity::new(&limits));
        let slot = slots.take(peer.ip(), &activity).unwrap();
        let mut stream = GuardedStream::new(server, slot, Arc::clone(&activity), limits);
        let phase = || activity.phase();

        assert!(stream.write_all(b"a handshake").await.is_ok());
        assert_eq!(phase(), Phase::Idle, "no request yet");
        drop(RunningRequest::begin(Arc::clone(&activity), http::Version::HTTP_11));
        let block = vec![0; 1 << 16];
        let mut sent = b"a handshake".len();
        while let Some(written) = stream.write(&block).now_or_never() {
            sent += written.unwrap();
        }
        assert_eq!(phase(), Phase::Client);
        let other = slots.take(peer.ip(), &Arc::new(Activity::new(&limits)));
        assert!(other.is_err(), "it does not make room for another one");

        let mut received = vec![0; sent];
        client.read_exact(&mut received).await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(phase(), Phase::Idle);
        assert!(slots.take(peer.ip(), &Arc::new(Activity::new(&limits))).is_ok());
    }

    /// What, the phase, the number of the last change, whether bytes of headers arrive, the time, and the deadline.
    type Step = (&'static str, Phase, u64, bool, u64, Option<u64>);

    #[test]
    fn deadlines_by_phase() {
        let seconds = Duration::from_secs;
        let limits = ConnectionLimits { headers: seconds(15), idle: seconds(100), ..ConnectionLimits::default() };
        let start = Instant::now();
        let mut timer = IdleTimer::new(limits, start);
        let steps: [Step; 12] = [
            ("idle", Phase::Idle, 0, false, 0, Some(100)),
            ("still idle", Phase::Idle, 0, false, 50, Some(100)),
            ("a request", Phase::Server, 1, false, 60, None),
            ("its response", Phase::Client, 1, false, 61, Some(1000)),
            ("the next bytes of the response", Phase::Server, 1, false, 67, None),
            ("idle again", Phase::Idle, 2, false, 70, Some(170)),
            ("another request between two looks", Phase::Idle, 4, false, 80, Some(180)),
            ("the first bytes of headers", Phase::Idle, 4, true, 170, Some(185)),
            ("more bytes of headers", Phase::Idle, 4, true, 184, Some(185)),
            ("the headers are complete", Phase::Server, 5, false, 184, None),
            ("a body that arrives during the request", Phase::Server, 5, true, 185, None),
            ("idle after it", Phase::Idle, 6, false, 190, Some(290)),
        ];
        for (what, phase, change, reads_headers, now, expected) in steps {
            let now = start + seconds(now);
            if reads_headers {
                timer.read_headers(now);
            }
            let status = Status { phase, change, read_deadline: Some(start + seconds(1000)) };
            assert_eq!(timer.deadline(status, now), expected.map(|after| start + seconds(after)), "{what}");
        }
    }
}
