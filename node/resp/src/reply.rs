//! Replies: what a handler says, in the protocol version its client has chosen.
//!
//! A [`Reply`] owns the output of one connection. It never fails and never sends: the connection writes its bytes once
//! for each read. Types that version 2 lacks fall back exactly as Redis 7 does it.

use crate::number::{double_text, write_integer, write_magnitude};

/// The protocol version a client speaks. Version 2 until it says `HELLO 3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RESP2: strings, integers, errors and arrays.
    Resp2,
    /// RESP3: maps, sets, doubles, booleans, pushes and a null of its own.
    Resp3,
}

impl Version {
    /// The number a client names it by.
    pub const fn number(self) -> i64 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}

/// The place of a collection's header whose length is known only after its elements are written.
#[derive(Debug)]
#[must_use = "a collection without its header breaks the protocol"]
pub struct Deferred(usize);

/// The output of one connection: replies appended one after the other.
#[derive(Debug)]
pub struct Reply {
    output: Vec<u8>,
    version: Version,
}

impl Reply {
    /// An empty output that holds no memory yet.
    pub const fn new(version: Version) -> Self {
        Self { output: Vec::new(), version }
    }

    /// The protocol version replies are written in.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Changes the version of what is written from now on.
    pub fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// The bytes written so far.
    pub fn bytes(&self) -> &[u8] {
        &self.output
    }

    /// How many bytes are written so far.
    pub fn len(&self) -> usize {
        self.output.len()
    }

