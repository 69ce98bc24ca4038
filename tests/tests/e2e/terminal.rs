//! The shipped d8 under a terminal, and a hostile image that attacks it in its smoke test.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use d8_tests::catalog::Plugin;
use d8_tests::{CommandOutput, Lab, Result, Workstation, run, tools};
use rustix::fs::OFlags;
use rustix::pty;

/// Opens the terminal by both names, writes to it, pushes keys into it, and makes itself the process group in the
/// foreground. Reports each attempt as its error number, 0 if it worked. The terminal is its last argument, or a path
/// that replaces `TERMINAL`.
const ATTACK: &str = r#"#!/usr/bin/perl
use POSIX ();
$| = 1;
sub attempt { my ($what, $done) = @_; print $what, "=", ($done ? 0 : $! + 0), " "; $done }
sub attack {
    my ($name, $path) = @_;
    attempt("open-$name", sysopen(my $terminal, $path, POSIX::O_RDWR | POSIX::O_NOCTTY)) or return;
    attempt("write-$name", syswrite($terminal, "attacked\n"));
    attempt("push-$name", ioctl($terminal, 0x5412, my $key = "x\n"));
    $SIG{TTOU} = "IGNORE";
    attempt("foreground-$name", POSIX::tcsetpgrp(fileno($terminal), getpgrp()));
}
attack("own", "/dev/tty");
attack("user", "TERMINAL");
exit 9;
"#;

/// Both sides of a terminal. Neither waits for bytes.
pub(crate) struct Terminal {
    emulator: File,
    pub(crate) user: File,
    path: PathBuf,
}

impl Terminal {
    pub(crate) fn open() -> io::Result<Self> {
        let emulator = pty::openpt(pty::OpenptFlags::RDWR | pty::OpenptFlags::NOCTTY)?;
        pty::grantpt(&emulator)?;
        pty::unlockpt(&emulator)?;
        rustix::fs::fcntl_setfl(&emulator, OFlags::RDWR | OFlags::NONBLOCK)?;
        let path = PathBuf::from(OsString::from_vec(pty::ptsname(&emulator, Vec::new())?.into_bytes()));
        let flags = (OFlags::NOCTTY | OFlags::NONBLOCK).bits().cast_signed();
        let user = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path)?;
        Ok(Self { emulator: emulator.into(), user, path })
    }

    /// Returns what was written to the terminal, and the keys that were pushed into it, since the last call.
    pub(crate) fn pending(&self) -> io::Result<(String, String)> {
        let read = |mut side: &File| {
            let mut bytes = [0; 4096];
            match side.read(&mut bytes) {
                Ok(count) => Ok(String::from_utf8_lossy(&bytes[..count]).into_owned()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(String::new()),
                Err(error) => Err(error),
            }
        };
        Ok((read(&self.emulator)?, read(&self.user)?))
    }
}

/// Runs a command as the leader of a session with this terminal.
pub(crate) fn run_in(terminal: File, user: &Workstation, line: &[OsString]) -> Result<CommandOutput> {
    let line = ["--ctty", "--wait"].map(OsString::from).into_iter().chain(line.iter().cloned());
    run("setsid", line, |command: &mut Command| {
        user.environment(command);
        command.stdin(terminal);
    })
}

#[test]
fn a_hostile_image_does_not_reach_the_terminal() -> Result<()> {
    let lab = Lab::shared();
    let alice = lab.new_workstation()?;
    let terminal = Terminal::open().expect("a terminal");
    let attack = ATTACK.replace("TERMINAL", &terminal.path.display().to_string());

    // Outside of the smoke test the attack works: otherwise this test would prove nothing.
    let program = alice.home().join("attack");
    std::fs::write(&program, &attack).expect("a program");
    let works = run_in(terminal.user.try_clone().expect("the terminal"), &alice, &["perl".into(), program.into()])?
        .expect_code(9)?;
    for done in ["open-own=0 ", "write-own=0 ", "foreground-own=0 ", "open-user=0 "] {
        assert!(works.stdout.contains(done), "{done}: {works:?}");
    }
    assert!(terminal.pending().expect("the terminal").0.contains("attacked"));
    terminal.pending().expect("the terminal");

    lab.publish(&Plugin::new("attacker", "v1.0.0").with_executable(&attack))?;
    let line = [tools::binary("d8")?.into(), "plugins".into(), "install".into(), "attacker".into()];
    let refused = run_in(terminal.user.try_clone().expect("the terminal"), &alice, &line)?.expect_code(1)?;
    // ENXIO: there is no controlling terminal.
    assert!(refused.stderr.contains("open-own=6 open-user="), "{refused:?}");
    assert!(!refused.stderr.contains("=0"), "{refused:?}");
    assert_eq!(terminal.pending().expect("the terminal"), (String::new(), String::new()), "{refused:?}");
    Ok(())
}
