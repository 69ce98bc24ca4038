//! Splits a line of shell into invocations, and checks whether each program parses its arguments.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use d8_tests::{CommandOutput, Result, run, tools};
use regex_lite::Regex;

/// Names of plugins that pages use as examples: `d8 hello` runs one.
const EXAMPLE_PLUGINS: [&str; 5] = ["hello", "stronghold", "mirror", "delivery", SAMPLE];
/// Stands for an argument: a valid name, version, number and path.
const SAMPLE: &str = "7";
/// A kubeconfig whose server does not answer.
const KUBECONFIG: &str = "unreachable";

/// One program and its words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Invocation {
    pub(crate) program: String,
    pub(crate) words: Vec<String>,
}

/// Returns the invocations of our programs and of kubectl in a line of shell, with a sample for every placeholder. A
/// line that offers alternatives gives one for each.
pub(crate) fn invocations(line: &str) -> std::result::Result<Vec<Invocation>, String> {
    let mut found = Vec::new();
    for line in alternatives(line) {
        for command in simple_commands(&line)? {
            let words = command.iter().skip_while(|word| *word == "sudo" || *word == "exec" || is_assignment(word));
            let words: Vec<String> = words.map(|word| sample(word)).collect();
            let Some((program, words)) = words.split_first() else { continue };
            let program = program.rsplit('/').next().unwrap_or(program);
            if ["d8", "d8-rpp", "kubectl"].contains(&program) && !words.is_empty() {
                found.push(Invocation { program: program.to_owned(), words: words.to_vec() });
            }
        }
    }
    Ok(found)
}

/// `[a | b]` is one of both or neither, `a|b` one of both; `…` repeats what stands before it.
fn alternatives(line: &str) -> Vec<String> {
    static OPTION: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"\[([-A-Za-z][^\[\]"']*)\]"#).expect("a pattern"));
    static CHOICE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"([A-Za-z]+)\|([A-Za-z|]+)").expect("a pattern"));
    static NAMED: LazyLock<Regex> = LazyLock::new(|| Regex::new("<[a-z ]+>").expect("a pattern"));
    let line = NAMED.replace_all(&line.replace('…', ""), SAMPLE).into_owned();
    if let Some(option) = OPTION.captures(&line) {
        let whole = option.get(0).expect("the match");
        let inside = option[1].split(" | ").chain([""]);
        let with = |choice: &str| format!("{}{choice}{}", &line[..whole.start()], &line[whole.end()..]);
        return inside.flat_map(|choice| alternatives(&with(choice))).collect();
    }
    if let Some(choice) = CHOICE.captures(&line) {
        let whole = choice.get(0).expect("the match");
        let with = |choice: &str| format!("{}{choice}{}", &line[..whole.start()], &line[whole.end()..]);
        return [&choice[1], &choice[2]].into_iter().flat_map(|choice| alternatives(&with(choice))).collect();
    }
    vec![line]
}

/// Returns the commands of a shell line: words with their quotes resolved, parted at `|`, `&&`, `;` and redirections.
fn simple_commands(line: &str) -> std::result::Result<Vec<Vec<String>>, String> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut chars = line.chars().peekable();
    let mut redirected = false;
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' => {
                let text = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        None => return Err(format!("a quote has no end: {line}")),
                        Some('\\') if c == '"' => text.extend(chars.next()),
                        Some(end) if end == c => break,
                        Some(inside) => text.push(inside),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            ' ' | '|' | '&' | ';' | '>' => {
                if let (Some(word), false) = (word.take(), redirected)
                    && let Some(command) = commands.last_mut()
                {
                    command.push(word);
                }
                if "|&;".contains(c) {
                    commands.push(Vec::new());
                }
                redirected = c == '>' || (redirected && c == ' ' && word.is_none());
            }
            '<' if chars.peek() == Some(&'<') => break,
            other => word.get_or_insert_default().push(other),
        }
    }
    if let (Some(word), false) = (word, redirected)
        && let Some(command) = commands.last_mut()
    {
        command.push(word);
    }
    Ok(commands)
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
}

/// Returns a sample for a placeholder: `NAME`, `URL`, `OS-ARCH=FILE`, `$ALICE`.
fn sample(word: &str) -> String {
    static PLACEHOLDER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^(?:\$?[A-Z][A-Z_]*|args)$").expect("a pattern"));
    let one = |part: &str| match part {
        "URL" => "https://example.com".to_owned(),
        part if PLACEHOLDER.is_match(part) => SAMPLE.to_owned(),
        part => part.to_owned(),
    };
    match word.split_once('=') {
        Some((name, value)) if name.starts_with('-') => format!("{name}={}", one(value)),
        Some(("OS-ARCH", file)) => format!("linux-amd64={}", one(file)),
        _ => one(word),
    }
}

/// Whether a program parsed its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsing {
    Parsed,
    /// Arguments or a subcommand are missing; the rest is correct.
    Incomplete,
    Refused(String),
}

/// The programs, in a directory without a cluster.
pub(crate) struct Programs {
    directory: tempfile::TempDir,
    d8_commands: BTreeSet<String>,
}

