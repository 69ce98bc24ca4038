//! The sandbox process: sets limits, enters namespaces, changes the user, then starts the executable.
//!
//! The sandbox stays the parent of the executable. It reports how the executable ended and kills the processes that it
//! left. It does the same when the command that requested the test has ended. It reads only the first bytes of the
//! executable and its output, and writes and unpacks nothing.

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

use super::SmokeFailure;
use crate::disk;

/// Descriptor of the executable in the sandbox.
pub(super) const EXECUTABLE_FD: i32 = 9;

/// Characters of the output in messages.
pub(super) const SHOWN: usize = 200;

/// Bytes of the output that are kept.
pub(super) const OUTPUT: usize = 4096;

/// Size of a file that the executable may write, in bytes.
const FILE_SIZE: u64 = 64 * 1024 * 1024;

/// Processor time of the executable, in seconds.
const CPU_SECONDS: u64 = 30;

/// Descriptors that the executable may open.
const DESCRIPTORS: u64 = 256;

/// The request to the sandbox: its second argument, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TestRequest {
    /// Name that the executable is started with (`argv[0]`).
    pub(super) name: String,
    /// Arguments of the executable.
    pub(super) arguments: Vec<String>,
    /// Path of the executable, for systems without `/proc/self/fd`.
    pub(super) path: PathBuf,
    /// An empty directory for HOME and TMPDIR. The sandbox removes it at the end.
    pub(super) home: PathBuf,
    /// User and group id of the executable, if the sandbox is root.
    pub(super) uid: Option<u32>,
    /// Whether an ordinary user enters a user namespace, which the other namespaces need.
    pub(super) user_namespace: bool,
    /// Time that is left for the executable.
    pub(super) timeout: Duration,
    /// The whole timeout in seconds, for messages.
    pub(super) seconds: u64,
    /// Characters of the output to return after exit status 0.
    pub(super) wanted: usize,
}

/// The report of the sandbox: JSON on its standard output.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum TestReport {
    /// Exit status 0, with the beginning of the output.
    Passed(String),
    /// The executable did not pass.
    Failed(SmokeFailure),
    /// Another process has the executable open for writing, such as the fork of another thread. To be retried.
    Busy,
    /// A user namespace was entered and is not usable. To be retried without one.
    NoNamespace,
}

/// Runs as the sandbox. Call this first in `main` if the first argument is [`super::CHILD_ARG`]. Returns the exit
/// status.
pub fn child_main() -> i32 {
    let Some(request) = std::env::args().nth(2).and_then(|json| serde_json::from_str::<TestRequest>(&json).ok()) else {
        return 2;
    };
    close_inherited();
    let report = run(&request);
    let _ = fs::remove_dir_all(&request.home);
    let Ok(json) = serde_json::to_vec(&report) else { return 1 };
    i32::from(io::stdout().write_all(&json).is_err())
}

/// Closes the inherited descriptors except for the standard ones and the executable: the program that started d8 may
/// have left files open. This process has opened nothing yet.
fn close_inherited() {
    let Ok(open) = fs::read_dir("/proc/self/fd").or_else(|_| fs::read_dir("/dev/fd")) else { return };
    let open: Vec<i32> = open.flatten().filter_map(|open| open.file_name().to_str()?.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|open| *open > 2 && *open != EXECUTABLE_FD) {
        let _ = nix::unistd::close(descriptor);
    }
}

fn run(request: &TestRequest) -> TestReport {
    let setup =
        |what: &str, error: io::Error| TestReport::Failed(SmokeFailure::Setup { why: format!("{what}: {error}") });
    let program = program(request);
    match unsupported_format(&program) {
        Ok(None) => {}
        Ok(Some(why)) => return TestReport::Failed(SmokeFailure::Format { why }),
        Err(error) => return setup("can't read the executable", error),
    }
    let (reader, writer) = match io::pipe().and_then(|(reader, writer)| Ok((reader, (writer.try_clone()?, writer)))) {
        Ok(pipe) => pipe,
        Err(error) => return setup("can't create a pipe", error),
    };
    if request.uid.is_none() && request.user_namespace && !enter_user_namespace() {
        return TestReport::NoNamespace;
    }
    // Before the process namespace is set up for children: after that this process cannot start threads any more.
    let (events, output) = listen(reader);
    if let Err(error) = confine() {
        return setup("can't set limits", error);
    }
    let mut command = Command::new(&program);
    command.arg0(&request.name).args(&request.arguments).env_clear().current_dir(&request.home).process_group(0);
    command.env("PATH", "/usr/bin:/bin").env("HOME", &request.home).env("TMPDIR", &request.home).env("LANG", "C");
    command.stdin(Stdio::null()).stdout(writer.0).stderr(writer.1);
    if let Some(uid) = request.uid {
        // The standard library drops the supplementary groups, too.
        command.uid(uid).gid(uid);
    }
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            return match Errno::from_io_error(&error) {
                Some(Errno::TXTBSY) => TestReport::Busy,
                Some(Errno::NOEXEC | Errno::NOENT | Errno::INVAL) => {
                    TestReport::Failed(SmokeFailure::Format { why: error.to_string() })
                }
                _ => setup("can't start it", error),
            };
        }
    };
    // The command holds the writing end of the pipe.
    drop(command);
    supervise(request, child, &events, &output)
}

