//! What a tested executable can reach of the process that requested the test, and the calls that take it away.
//!
//! "With namespaces" is a user who may create them: root outside of a container, and an ordinary user where user
//! namespaces are allowed. "Landlock" needs no rights; the kernel has it since 5.13.
//!
//! | resource | with namespaces | without |
//! |---|---|---|
//! | controlling terminal | gone: it has its own session (`supervisor`); `/dev/tty` gives `ENXIO` | the same |
//! | other terminals | gone: not in its `/dev` (`view`) | root: the user id may not open them. User: Landlock |
//! | standard streams | `/dev/null`, and a pipe that the supervisor reads | the same |
//! | other descriptors | gone: [`close_inherited`] | the same; the interpreter of a script reads descriptor 9, the script |
//! | signals: ignored, blocked | default, none: [`reset_signals`] | the same |
//! | environment | HOME, TMPDIR, PATH, LANG | the same |
//! | working directory, umask | its home, 077 | the same |
//! | user, groups | root: a user id of its own, no other group. User: the same, only root can change it | the same |
//! | capabilities | gone: [`drop_identity`], and it cannot gain any (`no_new_privs`) | the same |
//! | limits, priority | inherited, lowered by [`limit`] and [`lower_priority`]; the first to be killed when memory is short | the same |
//! | processes: signals, tracing, `/proc` | gone: it has its own process namespace and `/proc` | root: refused, another user. User: Landlock; d8 and the supervisor cannot be traced ([`protect_memory`]) |
//! | processes that it leaves | ended by the kernel | ended by the supervisor (`descendants`) |
//! | network, abstract sockets | gone: an empty network namespace | TCP and abstract sockets: Landlock. Others: shared |
//! | System V IPC, message queues | private, removed with the namespace | shared: no call of the kernel restricts them |
//! | `/tmp`, `/var/tmp`, `/dev/shm` | private, in memory (`view`) | root: what it leaves is removed (`home`). User: Landlock |
//! | files of users, sockets in `/run` | hidden (`view`) | readable as permissions allow |
//! | other files | read-only (`view`) | read-only: Landlock |
//! | its own file | read-only (`view`); compared after the test (`subject`) | Landlock; compared |
//! | session keyring | shared: only `keyctl(2)` leaves it, and neither the standard library nor `rustix` or `nix` has a safe call for it. It has no network to send a key to | the same |
//! | control group | shared: its memory and processor time count as d8's; `/sys` is read-only | Landlock |
//! | host name, clock, kernel | cannot be changed without capabilities | the same |

use std::{fs, io};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::protocol::{EXECUTABLE_FD, TestRequest};

/// Size of a file that the executable may write, in bytes.
const FILE_SIZE: u64 = 64 * 1024 * 1024;

/// Processor time of the executable, in seconds.
const CPU_SECONDS: u64 = 30;

/// Descriptors that the executable may open.
const DESCRIPTORS: u64 = 256;

/// Processes and threads of the executable. Runtimes start some threads for each processor.
const PROCESSES: u64 = 512;

/// Priority of the executable below that of d8, and of the supervisor above it, if it may. So the supervisor gets
/// processor time although the executable uses all that it can.
const NICE: i32 = 5;

/// Keeps other processes of this user from reading the memory of this process, which may contain credentials.
pub(super) fn protect_memory() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// Closes the inherited descriptors except for the standard ones and the executable: the program that started d8 may
/// have left files open. This process has opened nothing yet.
pub(super) fn close_inherited() {
    let Ok(open) = fs::read_dir("/proc/self/fd").or_else(|_| fs::read_dir("/dev/fd")) else { return };
    let open: Vec<i32> = open.flatten().filter_map(|open| open.file_name().to_str()?.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|open| *open > 2 && *open != EXECUTABLE_FD) {
        let _ = nix::unistd::close(descriptor);
    }
}

/// Enters a user namespace: an ordinary user may create the other namespaces only in one. Returns `false` if it was
/// entered and the user id cannot be mapped (a restriction of `AppArmor`). A process cannot leave it again.
pub(super) fn enter_user_namespace() -> bool {
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
            && keep_namespace_rights().is_ok()
    }
    #[cfg(not(target_os = "linux"))]
    true
}

