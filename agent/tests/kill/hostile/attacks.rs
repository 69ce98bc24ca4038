//! The attacks.

use std::{fs, os::unix::process::ExitStatusExt as _, path::Path};

use d8_agent::smoke::SmokeFailure;

use super::probe::{callers, stdout, terminal};
use crate::{
    TestCase,
    sandbox::{marker, running, wait_for_end},
    support::run_current,
};

pub const CASES: &[TestCase] = &[
    ("an_executable_that_attacks_the_terminal", attacked_terminal),
    ("an_executable_that_leaves_files_and_processes", leftovers),
    ("an_executable_that_changes_its_own_file", swapped),
    ("an_executable_that_reads_the_memory_of_its_parents", traced_parents),
    ("an_executable_that_kills_all_processes", killed_all),
    ("an_executable_that_starts_processes_without_end", fork_bomb),
    ("an_executable_inherits_nothing", inherits_nothing),
    ("a_system_without_user_namespaces", user_namespaces_refused),
];

/// Begins each script: reports an attempt as its error number, 0 if it worked.
const ATTEMPT: &str = r#"#!/usr/bin/perl
use POSIX ();
$| = 1;
sub attempt { my ($what, $done) = @_; print $what, "=", ($done ? 0 : $! + 0), " "; $done }
my $file;
"#;

fn attacked_terminal() {
    for caller in callers() {
        let (_emulator, path) = terminal(caller.uid);
        let script = format!(
            r#"{ATTEMPT}
sub attack {{
    my ($name, $path) = @_;
    attempt("open-$name", open(my $terminal, "+<", $path)) or return;
    attempt("push-$name", ioctl($terminal, 0x5412, my $key = "x\n"));
    attempt("foreground-$name", POSIX::tcsetpgrp(fileno($terminal), getpgrp()));
}}
attack("own", "/dev/tty");
attack("user", "{path}");
exit 0 if fork;
POSIX::setsid();
attack("session", "{path}");
"#,
            path = path.display(),
        );
        let directory = caller.directory();
        let probe = caller.probe_in(directory.path(), &script, Some(&path), "");
        // ENXIO: there is no controlling terminal.
        assert!(probe.output().contains("open-own=6 "), "{caller:?}: {probe:?}");
        for done in ["push-own=0", "push-user=0", "push-session=0", "foreground-own=0", "foreground-user=0"] {
            assert!(!probe.output().contains(done), "{caller:?}: {probe:?}");
        }
        if !caller.unrestricted() {
            assert!(!probe.output().contains("open-user=0"), "{caller:?}: {probe:?}");
        }
        assert_eq!((probe.pushed.as_str(), probe.foreground_changed), ("", false), "{caller:?}: {probe:?}");
    }
}

fn leftovers() {
    for caller in callers() {
        let marker = marker();
        let name = format!("d8-test-{marker}");
        let key = rand::random_range(1..i32::MAX);
        let script = format!(
            r#"{ATTEMPT}
for my $directory ("/tmp", "/var/tmp", "/dev/shm") {{
    mkdir "$directory/{name}";
    open(my $file, ">", "$directory/{name}/file");
}}
shmget({key}, 100, 01600);
msgget({key}, 01600);
if (!fork) {{
    POSIX::setsid();
    exit if fork;
    POSIX::close($_) for 0..20;
    exec "/bin/sleep", "{marker}";
}}
wait;
print "left";
"#
        );
        let probe = caller.probe(&script);
        assert_eq!(probe.output(), "left", "{caller:?}");
        assert!(!running(&marker), "{caller:?}: a process is left");
        // The files of an ordinary user who is not restricted cannot be told from the user's own.
        for directory in ["/tmp", "/var/tmp", "/dev/shm"] {
            let left = Path::new(directory).join(&name);
            if caller.unrestricted() && caller.same_user() {
                let _ = fs::remove_dir_all(left);
            } else {
                assert!(!left.exists(), "{caller:?}: {} is left", left.display());
            }
        }
        let ipc = ["shm", "msg"].map(|kind| fs::read_to_string(format!("/proc/sysvipc/{kind}")).unwrap()).concat();
        let left = ipc.lines().any(|line| line.split_whitespace().next() == Some(&key.to_string()));
        assert_eq!(left, !caller.has_namespaces(), "{caller:?}: {ipc}");
        if left {
            let key = key.to_string();
            std::process::Command::new("ipcrm").args(["-M", &key, "-Q", &key]).status().unwrap();
        }
    }
}

