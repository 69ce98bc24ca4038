//! The faults, one after another. Some last until a later one ends them.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use d8_tests::catalog::{Plugin, script};
use d8_tests::fleet::{Fleet, ManagedHost};
use d8_tests::relay::{Relay, Traffic};
use d8_tests::skewed_clock::SkewedServer;
use d8_tests::{Error, Lab, Result, objects};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use crate::PLUGINS;
use crate::permits::{Permits, Rule};

/// Size of the disk of all hosts.
const DISK: &str = "size=768m,mode=755";
/// Bytes of an executable. A slow proxy needs seconds for it.
const PADDING: usize = 100_000;
/// Longest wait for a change that a fault shall hit.
const IN_CHANGE: Duration = Duration::from_secs(3);

/// The lab, the fleet, and what is wrong with them.
pub(crate) struct Faults {
    // Agents end before their disk, and the disk before the directory that it is in.
    pub(crate) fleet: Fleet,
    disk: Option<Disk>,
    pub(crate) lab: Lab,
    pub(crate) relay: Relay,
    clock: SkewedServer,
    pub(crate) permits: Arc<Permits>,
    pub(crate) random: StdRng,
    /// The number of versions: the newest one is `v1.<versions - 1>.0`.
    versions: u32,
    edits: usize,
    timeline: Vec<String>,
    started: Instant,
}

impl Faults {
    pub(crate) fn new(
        lab: Lab,
        fleet: Fleet,
        relay: Relay,
        clock: SkewedServer,
        disk: Option<Disk>,
        permits: Arc<Permits>,
        random: StdRng,
    ) -> Self {
        permits.set_clock(true);
        let (timeline, started) = (Vec::new(), Instant::now());
        Self { fleet, disk, lab, relay, clock, permits, random, versions: 0, edits: 0, timeline, started }
    }

    /// Writes a line of the timeline.
    pub(crate) fn note(&mut self, what: impl AsRef<str>) {
        self.timeline.push(format!("{:6.1} s  {}", self.started.elapsed().as_secs_f32(), what.as_ref()));
    }

    /// Makes the next fault, or ends one.
    pub(crate) fn next(&mut self) -> Result<()> {
        self.fleet.hosts_mut().iter_mut().try_for_each(ManagedHost::check)?;
        match self.random.random_range(0..20) {
            0..=3 => self.kill_agent()?,
            4 => self.restart_api_server()?,
            5 | 6 => self.disturb_proxy(),
            7 | 8 => self.corrupt_staged()?,
            9 => self.fill_disk(),
            10 => self.free_disk(),
            11 => self.move_tag()?,
            12 => {
                let minutes = [-40, -2, 0, 0, 2, 40][self.random.random_range(0..6)];
                self.set_clock(minutes);
            }
            13..=15 => self.provoke()?,
            _ => self.flip_policy()?,
        }
        if self.random.random_bool(0.5) {
            self.start_agents()?;
        }
        Ok(())
    }

    /// Starts the agents that were killed.
    pub(crate) fn start_agents(&mut self) -> Result<()> {
        let scratch = self.lab.plane().scratch();
        let mut ended = self.fleet.hosts_mut().iter_mut().filter(|host| !host.is_started());
        ended.try_for_each(|host| host.start(scratch))
    }

    /// Kills an agent, if possible while it stages a version.
    fn kill_agent(&mut self) -> Result<()> {
        let index = self.random.random_range(0..self.fleet.hosts().len());
        let delay = Duration::from_millis(self.random.random_range(0..400));
        let installed = self.fleet.hosts()[index].installed();
        let is_staging = || PLUGINS.iter().any(|plugin| !installed.staged(plugin).is_empty());
        self.provoke()?;
        let in_change = wait(IN_CHANGE, is_staging);
        std::thread::sleep(delay);
        self.fleet.hosts_mut()[index].signal(Signal::SIGKILL)?;
        let when = if in_change { "in mid-change" } else { "" };
        self.note(format!("killed agent {index} {when}"));
        Ok(())
    }

    fn restart_api_server(&mut self) -> Result<()> {
        let pause = Duration::from_millis(self.random.random_range(100..4000));
        self.note(format!("the API server is killed for {pause:?}"));
        self.lab.plane_mut().stop_api_server();
        std::thread::sleep(pause);
        self.lab.plane_mut().start_api_server()?;
        self.note("the API server is ready");
        self.repair_servers()
    }

    /// Starts the operator again if it has ended, as a kubelet does.
    pub(crate) fn repair_servers(&mut self) -> Result<()> {
        if self.lab.operator().ended().is_some() {
            self.note("the operator is started again");
            self.lab.start_operator()?;
        }
        Ok(())
    }

    fn disturb_proxy(&mut self) {
        let traffic = match self.random.random_range(0..4) {
            0 => Traffic::Cut,
            1 | 2 => Traffic::Slow(self.random.random_range(10_000..60_000)),
            _ => Traffic::Open,
        };
        self.note(format!("traffic of the proxy: {traffic:?}"));
        self.relay.set(traffic);
    }