/// Lets the starter keep the rights in the user namespace: a program that an ordinary user starts would lose them.
#[cfg(target_os = "linux")]
fn keep_namespace_rights() -> io::Result<()> {
    use rustix::thread::{
        CapabilitySet, capabilities, configure_capability_in_ambient_set as set_ambient, set_capabilities,
    };
    let mut sets = capabilities(None)?;
    sets.inheritable = CapabilitySet::SYS_ADMIN;
    set_capabilities(None, sets)?;
    Ok(set_ambient(CapabilitySet::SYS_ADMIN, true)?)
}

/// Limits this process and all processes that it starts.
pub(super) fn limit(request: &TestRequest) -> io::Result<()> {
    let limits = [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, FILE_SIZE),
        (Resource::RLIMIT_CPU, CPU_SECONDS),
        (Resource::RLIMIT_NOFILE, DESCRIPTORS),
        #[cfg(target_os = "linux")]
        (Resource::RLIMIT_NPROC, other_processes(request) + PROCESSES),
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
        protect_memory();
        // Processes that the executable leaves become children of this process, which ends them.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        // Fails without an error if a container has removed the capability.
        if request.namespaces {
            let _ = unshare(CloneFlags::CLONE_NEWPID);
        }
    }
    Ok(())
}

/// Lowers the priority of this thread and of what it starts.
pub(super) fn lower_priority() {
    let _ = rustix::process::nice(NICE);
}

/// Raises the priority of this thread. Only root may.
pub(super) fn raise_priority() {
    let _ = rustix::process::nice(-2 * NICE);
}

/// Returns how many processes the user of the executable may have besides it. The limit counts all processes of a
/// user; all processes of the system are an upper bound.
#[cfg(target_os = "linux")]
fn other_processes(request: &TestRequest) -> u64 {
    if request.uid.is_some() {
        return 0;
    }
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let total = load.split(' ').nth(3).and_then(|counts| counts.split_once('/')?.1.parse().ok());
    total.unwrap_or(u64::from(u32::MAX))
}

/// Sets the signals that the caller ignores to their default, and unblocks all. A program inherits both.
///
/// No safe call sets the default. So this installs handlers: `exec` resets a signal with a handler to its default.
pub(super) fn reset_signals() -> io::Result<()> {
    nix::sys::signal::SigSet::empty().thread_set_mask()?;
    #[cfg(target_os = "linux")]
    {
        use nix::libc::{SIGFPE, SIGILL, SIGKILL, SIGPIPE, SIGSEGV, SIGSTOP};
        use tokio::signal::unix::{SignalKind, signal};
        // tokio does not allow handlers for these. The standard library resets
        // SIGPIPE. The C library uses 32 and 33 itself.
        const EXCLUDED: [i32; 8] = [SIGFPE, SIGILL, SIGKILL, SIGPIPE, SIGSEGV, SIGSTOP, 32, 33];
        let status = fs::read_to_string("/proc/self/status")?;
        let ignored =
            status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
        let ignored: Vec<i32> = (1..=64)
            .filter(|number| ignored.unwrap_or_default() >> (number - 1) & 1 == 1 && !EXCLUDED.contains(number))
            .collect();
        if !ignored.is_empty() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
            let _entered = runtime.enter();
            for number in ignored {
                drop(signal(SignalKind::from_raw(number))?);
            }
        }
    }
    Ok(())
}

/// Gives up groups, user id and capabilities, for the program that this process becomes.
pub(super) fn drop_identity(uid: Option<u32>) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::thread::{CapabilitySet, capabilities, clear_ambient_capability_set, set_capabilities};
        clear_ambient_capability_set()?;
        let mut sets = capabilities(None)?;
        sets.inheritable = CapabilitySet::empty();
        set_capabilities(None, sets)?;
    }
    if let Some(uid) = uid {
        use nix::unistd::{Gid, Uid};
        let gid = Gid::from_raw(uid);
        #[cfg(not(target_os = "macos"))]
        nix::unistd::setgroups(&[])?;
        nix::unistd::setgid(gid)?;
        nix::unistd::setuid(Uid::from_raw(uid))?;
    }
    Ok(())
}
