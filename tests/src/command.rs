//! Runs a command to its end and returns its output.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Error, Result, supervisor, tools};

/// The time limit of a command.
pub const TIMEOUT: Duration = Duration::from_mins(2);

/// A finished command and its output.
#[derive(Debug, Clone)]
pub struct CommandOutput {
    /// The command line, with the arguments quoted as a shell needs it.
    pub line: String,
    /// The exit code, or the signal that ended the command.
    pub status: ExitStatus,
    /// Standard output. After [`run_merged`] also standard error.
    pub stdout: String,
    /// Standard error. Empty after [`run_merged`].
    pub stderr: String,
}

impl CommandOutput {
    /// Returns the exit code, or 128 plus the signal number.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or_default())
    }

    /// Returns stdout if the exit code is 0.
    pub fn ok(self) -> Result<String> {
        if self.status.success() { Ok(self.stdout) } else { Err(self.failed()) }
    }

    /// Returns the output if this is the exit code.
    pub fn expect_code(self, code: i32) -> Result<Self> {
        if self.code() == code { Ok(self) } else { Err(self.failed()) }
    }

    /// Returns stdout followed by stderr.
    pub fn combined(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    fn failed(self) -> Error {
        let code = self.code().to_string();
        let output = if self.stderr.trim().is_empty() { self.stdout } else { self.stderr };
        Error::Command { line: self.line, code, output }
    }
}

/// Runs `program` to its end. It is killed if this process dies. `setup` may change its environment and directory.
pub fn run(
    program: impl AsRef<OsStr>,
    args: impl IntoIterator<Item = impl Into<OsString>>,
    setup: impl FnOnce(&mut Command),
) -> Result<CommandOutput> {
    let (mut command, line) = prepare(program.as_ref(), args, setup)?;
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(Error::io(line.clone()))?;
    let stdout = child.stdout.take().map(drain);
    let stderr = child.stderr.take().map(drain);
    let status = wait(&mut child, &line)?;
    Ok(CommandOutput { line, status, stdout: text(stdout), stderr: text(stderr) })
}

/// Like [`run`], with stderr merged into `stdout` in the order in which a terminal shows them.
pub fn run_merged(
    program: impl AsRef<OsStr>,
    args: impl IntoIterator<Item = impl Into<OsString>>,
    setup: impl FnOnce(&mut Command),
) -> Result<CommandOutput> {
    let (mut command, line) = prepare(program.as_ref(), args, setup)?;
    let (ours, theirs) = std::io::pipe().map_err(Error::io(line.clone()))?;
    let both = theirs.try_clone().map_err(Error::io(line.clone()))?;
    let mut child = command.stdout(theirs).stderr(both).spawn().map_err(Error::io(line.clone()))?;
    // `command` keeps the other end of the pipe open.
    drop(command);
    let stdout = drain(ours);
    let status = wait(&mut child, &line)?;
    Ok(CommandOutput { line, status, stdout: text(Some(stdout)), stderr: String::new() })
}

fn prepare(
    program: &OsStr,
    args: impl IntoIterator<Item = impl Into<OsString>>,
    setup: impl FnOnce(&mut Command),
) -> Result<(Command, String)> {
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let line = line(program, &args);
    let mut command = supervisor::tied(&tools::lab_binary()?, program);
    command.args(&args).stdin(Stdio::null());
    setup(&mut command);
    Ok((command, line))
}

fn wait(child: &mut Child, line: &str) -> Result<ExitStatus> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(status) = child.try_wait().map_err(Error::io(line))? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::Timeout { what: line.to_owned(), seconds: TIMEOUT.as_secs(), log: String::new() });
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // After an error, the bytes before it are still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

fn text(reader: Option<thread::JoinHandle<Vec<u8>>>) -> String {
    let bytes = reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns the command line: the name of the program, and the arguments quoted where a shell needs it.
fn line(program: &OsStr, args: &[OsString]) -> String {
    let name = std::path::Path::new(program).file_name().unwrap_or(program);
    std::iter::once(name).chain(args.iter().map(OsString::as_os_str)).map(quoted).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "-_./:=,@%+^".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.into_owned() } else { format!("'{word}'") }
}