    /// Changes a byte of an executable that is being downloaded, or cuts it.
    fn corrupt_staged(&mut self) -> Result<()> {
        let cut = self.random.random_bool(0.3);
        self.provoke()?;
        let deadline = Instant::now() + IN_CHANGE;
        while Instant::now() < deadline {
            for (file, plugin) in self.staged_executables() {
                if corrupt(&file, cut).is_some() {
                    self.note(format!("corrupted {plugin} in {}", file.display()));
                    return Ok(());
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn staged_executables(&self) -> Vec<(PathBuf, &'static str)> {
        let of_host = |installed: d8_tests::fleet::InstalledPlugins| {
            PLUGINS.into_iter().flat_map(move |plugin| {
                installed.staged(plugin).into_iter().map(move |directory| (directory.join(plugin), plugin))
            })
        };
        self.fleet.hosts().iter().flat_map(|host| of_host(host.installed())).collect()
    }

    fn fill_disk(&mut self) {
        if let Some(disk) = &self.disk {
            disk.fill();
            self.note("the disk is full");
        }
    }

    pub(crate) fn free_disk(&mut self) {
        if let Some(disk) = &self.disk {
            disk.free();
            self.note("the disk has space");
        }
    }

    /// Publishes other bytes with the tag of a recorded version.
    fn move_tag(&mut self) -> Result<()> {
        let plugin = PLUGINS[self.random.random_range(0..PLUGINS.len())];
        let minor = self.random.random_range(0..self.versions);
        let version = version(minor);
        if !self.is_recorded(plugin, &version) {
            return Ok(());
        }
        let other = executable(plugin, minor, self.random.random());
        self.lab.publish(&Plugin::new(plugin, &version).with_executable(&other))?;
        self.lab.request_poll(plugin)?;
        self.note(format!("moved {plugin} {version}"));
        Ok(())
    }

    /// Sets the clock of the API server, which permits changes only if it is right by five minutes.
    pub(crate) fn set_clock(&mut self, minutes: i64) {
        let ahead = SignedDuration::from_mins(minutes);
        self.note(format!("the clock of the API server is {minutes} minutes ahead"));
        self.permits.set_clock(minutes.abs() < 5);
        self.clock.set_ahead(ahead);
    }

    /// Gives the agents something to do: publishes a version, and writes the policy again once it is recorded.
    fn provoke(&mut self) -> Result<()> {
        let (publishes, opens) = (self.random.random_bool(0.7), self.random.random_bool(0.7));
        if publishes {
            self.publish_version()?;
            let newest = self.newest();
            let is_recorded = || PLUGINS.iter().all(|plugin| self.is_recorded(plugin, &newest));
            // The operator may not reach the proxy now.
            wait(IN_CHANGE, is_recorded);
        }
        self.set_rule(if opens { Rule::Open } else { self.permits.current() })
    }

    fn is_recorded(&self, plugin: &str, version: &str) -> bool {
        let release = self.lab.get_release(plugin);
        release.is_some_and(|release| d8_tests::status::find_version(&release, version).is_some())
    }

    /// Publishes the next version of all plugins, and asks the operator to poll.
    fn publish_version(&mut self) -> Result<()> {
        let (minor, first) = (self.versions, self.versions == 0);
        self.versions += 1;
        for plugin in PLUGINS {
            let executable = executable(plugin, minor, minor.into());
            self.permits.publish(plugin, minor, &executable);
            self.lab.publish(&Plugin::new(plugin, &version(minor)).with_executable(&executable))?;
            if first {
                self.lab.create_releases(&[plugin])?;
            }
            self.lab.request_poll(plugin)?;
        }
        self.note(format!("published v1.{minor}.0"));
        Ok(())
    }

    /// Publishes the next version, and waits until the operator has recorded it.
    pub(crate) fn publish_next(&mut self) -> Result<()> {
        self.publish_version()?;
        let newest = self.newest();
        PLUGINS.iter().try_for_each(|plugin| self.lab.wait_for_version(plugin, &newest).map(drop))
    }

    /// Returns the newest version.
    pub(crate) fn newest(&self) -> String {
        version(self.versions.saturating_sub(1))
    }

    fn flip_policy(&mut self) -> Result<()> {
        let newest = self.versions - 1;
        let near = self.random.random_range(newest.saturating_sub(3)..=newest);
        let rule = match self.random.random_range(0..8) {
            0 => Rule::Paused,
            1 => Rule::Blackout,
            2 | 3 => Rule::BlockedFrom(near.max(1)),
            4 | 5 => Rule::UpTo(near),
            _ => Rule::Open,
        };
        self.set_rule(rule)
    }

    /// Writes a policy with this rule.
    pub(crate) fn set_rule(&mut self, rule: Rule) -> Result<()> {
        self.edits += 1;
        let spec = spec(rule, self.edits);
        self.note(format!("policy: {rule}"));
        self.permits.change(rule, || self.lab.apply_policy("chaos", &spec))
    }

    pub(crate) fn print_summary(&self) {
        println!("{} faults and edits, {} versions", self.timeline.len(), self.versions);
    }

    /// Prints the timeline, and the logs of the hosts that these messages name (of one host, if they name none).
    pub(crate) fn print_details(&self, messages: &[String]) {
        println!("{}", self.timeline.join("\n"));
        let named = |host: &&d8_tests::fleet::ManagedHost| {
            messages.iter().any(|message| message.contains(&format!(" {} ", host.name())))
        };
        for host in self.fleet.hosts().iter().filter(named).take(2) {
            println!("--- log of {}\n{}", host.name(), host.log());
        }
        println!("--- operator\n{}", self.lab.operator_log_end());
    }
}

/// Returns the spec of the policy. `edit` makes it another one than before.
fn spec(rule: Rule, edit: usize) -> Value {
    let first = json!({"plugins": PLUGINS, "access": "Require", "updates": "Auto", "message": format!("edit {edit}")});
    let base = json!({"hostSelector": {"matchLabels": {"role": "chaos"}}});
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let [from, to] =
        [today.saturating_sub(1.day()), today.saturating_add(2.days())].map(|date| format!("{date}T00:00"));
    let (spec, rule) = match rule {
        Rule::Open => (json!({}), json!({})),
        Rule::Paused => (json!({"paused": true}), json!({})),
        Rule::Blackout => (json!({"blackouts": [{"from": from, "to": to, "reason": "chaos"}]}), json!({})),
        Rule::BlockedFrom(minor) => (json!({}), json!({"block": [format!(">=1.{minor}.0")]})),
        Rule::UpTo(minor) => (json!({}), json!({"versions": format!("<=1.{minor}.0")})),
    };
    objects::with(objects::with(base, &spec), &json!({"rules": [objects::with(first, &rule)]}))
}

fn version(minor: u32) -> String {
    format!("v1.{minor}.0")
}

/// Returns an executable whose bytes depend on `seed`.
fn executable(plugin: &str, minor: u32, seed: u64) -> String {
    let mut random = StdRng::seed_from_u64(seed);
    let padding: String =
        std::iter::repeat_with(|| format!("# {:032x}\n", random.random::<u128>())).take(PADDING / 35).collect();
    format!("{}exit\n{padding}", script(plugin, &version(minor)))
}

/// Changes a byte in the middle of a file that is not complete, or cuts the file there. `None`: it is complete, so it may
/// have been verified.
fn corrupt(file: &Path, cut: bool) -> Option<()> {
    let mut open = std::fs::File::options().read(true).write(true).open(file).ok()?;
    let length = open.metadata().ok()?.len();
    if length == 0 || length >= u64::try_from(PADDING).ok()? / 2 {
        return None;
    }
    if cut {
        return open.set_len(length / 2).ok();
    }
    open.seek(SeekFrom::Start(length / 2)).ok()?;
    open.write_all(b"~").ok()
}

fn wait(limit: Duration, condition: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

/// A small file system for the homes and roots of all hosts. Only this test and what it starts see it.
pub(crate) struct Disk {
    directory: PathBuf,
}

impl Disk {
    /// Moves this thread, and so what it starts, into its own mount namespace. `None` if this user may not.
    pub(crate) fn private() -> Option<Self> {
        let allowed = unshare(CloneFlags::CLONE_NEWNS).is_ok() && command("mount", &["--make-rprivate", "/"]);
        if !allowed {
            println!("skipped: this user may not create a mount namespace, so the disk is never full");
        }
        allowed.then(|| Self { directory: PathBuf::new() })
    }

    /// Mounts it where the lab creates workstations.
    pub(crate) fn mount(mut self, lab: &Lab) -> Result<Self> {
        let directory = lab.plane().scratch().directory("workstations")?;
        let shown = directory.display().to_string();
        if !command("mount", &["-t", "tmpfs", "-o", DISK, "none", &shown]) {
            return Err(Error::Unexpected { what: "mount".into(), found: "it failed".into() });
        }
        self.directory = directory;
        Ok(self)
    }

    fn filler(&self) -> PathBuf {
        self.directory.join("filler")
    }

    /// Writes a file until no block is left.
    fn fill(&self) {
        let Ok(mut file) = std::fs::File::options().create(true).append(true).open(self.filler()) else { return };
        for size in [1 << 20, 1 << 12] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn free(&self) {
        // It may not exist.
        let _ = std::fs::remove_file(self.filler());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.directory.is_absolute() {
            command("umount", &["--lazy", &self.directory.display().to_string()]);
        }
    }
}

fn command(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).status().is_ok_and(|status| status.success())
}
