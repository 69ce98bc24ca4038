//! Failpoints: named places where a test can kill the process, inject an error, or run a closure.
//!
//! Without feature `testing` a failpoint does nothing. With it, the environment variable
//! `D8_FAILPOINT=<name>[#<n>]=<kill|fail>[,…]` acts the n-th time (default 1, `*` every time) that the failpoint is
//! reached, and a test may register a closure for its own thread.

#[cfg(not(feature = "testing"))]
use std::io;

/// All failpoints, in the order in which an update reaches them.
#[cfg_attr(not(feature = "testing"), allow(dead_code))]
#[allow(unreachable_pub)]
pub const ALL: &[&str] = &[
    // A failure of these simulates a system that does not support the call.
    "disk.link",
    "disk.exchange",
    "smoke.namespaces",
    "smoke.landlock",
    // On an overlay.
    "tree.copied",
    "lock.created",
    "lock.written",
    "lock.held",
    "lock.linked",
    "lock.ready",
    "stage.begun",
    "stage.streaming",
    "stage.streamed",
    "stage.tested",
    "stage.complete",
    "adopt.begun",
    "adopt.placed",
    "switch.saved",
    "journal.written",
    "switch.begun",
    "switch.aside",
    "switch.placed",
    "switch.contract",
    "switch.major",
    "switch.current_aside",
    "switch.current",
    "switch.done",
    "journal.removed",
    "switch.history",
    "undo.current",
    "undo.major",
    "undo.contract",
    "undo.placed",
    "remove.begun",
    "remove.history",
    "remove.current",
    "remove.contract",
    "remove.moved",
    "prune.moved",
    "d8.seeded",
    "d8.replaced",
    "d8.placed",
    "d8.current",
    "d8.backup",
    "d8.linked",
    "release.swept",
    "release.unlocked",
];

#[cfg(not(feature = "testing"))]
#[allow(clippy::unnecessary_wraps)]
#[inline]
pub(crate) fn hit(_: &str) -> io::Result<()> {
    Ok(())
}

#[cfg(feature = "testing")]
pub(crate) use armed::hit;
#[cfg(feature = "testing")]
pub use armed::on;

#[cfg(feature = "testing")]
mod armed {
    use std::{
        cell::RefCell,
        collections::HashMap,
        io,
        sync::{
            OnceLock,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use super::ALL;

    type Closure = Box<dyn FnMut() -> io::Result<()>>;

    thread_local! {
        static CLOSURES: RefCell<HashMap<&'static str, Closure>> = RefCell::default();
    }

    /// A failpoint that the environment variable sets.
    struct ArmedFailpoint {
        name: String,
        /// `None` for every time.
        nth: Option<usize>,
        kill: bool,
        seen: AtomicUsize,
    }

    /// Runs `closure` whenever this thread reaches `name`. Its result is the result of the operation.
    ///
    /// # Panics
    /// If there is no such failpoint.
    pub fn on(name: &'static str, closure: impl FnMut() -> io::Result<()> + 'static) {
        assert!(ALL.contains(&name), "no failpoint {name}");
        CLOSURES.with_borrow_mut(|all| all.insert(name, Box::new(closure)));
    }

    pub(crate) fn hit(name: &'static str) -> io::Result<()> {
        debug_assert!(ALL.contains(&name), "no failpoint {name}");
        for armed in from_env().iter().filter(|armed| armed.name == name) {
            let seen = armed.seen.fetch_add(1, Ordering::SeqCst) + 1;
            if armed.nth.is_some_and(|nth| nth != seen) {
                continue;
            }
            if armed.kill {
                // No code may run after this: no unwinding, no drop.
                let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            }
            return Err(io::Error::other(format!("injected at {name}")));
        }
        // Removed while it runs: a closure may reach failpoints itself.
        let Some(mut closure) = CLOSURES.with_borrow_mut(|all| all.remove(name)) else { return Ok(()) };
        let result = closure();
        CLOSURES.with_borrow_mut(|all| {
            all.entry(name).or_insert(closure);
        });
        result
    }

    fn from_env() -> &'static [ArmedFailpoint] {
        static ARMED: OnceLock<Vec<ArmedFailpoint>> = OnceLock::new();
        ARMED.get_or_init(|| {
            let text = std::env::var("D8_FAILPOINT").unwrap_or_default();
            let armed = |one: &str| {
                let (place, action) = one.split_once('=')?;
                let (name, nth) = place.split_once('#').unwrap_or((place, "1"));
                let nth = if nth == "*" { None } else { Some(nth.parse().ok()?) };
                Some(ArmedFailpoint { name: name.to_owned(), nth, kill: action == "kill", seen: AtomicUsize::new(0) })
            };
            text.split(',').filter_map(armed).collect()
        })
    }
}
