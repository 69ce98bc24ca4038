//! Publishes an event when two machines report as one host.

use d8_crds::{
    decisions::agent_report::DUPLICATE_IDENTITY,
    records::host::{CliHost, CliHostSpec},
};
use kube::{Resource as _, ResourceExt as _};

use super::context::Context;
use crate::{adapters::proxy::Registry, decisions::event_draft::EventDraft};

/// Publishes events forever.
pub(crate) async fn run<R: Registry>(ctx: &Context<R>) {
    loop {
        let hosts = ctx.hosts().take_duplicates();
        for (name, uid) in hosts {
            let mut host = CliHost::new(&name, CliHostSpec::default());
            // `kubectl describe` finds events by it.
            host.metadata.uid = uid;
            let note = format!(
                "two machines report as {0}; if one of them is not yours, revoke both: `d8 host rotate {0}`",
                host.name_any()
            );
            let draft = EventDraft::warning(DUPLICATE_IDENTITY, "OtherMachine", note);
            ctx.events.publish(&host.object_ref(&()), vec![draft]).await;
        }
        ctx.duplicate_hosts.notified().await;
    }
}
