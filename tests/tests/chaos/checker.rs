//! Looks at the active programs of all hosts all the time.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use d8_tests::fleet::{Fleet, InstalledPlugins};
use d8_tests::process::wait_for;

use crate::PLUGINS;
use crate::permits::Permits;

/// Time between two looks for switches.
const LOOK: Duration = Duration::from_millis(20);
/// Time between two runs of each program.
const RUN: Duration = Duration::from_secs(1);

/// What was found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checks {
    /// Runs of active programs.
    pub(crate) runs: usize,
    /// Changes of active programs.
    pub(crate) switches: usize,
    /// What should not have happened.
    pub(crate) violations: Vec<String>,
}

impl fmt::Display for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} switches, {} runs of active programs, {} violations",
            self.switches,
            self.runs,
            self.violations.len()
        )
    }
}

/// The thread that looks.
pub(crate) struct Checker {
    is_over: Arc<AtomicBool>,
    is_violated: Arc<AtomicBool>,
    rounds: Arc<AtomicUsize>,
    thread: JoinHandle<Checks>,
}

impl Checker {
    /// Starts the thread. Every plugin must be installed on every host.
    pub(crate) fn start(fleet: &Fleet, permits: Arc<Permits>) -> Self {
        let (is_over, is_violated) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let rounds = Arc::<AtomicUsize>::default();
        let programs = fleet
            .hosts()
            .iter()
            .flat_map(|host| PLUGINS.map(|plugin| Program::new(host.name(), plugin, &host.installed())));
        let mut round = Round { programs: programs.collect(), permits, checks: Checks::default() };
        let (over, violated, count) = (is_over.clone(), is_violated.clone(), rounds.clone());
        let thread = std::thread::spawn(move || {
            let mut next_run = Instant::now();
            while !over.load(Ordering::SeqCst) {
                let runs = Instant::now() >= next_run;
                if runs {
                    next_run = Instant::now() + RUN;
                }
                round.look(runs);
                count.fetch_add(usize::from(runs), Ordering::SeqCst);
                violated.store(!round.checks.violations.is_empty(), Ordering::SeqCst);
                std::thread::sleep(LOOK);
            }
            round.checks
        });
        Self { is_over, is_violated, rounds, thread }
    }

    pub(crate) fn is_violated(&self) -> bool {
        self.is_violated.load(Ordering::SeqCst)
    }

    /// Waits until every program was run once more.
    pub(crate) fn wait_for_round(&self) {
        let before = self.rounds.load(Ordering::SeqCst);
        let done = || (self.rounds.load(Ordering::SeqCst) > before + 1).then_some(());
        wait_for("another round", Duration::from_mins(1), done).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Ends the thread.
    pub(crate) fn stop(self) -> Checks {
        self.is_over.store(true, Ordering::SeqCst);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

struct Round {
    programs: Vec<Program>,
    permits: Arc<Permits>,
    checks: Checks,
}

impl Round {
    /// Looks at all programs, and runs them if `runs`.
    fn look(&mut self, runs: bool) {
        for program in &mut self.programs {
            let found = program.look(&self.permits, &mut self.checks.switches);
            let found = found.and_then(|()| if runs { program.run(&self.permits) } else { Ok(()) });
            self.checks.runs += usize::from(runs);
            if let Err(violation) = found {
                let ago = SystemTime::now();
                self.checks.violations.push(format!("{ago:?} {} {}: {violation}", program.host, program.plugin));
            }
        }
    }
}

/// One plugin of one host.
struct Program {
    host: String,
    plugin: &'static str,
    path: PathBuf,
    /// Identity and size of the file that was active at the last look.
    seen: Option<(u64, u64, i64, i64)>,
    minor: Option<u32>,
}

impl Program {
    fn new(host: &str, plugin: &'static str, installed: &InstalledPlugins) -> Self {
        let path = installed.current(plugin);
        Self { host: host.to_owned(), plugin, path, seen: None, minor: None }
    }

    /// Compares the active file with the one of the last look.
    fn look(&mut self, permits: &Permits, switches: &mut usize) -> Result<(), String> {
        let now = SystemTime::now();
        let metadata = std::fs::metadata(&self.path).map_err(|error| format!("`current` cannot be read: {error}"))?;
        let identity = (metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec());
        if self.seen.replace(identity) == Some(identity) {
            return Ok(());
        }
        let minor = self.identify(permits)?;
        let before = self.minor.replace(minor);
        if before.is_none() || before == Some(minor) {
            return Ok(());
        }
        *switches += 1;
        if permits.permitted(minor, now) {
            return Ok(());
        }
        Err(format!("v1.{minor}.0 was not permitted; {:#?}", permits.recent()))
    }

    /// Returns which version the active file is.
    fn identify(&self, permits: &Permits) -> Result<u32, String> {
        let bytes = std::fs::read(&self.path).map_err(|error| format!("`current` cannot be read: {error}"))?;
        match permits.identify(&bytes) {
            Some(version) if version.plugin == self.plugin => Ok(version.minor),
            Some(version) => Err(format!("it is {version:?}")),
            None => Err(format!("its {} bytes are not what was published", bytes.len())),
        }
    }

    /// Runs the program, and compares its bytes again.
    fn run(&self, permits: &Permits) -> Result<(), String> {
        let output = Command::new(&self.path).arg("--version").env_clear().output();
        let output = output.map_err(|error| format!("it does not run: {error}"))?;
        let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let is_expected = output.status.success() && printed.starts_with(&format!("{} v1.", self.plugin));
        if !is_expected {
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("it ended with {} and printed {printed:?} {error:?}", output.status));
        }
        self.identify(permits).map(drop)
    }
}
