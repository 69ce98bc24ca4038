//! Telling a story by running it: every command is printed as one would type it, run by a shell as it
//! is printed, and its output is checked.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::command::run_as_seen;
use crate::process::wait_for;
use crate::{Error, Finished, Lab, Result, Workstation, tools};

/// How long a line of prose may be, in columns.
const WIDTH: usize = 96;
/// How long the operator may take until a command shows what it should.
const PATIENCE: Duration = Duration::from_secs(30);

/// Somebody who types commands: a name for the prompt, and an environment.
#[derive(Debug, Clone)]
pub struct Typist {
    name: &'static str,
    workstation: Workstation,
}

/// What a command must give for the story to go on.
#[derive(Debug, Clone, Copy)]
pub struct Expect<'a> {
    /// Its exit code.
    pub code: i32,
    /// What must stand in its output.
    pub says: &'a [&'a str],
    /// What must not stand there.
    pub never: &'a [&'a str],
}

impl<'a> Expect<'a> {
    /// Exit code 0 and these words.
    pub const fn done(says: &'a [&'a str]) -> Self {
        Self { code: 0, says, never: &[] }
    }

    /// Another exit code and these words.
    pub const fn refused(code: i32, says: &'a [&'a str]) -> Self {
        Self { code, says, never: &[] }
    }

    fn problem(&self, finished: &Finished) -> Option<String> {
        let out = &finished.stdout;
        if finished.code() != self.code {
            return Some(format!("exit code {}, and {} is right", finished.code(), self.code));
        }
        let missing = self.says.iter().find(|words| !out.contains(**words));
        if let Some(words) = missing {
            return Some(format!("`{words}` is not in the output"));
        }
        let wrong = self.never.iter().find(|words| out.contains(**words));
        wrong.map(|words| format!("`{words}` is in the output"))
    }
}

/// A story over a lab, told on a writer.
pub struct Story<'a, W> {
    lab: &'a Lab,
    out: W,
    folder: PathBuf,
    path: OsString,
    steps: usize,
    started: Instant,
}

impl<'a, W: Write> Story<'a, W> {
    /// Begins one in a folder of the lab.
    pub fn new(lab: &'a Lab, out: W) -> Result<Self> {
        let folder = lab.plane().scratch().folder("story")?;
        let binaries = tools::binary("d8")?.parent().map(PathBuf::from).unwrap_or_default();
        let tools = tools::Tools::get()?.folder().to_owned();
        let inherited = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
        let folders = [binaries, tools].into_iter().chain(std::env::split_paths(&inherited));
        let path = std::env::join_paths(folders)
            .map_err(|error| Error::Unexpected { what: "PATH".into(), found: error.to_string() })?;
        Ok(Self { lab, out, folder, path, steps: 0, started: Instant::now() })
    }

    /// Somebody new at a workstation of their own.
    pub fn typist(&self, name: &'static str) -> Result<Typist> {
        let workstation = self.lab.workstation(self.lab.plane().user(name))?;
        Ok(Typist { name, workstation })
    }

    /// Where this person keeps programs of their own, first on their PATH.
    pub fn bin(&self, who: &Typist) -> PathBuf {
        who.workstation.home().join("bin")
    }

    /// The folder that commands run in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A headline and why this step is worth looking at.
    pub fn step(&mut self, headline: &str, why: &str) -> Result<()> {
        self.steps += 1;
        let headline = format!("{}. {headline}", self.steps);
        self.say(&format!("\n{headline}\n{}", "-".repeat(headline.chars().count())))?;
        self.tell(why)
    }

    /// Prose.
    pub fn tell(&mut self, prose: &str) -> Result<()> {
        let mut line = String::new();
        for word in prose.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.say(&line)?;
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.say(&line)
    }

    /// Puts a file into the folder the commands run in.
    pub fn file(&mut self, name: &str, content: &str) -> Result<()> {
        let path = self.folder.join(name);
        std::fs::write(&path, content).map_err(Error::io(path.display().to_string()))
    }

    /// Gives a folder a short name where the commands run.
    pub fn link(&mut self, name: &str, target: &Path) -> Result<()> {
        std::os::unix::fs::symlink(target, self.folder.join(name)).map_err(Error::io(name))
    }

    /// Types a command and shows what it gave, which must be as expected.
    pub fn types(&mut self, who: &Typist, line: &str, expect: Expect<'_>) -> Result<()> {
        self.prompt(who, line)?;
        let finished = self.run(who, line)?;
        self.shows(&finished)?;
        self.judge(&finished, expect)
    }

    /// Types a command whose output the operator will have changed in a moment: shows the output that
    /// is as expected, or the last one.
    pub fn awaits(&mut self, who: &Typist, line: &str, expect: Expect<'_>) -> Result<()> {
        self.prompt(who, line)?;
        let mut last = None;
        let waited = wait_for(line, PATIENCE, || {
            let finished = self.run(who, line).ok()?;
            let right = expect.problem(&finished).is_none();
            last = Some(finished);
            right.then_some(())
        });
        match last {
            Some(finished) => {
                self.shows(&finished)?;
                self.judge(&finished, expect)
            }
            None => waited,
        }
    }

    /// How long it took so far.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// How many steps it has so far.
    pub fn steps(&self) -> usize {
        self.steps
    }

    fn prompt(&mut self, who: &Typist, line: &str) -> Result<()> {
        self.say(&format!("\n{} $ {line}", who.name))
    }

    fn shows(&mut self, finished: &Finished) -> Result<()> {
        self.say(finished.stdout.trim_end())?;
        match finished.code() {
            0 => Ok(()),
            code => self.say(&format!("(exit code {code})")),
        }
    }

    fn judge(&mut self, finished: &Finished, expect: Expect<'_>) -> Result<()> {
        match expect.problem(finished) {
            None => Ok(()),
            Some(found) => Err(Error::Unexpected { what: format!("step {}", self.steps), found }),
        }
    }

    fn say(&mut self, text: &str) -> Result<()> {
        writeln!(self.out, "{text}").and_then(|()| self.out.flush()).map_err(Error::io("stdout"))
    }

    /// By a shell, so that what is printed is what runs.
    fn run(&self, who: &Typist, line: &str) -> Result<Finished> {
        let mut path = self.bin(who).into_os_string();
        path.push(":");
        path.push(&self.path);
        run_as_seen("bash", ["-c", line], |command: &mut Command| {
            who.workstation.environment(command);
            command.env("PATH", &path).current_dir(&self.folder);
        })
    }
}
