//! The supervisor: the parent of the executable.

use std::{
    io::{self, PipeReader, PipeWriter, Read as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use d8_crds::values::text::printable_to;
use rustix::process::{Pid, Signal};

use super::{
    SmokeFailure, descendants, format, home,
    protocol::{EXECUTABLE_FD, OUTPUT, SHOWN, Stage, TestReport, TestRequest},
    resources,
};

/// How often the supervisor checks whether the executable has ended. Usually the end of its output comes first.
const POLL: Duration = Duration::from_millis(5);

/// Size of the report of the starter, in bytes.
const REPORT_BYTES: u64 = 16 * 1024;

/// Runs the test that is requested.
pub(super) fn run(request: &TestRequest) -> TestReport {
    resources::close_inherited();
    // No terminal, and no signals from it. This fails only for the leader of a process group, which this is not.
    if let Err(error) = rustix::process::setsid() {
        return TestReport::setup("cannot leave the terminal", &error.into());
    }
    match format::unsupported(&inherited_program(request)) {
        Ok(None) => {}
        Ok(Some(why)) => return TestReport::Failed(SmokeFailure::Format { why }),
        Err(error) => return TestReport::setup("cannot read the executable", &error),
    }
    if request.namespaces && request.uid.is_none() && request.user_namespace && !resources::enter_user_namespace() {
        return TestReport::NoNamespace;
    }
    let report = start(request).map_or_else(
        |error| TestReport::setup("cannot start the test", &error),
        |(child, events, output)| Supervision { request, child, events, output }.report(),
    );
    if let Some(uid) = request.uid {
        home::remove_leftovers(uid);
    }
    report
}

/// Returns a path of the executable by its descriptor: another user cannot run a path below a directory of mode 0700.
pub(super) fn inherited_program(request: &TestRequest) -> PathBuf {
    if cfg!(target_os = "linux") { format!("/proc/self/fd/{EXECUTABLE_FD}").into() } else { request.path.to_path_buf() }
}

/// Sets limits and starts the starter. Returns what its supervision needs.
fn start(request: &TestRequest) -> io::Result<(Child, Receiver<SupervisorEvent>, Output)> {
    let (reader, writer) = io::pipe()?;
    let (report_reader, report_writer) = io::pipe()?;
    let stderr = writer.try_clone()?;
    // Before the process namespace is set up for children: after that this process cannot start threads any more.
    let (events, output) = listen(reader, report_reader);
    resources::limit(request)?;
    let child = starter(request, report_writer, writer, stderr)?;
    resources::raise_priority();
    Ok((child, events, output))
}

/// Starts this program as the starter. Its standard input is the writing end of a pipe for its report.
fn starter(request: &TestRequest, report: PipeWriter, stdout: PipeWriter, stderr: PipeWriter) -> io::Result<Child> {
    let own = Path::new("/proc/self/exe");
    let own = if own.exists() { own.to_owned() } else { std::env::current_exe()? };
    let mut command = Command::new(own);
    command.args(Stage::Start.arguments(request)?).env_clear().process_group(0);
    command.stdin(Stdio::from(report)).stdout(stdout).stderr(stderr).spawn()
}

/// An event that the supervisor waits for, in addition to the end of the executable.
enum SupervisorEvent {
    /// The command that requested the test has ended, or does not need the result any more.
    Orphaned,
    /// All processes that can write to the output have ended.
    OutputClosed,
    /// The starter has become the executable, or reports why it cannot.
    Started(Option<TestReport>),
}

/// The beginning of the output.
type Output = Arc<Mutex<Vec<u8>>>;

/// Waits for the end of standard input, to which nothing is ever written, for the report of the starter, and keeps the
/// beginning of the output.
fn listen(output: PipeReader, report: PipeReader) -> (Receiver<SupervisorEvent>, Output) {
    let (sender, events) = mpsc::channel();
    let kept = Output::default();
    let (to, closed) = (kept.clone(), sender.clone());
    thread::spawn(move || read_output(output, &to, &closed));
    let started = sender.clone();
    thread::spawn(move || {
        let mut json = Vec::new();
        let _ = report.take(REPORT_BYTES).read_to_end(&mut json);
        let _ = started.send(SupervisorEvent::Started(serde_json::from_slice(&json).ok()));
    });
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = sender.send(SupervisorEvent::Orphaned);
    });
    (events, kept)
}

/// Reads all of the output, so that its writer never blocks, and keeps the beginning.
fn read_output(mut output: PipeReader, to: &Output, closed: &Sender<SupervisorEvent>) {
    let mut buffer = [0; OUTPUT];
    while let Ok(count @ 1..) = output.read(&mut buffer) {
        let mut kept = to.lock().unwrap_or_else(PoisonError::into_inner);
        let room = OUTPUT.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(&buffer[..room]);
    }
    let _ = closed.send(SupervisorEvent::OutputClosed);
}

/// An executable that is running.
struct Supervision<'a> {
    request: &'a TestRequest,
    child: Child,
    events: Receiver<SupervisorEvent>,
    output: Output,
}

impl Supervision<'_> {
    /// Waits until the executable ends, or ends it. Ends the processes that it left.
    fn report(mut self) -> TestReport {
        let deadline = Instant::now() + self.request.timeout;
        let (mut closed, mut started) = (false, None);
        let mut ended = self.child.try_wait();
        while let Ok(None) = ended
            && Instant::now() < deadline
        {
            match self.events.recv_timeout(POLL) {
                Ok(SupervisorEvent::OutputClosed) => closed = true,
                Ok(SupervisorEvent::Started(report)) => started = Some(report),
                Ok(SupervisorEvent::Orphaned) => break,
                Err(_) => {}
            }
            ended = self.child.try_wait();
        }
        let late = matches!(ended, Ok(None));
        let _ = rustix::process::kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        if late {
            let _ = self.child.kill();
            ended = self.child.wait().map(Some);
        }
        if !descendants::end() {
            return TestReport::setup("cannot end its processes", &io::ErrorKind::TimedOut.into());
        }
        // The writers of both pipes have ended. The rest is still being read.
        while !(closed && started.is_some()) {
            match self.events.recv_timeout(Duration::from_millis(500)) {
                Ok(SupervisorEvent::OutputClosed) => closed = true,
                Ok(SupervisorEvent::Started(report)) => started = Some(report),
                Ok(SupervisorEvent::Orphaned) => {}
                Err(_) => break,
            }
        }
        started.flatten().unwrap_or_else(|| self.outcome(ended, late))
    }

    /// Returns the report about an executable that was started.
    fn outcome(&self, ended: io::Result<Option<ExitStatus>>, late: bool) -> TestReport {
        let passed = !late && matches!(&ended, Ok(Some(status)) if status.success());
        let bytes = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = if passed { self.request.wanted } else { SHOWN };
        let output = printable_to(String::from_utf8_lossy(&bytes).trim(), shown).into_owned();
        let failure = match ended {
            _ if late => SmokeFailure::Timeout { seconds: self.request.seconds, output },
            Ok(Some(status)) if status.success() => return TestReport::Passed(output),
            Ok(Some(status)) => match (status.code(), status.signal()) {
                (Some(status), _) => SmokeFailure::Exit { status, output },
                (None, signal) => SmokeFailure::Signal { signal: signal.unwrap_or_default(), output },
            },
            Err(error) => return TestReport::setup("cannot wait for it", &error),
            Ok(None) => SmokeFailure::Setup { why: "it cannot be killed".to_owned() },
        };
        TestReport::Failed(failure)
    }
}
