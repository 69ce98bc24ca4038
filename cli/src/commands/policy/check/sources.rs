//! The files of `d8 policy check` and `d8 policy diff`.

mod yaml;

use std::path::{Path, PathBuf};

use d8_crds::values::{encoding, limits::POLICY_FILE_BYTES};
use d8_rpp::file;
use serde_json::Value;

/// The objects of all files, and the files that cannot be read.
#[derive(Debug, Default)]
pub(super) struct Sources {
    pub(super) documents: Vec<Document>,
    pub(super) unreadable: Vec<UnreadableFile>,
}

/// One object of a file.
#[derive(Debug)]
pub(super) struct Document {
    /// Name of the file for people.
    pub(super) file: String,
    /// Number of the YAML document, from 1.
    pub(super) number: usize,
    /// Number of the object in a list, from 1.
    pub(super) item: Option<usize>,
    pub(super) content: Value,
}

impl Document {
    /// Returns the kind of an object that is no policy. An object without a kind, or whose kind is mistyped, is one.
    pub(super) fn other_kind(&self) -> Option<&str> {
        let text = |key: &str| self.content.get(key).and_then(Value::as_str);
        let (version, kind) = (text("apiVersion")?, text("kind")?);
        let is_other = match version.split_once('/') {
            Some(("cli.deckhouse.io", _)) => matches!(kind, "CliRelease" | "CliHost"),
            _ => kind != "PluginPolicy",
        };
        is_other.then_some(kind)
    }
}

/// A file that cannot be read, is not YAML, or has no document.
#[derive(Debug)]
pub(super) struct UnreadableFile {
    pub(super) file: String,
    pub(super) why: String,
}

impl Sources {
    /// Reads all documents of some files and directories, or of standard input for `-`.
    pub(super) fn read(paths: &[PathBuf]) -> Self {
        let mut sources = Self::default();
        for path in paths {
            match files(path) {
                Ok(files) => files.iter().for_each(|file| sources.add(file)),
                Err(why) => sources.unreadable.push(UnreadableFile { file: path.display().to_string(), why }),
            }
        }
        sources
    }

    fn add(&mut self, path: &Path) {
        let from_stdin = path.as_os_str() == "-";
        let file = if from_stdin { "standard input".to_owned() } else { path.display().to_string() };
        match documents(path, from_stdin) {
            Ok(contents) => {
                let document = |(number, item, content)| Document { file: file.clone(), number, item, content };
                self.documents.extend(contents.into_iter().map(document));
            }
            Err(why) => self.unreadable.push(UnreadableFile { file, why }),
        }
    }
}

/// Returns the files that an argument names. Of a directory these are, as for `kubectl apply -f`, its YAML and JSON files
/// without those of directories in it.
fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let has_extension = |path: &PathBuf| path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
    let entries = std::fs::read_dir(path).map_err(|error| with_sources(&error))?;
    let mut files = Vec::new();
    for entry in entries {
        files.push(entry.map_err(|error| with_sources(&error))?.path());
    }
    files.retain(|file| has_extension(file) && !file.is_dir());
    files.sort();
    if files.is_empty() { Err("it has no *.yaml, *.yml or *.json file".to_owned()) } else { Ok(files) }
}

/// An object with the numbers of its document and of its place in a list.
type Numbered = (usize, Option<usize>, Value);

fn documents(path: &Path, from_stdin: bool) -> Result<Vec<Numbered>, String> {
    let read = if from_stdin {
        file::read_at_most(std::io::stdin().lock(), POLICY_FILE_BYTES)
    } else {
        file::read_any(path, POLICY_FILE_BYTES)
    };
    let bytes = read.map_err(|error| with_sources(&error))?;
    let text = encoding::decode(&bytes).map_err(|error| with_sources(&error))?;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).map_err(|error| yaml::explain(&error))?;
    let numbered = documents
        .into_iter()
        .zip(1..)
        .flat_map(|(document, number)| items(document).into_iter().map(move |(item, content)| (number, item, content)));
    let objects: Vec<_> = numbered.filter(|(_, _, content)| !content.is_null()).collect();
    if objects.is_empty() { Err("it has no document".to_owned()) } else { Ok(objects) }
}

/// Returns an error with its causes, on one line.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let cause = source.to_string();
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        next = source.source();
    }
    text
}

/// Returns the objects of a list, such as `kubectl get -o yaml` prints; any other document is one object.
fn items(document: Value) -> Vec<(Option<usize>, Value)> {
    let numbered = |items: Vec<Value>| (1..).map(Some).zip(items).collect();
    match document {
        Value::Array(items) => numbered(items),
        Value::Object(mut object)
            if object.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List")) =>
        {
            match object.remove("items") {
                Some(Value::Array(items)) => numbered(items),
                _ => Vec::new(),
            }
        }
        document => vec![(None, document)],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_directory_stands_for_its_files() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str| std::fs::write(directory.path().join(name), "kind: PluginPolicy\n").unwrap();
        assert_eq!(files(directory.path()).unwrap_err(), "it has no *.yaml, *.yml or *.json file");
        ["b.yaml", "a.yml", "c.json", "README.md", "yaml"].into_iter().for_each(write);
        std::fs::create_dir(directory.path().join("d.yaml")).unwrap();
        write("d.yaml/e.yaml");
        let found = files(directory.path()).unwrap();
        let names: Vec<_> = found.iter().filter_map(|path| path.file_name()?.to_str()).collect();
        assert_eq!(names, ["a.yml", "b.yaml", "c.json"]);
        let missing = directory.path().join("none.yaml");
        assert_eq!(files(&missing).unwrap(), [missing]);
    }

    #[test]
    fn objects_of_other_kinds() {
        let (ours, core) = ("cli.deckhouse.io/v1alpha1", "v1");
        for (version, kind, other) in [
            (Some(ours), Some("PluginPolicy"), false),
            (Some(ours), Some("PluginPolicies"), false),
            (Some(ours), Some("CliRelease"), true),
            (Some(ours), Some("CliHost"), true),
            (Some(core), Some("ConfigMap"), true),
            // The group is mistyped.
            (Some("cli.deckhouse.com/v1alpha1"), Some("PluginPolicy"), false),
            (None, Some("ConfigMap"), false),
            (Some(core), None, false),
        ] {
            let content = json!({"apiVersion": version, "kind": kind});
            let document = Document { file: String::new(), number: 1, item: None, content };
            assert_eq!(document.other_kind().is_some(), other, "{version:?} {kind:?}");
        }
    }
}
