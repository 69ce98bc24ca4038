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

/// Returns the examples in the blocks of a page that begin with `` ```console ``, in order. A line with a prompt begins
/// an example.
///
/// # Panics
/// If a block does not begin with a prompt.
pub fn examples(page: &str) -> Vec<Example<'_>> {
    let blocks = page.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    blocks.flat_map(of_block).collect()
}

fn of_block(block: &str) -> Vec<Example<'_>> {
    let line_starts = block.match_indices('\n').map(|(i, _)| i + 1);
    let starts: Vec<_> =
        std::iter::once(0).chain(line_starts).filter(|start| prompt(&block[*start..]).is_some()).collect();
    assert_eq!(starts.first(), Some(&0), "no prompt in the first line of {block:?}");
    let ends = starts.iter().skip(1).copied().chain([block.len()]);
    starts.iter().zip(ends).map(|(start, end)| example(&block[*start..end])).collect()
}

/// Returns the user of the prompt with which the text begins, and what follows.
fn prompt(text: &str) -> Option<(&str, &str)> {
    let (user, rest) = text.split_once("$ ")?;
    (!user.is_empty() && user.bytes().all(|byte| byte.is_ascii_lowercase())).then_some((user, rest))
}

fn example(text: &str) -> Example<'_> {
    let Some((user, rest)) = prompt(text) else { panic!("no command in {text:?}") };
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
