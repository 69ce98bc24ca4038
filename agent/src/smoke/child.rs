//! What the re-executed program does: limits, namespaces, another uid, then the executable.
//!
//! It stays behind as the executable's parent, so that it can tell what became of it, kill what it left
//! running, and do the same when the command that asked for the test has died. It never unpacks, writes
//! or reads anything but the executable's first bytes and its output.

use std::{
    fs::{self, File},
    io::{self, PipeReader, Read as _, Write as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use d8_crds::values::text::printable_to;
use rustix::{
    io::Errno,
    process::{Pid, Signal},
};
use serde::{Deserialize, Serialize};

use crate::{disk, smoke::SmokeFailure};

/// Descriptor under which the sandbox gets the executable.
pub(super) const EXECUTABLE_FD: i32 = 9;

/// Characters of output shown.
pub(super) const SHOWN: usize = 200;

/// Bytes of output kept.
pub(super) const OUTPUT: usize = 4096;

/// Largest file the executable may write, in bytes.
const FILE_SIZE: u64 = 64 * 1024 * 1024;

/// Seconds of processor time it has.
const CPU_SECONDS: u64 = 30;

/// Descriptors it may open.
const DESCRIPTORS: u64 = 256;

/// What is asked of the sandbox; its second argument, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Task {
    /// `argv[0]` of the executable.
    pub(super) name: String,
    /// Its arguments.
    pub(super) arguments: Vec<String>,
    /// Its path, for systems without `/proc/self/fd`.
    pub(super) path: PathBuf,
    /// A fresh directory, HOME and TMPDIR; removed at the end.
    pub(super) home: PathBuf,
    /// The uid and gid to run as, if we are root.
    pub(super) uid: Option<u32>,
    /// Whether an ordinary user tries namespaces, which take a user namespace.
    pub(super) user_namespace: bool,
    /// How long it has.
    pub(super) timeout: Duration,
    /// The same in full seconds, as messages say it.
    pub(super) seconds: u64,
    /// Characters of a clean exit's output that are wanted.
    pub(super) wanted: usize,
}

/// What came of it; one line of JSON on the sandbox's standard output.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Report {
    /// A clean exit, with the first of its output.
    Passed(String),
    /// It failed.
    Failed(SmokeFailure),
    /// Somebody still has it open for writing (another thread's fork): worth another try.
    Busy,
    /// A user namespace could be entered and not be used: to be tried without one.
    NoNamespace,
}

/// Plays the sandbox: call it first thing in `main` when the first argument is [`super::CHILD_ARG`].
/// Returns the status to exit with.
pub fn child_main() -> i32 {
    let Some(task) = std::env::args().nth(2).and_then(|json| serde_json::from_str::<Task>(&json).ok()) else {
        return 2;
    };
    close_inherited();
    let report = run(&task);
    let _ = fs::remove_dir_all(&task.home);
    let Ok(json) = serde_json::to_vec(&report) else { return 1 };
    i32::from(io::stdout().write_all(&json).is_err())
}

/// Closes what this process inherited beyond the three of every program and the executable: whoever
/// started d8 may have left files of theirs open. Nothing of our own is open yet.
fn close_inherited() {
    let Ok(open) = fs::read_dir("/proc/self/fd").or_else(|_| fs::read_dir("/dev/fd")) else { return };
    let open: Vec<i32> = open.flatten().filter_map(|open| open.file_name().to_str()?.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|open| *open > 2 && *open != EXECUTABLE_FD) {
        let _ = nix::unistd::close(descriptor);
    }
}

