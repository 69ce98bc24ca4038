//! Systems that refuse something: system calls, by a filter of the kernel (seccomp) as in a container, and mounts of a
//! mount namespace.

use std::ffi::OsString;

/// A system call that a file system or a container may refuse.
#[derive(Debug, Clone, Copy)]
pub enum SystemCall {
    /// `flock(2)`, which locks a file.
    Flock,
    /// `linkat(2)`, which makes hard links.
    Linkat,
    /// `renameat2(2)`, which exchanges two names.
    Renameat2,
}

impl SystemCall {
    /// Returns the number on this processor, or `None` if it is not known here.
    fn number(self) -> Option<u32> {
        let numbers = match self {
            Self::Flock => [73, 32],
            Self::Linkat => [265, 37],
            Self::Renameat2 => [316, 276],
        };
        on_this_processor(numbers)
    }
}

/// Selects from the numbers on x86-64 and on `AArch64`.
fn on_this_processor([x86_64, aarch64]: [u32; 2]) -> Option<u32> {
    match std::env::consts::ARCH {
        "x86_64" => Some(x86_64),
        "aarch64" => Some(aarch64),
        _ => None,
    }
}

/// Installs a filter and becomes the command in the arguments. The numbers are those of `linux/filter.h`,
/// `linux/seccomp.h` and `linux/prctl.h`.
const FILTER: &str = r#"
my ($prctl, @refused) = split /,/, shift;
my @code = ([0x20, 0, 0, 0]);
while (my ($call, $errno) = splice @refused, 0, 2) {
    push @code, [0x15, 0, 1, $call], [0x06, 0, 0, 0x50000 | $errno];
}
push @code, [0x06, 0, 0, 0x7fff0000];
my $filter = join "", map { pack "SCCL", @$_ } @code;
my $program = pack "Sx6P", scalar @code, $filter;
syscall($prctl + 0, 38, 1, 0, 0, 0) == 0 or die "no_new_privs: $!";
syscall($prctl + 0, 22, 2, $program, 0, 0) == 0 or die "seccomp: $!";
exec { $ARGV[0] } @ARGV or die "exec: $!";
"#;

/// Returns the beginning of a command line that runs its rest on a system that refuses these calls with these errors.
/// `None` on another processor.
pub fn refusing(calls: &[(SystemCall, rustix::io::Errno)]) -> Option<Vec<OsString>> {
    let mut numbers = vec![on_this_processor([157, 167])?];
    for (call, error) in calls {
        numbers.extend([call.number()?, u32::try_from(error.raw_os_error()).ok()?]);
    }
    let numbers = numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    Some(["perl", "-e", FILTER, &numbers].map(OsString::from).into())
}

/// Returns the beginning of a command line that runs its rest in a mount namespace, after this script of a shell. The
/// script stops at the first error. `None` if this user may not create one.
pub fn with_mounts(script: &str) -> Option<Vec<OsString>> {
    let allowed = std::process::Command::new("unshare").args(["--mount", "true"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let script = format!("set -e; {script}\nexec \"$@\"");
    Some(["unshare", "--mount", "sh", "-c", &script, "sh"].map(OsString::from).into())
}
