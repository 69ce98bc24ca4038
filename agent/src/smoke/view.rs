//! The file system of a tested executable in a mount namespace: read-only, without the user's files and sockets, with
//! temporary directories of its own in memory. Nothing that it writes outlives it.

use std::{
    ffi::CString,
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::{
        fd::AsRawFd as _,
        unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, chown, symlink},
    },
    path::{Path, PathBuf},
};

use nix::sched::{CloneFlags, unshare};
use rustix::{
    fs::{OFlags, StatVfsMountFlags},
    mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, mount_remount, unmount},
};

use super::protocol::{EXECUTABLE_FD, TestRequest};
use crate::disk::{
    FileId, JsonPath,
    mounts::{self, MountEntry},
};

/// HOME and TMPDIR of the executable.
const HOME: &str = "/tmp";

/// Size and number of the files that the executable may have in memory.
const CAPACITY: &str = "size=64m,nr_inodes=4096";

/// The directory of the executable.
const PROGRAM_DIR: &str = "/run";

/// Directories that are replaced by empty ones: other temporary directories, and where users have their files.
const HIDDEN: &[&str] = &["/var/tmp", "/home", "/root"];

/// Directories that are not hidden, with all that they contain, even if they are the home of a user.
const SYSTEM: &[&str] = &["/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sys", "/tmp", "/usr"];

/// Devices of the executable. `/dev/tty` is the controlling terminal; the executable has none.
pub(super) const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// File systems on other machines, or served by a program. A server that does not answer would block the test.
const REMOTE: &[&str] = &["nfs", "cifs", "smb", "9p", "ceph", "fuse", "autofs", "afs", "gfs2", "glusterfs", "lustre"];

/// Paths in the view.
pub(super) struct View {
    /// HOME and TMPDIR of the executable: empty.
    pub(super) home: PathBuf,
    /// The executable, if it has a path.
    pub(super) program: Option<PathBuf>,
}

/// Enters a mount namespace and changes what is mounted. Returns `None` if the system does not allow it; then no mount
/// has changed. A later step that the system does not allow is left out.
pub(super) fn enter(request: &TestRequest) -> Option<View> {
    let owner = request.uid.unwrap_or_else(|| rustix::process::geteuid().as_raw());
    let group = request.uid.unwrap_or_else(|| rustix::process::getegid().as_raw());
    unshare(CloneFlags::CLONE_NEWNS).ok()?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).ok()?;
    // What is mounted from here on has a name only in this namespace. These descriptors keep what will be hidden.
    let executable = executable(request);
    let device = |name: &&'static str| Some((*name, locate(&Path::new("/dev").join(name)).ok()?));
    let devices: Vec<_> = DEVICES.iter().filter_map(device).collect();
    let options = format!("mode=700,uid={owner},gid={group},{CAPACITY}");
    mount_memory(Path::new(HOME), MountFlags::empty(), &options).ok()?;
    make_read_only();
    // Only the first process of a process namespace may mount its processes.
    if std::process::id() == 1 {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let _ = mount("proc", "/proc", "proc", flags, None);
    }
    let _ = mount_devices(&devices, owner, group);
    let program = executable.and_then(|executable| mount_program(&executable, &request.name).ok());
    hide(&request.hidden);
    Some(View { home: HOME.into(), program })
}