fn run(task: &Task) -> Report {
    let setup = |what: &str, error: io::Error| Report::Failed(SmokeFailure::Setup { why: format!("{what}: {error}") });
    let program = program(task);
    match recognise(&program) {
        Ok(None) => {}
        Ok(Some(why)) => return Report::Failed(SmokeFailure::Format { why }),
        Err(error) => return setup("reading the executable", error),
    }
    let (reader, writer) = match io::pipe().and_then(|(reader, writer)| Ok((reader, (writer.try_clone()?, writer)))) {
        Ok(pipe) => pipe,
        Err(error) => return setup("a pipe", error),
    };
    if task.uid.is_none() && task.user_namespace && !enter_user_namespace() {
        return Report::NoNamespace;
    }
    // Once children go to a process namespace of their own this process can start no thread any more.
    let (news, output) = listen(reader);
    if let Err(error) = confine() {
        return setup("limits", error);
    }
    let mut command = Command::new(&program);
    command.arg0(&task.name).args(&task.arguments).env_clear().current_dir(&task.home).process_group(0);
    command.env("PATH", "/usr/bin:/bin").env("HOME", &task.home).env("TMPDIR", &task.home).env("LANG", "C");
    command.stdin(Stdio::null()).stdout(writer.0).stderr(writer.1);
    if let Some(uid) = task.uid {
        // The standard library drops the supplementary groups with it.
        command.uid(uid).gid(uid);
    }
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            return match Errno::from_io_error(&error) {
                Some(Errno::TXTBSY) => Report::Busy,
                Some(Errno::NOEXEC | Errno::NOENT | Errno::INVAL) => {
                    Report::Failed(SmokeFailure::Format { why: error.to_string() })
                }
                _ => setup("starting it", error),
            };
        }
    };
    // It holds the writing end of the pipe.
    drop(command);
    supervise(task, child, &news, &output)
}

/// By descriptor: a path below a directory of mode 0700 can't be run as another uid.
fn program(task: &Task) -> PathBuf {
    if cfg!(target_os = "linux") { format!("/proc/self/fd/{EXECUTABLE_FD}").into() } else { task.path.clone() }
}

/// Why the file is not a program of this machine. `execvp` hands what the kernel does not recognise to
/// a shell, which takes an empty file for a success.
fn recognise(program: &Path) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    File::open(program)?.take(20).read_to_end(&mut head)?;
    if head.starts_with(b"#!") || !cfg!(target_os = "linux") {
        return Ok(None);
    }
    if !head.starts_with(b"\x7fELF") || head.len() < 20 {
        return Ok(Some("it is neither a program nor a script".to_owned()));
    }
    let machine = if head[5] == 2 { [head[19], head[18]] } else { [head[18], head[19]] };
    let machine = u16::from_le_bytes(machine);
    // ELF specification, e_machine.
    let runs: &[u16] = match std::env::consts::ARCH {
        "x86_64" => &[62, 3],
        "x86" => &[3],
        "aarch64" => &[183, 40],
        "arm" => &[40],
        _ => return Ok(None),
    };
    Ok((!runs.contains(&machine)).then(|| {
        format!("it is built for another processor (ELF machine {machine}, this one is {})", std::env::consts::ARCH)
    }))
}

/// An ordinary user may make the other namespaces only in a user namespace of their own. `false` if it
/// was entered and the user cannot be themselves in it (`AppArmor` restricts it so): there is no way back.
fn enter_user_namespace() -> bool {
    #[cfg(target_os = "linux")]
    {
        use nix::sched::{CloneFlags, unshare};
        let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
        if uid.is_root() || unshare(CloneFlags::CLONE_NEWUSER).is_err() {
            return true;
        }
        fs::write("/proc/self/uid_map", format!("{uid} {uid} 1")).is_ok()
            && fs::write("/proc/self/setgroups", "deny").is_ok()
            && fs::write("/proc/self/gid_map", format!("{gid} {gid} 1")).is_ok()
    }
    #[cfg(not(target_os = "linux"))]
    true
}

/// Limits on this process and all that it starts.
fn confine() -> io::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let limits = [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, FILE_SIZE),
        (Resource::RLIMIT_CPU, CPU_SECONDS),
        (Resource::RLIMIT_NOFILE, DESCRIPTORS),
    ];
    for (resource, limit) in limits {
        let (_, hard) = getrlimit(resource)?;
        let limit = limit.min(hard);
        setrlimit(resource, limit, limit)?;
    }
    #[cfg(target_os = "linux")]
    {
        use nix::sched::{CloneFlags, unshare};
        rustix::thread::set_no_new_privs(true)?;
        // What the executable leaves running becomes ours to end.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        // Where allowed: a container may have taken the right away.
        let _ = unshare(CloneFlags::CLONE_NEWNET);
        let _ = unshare(CloneFlags::CLONE_NEWPID);
    }
    Ok(())
}

