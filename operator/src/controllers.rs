//! What this instance does while it leads: reconciles records and policies, polls the proxy, creates and deletes
//! managed records. Decisions come from [`crate::decisions`], and IO from [`crate::adapters`].

mod clock;
pub(crate) mod conflicts;
pub(crate) mod context;
mod duplicate_hosts;
pub(crate) mod former_policies;
pub(crate) mod leader;
mod ledger_cleanup;
mod policy;
mod reconcile;
mod record_manager;
mod release;
mod retention;
mod state_cache;
