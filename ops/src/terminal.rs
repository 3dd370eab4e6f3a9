//! What goes to standard output: lines, tables, JSON. A reader that has gone (`| head`) ends a program quietly whose answer
//! nobody wants then; what cannot be written for another reason is a failure. Programs that have more to do than to answer
//! go on.

use crate::failure::Failure;
use serde_json::Value;
use std::io::{self, ErrorKind, IsTerminal, Write};

/// Writes a line. If that cannot be done, the program ends.
pub fn line(text: impl AsRef<str>) {
    verdict(text, 0);
}

/// Writes what was found, whose exit status this is: whoever runs the program in a script may want that alone, and read
/// nothing. If it cannot be written, the program ends.
pub fn verdict(text: impl AsRef<str>, status: u8) {
    let Err(error) = write(text.as_ref()) else { return };
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(i32::from(status));
    }
    let failure = Failure::System { doing: "write to standard output", error };
    // Where standard error is gone too, the status alone tells.
    let _ = writeln!(io::stderr(), "pelago: {failure}");
    std::process::exit(i32::from(failure.status()));
}

/// Writes a line for whoever still reads, and goes on whether anybody does or not: nodes run for others than their reader,
/// and an import that shows how far it is has yet to succeed.
pub fn offer(text: impl AsRef<str>) {
    let _ = write(text.as_ref());
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Whether a person watches standard output.
pub fn is_watched() -> bool {
    io::stdout().is_terminal()
}

/// Rows under headings, each column as wide as its widest cell.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The lines of the table.
    pub fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let lines: Vec<String> = self
            .rows
            .iter()
            .map(|row| {
                let cells: Vec<String> =
                    row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
                cells.join("  ").trim_end().to_owned()
            })
            .collect();
        lines.join("\n")
    }
}

/// A value as a person reads it: texts without quotes, nothing as a dash.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(flag) => if *flag { "yes" } else { "no" }.to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| format!("{} {}", spoken(name), plain(value)))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// The lines `name: value` of an object, for answers that have no table of their own.
pub fn described(value: &Value) -> String {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| format!("{}: {}", spoken(name), plain(value)))
            .collect::<Vec<_>>()
            .join("\n"),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => plain(value),
    }
}

fn spoken(name: &str) -> String {
    name.replace('_', " ")
}

/// Milliseconds with their unit, or a dash.
pub fn milliseconds(value: &Value) -> String {
    value.as_i64().map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"))
}

/// Bytes in the unit that is easiest to read.
pub fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")];
    match UNITS.iter().find(|(unit, _)| count >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", count as f64 / *unit as f64),
        None => format!("{count} B"),
    }
}

/// A count with its thousands apart.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["NODE", "LAG"]);
        table.row(vec!["us-east-1".to_owned(), "2 ms".to_owned()]);
        assert_eq!(table.text(), "NODE       LAG\nus-east-1  2 ms");
    }

    #[test]
    fn values_are_shown_as_people_read_them() {
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(123), "123");
        assert_eq!(bytes(1 << 20), "1.0 MB");
        assert_eq!(bytes(9), "9 B");
        assert_eq!(milliseconds(&json!(null)), "-");
        assert_eq!(described(&json!({"up_to": "7", "nodes": ["a", "b"]})), "nodes: a, b\nup to: 7");
    }
}