    /// How many bytes its buffer has room for: none, if it holds no buffer.
    pub fn capacity(&self) -> usize {
        self.output.capacity()
    }

    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        self.output.is_empty()
    }

    /// Takes back everything after the first `length` bytes: a command that failed half way answers only its error.
    pub fn truncate(&mut self, length: usize) {
        self.output.truncate(length);
    }

    /// Adds replies that were written elsewhere, for the same version.
    pub fn append(&mut self, replies: &[u8]) {
        self.output.extend_from_slice(replies);
    }

    /// Puts `buffer` in place of the output and hands the old one out: an idle connection holds no buffer.
    pub fn replace_buffer(&mut self, buffer: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.output, buffer)
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.output.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string. Line ends in it become spaces, because they would end the reply.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// An error. `text` starts with its code, as in `ERR syntax error`.
    pub fn error(&mut self, text: &str) {
        self.line(b'-', text.as_bytes());
    }

    /// An integer.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        self.output.push(b':');
        write_integer(&mut self.output, value);
        self.end();
    }

    /// A count as an integer.
    pub fn count(&mut self, value: usize) {
        self.header(b':', value);
    }

    /// A string of any bytes.
    #[inline]
    pub fn bulk(&mut self, value: &[u8]) {
        self.output.reserve(value.len() + 24);
        self.header(b'$', value.len());
        self.output.extend_from_slice(value);
        self.end();
    }

    /// An integer as a string.
    pub fn bulk_integer(&mut self, value: i64) {
        let mut text = Vec::with_capacity(20);
        write_integer(&mut text, value);
        self.bulk(&text);
    }

    /// The absence of a value.
    #[inline]
    pub fn null(&mut self) {
        match self.version {
            Version::Resp2 => self.output.extend_from_slice(b"$-1\r\n"),
            Version::Resp3 => self.output.extend_from_slice(b"_\r\n"),
        }
    }

    /// The absence of a collection.
    pub fn null_array(&mut self) {
        match self.version {
            Version::Resp2 => self.output.extend_from_slice(b"*-1\r\n"),
            Version::Resp3 => self.output.extend_from_slice(b"_\r\n"),
        }
    }

    /// The header of an array; its `length` elements follow.
    pub fn array(&mut self, length: usize) {
        self.header(b'*', length);
    }

    /// The header of a map; its `pairs` follow, key before value. Version 2 has an array of twice the length.
    pub fn map(&mut self, pairs: usize) {
        match self.version {
            Version::Resp2 => self.header(b'*', pairs * 2),
            Version::Resp3 => self.header(b'%', pairs),
        }
    }

    /// The header of a set; its `length` members follow.
    pub fn set(&mut self, length: usize) {
        match self.version {
            Version::Resp2 => self.header(b'*', length),
            Version::Resp3 => self.header(b'~', length),
        }
    }

    /// The header of a message that answers no request.
    pub fn push(&mut self, length: usize) {
        match self.version {
            Version::Resp2 => self.header(b'*', length),
            Version::Resp3 => self.header(b'>', length),
        }
    }

    /// A double, printed as C's `%.17g`. Version 2 has a string.
    pub fn double(&mut self, value: f64) {
        let text = double_text(value);
        match self.version {
            Version::Resp2 => self.bulk(text.as_bytes()),
            Version::Resp3 => self.line(b',', text.as_bytes()),
        }
    }

    /// A number that is printed already. Version 2 has a string.
    pub fn decimal(&mut self, text: &str) {
        match self.version {
            Version::Resp2 => self.bulk(text.as_bytes()),
            Version::Resp3 => self.line(b',', text.as_bytes()),
        }
    }

    /// A truth value. Version 2 has an integer.
    pub fn boolean(&mut self, value: bool) {
        match (self.version, value) {
            (Version::Resp2, true) => self.output.extend_from_slice(b":1\r\n"),
            (Version::Resp2, false) => self.output.extend_from_slice(b":0\r\n"),
            (Version::Resp3, true) => self.output.extend_from_slice(b"#t\r\n"),
            (Version::Resp3, false) => self.output.extend_from_slice(b"#f\r\n"),
        }
    }

    /// Text with a three-letter format (`txt`, `mkd`). Version 2 has a plain string.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        match self.version {
            Version::Resp2 => self.bulk(text),
            Version::Resp3 => {
                self.header(b'=', text.len() + 4);
                let format = format.as_bytes();
                self.output.extend((0..3).map(|index| format.get(index).copied().unwrap_or(b' ')));
                self.output.push(b':');
                self.output.extend_from_slice(text);
                self.end();
            }
        }
    }

    /// An integer of any size, in decimal. Version 2 has a string.
    pub fn big_number(&mut self, digits: &str) {
        match self.version {
            Version::Resp2 => self.bulk(digits.as_bytes()),
            Version::Resp3 => self.line(b'(', digits.as_bytes()),
        }
    }

    /// Starts a collection whose length is not known yet. Close it with one of the `finish_` methods.
    pub fn deferred(&mut self) -> Deferred {
        Deferred(self.output.len())
    }

    /// Writes the header of an array of `length` at `place`. Costs a move of what was written since.
    pub fn finish_array(&mut self, place: Deferred, length: usize) {
        self.insert_header(place, |reply| reply.array(length));
    }

    /// Writes the header of a map of `pairs` at `place`. Costs a move of what was written since.
    pub fn finish_map(&mut self, place: Deferred, pairs: usize) {
        self.insert_header(place, |reply| reply.map(pairs));
    }

    /// Writes the header of a set of `length` at `place`. Costs a move of what was written since.
    pub fn finish_set(&mut self, place: Deferred, length: usize) {
        self.insert_header(place, |reply| reply.set(length));
    }

    fn insert_header(&mut self, place: Deferred, write: impl FnOnce(&mut Self)) {
        let written = self.output.len();
        write(self);
        let header = self.output.len() - written;
        self.output[place.0..].rotate_right(header);
    }

    fn line(&mut self, marker: u8, text: &[u8]) {
        self.output.push(marker);
        let start = self.output.len();
        self.output.extend_from_slice(text);
        for byte in &mut self.output[start..] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        self.end();
    }

    #[inline]
    fn header(&mut self, marker: u8, length: usize) {
        if length < 10 {
            self.output.extend_from_slice(&[marker, b'0' + length as u8, b'\r', b'\n']);
        } else if length < 100 {
            let (tens, ones) = (length as u8 / 10, length as u8 % 10);
            self.output.extend_from_slice(&[marker, b'0' + tens, b'0' + ones, b'\r', b'\n']);
        } else {
            self.output.push(marker);
            write_magnitude(&mut self.output, length as u64);
            self.end();
        }
    }

    #[inline]
    fn end(&mut self) {
        self.output.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(write: impl Fn(&mut Reply), version_2: &str, version_3: &str) {
        for (version, expected) in [(Version::Resp2, version_2), (Version::Resp3, version_3)] {
            let mut reply = Reply::new(version);
            write(&mut reply);
            assert_eq!(String::from_utf8_lossy(reply.bytes()), expected, "{version:?}");
        }
    }

    #[test]
    fn types_that_version_2_lacks_fall_back_as_in_redis() {
        check(|reply| reply.ok(), "+OK\r\n", "+OK\r\n");
        check(|reply| reply.integer(-42), ":-42\r\n", ":-42\r\n");
        check(|reply| reply.bulk(b"a\r\nb"), "$4\r\na\r\nb\r\n", "$4\r\na\r\nb\r\n");
        check(|reply| reply.bulk(&[b'x'; 12]), "$12\r\nxxxxxxxxxxxx\r\n", "$12\r\nxxxxxxxxxxxx\r\n");
        check(|reply| reply.array(123), "*123\r\n", "*123\r\n");
        check(|reply| reply.null(), "$-1\r\n", "_\r\n");
        check(|reply| reply.null_array(), "*-1\r\n", "_\r\n");
        check(|reply| reply.map(2), "*4\r\n", "%2\r\n");
        check(|reply| reply.set(2), "*2\r\n", "~2\r\n");
        check(|reply| reply.push(2), "*2\r\n", ">2\r\n");
        check(|reply| reply.double(0.1), "$19\r\n0.10000000000000001\r\n", ",0.10000000000000001\r\n");
        check(|reply| reply.double(f64::NEG_INFINITY), "$4\r\n-inf\r\n", ",-inf\r\n");
        check(|reply| reply.decimal("0.1"), "$3\r\n0.1\r\n", ",0.1\r\n");
        check(|reply| reply.boolean(true), ":1\r\n", "#t\r\n");
        check(|reply| reply.verbatim("txt", b"hi"), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n");
        check(|reply| reply.big_number("12"), "$2\r\n12\r\n", "(12\r\n");
        check(|reply| reply.bulk_integer(-100), "$4\r\n-100\r\n", "$4\r\n-100\r\n");
    }

    #[test]
    fn an_error_stays_on_its_line() {
        check(|reply| reply.error("ERR bad 'a\r\nb'"), "-ERR bad 'a  b'\r\n", "-ERR bad 'a  b'\r\n");
    }

    #[test]
    fn a_deferred_header_comes_before_its_elements() {
        let write = |reply: &mut Reply| {
            reply.ok();
            let place = reply.deferred();
            reply.integer(1);
            reply.integer(2);
            reply.finish_map(place, 1);
        };
        check(write, "+OK\r\n*2\r\n:1\r\n:2\r\n", "+OK\r\n%1\r\n:1\r\n:2\r\n");
    }

    #[test]
    fn a_failed_command_takes_its_output_back() {
        let mut reply = Reply::new(Version::Resp2);
        reply.ok();
        let before = reply.len();
        reply.array(7);
        reply.truncate(before);
        assert_eq!(reply.bytes(), b"+OK\r\n");
    }
}
