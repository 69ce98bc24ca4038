//! The files of `d8 policy check` and `d8 policy diff`.

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

/// A file that cannot be read, is not YAML, or has no document.
#[derive(Debug)]
pub(super) struct UnreadableFile {
    pub(super) file: String,
    pub(super) why: String,
}

impl Sources {
    /// Reads all documents of some files, or of standard input for `-`.
    pub(super) fn read(files: &[PathBuf]) -> Self {
        let mut sources = Self::default();
        for path in files {
            let from_stdin = path.as_os_str() == "-";
            let file = if from_stdin { "standard input".to_owned() } else { path.display().to_string() };
            match documents(path, from_stdin) {
                Ok(contents) => {
                    let document = |(number, item, content)| Document { file: file.clone(), number, item, content };
                    sources.documents.extend(contents.into_iter().map(document));
                }
                Err(why) => sources.unreadable.push(UnreadableFile { file, why }),
            }
        }
        sources
    }
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
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text)
        .map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())?;
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
