//! Named places at which a test can kill the process, inject a fault or change the world.
//!
//! Without feature `testing` a failpoint is nothing. With it, the environment variable
//! `D8_FAILPOINT=<name>[#<n>]=<kill|fail>[,…]` acts at the n-th time (default 1, `*` every time) the
//! place is reached, and a test may register a closure for its own thread.

#[cfg(not(feature = "testing"))]
use std::io;

/// Every place there is, in the order in which an update reaches them.
#[cfg_attr(not(feature = "testing"), allow(dead_code))]
#[allow(unreachable_pub)]
pub const ALL: &[&str] = &[
    // Two that fail stand for a system that has no such call.
    "disk.link",
    "disk.exchange",
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
    "journal.written",
    "switch.begun",
    "switch.saved",
    "switch.aside",
    "switch.placed",
    "switch.contract",
    "switch.major",
    "switch.current",
    "switch.done",
    "journal.removed",
    "switch.history",
    "undo.current",
    "undo.major",
    "undo.contract",
    "undo.placed",
    "adopt.begun",
    "adopt.placed",
    "remove.begun",
    "remove.current",
    "remove.contract",
    "remove.moved",
    "prune.moved",
    "own.seeded",
    "own.placed",
    "own.current",
    "own.backup",
    "own.linked",
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

    struct FromEnv {
        name: String,
        /// Every time if absent.
        nth: Option<usize>,
        kill: bool,
        seen: AtomicUsize,
    }

    /// Runs `closure` whenever this thread reaches `name`; what it returns is what the operation there
    /// returns.
    ///
    /// # Panics
    /// If there is no such place.
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
                // Nothing may run between here and the end: no unwinding, no drop.
                let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            }
            return Err(io::Error::other(format!("injected at {name}")));
        }
        // Taken out while it runs: a closure may itself reach failpoints.
        let Some(mut closure) = CLOSURES.with_borrow_mut(|all| all.remove(name)) else { return Ok(()) };
        let result = closure();
        CLOSURES.with_borrow_mut(|all| {
            all.entry(name).or_insert(closure);
        });
        result
    }

    fn from_env() -> &'static [FromEnv] {
        static ARMED: OnceLock<Vec<FromEnv>> = OnceLock::new();
        ARMED.get_or_init(|| {
            let text = std::env::var("D8_FAILPOINT").unwrap_or_default();
            let armed = |one: &str| {
                let (place, action) = one.split_once('=')?;
                let (name, nth) = place.split_once('#').unwrap_or((place, "1"));
                let nth = if nth == "*" { None } else { Some(nth.parse().ok()?) };
                Some(FromEnv { name: name.to_owned(), nth, kill: action == "kill", seen: AtomicUsize::new(0) })
            };
            text.split(',').filter_map(armed).collect()
        })
    }
}
