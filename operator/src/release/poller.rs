//! The task that polls for one record, for as long as there is one.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::AbortHandle,
    time::{Instant, sleep},
};

use super::{
    book::Entry,
    facts::Trouble,
    poll::Poll,
    rules::{INTERVAL, Rules},
};
use crate::{backoff, context::Context, metrics::OutcomeLabel, proxy::Registry};

/// Before the second try of a poll that failed; doubled each time, up to the interval.
const RETRY: Duration = Duration::from_secs(5);
/// At the start the polls of known records are spread over at most this.
const SPREAD: Duration = Duration::from_secs(30);

/// Starts the poller of an entry. The entry ends it.
pub(crate) fn start<R: Registry>(ctx: &Arc<Context<R>>, entry: &Arc<Entry>) -> AbortHandle {
    tokio::spawn(run(ctx.clone(), entry.clone())).abort_handle()
}

async fn run<R: Registry>(ctx: Arc<Context<R>>, entry: Arc<Entry>) {
    let mut failures = 0;
    let mut wait = first_wait(&entry);
    loop {
        tokio::select! {
            () = sleep(wait) => {}
            () = entry.wake.notified() => {}
        }
        let Some(rules) = active_rules(&entry) else {
            // Suspended, or not readable: only a new spec can change that.
            wait = Duration::MAX;
            continue;
        };
        let name = entry.component.name();
        let result = poll(&ctx, &entry, &rules).await;
        wait = match result {
            Ok(()) => {
                if failures > 0 {
                    tracing::info!(name, failures, "the proxy answers again");
                }
                failures = 0;
                backoff::jittered(rules.interval, rand::random())
            }
            Err(trouble) => {
                failures += 1;
                tracing::debug!(name, failures, reason = trouble.reason, "poll failed: {}", trouble.message);
                let longest = rules.interval.max(RETRY);
                backoff::after_failures(failures, RETRY, longest, rand::random())
            }
        };
    }
}

/// A record that was never synced is polled at once.
fn first_wait(entry: &Entry) -> Duration {
    if entry.observed().synced.is_none() {
        return Duration::ZERO;
    }
    let interval = entry.state().wish.rules.as_ref().map_or(INTERVAL, |rules| rules.interval);
    (interval / 10).min(SPREAD).mul_f64(rand::random())
}

fn active_rules(entry: &Entry) -> Option<Rules> {
    let state = entry.state();
    state.wish.rules.as_ref().ok().filter(|rules| !rules.suspend).cloned()
}

async fn poll<R: Registry>(ctx: &Context<R>, entry: &Entry, rules: &Rules) -> Result<(), Trouble> {
    let name = entry.component.name();
    let (answers, cursor, accepted_shrink) = {
        let state = entry.state();
        let answers: Vec<String> =
            [&state.status.latest, &state.status.latest_fitting].into_iter().flatten().cloned().collect();
        (answers, state.cursor.clone(), state.wish.accepted_shrink)
    };
    let wanted = ctx.demand.wanted(name);
    let poll = Poll {
        component: &entry.component,
        rules,
        wanted: &wanted,
        answers: &answers.iter().map(String::as_str).collect::<Vec<_>>(),
        cursor: cursor.as_ref(),
        accepted_shrink,
        observed: &entry.observed,
        found: &|| ctx.releases.queue.push(name),
    };
    let start = Instant::now();
    let result = poll.run(&*ctx.registry, super::now).await;
    ctx.metrics.poll_seconds.observe(start.elapsed().as_secs_f64());
    let reason = result.as_ref().map_or_else(|trouble| trouble.reason.clone(), |_| "Success".to_owned());
    ctx.metrics.polls.get_or_create(&OutcomeLabel { reason }).inc();
    entry.state().cursor = result?;
    Ok(())
}
