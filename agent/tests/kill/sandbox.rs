//! Smoke tests of real processes.

use std::{
    cell::Cell,
    fs::{self, OpenOptions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    rc::Rc,
    time::{Duration, Instant},
};

use d8_agent::{
    smoke::{Sandbox, SmokeFailure, Subject},
    testing,
};

use crate::{TestCase, block_on, own, scratch};

pub const CASES: &[TestCase] = &[
    ("executables_that_pass", passes),
    ("executables_that_fail", fails),
    ("the_sandbox_confines_the_executable", confined),
    ("processes_that_are_left_are_killed", left_processes),
    ("a_cancelled_test_ends", cancelled),
    ("an_executable_that_is_open_for_writing", busy),
];

fn program(directory: &Path, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.join("program");
    let _ = fs::remove_file(&path);
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn test(directory: &Path, bytes: impl AsRef<[u8]>, timeout: Duration) -> Result<String, SmokeFailure> {
    let path = program(directory, bytes);
    let before = fs::read_dir(directory).unwrap().count();
    let subject = Subject::read(&path, "program").unwrap();
    let result = block_on(Sandbox::of(own()).test(&subject, timeout, directory));
    assert_eq!(fs::read_dir(directory).unwrap().count(), before, "the test left a file");
    result
}

const LONG: Duration = Duration::from_secs(10);

fn passes() {
    // The directory has mode 0700: another user could not run an executable in it by its path.
    let directory = scratch();
    for (what, bytes, expected) in [
        ("a script", b"#!/bin/sh\necho v1.0.0\n".to_vec(), "v1.0.0"),
        ("an ELF program", fs::read("/bin/true").unwrap(), ""),
        (
            "a script that supports only `version`",
            b"#!/bin/sh\n[ \"$1\" = version ] && echo v2.0.0\n".to_vec(),
            "v2.0.0",
        ),
        ("a script that writes to stderr", b"#!/bin/sh\necho v3.0.0 >&2\n".to_vec(), "v3.0.0"),
    ] {
        let output = test(directory.path(), bytes, LONG).unwrap_or_else(|failure| panic!("{what}: {failure}"));
        assert!(output.contains(expected), "{what}: {output}");
    }
    let long = test(directory.path(), "#!/bin/sh\nyes | head -c 5000000\n", LONG).unwrap();
    assert_eq!(long.chars().count(), 200);
}

fn fails() {
    let directory = scratch();
    let mut foreign = fs::read("/bin/true").unwrap();
    // e_machine of PowerPC.
    foreign[18] = 20;
    let failure = |bytes: &[u8]| test(directory.path(), bytes, LONG).unwrap_err();
    for (what, bytes) in [
        ("an empty file", Vec::new()),
        ("a text without an interpreter", b"echo hello\n".to_vec()),
        ("for another processor", foreign),
        ("a truncated program", b"\x7fELF".to_vec()),
        ("an interpreter that is missing", b"#!/no/such/thing\n".to_vec()),
    ] {
        assert!(matches!(failure(&bytes), SmokeFailure::Format { .. }), "{what}: {:?}", failure(&bytes));
    }
    let exit = failure(b"#!/bin/sh\nprintf 'no: \\033[31mred\\n'\nexit 3\n");
    match &exit {
        SmokeFailure::Exit { status: 3, output } => {
            assert!(output.starts_with("no: ") && !output.contains('\u{1b}'), "{output:?}");
        }
        other => panic!("{other:?}"),
    }
    assert!(
        exit.to_string().contains("status 3") && !exit.advice(&d8_crds::values::name::Component::D8).fix.is_empty()
    );
    let late =
        test(directory.path(), "#!/bin/sh\necho begun\nexec sleep 60\n", Duration::from_millis(700)).unwrap_err();
    assert!(matches!(&late, SmokeFailure::Timeout { output, .. } if output == "begun"), "{late:?}");
    // A sandbox that does not work is not a failure of the executable.
    let path = program(directory.path(), "#!/bin/sh\n");
    for sandbox in ["/bin/false", "/no/such/program"] {
        let subject = Subject::read(&path, "program").unwrap();
        let failure = block_on(Sandbox::of(sandbox).test(&subject, LONG, directory.path())).unwrap_err();
        assert!(matches!(failure, SmokeFailure::Setup { .. }), "{failure:?}");
    }
}

fn confined() {
    let directory = scratch();
    let output = |script: &str| {
        let result = test(directory.path(), format!("#!/bin/sh\n{script}\n"), LONG);
        result.unwrap_or_else(|failure| panic!("{script}: {failure}"))
    };
    let environment = output("env | cut -d= -f1 | sort | tr '\\n' ' '");
    let allowed = ["HOME", "LANG", "PATH", "TMPDIR", "PWD", "OLDPWD", "SHLVL", "_"];
    for variable in environment.split_whitespace() {
        assert!(allowed.contains(&variable), "{variable}");
    }
    assert!(environment.contains("HOME") && environment.contains("TMPDIR"));
    assert_eq!(output("echo $PATH $LANG"), "/usr/bin:/bin C");
    assert_eq!(output("[ \"$HOME\" = \"$TMPDIR\" ] && stat -c %a \"$HOME\" && ls -A \"$HOME\""), "700");
    assert_eq!(output("echo x > \"$HOME/x\" && cat \"$HOME/x\""), "x");
    assert_eq!(output("echo $(ulimit -c; ulimit -n; ulimit -t; ulimit -v)"), "0 256 30 unlimited");
    assert_eq!(output("grep NoNewPrivs /proc/self/status | tr -d '\\t'"), "NoNewPrivs:1");
    // In a network namespace, if the system supports it, there is only the loopback interface.
    let allowed =
        Command::new("unshare").args(["--user", "--net", "true"]).status().is_ok_and(|status| status.success());
    if allowed {
        assert_eq!(output("grep -c : /proc/self/net/dev"), "1");
    } else {
        println!("  this system does not support network namespaces");
    }
    let stdin = output("if read line; then echo got; else echo nothing; fi");
    assert_eq!(stdin, "nothing");
    // Descriptors: the standard ones, the one of the listing, and the executable.
    let open = output("echo $(ls /proc/self/fd)");
    for descriptor in open.split_whitespace() {
        assert!(["0", "1", "2", "3", "9", "10", "255"].contains(&descriptor), "{open}");
    }
    assert!(test(directory.path(), "#!/bin/sh\nhead -c 70000000 /dev/zero > \"$HOME/x\"\n", LONG).is_err());
    if rustix::process::geteuid().is_root() {
        let ids = output("echo $(id -u; id -g; id -G)");
        let ids: Vec<u32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
        assert!(ids.iter().all(|id| (61_184..=65_519).contains(id) && *id == ids[0]), "{ids:?}");
        assert_ne!(output("id -u"), output("id -u"), "the user id is always the same");
    }
}

/// Returns whether a process with this argument is running.
pub fn running(marker: &str) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    processes.flatten().any(|process| {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).split('\0').any(|word| word == marker)
    })
}