fn swapped() {
    for caller in callers() {
        for attack in [
            r#"open($file, ">>", $path) and print $file "exit 1\n";"#,
            // How it ends does not count.
            r#"open($file, ">>", $path) and print $file "exit 1\n" and exit 1;"#,
            r#"open($file, ">", "$path.new") and print $file "other" and rename("$path.new", $path);"#,
            // By the descriptor or path that it was started by.
            r#"chmod 0755, $0; open($file, "+<", $0) and print $file "X";"#,
        ] {
            let directory = caller.directory();
            let path = directory.path().join("program");
            let script = format!("{ATTEMPT}my $path = '{}';\n{attack}\nprint 'v1.0.0';\n", path.display());
            let probe = caller.probe_in(directory.path(), &script, None, "");
            let unchanged = fs::read_to_string(&path).is_ok_and(|found| found == script);
            let expected = if unchanged { Ok("v1.0.0".to_owned()) } else { Err(SmokeFailure::Changed) };
            assert_eq!(probe.result, expected, "{caller:?}: {attack}");
            assert_eq!(unchanged, !(caller.unrestricted() && caller.same_user()), "{caller:?}: {attack}");
        }
    }
}

fn traced_parents() {
    for caller in callers() {
        let script = format!(
            r#"{ATTEMPT}
sub parent {{
    open(my $file, "<", "/proc/$_[0]/stat") or return 0;
    return (split " ", (split /\)/, <$file>)[-1])[1];
}}
for (my $pid = getppid(), my $depth = 0; $pid && $depth < 2; $pid = parent($pid), $depth++) {{
    attempt("memory", open(my $file, "<", "/proc/$pid/mem"));
    attempt("environment", open(my $file, "<", "/proc/$pid/environ"));
}}
print "end";
"#
        );
        let probe = caller.probe(&script);
        assert!(!probe.output().contains("=0 ") && probe.output().ends_with("end"), "{caller:?}: {probe:?}");
        assert_eq!(probe.output() == "end", caller.has_namespaces(), "{caller:?}: {probe:?}");
    }
}

/// Whether this kernel's Landlock restricts signals.
fn signals_are_restricted() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(12))
}

fn killed_all() {
    for caller in callers().into_iter().filter(|caller| caller.uid.is_some()) {
        let directory = caller.directory();
        let root = directory.path().join("root");
        let run = |command: &str| caller.command("").arg("child").arg(&root).arg(command).output().unwrap();
        assert!(run("install k=v1.0.0").status.success(), "{caller:?}");
        let killed = run("killer k=v2.0.0");
        if caller.unrestricted() || !(caller.has_namespaces() || signals_are_restricted()) {
            // It may kill all processes of its user.
            assert_eq!(killed.status.signal(), Some(9), "{caller:?}: {killed:?}");
        } else {
            assert!(stdout(&killed).starts_with("Smoke: "), "{caller:?}: {killed:?}");
        }
        assert_eq!(run_current(&root, "k").as_deref(), Some("k v1.0.0"), "{caller:?}");
        assert!(run("repair k").status.success(), "{caller:?}");
        assert!(run("install k=v1.1.0").status.success(), "{caller:?}");
        assert_eq!(run_current(&root, "k").as_deref(), Some("k v1.1.0"), "{caller:?}");
        assert!(!root.join(".staging").exists(), "{caller:?}");
    }
}

