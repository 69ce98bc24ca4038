//! A walkthrough that runs: each command is printed, run by a shell exactly as printed, and its output is verified.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::command::run_merged;
use crate::process::{Server, wait_for};
use crate::{CommandOutput, Error, Lab, Result, Workstation, tools};

/// Width of text, in columns.
const WIDTH: usize = 96;
/// Time limit for the operator to change what a command prints.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The terminal of a user: the name for the prompt, and the environment.
#[derive(Debug, Clone)]
pub struct Terminal {
    user: &'static str,
    workstation: Workstation,
}

impl Terminal {
    /// Returns the name for the prompt.
    pub fn user(&self) -> &'static str {
        self.user
    }
}

/// What a command must print and return.
#[derive(Debug, Clone, Copy)]
pub struct Expectation<'a> {
    /// The exit code, or 128 plus the signal number.
    pub code: i32,
    /// Texts that the output must contain.
    pub contains: &'a [&'a str],
    /// Texts that the output must not contain.
    pub lacks: &'a [&'a str],
}

impl<'a> Expectation<'a> {
    /// Exit code 0 and these texts.
    pub const fn success(contains: &'a [&'a str]) -> Self {
        Self { code: 0, contains, lacks: &[] }
    }

    /// Another exit code and these texts.
    pub const fn failure(code: i32, contains: &'a [&'a str]) -> Self {
        Self { code, contains, lacks: &[] }
    }

    /// Returns how the output differs, if it does.
    fn mismatch(&self, found: &CommandOutput) -> Option<String> {
        let out = &found.stdout;
        if found.code() != self.code {
            return Some(format!("exit code {} instead of {}", found.code(), self.code));
        }
        if let Some(text) = self.contains.iter().find(|text| !out.contains(**text)) {
            return Some(format!("`{text}` is not in the output"));
        }
        let unwanted = self.lacks.iter().find(|text| out.contains(**text));
        unwanted.map(|text| format!("`{text}` is in the output"))
    }
}

/// A walkthrough in a lab, printed to a writer.
pub struct Walkthrough<'a, W> {
    lab: &'a Lab,
    out: W,
    directory: PathBuf,
    path: OsString,
    steps: usize,
    started: Instant,
}

impl<'a, W: Write> Walkthrough<'a, W> {
    /// Begins one in a directory of the lab.
    pub fn new(lab: &'a Lab, out: W) -> Result<Self> {
        let directory = lab.plane().scratch().directory("walkthrough")?;
        let binaries = tools::binary("d8")?.parent().map(PathBuf::from).unwrap_or_default();
        let tools = tools::Tools::get()?.directory().to_owned();
        let inherited = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
        let directories = [binaries, tools].into_iter().chain(std::env::split_paths(&inherited));
        let path = std::env::join_paths(directories)
            .map_err(|error| Error::Unexpected { what: "PATH".into(), found: error.to_string() })?;
        Ok(Self { lab, out, directory, path, steps: 0, started: Instant::now() })
    }

    /// Opens a terminal for a user, on a workstation of their own.
    pub fn terminal(&self, user: &'static str) -> Result<Terminal> {
        let workstation = self.lab.workstation(self.lab.plane().user(user))?;
        Ok(Terminal { user, workstation })
    }

    /// Opens a terminal on a managed host: d8 is the host once its state is in `~/d8-agent`.
    pub fn host_terminal(&self, name: &'static str) -> Result<Terminal> {
        let Terminal { workstation, .. } = self.terminal(name)?;
        let kubeconfig = workstation.home().join("d8-agent/kubeconfig");
        Ok(Terminal { user: name, workstation: workstation.with_env("KUBECONFIG", kubeconfig) })
    }

    /// Returns the user's own directory for programs, first in their `PATH`.
    pub fn bin(&self, terminal: &Terminal) -> PathBuf {
        terminal.workstation.home().join("bin")
    }

