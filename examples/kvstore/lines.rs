//! The line form of a record: `key<TAB>value<NEWLINE>`, any bytes on both sides.
//!
//! | in the line | stands for |
//! |---|---|
//! | `\t` | tab |
//! | `\n` | newline |
//! | `\r` | carriage return |
//! | `\\` | backslash |
//!
//! Every other byte stands for itself, so a line of plain text with one tab in it is a record as it is. The first tab ends
//! the key; a further tab is part of the value. A backslash before anything else is an error, as is a line without a tab.

use std::fmt;

/// Why a line is not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadLine {
    /// No tab between a key and a value.
    NoTab,
    /// A backslash before a byte that it does not escape.
    UnknownEscape(u8),
    /// A backslash at the end of the key or the value.
    LoneBackslash,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadLine::NoTab => f.write_str("no tab between key and value"),
            BadLine::UnknownEscape(b) => {
                write!(f, "unknown escape \\{} (known: \\t \\n \\r \\\\)", std::ascii::escape_default(*b))
            }
            BadLine::LoneBackslash => f.write_str("a backslash with nothing after it"),
        }
    }
}

/// Appends `bytes` to `out` in escaped form.
pub fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        match byte {
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\\' => out.extend_from_slice(b"\\\\"),
            other => out.push(*other),
        }
    }
}

/// Appends to `out` the bytes that `escaped` stands for.
pub fn unescape(escaped: &[u8], out: &mut Vec<u8>) -> Result<(), BadLine> {
    let mut bytes = escaped.iter();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'\\' => match bytes.next() {
                Some(b't') => b'\t',
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b'\\') => b'\\',
                Some(other) => return Err(BadLine::UnknownEscape(*other)),
                None => return Err(BadLine::LoneBackslash),
            },
            other => *other,
        });
    }
    Ok(())
}

/// Replaces `out` with the line of a record, its newline included.
pub fn format(key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.clear();
    escape(key, out);
    out.push(b'\t');
    escape(value, out);
    out.push(b'\n');
}

/// Reads a line, without its newline, into `key` and `value`, whose former contents are dropped.
pub fn parse(line: &[u8], key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<(), BadLine> {
    key.clear();
    value.clear();
    let tab = line.iter().position(|b| *b == b'\t').ok_or(BadLine::NoTab)?;
    unescape(&line[..tab], key)?;
    unescape(&line[tab + 1..], value)
}
