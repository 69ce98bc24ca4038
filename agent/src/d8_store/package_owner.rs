//! Which package manager a file belongs to: what it manages is not ours to replace.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Where package managers say what they own.
#[derive(Debug, Clone)]
pub struct PackageDatabases {
    /// dpkg's lists of files, `<package>.list` each.
    pub dpkg: PathBuf,
    /// The program that asks rpm's database.
    pub rpm: PathBuf,
}

impl Default for PackageDatabases {
    fn default() -> Self {
        Self { dpkg: "/var/lib/dpkg/info".into(), rpm: "rpm".into() }
    }
}

/// Trees that a package manager rebuilds as it likes: name, and a part of the path.
const TREES: [(&str, &str); 6] = [
    ("Homebrew", "/Cellar/"),
    ("Homebrew", "/homebrew/"),
    ("Homebrew", "/.linuxbrew/"),
    ("Nix", "/nix/store/"),
    ("Guix", "/gnu/store/"),
    ("snap", "/snap/"),
];

impl PackageDatabases {
    /// Who manages this file, in words; `None`: nobody known.
    pub fn owner(&self, file: &Path) -> Option<String> {
        let text = file.to_string_lossy();
        if let Some((manager, _)) = TREES.iter().find(|(_, part)| text.contains(part)) {
            return Some(manager.to_string());
        }
        self.by_dpkg(file).map(|package| format!("dpkg (package {package})")).or_else(|| {
            let package = self.by_rpm(file)?;
            Some(format!("rpm (package {package})"))
        })
    }

    fn by_dpkg(&self, file: &Path) -> Option<String> {
        // On systems whose /bin is a link to /usr/bin either name may stand in the list.
        let name = file.to_str()?;
        let other = name.strip_prefix("/usr").map_or_else(|| format!("/usr{name}"), str::to_owned);
        let lists = fs::read_dir(&self.dpkg).ok()?.flatten().map(|list| list.path());
        let owns = |list: &PathBuf| {
            let Ok(list) = fs::File::open(list) else { return false };
            BufReader::new(list).lines().map_while(Result::ok).any(|line| line == name || line == other)
        };
        let list = lists.filter(|list| list.extension().is_some_and(|extension| extension == "list")).find(owns)?;
        let package = list.file_stem()?.to_str()?;
        Some(package.split(':').next().unwrap_or(package).to_owned())
    }

    fn by_rpm(&self, file: &Path) -> Option<String> {
        let mut ask = Command::new(&self.rpm);
        ask.args(["-qf", "--qf", "%{NAME}\\n", "--"]).arg(file).stdin(Stdio::null()).stderr(Stdio::null());
        let answer = ask.output().ok().filter(|answer| answer.status.success())?;
        let name = String::from_utf8(answer.stdout).ok()?.lines().next()?.trim().to_owned();
        (!name.is_empty()).then_some(name)
    }
}
