//! The console examples of a page, and the names that a page shows instead of values of the machine.

/// A command of a page and its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Example<'a> {
    /// The user of the prompt: `alice` for `alice$ d8 --version`.
    pub user: &'a str,
    /// The command as it is typed, without the prompt.
    pub line: &'a str,
    /// The output that the page shows.
    pub output: &'a str,
}

/// Returns the examples in the blocks of a page that begin with `` ```console ``, in order. A blank line ends an
/// example.
///
/// # Panics
/// If an example does not begin with a prompt.
pub fn examples(page: &str) -> Vec<Example<'_>> {
    let blocks = page.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    blocks.flat_map(|block| block.split("\n\n")).map(example).collect()
}

fn example(text: &str) -> Example<'_> {
    let Some((user, rest)) = text.split_once("$ ") else { panic!("no command in {text:?}") };
    let (line, output) = rest.split_once('\n').unwrap_or((rest, ""));
    Example { user, line, output: output.trim() }
}

/// Values of the machine and the names that a page shows instead.
#[derive(Debug, Clone, Default)]
pub struct Substitutions(Vec<(String, String)>);

impl Substitutions {
    /// Shows `name` instead of `value`.
    pub fn add(&mut self, value: impl Into<String>, name: impl Into<String>) {
        self.0.push((value.into(), name.into()));
    }

    /// Returns the text of a page with the values of the machine.
    pub fn to_machine(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (value, name)| text.replace(name, value))
    }

    /// Returns the output of a command with the names of the page.
    pub fn to_page(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (value, name)| text.replace(value, name))
    }
}