/// Opens a path only to mount it elsewhere.
fn locate(path: &Path) -> io::Result<File> {
    let flags = (OFlags::PATH | OFlags::NOFOLLOW).bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Opens the executable in this mount namespace, if its path still leads to it.
fn executable(request: &TestRequest) -> Option<File> {
    let expected = fs::metadata(format!("/proc/self/fd/{EXECUTABLE_FD}")).ok()?;
    let found = locate(&request.path).ok()?;
    (FileId::of(&found.metadata().ok()?) == FileId::of(&expected)).then_some(found)
}

/// Mounts an empty file system in memory.
fn mount_memory(path: &Path, flags: MountFlags, options: &str) -> io::Result<()> {
    let options = CString::new(options)?;
    Ok(mount("tmpfs", path, "tmpfs", flags | MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())?)
}

/// Mounts an open file on a new file.
fn mount_file(file: &File, path: &Path) -> io::Result<()> {
    File::create_new(path)?;
    Ok(mount_bind(format!("/proc/self/fd/{}", file.as_raw_fd()), path)?)
}

/// Replaces `/dev`. Leaves it as it was after a failure.
fn mount_devices(devices: &[(&str, File)], owner: u32, group: u32) -> io::Result<()> {
    let dev = Path::new("/dev");
    mount_memory(dev, MountFlags::NOEXEC, &format!("mode=755,{CAPACITY}"))?;
    let fill = || {
        for (name, device) in devices {
            mount_file(device, &dev.join(name))?;
        }
        for (name, target) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
            symlink(format!("/proc/self/fd{target}"), dev.join(name))?;
        }
        let shared = dev.join("shm");
        DirBuilder::new().mode(0o700).create(&shared)?;
        chown(&shared, Some(owner), Some(group))
    };
    let filled = fill();
    if filled.is_err() {
        unmount(dev, UnmountFlags::DETACH)?;
    }
    filled
}

/// Gives the executable a path that every user can pass, in an otherwise empty directory. Returns it.
fn mount_program(executable: &File, name: &str) -> io::Result<PathBuf> {
    let directory = Path::new(PROGRAM_DIR);
    mount_memory(directory, MountFlags::empty(), &format!("mode=755,{CAPACITY}"))?;
    let path = directory.join(name);
    mount_file(executable, &path)?;
    for path in [path.as_path(), directory] {
        mount_remount(path, flags_of(path)? | MountFlags::BIND | MountFlags::RDONLY, "")?;
    }
    Ok(path)
}

/// Returns the flags of a mount, which a remount must repeat.
fn flags_of(path: &Path) -> io::Result<MountFlags> {
    let set = rustix::fs::statvfs(path)?.f_flag;
    let flags = [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    Ok(flags.into_iter().filter(|(flag, _)| set.contains(*flag)).map(|(_, flag)| flag).collect())
}

/// Hides the directories of users, and other temporary directories.
fn hide(homes: &[JsonPath]) {
    let hideable =
        |home: &&Path| SYSTEM.iter().all(|system| !home.starts_with(system) && !Path::new(system).starts_with(home));
    let homes: Vec<_> = homes.iter().filter_map(|home| home.canonicalize().ok()).collect();
    let homes = homes.iter().map(PathBuf::as_path).filter(hideable);
    for path in HIDDEN.iter().map(Path::new).chain(homes).filter(|path| path.is_dir()) {
        let _ = mount_memory(path, MountFlags::RDONLY | MountFlags::NOEXEC, "mode=755,size=4k,nr_inodes=8");
    }
}

/// Makes the mounted file systems read-only, except for remote ones and those that are replaced.
fn make_read_only() {
    for mount in mounts::list().iter().filter(|mount| must_become_read_only(mount)) {
        let _ = mount_remount(&mount.path, kept_flags(mount) | MountFlags::BIND | MountFlags::RDONLY, "");
    }
}

fn must_become_read_only(mount: &MountEntry) -> bool {
    let remote = REMOTE.iter().any(|name| mount.file_system.starts_with(name));
    let replaced = ["/proc", "/dev", HOME, PROGRAM_DIR].iter().any(|replaced| mount.path.starts_with(replaced));
    !remote && !replaced && !mount.has("ro")
}

/// Returns the flags of a mount. A remount must repeat them: it would remove the others, which a user namespace may
/// not.
fn kept_flags(mount: &MountEntry) -> MountFlags {
    let flags = [
        ("nosuid", MountFlags::NOSUID),
        ("nodev", MountFlags::NODEV),
        ("noexec", MountFlags::NOEXEC),
        ("noatime", MountFlags::NOATIME),
        ("nodiratime", MountFlags::NODIRATIME),
        ("relatime", MountFlags::RELATIME),
    ];
    flags.into_iter().filter(|(option, _)| mount.has(option)).map(|(_, flag)| flag).collect()
}
