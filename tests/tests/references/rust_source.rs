//! The string literals and comments of a Rust file.

use std::iter::Peekable;
use std::str::Chars;

/// A piece of text, and the line on which it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// The texts of a file.
#[derive(Debug, Default)]
pub(crate) struct Words {
    pub(crate) literals: Vec<Piece>,
    pub(crate) comments: Vec<Piece>,
}

/// Returns the part of a file that is not its test module, which stands at the end.
pub(crate) fn without_tests(source: &str) -> &str {
    source.split("#[cfg(test)]\nmod tests {").next().unwrap_or(source)
}

/// Reads the literals and comments. Escapes of literals are resolved.
pub(crate) fn words(source: &str) -> Words {
    let mut reader = Reader { chars: source.chars().peekable(), line: 1, words: Words::default() };
    while reader.step().is_some() {}
    reader.words
}

struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
    line: usize,
    words: Words,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let char = self.chars.next();
        self.line += usize::from(char == Some('\n'));
        char
    }

    fn step(&mut self) -> Option<()> {
        let line = self.line;
        match self.next()? {
            '/' if self.chars.peek() == Some(&'/') => {
                let mut text = String::new();
                while self.chars.peek().is_some_and(|c| *c != '\n') {
                    text.extend(self.next());
                }
                self.words.comments.push(Piece { line, text });
            }
            '"' => {
                let text = self.literal();
                self.words.literals.push(Piece { line, text });
            }
            'r' if matches!(self.chars.peek(), Some('"' | '#')) => self.raw(line),
            '\'' => self.char_or_lifetime(),
            c if c.is_alphanumeric() || c == '_' => self.word(c),
            _ => {}
        }
        Some(())
    }

    /// A name, so that its last letter is not taken for the `r` of a raw literal.
    fn word(&mut self, first: char) {
        let mut last = first;
        while let Some(c) = self.chars.peek().copied().filter(|c| c.is_alphanumeric() || *c == '_') {
            last = c;
            self.next();
        }
        // `b"…"` and `br#"…"#`.
        if last == 'r' && first == 'b' && matches!(self.chars.peek(), Some('"' | '#')) {
            let line = self.line;
            self.raw(line);
        }
    }

    /// Returns the rest of a literal after its quote.
    fn literal(&mut self) -> String {
        let mut text = String::new();
        loop {
            match self.next() {
                None | Some('"') => return text,
                Some('\\') => match self.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    // The line goes on after its indentation.
                    Some('\n') => {
                        while self.chars.peek().is_some_and(|c| c.is_whitespace()) {
                            self.next();
                        }
                    }
                    Some(c @ ('"' | '\\' | '\'')) => text.push(c),
                    _ => text.push('?'),
                },
                Some(c) => text.push(c),
            }
        }
    }

    /// The rest of a raw literal after its `r`.
    fn raw(&mut self, line: usize) {
        let mut hashes = 0;
        while self.chars.peek() == Some(&'#') {
            self.next();
            hashes += 1;
        }
        if self.chars.peek() != Some(&'"') {
            return;
        }
        self.next();
        let end = format!("\"{}", "#".repeat(hashes));
        let mut text = String::new();
        while let Some(c) = self.next() {
            text.push(c);
            if text.ends_with(&end) {
                text.truncate(text.len() - end.len());
                break;
            }
        }
        self.words.literals.push(Piece { line, text });
    }

    fn char_or_lifetime(&mut self) {
        match self.next() {
            Some('\\') => {
                self.next();
                while self.next().is_some_and(|c| c != '\'') {}
            }
            Some(_) if self.chars.peek() == Some(&'\'') => {
                self.next();
            }
            _ => {}
        }
    }
}

#[test]
fn literals_and_comments_are_found() {
    let source = "// a `b`\nlet x = \"one \\\n    two \\\"q\\\"\"; // c\nlet y = r#\"raw \"text\"\"#; let c = '\"'; let l: &'a str = \"z\";\n";
    let found = words(source);
    let piece = |line, text: &str| Piece { line, text: text.into() };
    assert_eq!(found.literals, [piece(2, "one two \"q\""), piece(4, "raw \"text\""), piece(4, "z")]);
    assert_eq!(found.comments, [piece(1, "/ a `b`"), piece(3, "/ c")]);
}