/// What the supervisor waits for, beside the end of the executable.
enum News {
    /// The command that asked for the test is gone, or wants no answer any more.
    Orphaned,
    OutputClosed,
}

/// How often the supervisor looks whether the executable has ended; most often the end of its output
/// tells it earlier.
const LOOK: Duration = Duration::from_millis(5);

/// The first of the output.
type Output = Arc<Mutex<Vec<u8>>>;

/// Watches standard input, on which nothing is ever written, for its end, and keeps the first of the
/// output; all of it is read, so that its writer never blocks.
fn listen(mut reader: PipeReader) -> (Receiver<News>, Output) {
    let (sender, news) = mpsc::channel();
    let output = Output::default();
    let (to, closed) = (output.clone(), sender.clone());
    thread::spawn(move || {
        let mut buffer = [0; OUTPUT];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            let mut kept = to.lock().unwrap_or_else(PoisonError::into_inner);
            let room = OUTPUT.saturating_sub(kept.len()).min(count);
            kept.extend_from_slice(&buffer[..room]);
        }
        let _ = closed.send(News::OutputClosed);
    });
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = sender.send(News::Orphaned);
    });
    (news, output)
}

fn supervise(task: &Task, mut child: Child, news: &Receiver<News>, output: &Output) -> Report {
    let deadline = Instant::now() + task.timeout;
    let pid = Pid::from_child(&child);
    let mut closed = false;
    let mut ended = child.try_wait();
    while let Ok(None) = ended
        && Instant::now() < deadline
    {
        match news.recv_timeout(LOOK) {
            Ok(News::OutputClosed) => closed = true,
            Ok(News::Orphaned) => break,
            Err(_) => {}
        }
        ended = child.try_wait();
    }
    let late = matches!(ended, Ok(None));
    let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    if late {
        let _ = child.kill();
        ended = child.wait().map(Some);
    }
    end_descendants();
    // Whoever held the pipe is gone; the rest of the output is on its way.
    while !closed {
        match news.recv_timeout(Duration::from_millis(500)) {
            Ok(News::OutputClosed) | Err(_) => closed = true,
            Ok(News::Orphaned) => {}
        }
    }
    let said = output.lock().unwrap_or_else(PoisonError::into_inner);
    let passed = !late && matches!(&ended, Ok(Some(status)) if status.success());
    let wanted = if passed { task.wanted } else { SHOWN };
    let said = printable_to(String::from_utf8_lossy(&said).trim(), wanted).into_owned();
    verdict(ended, late, said, task.seconds)
}

fn verdict(ended: io::Result<Option<ExitStatus>>, late: bool, output: String, seconds: u64) -> Report {
    let failure = match ended {
        _ if late => SmokeFailure::Timeout { seconds, output },
        Ok(Some(status)) if status.success() => return Report::Passed(output),
        Ok(Some(status)) => match (status.code(), status.signal()) {
            (Some(status), _) => SmokeFailure::Exit { status, output },
            (None, signal) => SmokeFailure::Signal { signal: signal.unwrap_or_default(), output },
        },
        Err(error) => SmokeFailure::Setup { why: format!("waiting for it: {error}") },
        Ok(None) => SmokeFailure::Setup { why: "it can't be ended".to_owned() },
    };
    Report::Failed(failure)
}

/// Ends what the executable left running, with all that those leave in turn. In a process namespace of
/// its own the kernel has done so already.
fn end_descendants() {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline {
        for pid in children() {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => thread::sleep(Duration::from_millis(5)),
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// The processes whose parent is this one.
fn children() -> Vec<Pid> {
    let me = std::process::id();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes
        .filter_map(|process| {
            let pid: i32 = process.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = disk::read_small(Path::new(&format!("/proc/{pid}/stat")), OUTPUT as u64).ok()??;
            // The name in brackets may hold anything, brackets too; state and parent follow the last one.
            let stat = String::from_utf8_lossy(&stat).into_owned();
            let parent: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            if parent == me { Pid::from_raw(pid) } else { None }
        })
        .collect()
}