/// Returns a path of the executable by its descriptor: another user cannot run a path below a directory of mode 0700.
fn program(request: &TestRequest) -> PathBuf {
    if cfg!(target_os = "linux") { format!("/proc/self/fd/{EXECUTABLE_FD}").into() } else { request.path.clone() }
}

/// Returns why the file is not a program for this machine. `execvp` passes files that the kernel does not recognise to
/// a shell, and the shell accepts an empty file.
fn unsupported_format(program: &Path) -> io::Result<Option<String>> {
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
    // Values of e_machine in the ELF specification.
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

/// Enters a user namespace: an ordinary user may create the other namespaces only in one. Returns `false` if it was
/// entered and the user id cannot be mapped (a restriction of `AppArmor`). A process cannot leave it again.
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

/// Limits this process and all processes that it starts.
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
        // Processes that the executable leaves become children of this process, which ends them.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        // If this process may: a container may have removed the right.
        let _ = unshare(CloneFlags::CLONE_NEWNET);
        let _ = unshare(CloneFlags::CLONE_NEWPID);
    }
    Ok(())
}

/// An event that the supervisor waits for, in addition to the end of the executable.
enum SupervisorEvent {
    /// The command that requested the test has ended, or does not need the result any more.
    Orphaned,
    /// All processes that can write to the output have ended.
    OutputClosed,
}

/// How often the supervisor checks whether the executable has ended. Usually the end of its output comes first.
const POLL: Duration = Duration::from_millis(5);

/// The beginning of the output.
type Output = Arc<Mutex<Vec<u8>>>;

/// Waits for the end of standard input, to which nothing is ever written, and keeps the beginning of the output. Reads
/// all of the output, so that its writer never blocks.
fn listen(mut reader: PipeReader) -> (Receiver<SupervisorEvent>, Output) {
    let (sender, events) = mpsc::channel();
    let output = Output::default();
    let (to, closed) = (output.clone(), sender.clone());
    thread::spawn(move || {
        let mut buffer = [0; OUTPUT];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            let mut kept = to.lock().unwrap_or_else(PoisonError::into_inner);
            let room = OUTPUT.saturating_sub(kept.len()).min(count);
            kept.extend_from_slice(&buffer[..room]);
        }
        let _ = closed.send(SupervisorEvent::OutputClosed);
    });
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = sender.send(SupervisorEvent::Orphaned);
    });
    (events, output)
}

fn supervise(
    request: &TestRequest,
    mut child: Child,
    events: &Receiver<SupervisorEvent>,
    output: &Output,
) -> TestReport {
    let deadline = Instant::now() + request.timeout;
    let pid = Pid::from_child(&child);
    let mut closed = false;
    let mut ended = child.try_wait();
    while let Ok(None) = ended
        && Instant::now() < deadline
    {
        match events.recv_timeout(POLL) {
            Ok(SupervisorEvent::OutputClosed) => closed = true,
            Ok(SupervisorEvent::Orphaned) => break,
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
    // The writers of the pipe have ended. The rest of the output is still being read.
    while !closed {
        match events.recv_timeout(Duration::from_millis(500)) {
            Ok(SupervisorEvent::OutputClosed) | Err(_) => closed = true,
            Ok(SupervisorEvent::Orphaned) => {}
        }
    }
    let bytes = output.lock().unwrap_or_else(PoisonError::into_inner);
    let passed = !late && matches!(&ended, Ok(Some(status)) if status.success());
    let wanted = if passed { request.wanted } else { SHOWN };
    let shown = printable_to(String::from_utf8_lossy(&bytes).trim(), wanted).into_owned();
    report(ended, late, shown, request.seconds)
}

fn report(ended: io::Result<Option<ExitStatus>>, late: bool, output: String, seconds: u64) -> TestReport {
    let failure = match ended {
        _ if late => SmokeFailure::Timeout { seconds, output },
        Ok(Some(status)) if status.success() => return TestReport::Passed(output),
        Ok(Some(status)) => match (status.code(), status.signal()) {
            (Some(status), _) => SmokeFailure::Exit { status, output },
            (None, signal) => SmokeFailure::Signal { signal: signal.unwrap_or_default(), output },
        },
        Err(error) => SmokeFailure::Setup { why: format!("can't wait for it: {error}") },
        Ok(None) => SmokeFailure::Setup { why: "it can't be killed".to_owned() },
    };
    TestReport::Failed(failure)
}

/// Kills the processes that the executable left, and those that they leave. In a process namespace the kernel has
/// done that already.
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

/// Returns the children of this process.
fn children() -> Vec<Pid> {
    let me = std::process::id();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes
        .filter_map(|process| {
            let pid: i32 = process.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = disk::read_small(Path::new(&format!("/proc/{pid}/stat")), OUTPUT as u64).ok()??;
            // The name is in parentheses and may contain any character. State and parent follow the last parenthesis.
            let stat = String::from_utf8_lossy(&stat).into_owned();
            let parent: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            if parent == me { Pid::from_raw(pid) } else { None }
        })
        .collect()
}