/// Waits until no process with this argument is running. Hangs if the sandbox does not kill it.
pub fn wait_for_end(marker: &str) {
    while running(marker) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Returns an argument of `sleep` that no other process has.
pub fn marker() -> String {
    format!("100{:06}.{:06}", std::process::id(), rand::random_range(0..1_000_000))
}

fn left_processes() {
    let directory = scratch();
    let marker = marker();
    for script in [
        format!("sleep {marker} &\necho done"),
        format!("setsid sleep {marker} &\necho done"),
        format!("(setsid sh -c 'sleep {marker} & sleep {marker}' &)\necho done"),
        format!("(trap '' TERM HUP INT; setsid sleep {marker} > /dev/null 2>&1 < /dev/null) &\necho done"),
    ] {
        let result = test(directory.path(), format!("#!/bin/sh\n{script}\n"), LONG);
        assert_eq!(result.as_deref(), Ok("done"), "{script}");
        // The sandbox reports only after it has killed them.
        assert!(!running(&marker), "{script}");
    }
}

fn cancelled() {
    let directory = scratch();
    let marker = marker();
    let path = program(directory.path(), format!("#!/bin/sh\nexec sleep {marker}\n"));
    block_on(async {
        let sandbox = Sandbox::of(own());
        let subject = Subject::read(&path, "program").unwrap();
        let test = sandbox.test(&subject, LONG, directory.path());
        let started = async {
            while !running(&marker) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::select! {
            result = test => panic!("{result:?}"),
            () = started => {}
        }
    });
    wait_for_end(&marker);
    // The command that requested the test is killed.
    let root = directory.path().join("root");
    let mut child = Command::new(own()).arg("child").arg(&root).arg(format!("sleeper {marker}")).spawn().unwrap();
    while !running(&marker) {
        assert!(child.try_wait().unwrap().is_none(), "the child ended early");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for_end(&marker);
}

fn busy() {
    let directory = scratch();
    let path = program(directory.path(), "#!/bin/sh\necho v1.0.0\n");
    let subject = Subject::read(&path, "program").unwrap();
    let run = || block_on(Sandbox::of(own()).test(&subject, LONG, directory.path()));
    let writer = OpenOptions::new().write(true).open(&path).unwrap();
    let begun = Instant::now();
    let failure = run().unwrap_err();
    assert!(matches!(&failure, SmokeFailure::Setup { why } if why.contains("open for writing")), "{failure:?}");
    assert!(begun.elapsed() >= Duration::from_secs(2));
    // Closed when the test was refused once and is tried again.
    let (writer, attempts) = (Cell::new(Some(writer)), Rc::new(Cell::new(0)));
    let counted = attempts.clone();
    testing::on("smoke.namespaces", move || {
        counted.set(counted.get() + 1);
        if counted.get() == 2 {
            drop(writer.take());
        }
        Ok(())
    });
    assert_eq!(run().as_deref(), Ok("v1.0.0"));
    testing::on("smoke.namespaces", || Ok(()));
    assert!(attempts.get() >= 2);
}
