//! Puts a file together, key after key.

use crate::checksum::Checksum;
use crate::encode::{self, write_length, write_text};
use crate::error::RdbError;
use crate::object::Object;
use crate::payload::Payload;
use crate::reader::opcode;
use std::io::Write;

/// Writes a file of version 10, which Redis 7.0 and everything later can load.
pub struct Writer<W> {
    target: W,
    pending: Vec<u8>,
    checksum: Checksum,
    version: u32,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    pub fn new(target: W) -> Result<Self, RdbError> {
        Self::with_version(target, encode::VERSION)
    }

    /// As [`Writer::new`], for a version of Redis' format that allows more: 12 has deadlines of fields.
    pub fn with_version(target: W, version: u32) -> Result<Self, RdbError> {
        let pending = format!("REDIS{version:04}").into_bytes();
        Ok(Self { target, pending, checksum: Checksum::new(), version, written: 0 })
    }

    /// A fact about the file. They come first.
    pub fn auxiliary(&mut self, name: &str, value: &str) -> Result<(), RdbError> {
        self.pending.push(opcode::AUXILIARY);
        write_text(&mut self.pending, name.as_bytes());
        write_text(&mut self.pending, value.as_bytes());
        self.flush_large()
    }

    /// A library of functions.
    pub fn function(&mut self, code: &[u8]) -> Result<(), RdbError> {
        self.pending.push(opcode::FUNCTION);
        write_text(&mut self.pending, code);
        self.flush_large()
    }

    /// The keys that follow are in this database. `keys` and `deadlines` help whoever loads it to make room; they need not
    /// be exact.
    pub fn database(&mut self, number: u32, keys: u64, deadlines: u64) -> Result<(), RdbError> {
        self.pending.push(opcode::DATABASE);
        write_length(&mut self.pending, u64::from(number));
        self.pending.push(opcode::SIZES);
        write_length(&mut self.pending, keys);
        write_length(&mut self.pending, deadlines);
        self.flush_large()
    }

    /// A key, with its deadline in Unix milliseconds. Collections without elements are refused: no key can hold them.
    pub fn entry(&mut self, key: &[u8], deadline: Option<u64>, object: &Object) -> Result<(), RdbError> {
        if object.is_empty() {
            return Err(RdbError::Unsupported("a collection without elements"));
        }
        if encode::version_of(object) > self.version {
            return Err(RdbError::NeedsVersion(encode::version_of(object)));
        }
        self.deadline(deadline);
        self.pending.push(encode::type_of(object)?);
        write_text(&mut self.pending, key);
        encode::write_object(&mut self.pending, object)?;
        self.flush_large()
    }

    /// A key whose value is in the payload of a `DUMP`; it is copied as it is.
    pub fn dumped(&mut self, key: &[u8], deadline: Option<u64>, payload: Payload<'_>) -> Result<(), RdbError> {
        if payload.version() > self.version {
            return Err(RdbError::NeedsVersion(payload.version()));
        }
        let (&kind, value) = payload.body().split_first().ok_or(RdbError::Truncated)?;
        self.deadline(deadline);
        self.pending.push(kind);
        write_text(&mut self.pending, key);
        self.pending.extend_from_slice(value);
        self.flush_large()
    }

    /// Ends the file; how many bytes it has, and where it went.
    pub fn finish(mut self) -> Result<(u64, W), RdbError> {
        self.pending.push(opcode::END);
        self.flush()?;
        self.pending.extend_from_slice(&self.checksum.value().to_le_bytes());
        self.flush()?;
        self.target.flush()?;
        Ok((self.written, self.target))
    }

    fn deadline(&mut self, deadline: Option<u64>) {
        if let Some(deadline) = deadline {
            self.pending.push(opcode::EXPIRES_MS);
            self.pending.extend_from_slice(&deadline.to_le_bytes());
        }
    }

    fn flush_large(&mut self) -> Result<(), RdbError> {
        if self.pending.len() >= PENDING_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), RdbError> {
        self.checksum.update(&self.pending);
        self.target.write_all(&self.pending)?;
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}

/// Bytes that are written at once, so that system calls do not count.
const PENDING_BYTES: usize = 256 * 1024;