impl Programs {
    pub(crate) fn new() -> Result<Self> {
        let directory =
            tempfile::tempdir().map_err(|source| d8_tests::Error::Io { what: "a directory".into(), source })?;
        let unreachable = "apiVersion: v1\nkind: Config\nclusters: [{name: a, cluster: {server: 'https://127.0.0.1:1'}}]\n\
                           users: [{name: a, user: {token: a}}]\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n\
                           current-context: a\n";
        std::fs::write(directory.path().join(KUBECONFIG), unreachable)
            .map_err(|source| d8_tests::Error::Io { what: "a kubeconfig".into(), source })?;
        let mut programs = Self { directory, d8_commands: BTreeSet::new() };
        let help = programs.run("d8", &["--help".to_owned()])?.ok()?;
        programs.d8_commands = commands_of(&help);
        Ok(programs)
    }

    fn run(&self, program: &str, words: &[String]) -> Result<CommandOutput> {
        let path = match program {
            "kubectl" => tools::Tools::get()?.path("kubectl"),
            ours => tools::binary(ours)?,
        };
        run(path, words, |command| {
            command.env_clear().current_dir(self.directory.path());
            command.env("HOME", self.directory.path()).env("KUBECONFIG", self.directory.path().join(KUBECONFIG));
            command.env("DECKHOUSE_CLI_PATH", self.directory.path().join("root"));
        })
    }

    /// Returns the words, with a kubeconfig that can be read.
    fn with_kubeconfig(words: &[String]) -> Vec<String> {
        let mut words = words.to_vec();
        if let Some(flag) = words.iter().position(|word| word == "--kubeconfig")
            && let Some(file) = words.get_mut(flag + 1)
        {
            KUBECONFIG.clone_into(file);
        }
        words
    }

    /// Runs the program, so that it parses the words.
    pub(crate) fn parse(&self, Invocation { program, words }: &Invocation) -> Result<Parsing> {
        for word in words {
            self.make_file(word.rsplit('=').next().unwrap_or(word));
        }
        if program == "d8" && !words[0].starts_with('-') && !self.d8_commands.contains(&words[0]) {
            let known = EXAMPLE_PLUGINS.contains(&words[0].as_str());
            let refused = Parsing::Refused(format!("d8 has no command {}", words[0]));
            return Ok(if known { Parsing::Parsed } else { refused });
        }
        let finished = self.run(program, &Self::with_kubeconfig(words))?;
        Ok(match program.as_str() {
            "kubectl" => of_kubectl(&finished),
            _ => of_clap(&finished),
        })
    }

    /// A file that a command reads: without it, it would fail before its flags are looked at.
    fn make_file(&self, word: &str) {
        static NAME: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"^(?:\./)?[A-Za-z0-9_-]+\.[a-z]+$|^7$").expect("a pattern"));
        if NAME.is_match(word) {
            let path: PathBuf = self.directory.path().join(word);
            // A failure shows in what the program says.
            let _ = std::fs::write(path, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n");
        }
    }

    /// Returns the directory that the programs run in.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// Returns the commands that a help lists, and their aliases.
fn commands_of(help: &str) -> BTreeSet<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let mut commands = BTreeSet::new();
    for line in lines {
        commands.extend(line.split_whitespace().next().map(str::to_owned));
        let aliases = line.split_once("alias").and_then(|(_, rest)| rest.split_once(": ")?.1.split_once(']'));
        commands.extend(aliases.into_iter().flat_map(|(names, _)| names.split(", ")).map(str::to_owned));
    }
    commands
}

fn of_clap(finished: &CommandOutput) -> Parsing {
    let stderr = &finished.stderr;
    let missing = ["required arguments were not provided", "requires a subcommand"];
    if missing.iter().any(|text| stderr.contains(text)) {
        return Parsing::Incomplete;
    }
    // Without a subcommand, the help comes on stderr.
    if finished.code() == 2 && stderr.contains("\nUsage: ") && !stderr.starts_with("error: ") {
        return Parsing::Incomplete;
    }
    if finished.code() == 2 && stderr.contains("For more information, try '--help'") {
        return Parsing::Refused(stderr.lines().next().unwrap_or_default().to_owned());
    }
    Parsing::Parsed
}

fn of_kubectl(finished: &CommandOutput) -> Parsing {
    // Nothing answers there, and standard input is empty.
    let later = ["127.0.0.1:1", "no objects passed to apply"];
    if finished.code() == 0 || later.iter().any(|failure| finished.stderr.contains(failure)) {
        return Parsing::Parsed;
    }
    Parsing::Refused(finished.stderr.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn shell_lines_are_read() {
    let words = |line: &str| -> Vec<String> {
        let found = invocations(line).expect("a line of shell");
        found.into_iter().map(|i| format!("{} {}", i.program, i.words.join(" "))).collect()
    };
    for (line, expected) in [
        ("KUBECONFIG=/nowhere d8 cli use VERSION && d8 --version", &["d8 cli use 7", "d8 --version"][..]),
        (
            "d8 plugins install NAME… [--version X | --use-major N]",
            &["d8 plugins install 7 --version 7", "d8 plugins install 7 --use-major 7", "d8 plugins install 7"],
        ),
        ("d8 plugins update NAME|all", &["d8 plugins update 7", "d8 plugins update all"]),
        ("echo '{\"a\": \"b | c\"}' | kubectl apply -f -", &["kubectl apply -f -"]),
        ("kubectl apply -f - <<'YAML'", &["kubectl apply -f -"]),
        (
            "kubectl patch ppol a --type=merge -p '{\"spec\": {}}'",
            &["kubectl patch ppol a --type=merge -p {\"spec\": {}}"],
        ),
        ("sudo d8 cli update", &["d8 cli update"]),
        ("d8", &[]),
        ("make demo", &[]),
    ] {
        assert_eq!(words(line), expected, "{line}");
    }
}
