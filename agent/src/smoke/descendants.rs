//! Ends the processes that an executable left. In a process namespace the kernel has done that already.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use rustix::process::{Pid, Signal};

use super::protocol::OUTPUT;
use crate::disk;

/// How long the processes of an executable may take to end.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Ends all descendants of this process. Returns `false` if some did not end in time.
///
/// They are stopped before they are killed: a killed process makes room for another one below the limit on processes,
/// a stopped one does not. So a fork bomb runs out of room.
pub(super) fn end() -> bool {
    let deadline = Instant::now() + TIMEOUT;
    while Instant::now() < deadline {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => {
                for pid in stopped(deadline) {
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                }
                thread::sleep(Duration::from_millis(2));
            }
            Ok(_) => {}
            Err(_) => return true,
        }
    }
    false
}

/// Stops all descendants, until none is new. Returns them.
fn stopped(deadline: Instant) -> Vec<Pid> {
    let mut stopped = Vec::new();
    loop {
        let new: Vec<Pid> = descendants().into_iter().filter(|pid| !stopped.contains(pid)).collect();
        for pid in &new {
            let _ = rustix::process::kill_process(*pid, Signal::STOP);
        }
        let done = new.is_empty() || Instant::now() > deadline;
        stopped.extend(new);
        if done {
            return stopped;
        }
    }
}

/// Returns the descendants of this process.
fn descendants() -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for process in processes.flatten() {
        let pid = process.file_name().to_str().and_then(|name| name.parse().ok());
        let Some((pid, parent)) = pid.and_then(|pid| Some((pid, parent(pid)?))) else { continue };
        children.entry(parent).or_default().push(pid);
    }
    let mut found = Vec::new();
    let mut parents = vec![std::process::id()];
    while let Some(parent) = parents.pop() {
        let of_parent = children.remove(&parent).unwrap_or_default();
        found.extend(of_parent.iter().filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)));
        parents.extend(of_parent);
    }
    found
}

/// Returns the parent of a process.
fn parent(pid: u32) -> Option<u32> {
    let stat = disk::read_small(Path::new(&format!("/proc/{pid}/stat")), OUTPUT as u64).ok()??;
    // The name is in parentheses and may contain any character. State and parent follow the last parenthesis.
    String::from_utf8_lossy(&stat).rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