fn fork_bomb() {
    // Landlock makes no difference.
    for caller in callers().into_iter().filter(|caller| caller.has_namespaces() || caller.unrestricted()) {
        let marker = marker();
        let script = format!("#!/bin/sh\nexec perl -e 'fork while 1' {marker}\n");
        let directory = caller.directory();
        let probe = caller.probe_in(directory.path(), &script, None, "export D8_TEST_SECONDS=1");
        assert!(matches!(&probe.result, Err(SmokeFailure::Timeout { .. })), "{caller:?}: {probe:?}");
        wait_for_end(&marker);
    }
}

fn inherits_nothing() {
    let status = "grep -E '^(Cap(Inh|Prm|Eff|Amb)|Sig(Blk|Ign)|NoNewPrivs|Groups):' /proc/self/status";
    for caller in callers() {
        let directory = caller.directory();
        let probe = |script: &str| {
            let script = format!("#!/bin/sh\n{script}\n");
            caller.probe_in(directory.path(), &script, None, "trap '' HUP INT QUIT WINCH; exec 3</dev/null 7</dev/null")
        };
        let found = probe(&format!("{status} | tr -d '\\t' | tr '\\n' ' '"));
        for line in found.output().split_whitespace() {
            let (name, value) = line.split_once(':').unwrap_or_default();
            let allowed = match name {
                "NoNewPrivs" => value == "1",
                // A user cannot leave their groups.
                "Groups" | "" => true,
                // The C library uses signals 32 and 33 itself.
                "SigIgn" => u64::from_str_radix(value, 16).unwrap() & !(3 << 31) == 0,
                _ => value.bytes().all(|digit| digit == b'0'),
            };
            assert!(allowed, "{caller:?}: {line}");
        }
        // Descriptor 9 is the script, if it has no path; the others are those of the shell and of the listing.
        let open = probe("echo $(ls /proc/self/fd)");
        let allowed: &[&str] = if caller.has_namespaces() { &["0", "1", "2", "3"] } else { &["0", "1", "2", "3", "9"] };
        assert!(open.output().split(' ').all(|descriptor| allowed.contains(&descriptor)), "{caller:?}: {open:?}");
        assert_eq!(probe("umask").output(), "0077");
        if caller.has_namespaces() {
            let empty = probe("echo $(ls -A /home /root /tmp /var/tmp)");
            assert_eq!(empty.output(), "/home: /root: /tmp: /var/tmp:", "{caller:?}");
            let writable = "awk '$4 ~ /^rw/ && $2 !~ /^.(dev|proc|run|tmp)/ {print $2}' /proc/self/mounts";
            assert_eq!(probe(writable).output(), "", "{caller:?}");
            let processes = probe("ls /proc | grep -c '^[0-9]'");
            assert!(processes.output().parse::<u32>().unwrap() < 6, "{caller:?}: {processes:?}");
        }
    }
}

/// As an admin refuses them, not through a failpoint.
fn user_namespaces_refused() {
    let Some(caller) = callers().into_iter().find(|caller| caller.uid.is_some()) else {
        println!("  skipped: only root can become another user");
        return;
    };
    let refuse = r#"exec unshare --user --map-current-user --keep-caps /bin/sh -c '
        echo 0 > /proc/sys/user/max_user_namespaces || exit 1
        exec setpriv --ambient-caps -all --inh-caps -all "$0" "$@"' "$0" "$@""#;
    let directory = caller.directory();
    let script = "#!/bin/sh\n[ $$ = 1 ] || [ \"$HOME\" = /tmp ] || echo plain $(ls -A \"$HOME\")\n";
    let probe = caller.probe_in(directory.path(), script, None, refuse);
    assert_eq!(probe.output(), "plain", "{caller:?}");
    let probe = caller.probe_in(directory.path(), script, None, "");
    assert_eq!(probe.output(), "", "{caller:?}");
}
