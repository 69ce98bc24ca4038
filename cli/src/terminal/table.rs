//! Plain-text tables.

use std::fmt;

use d8_crds::values::text::printable_line;

/// A table. Each column is as wide as its widest cell, columns are two spaces apart, and lines have no trailing
/// spaces.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [&str; N]) {
        self.row_of(cells);
    }

    /// Adds a row of a table whose columns are not known beforehand.
    pub(crate) fn row_of(&mut self, cells: impl IntoIterator<Item = impl AsRef<str>>) {
        self.rows.push(cells.into_iter().map(|cell| printable_line(cell.as_ref()).into_owned()).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|i| self.rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count()).max().unwrap_or(0))
            .collect();
        let lines: Vec<String> = self
            .rows
            .iter()
            .map(|row| {
                let cells: Vec<String> =
                    row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
                cells.join("  ").trim_end().to_owned()
            })
            .collect();
        f.write_str(&lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_no_trailing_spaces() {
        let mut table = Table::new(&["NAME", "VERSION", "DESCRIPTION"]);
        table.row(["stronghold", "v1.2.3", ""]);
        table.row(["a", "unknown", "x\u{1b}[31m"]);
        let text = table.to_string();
        assert!(!text.contains('\u{1b}'));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "NAME        VERSION  DESCRIPTION");
        assert_eq!(lines[1], "stronghold  v1.2.3");
    }
}