    /// Returns the working directory of the commands.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Prints a headline and what the step shows.
    pub fn step(&mut self, headline: &str, text: &str) -> Result<()> {
        self.steps += 1;
        let headline = format!("{}. {headline}", self.steps);
        self.print(&format!("\n{headline}\n{}", "-".repeat(headline.chars().count())))?;
        self.print_text(text)
    }

    /// Prints text. Breaks lines between words, and prints any white space as one space.
    pub fn print_text(&mut self, text: &str) -> Result<()> {
        let mut line = String::new();
        for word in text.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.print(&line)?;
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.print(&line)
    }

    /// Writes a file into the working directory.
    pub fn write_file(&mut self, name: &str, content: &str) -> Result<()> {
        let path = self.directory.join(name);
        std::fs::write(&path, content).map_err(Error::io(path.display().to_string()))
    }

    /// Links a directory into the working directory.
    pub fn link(&mut self, name: &str, target: &Path) -> Result<()> {
        std::os::unix::fs::symlink(target, self.directory.join(name)).map_err(Error::io(name))
    }

    /// Runs a command, prints its output and verifies it.
    pub fn run(&mut self, terminal: &Terminal, line: &str, expected: Expectation<'_>) -> Result<()> {
        self.print_prompt(terminal, line)?;
        let output = self.output_of(terminal, line)?;
        self.print_output(&output)?;
        self.verify(&output, expected)
    }

    /// Starts a command in the background, as a service. It ends when the result is dropped.
    pub fn start(&mut self, terminal: &Terminal, line: &str) -> Result<Server> {
        self.print_prompt(terminal, &format!("{line} &"))?;
        let line = format!("exec {line}");
        let name = format!("service-{}", terminal.user);
        let scratch = self.lab.plane().scratch();
        scratch.start(&name, "bash", ["-c", &line], |command| self.environment(terminal, command))
    }

    /// Runs a command until the operator has changed what it prints. Prints the output that is as expected, or the
    /// last one.
    pub fn run_until(&mut self, terminal: &Terminal, line: &str, expected: Expectation<'_>) -> Result<()> {
        self.print_prompt(terminal, line)?;
        let mut last = None;
        let waited = wait_for(line, TIMEOUT, || {
            let output = self.output_of(terminal, line).ok()?;
            let matches = expected.mismatch(&output).is_none();
            last = Some(output);
            matches.then_some(())
        });
        match last {
            Some(output) => {
                self.print_output(&output)?;
                self.verify(&output, expected)
            }
            None => waited,
        }
    }

    /// Returns the time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns the number of steps so far.
    pub fn steps(&self) -> usize {
        self.steps
    }

    fn print_prompt(&mut self, terminal: &Terminal, line: &str) -> Result<()> {
        self.print(&format!("\n{} $ {line}", terminal.user))
    }

    fn print_output(&mut self, output: &CommandOutput) -> Result<()> {
        self.print(output.stdout.trim_end())?;
        match output.code() {
            0 => Ok(()),
            code => self.print(&format!("(exit code {code})")),
        }
    }

    fn verify(&mut self, output: &CommandOutput, expected: Expectation<'_>) -> Result<()> {
        match expected.mismatch(output) {
            None => Ok(()),
            Some(found) => Err(Error::Unexpected { what: format!("step {}", self.steps), found }),
        }
    }

    fn print(&mut self, text: &str) -> Result<()> {
        writeln!(self.out, "{text}").and_then(|()| self.out.flush()).map_err(Error::io("stdout"))
    }

    /// Runs a line in a shell: the printed line is exactly what runs.
    fn output_of(&self, terminal: &Terminal, line: &str) -> Result<CommandOutput> {
        run_merged("bash", ["-c", line], |command| self.environment(terminal, command))
    }

    /// Replaces the environment of a command by the terminal's.
    fn environment(&self, terminal: &Terminal, command: &mut Command) {
        let mut path = self.bin(terminal).into_os_string();
        path.push(":");
        path.push(&self.path);
        terminal.workstation.environment(command);
        command.env("PATH", &path).current_dir(&self.directory);
    }
}
