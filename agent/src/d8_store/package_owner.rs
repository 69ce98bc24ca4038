//! Finds the package manager that owns a file. Such a file is not replaced.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The databases of package managers.
#[derive(Debug, Clone)]
pub struct PackageDatabases {
    /// Directory with the file lists of dpkg, one `<package>.list` for each package.
    pub dpkg: PathBuf,
    /// The program that queries the database of rpm.
    pub rpm: PathBuf,
}

impl Default for PackageDatabases {
    fn default() -> Self {
        Self { dpkg: "/var/lib/dpkg/info".into(), rpm: "rpm".into() }
    }
}

/// Directories that a package manager owns: its name, and a part of the path.
const TREES: [(&str, &str); 6] = [
    ("Homebrew", "/Cellar/"),
    ("Homebrew", "/homebrew/"),
    ("Homebrew", "/.linuxbrew/"),
    ("Nix", "/nix/store/"),
    ("Guix", "/gnu/store/"),
    ("snap", "/snap/"),
];

impl PackageDatabases {
    /// Returns the owner of a file in words, `None` if no known package manager owns it.
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
        // If /bin is a link to /usr/bin, the list may contain either name.
        let name = file.to_str()?;
        let other = name.strip_prefix("/usr").map_or_else(|| format!("/usr{name}"), str::to_owned);
        let lists = fs::read_dir(&self.dpkg).ok()?.flatten().map(|list| list.path());
        let owns = |list: &PathBuf| {
            let Ok(list) = d8_rpp::file::open_regular(list) else { return false };
            BufReader::new(list).lines().map_while(Result::ok).any(|line| line == name || line == other)
        };
        let list = lists.filter(|list| list.extension().is_some_and(|extension| extension == "list")).find(owns)?;
        let package = list.file_stem()?.to_str()?;
        Some(package.split(':').next().unwrap_or(package).to_owned())
    }

    fn by_rpm(&self, file: &Path) -> Option<String> {
        let mut query = Command::new(&self.rpm);
        query.args(["-qf", "--qf", "%{NAME}\\n", "--"]).arg(file).stdin(Stdio::null()).stderr(Stdio::null());
        let output = query.output().ok().filter(|output| output.status.success())?;
        let name = String::from_utf8(output.stdout).ok()?.lines().next()?.trim().to_owned();
        (!name.is_empty()).then_some(name)
    }
}
