//! The task that polls the proxy for one record.

use std::{sync::Arc, time::Duration};

use futures::FutureExt as _;
use kube::runtime::utils::Backoff as _;
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep},
};

use super::{super::context::Context, poll::Poll, state::ReleaseEntry};
use crate::{
    adapters::{metrics::ResultLabel, proxy::Registry, retry},
    controllers::clock::now,
    decisions::release::{
        observed::{ENDPOINT_CHANGED, PollError},
        poll_rate::wait_before,
        spec::{CheckedSpec, INTERVAL},
    },
};

/// Delay before the first retry of a failed poll.
const RETRY: Duration = Duration::from_secs(5);
/// Longest delay before the proxy is compared with the pin again, after it was another one.
const CHANGED_RETRY: Duration = Duration::from_secs(30);
/// After a start, the polls of known records are spread over at most this time.
const SPREAD: Duration = Duration::from_secs(30);

/// Starts the poller of an entry. The cache stops it when it drops the entry.
pub(super) fn start<R: Registry>(ctx: &Arc<Context<R>>, entry: &Arc<ReleaseEntry>) -> AbortHandle {
    tokio::spawn(run(ctx.clone(), entry.clone())).abort_handle()
}

async fn run<R: Registry>(ctx: Arc<Context<R>>, entry: Arc<ReleaseEntry>) {
    let name = entry.component.name();
    let mut failures = 0;
    let mut interval = INTERVAL;
    let mut delays = retry::backoff(RETRY, interval);
    let mut wait = first_wait(&entry);
    let mut last_requested = None;
    loop {
        tokio::select! {
            () = sleep(wait) => {}
            () = entry.wake.notified() => {}
            () = requested(&entry, last_requested) => last_requested = Some(Instant::now()),
        }
        // The poll that begins now also serves the requests of the meantime.
        let _ = entry.requested.notified().now_or_never();
        let Some(spec) = active_spec(&entry) else {
            // The spec is invalid or suspended. Only a new spec changes that, and it wakes the poller.
            wait = Duration::MAX;
            continue;
        };
        if spec.interval != interval {
            interval = spec.interval;
            delays = retry::backoff(RETRY, interval.max(RETRY));
        }
        wait = match poll(&ctx, &entry, &spec).await {
            Ok(()) => {
                if failures > 0 {
                    tracing::info!(name, failures, "polling works again");
                }
                failures = 0;
                delays.reset();
                retry::jitter(interval)
            }
            Err(error) => {
                failures += 1;
                tracing::debug!(name, failures, reason = error.reason, "the poll failed: {}", error.message);
                let delay = delays.next().unwrap_or(interval);
                // Nothing is sent to the proxy, and a person may accept it at any time.
                if error.reason == ENDPOINT_CHANGED { delay.min(CHANGED_RETRY) } else { delay }
            }
        };
    }
}

/// Waits for the request of a person, and until it may be served.
async fn requested(entry: &ReleaseEntry, last: Option<Instant>) {
    entry.requested.notified().await;
    sleep(wait_before(last.map(Instant::into_std), Instant::now().into_std())).await;
}

/// Returns the time until the first poll. A record without a successful poll is polled at once.
fn first_wait(entry: &ReleaseEntry) -> Duration {
    if entry.observed().last_sync.is_none() {
        return Duration::ZERO;
    }
    let interval = entry.state().desired.spec.as_ref().map_or(INTERVAL, |spec| spec.interval);
    (interval / 10).min(SPREAD).mul_f64(rand::random())
}

/// Returns the spec if it is valid and not suspended.
fn active_spec(entry: &ReleaseEntry) -> Option<CheckedSpec> {
    let state = entry.state();
    state.desired.spec.as_ref().ok().filter(|spec| !spec.suspend).cloned()
}

async fn poll<R: Registry>(ctx: &Context<R>, entry: &ReleaseEntry, spec: &CheckedSpec) -> Result<(), PollError> {
    let name = entry.component.name();
    let (generation, always, cursor, accepted_shrink) = {
        let state = entry.state();
        let status = &state.written.status;
        let always: Vec<String> = [&status.latest, &status.latest_fitting].into_iter().flatten().cloned().collect();
        (state.desired.generation, always, state.cursor.clone(), state.desired.accepted_shrink)
    };
    let retained = ctx.retention.versions(name);
    let poll = Poll {
        component: &entry.component,
        generation,
        spec,
        retained: &retained,
        always: &always.iter().map(String::as_str).collect::<Vec<_>>(),
        cursor: cursor.as_ref(),
        accepted_shrink,
        observed: &entry.observed,
        on_progress: &|| ctx.releases.request(name),
    };
    let start = Instant::now();
    let result = poll.run(&ctx.registry, now).await;
    ctx.metrics.poll_seconds.observe(start.elapsed().as_secs_f64());
    let reason = result.as_ref().map_or_else(|error| error.reason.clone(), |_| "Success".to_owned());
    ctx.metrics.polls.get_or_create(&ResultLabel { reason }).inc();
    entry.state().cursor = result?;
    Ok(())
}
