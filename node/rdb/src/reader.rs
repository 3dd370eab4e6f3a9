//! Takes a file or a replication stream apart, key after key.

use crate::checksum::Checksum;
use crate::decode::{Decoder, Family, kind_of, length, pass_key_metadata, pass_module_auxiliary};
use crate::error::RdbError;
use crate::limits::READ_BYTES;
use crate::object::{Kind, Object};
use crate::source::{Source, StreamSource};
use std::io::{ErrorKind, Read};

/// A key with its value. The same one is given again and again, so that its memory is used again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// Its database.
    pub database: u32,
    /// Its name.
    pub key: Vec<u8>,
    /// When it expires, in Unix milliseconds.
    pub deadline: Option<u64>,
    /// How long it was not used, in seconds, if the file says so.
    pub idle_seconds: Option<u64>,
    /// How often it was used, on Redis' logarithmic scale, if the file says so.
    pub frequency: Option<u8>,
    /// What it holds.
    pub object: Object,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A key; it is in the [`Entry`].
    Key,
    /// A key whose kind was not wanted: the [`Entry`] has all but the value, of which nothing was kept.
    Passed(Kind),
    /// A library of functions: its code.
    Function(Vec<u8>),
    /// A fact about the file, such as the version of the server that wrote it.
    Auxiliary {
        /// Which fact.
        name: Vec<u8>,
        /// What is the case.
        value: Vec<u8>,
    },
    /// How many keys, and keys with a deadline, the following database has.
    Sizes {
        /// All keys.
        keys: u64,
        /// Those with a deadline.
        deadlines: u64,
    },
    /// A module's own record, which was passed over: the name of its type.
    Module(String),
    /// The end, with the right checksum.
    End,
}

/// Reads a file or stream from its beginning to its end.
pub struct Reader<R> {
    source: StreamSource<R>,
    decoder: Decoder,
    version: u32,
    database: u32,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    pub fn new(source: R) -> Result<Self, RdbError> {
        Self::continuing(source, Vec::new())
    }

    /// Reads the header; `begun` is what somebody has read of the source before.
    pub fn continuing(source: R, begun: Vec<u8>) -> Result<Self, RdbError> {
        let mut source = StreamSource::new(source, begun);
        let magic: [u8; 5] = source.array().map_err(no_header)?;
        let digits = match &magic {
            b"REDIS" => source.array::<4>().map_err(no_header)?,
            b"VALKE" => {
                let [y, digits @ ..] = source.array::<4>().map_err(no_header)?;
                if y != b'Y' {
                    return Err(RdbError::NotRdb);
                }
                let [a, b, c] = digits;
                [b'0', a, b, c]
            }
            _ => return Err(RdbError::NotRdb),
        };
        let version = std::str::from_utf8(&digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        let version: u32 = version.and_then(|text| text.parse().ok()).ok_or(RdbError::NotRdb)?;
        let family = Family::of_version(version)?;
        Ok(Self { source, decoder: Decoder::new(family), version, database: 0 })
    }

    /// The version of the format.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// How many bytes were taken so far: where an error is.
    pub fn position(&self) -> u64 {
        self.source.taken()
    }

    /// The source, and what was read of it beyond the end of the file.
    pub fn into_rest(self) -> (R, Vec<u8>) {
        self.source.into_rest()
    }

    /// What comes next. Keys are put into `entry`. After the end or an error it must not be asked again.
    pub fn next(&mut self, entry: &mut Entry) -> Result<Item, RdbError> {
        self.next_of(entry, |_| true)
    }

    /// As [`Reader::next`], but values of kinds that are not wanted are passed over, and take no memory.
    pub fn next_of(&mut self, entry: &mut Entry, wants: impl Fn(Kind) -> bool) -> Result<Item, RdbError> {
        (entry.deadline, entry.idle_seconds, entry.frequency) = (None, None, None);
        self.decoder.renew();
        loop {
            match self.source.byte()? {
                opcode::EXPIRES_MS => {
                    let deadline = i64::from_le_bytes(self.source.array()?);
                    entry.deadline = Some(u64::try_from(deadline).unwrap_or(0));
                }
                opcode::EXPIRES_S => {
                    let seconds = i32::from_le_bytes(self.source.array()?);
                    entry.deadline = Some(u64::try_from(seconds).unwrap_or(0) * 1000);
                }
                opcode::IDLE => entry.idle_seconds = Some(length(&mut self.source)?),
                opcode::FREQUENCY => entry.frequency = Some(self.source.byte()?),
                opcode::KEY_METADATA if self.decoder.family == Family::Redis => {
                    pass_key_metadata(&mut self.decoder, &mut self.source)?;
                }
                opcode::SLOT => {
                    // Its number, its keys, those with a deadline.
                    for _ in 0..3 {
                        length(&mut self.source)?;
                    }
                }
                opcode::DATABASE => {
                    let number = u32::try_from(length(&mut self.source)?).ok();
                    self.database = number.ok_or(RdbError::Corrupt("a database has an impossible number"))?;
                }
                opcode::SIZES => {
                    let (keys, deadlines) = (length(&mut self.source)?, length(&mut self.source)?);
                    return Ok(Item::Sizes { keys, deadlines });
                }
                opcode::AUXILIARY => {
                    let name = self.decoder.owned_text(&mut self.source)?;
                    let value = self.decoder.owned_text(&mut self.source)?;
                    return Ok(Item::Auxiliary { name, value });
                }
                opcode::FUNCTION => return Ok(Item::Function(self.decoder.owned_text(&mut self.source)?)),
                opcode::FUNCTION_EARLY => {
                    return Err(RdbError::Unsupported("a function of a release candidate of Redis 7.0"));
                }
                opcode::MODULE => {
                    return pass_module_auxiliary(&mut self.decoder, &mut self.source).map(Item::Module);
                }
                opcode::SLOT_IMPORT if self.decoder.family == Family::Valkey => {
                    return Err(RdbError::Unsupported("slots that were on their way to another node"));
                }
                opcode::END => return self.end().map(|()| Item::End),
                kind => return self.key(kind, entry, wants),
            }
        }
    }

    fn key(&mut self, number: u8, entry: &mut Entry, wants: impl Fn(Kind) -> bool) -> Result<Item, RdbError> {
        // Before anything of it is read: nothing is taken for what cannot be understood.
        let kind = kind_of(number, self.decoder.family)?;
        entry.database = self.database;
        entry.key.clear();
        self.decoder.text(&mut self.source, &mut entry.key)?;
        if wants(kind) {
            self.decoder.object(&mut self.source, number, &mut entry.object).map(|()| Item::Key)
        } else {
            entry.object = Object::default();
            self.decoder.pass(&mut self.source, number).map(|()| Item::Passed(kind))
        }
    }

    fn end(&mut self) -> Result<(), RdbError> {
        if self.version < VERSION_OF_CHECKSUM {
            return Ok(());
        }
        let found = self.source.checksum();
        let expected = u64::from_le_bytes(self.source.array()?);
        // Zero: the server was told not to compute it.
        if expected == 0 || expected == found { Ok(()) } else { Err(RdbError::Checksum { expected, found }) }
    }
}

/// Reads a whole file of `length` bytes and checks its checksum alone: afterwards every byte is known to be as it was
/// written. [`Reader`] only knows at the end, when values that were changed have been handed out already. A file of before
/// Redis 2.6, or of a server that was told to compute none (`rdbchecksum no`), has no checksum, and is believed.
///
/// The answer is the checksum of what it says, which tells the file from others, also where it has none of its own.
pub fn verify(mut source: impl Read, length: u64) -> Result<u64, RdbError> {
    let mut checksum = Checksum::new();
    let mut header = [0; HEADER_BYTES];
    source.read_exact(&mut header).map_err(|error| no_header(truncated(error)))?;
    let version = Reader::new(&header[..])?.version();
    checksum.update(&header);
    let mut left = length.checked_sub(HEADER_BYTES as u64 + 8).ok_or(RdbError::Truncated)?;
    let (mut buffer, mut last) = (vec![0; READ_BYTES], 0);
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        source.read_exact(&mut buffer[..most]).map_err(truncated)?;
        checksum.update(&buffer[..most]);
        last = buffer[most - 1];
        left -= most as u64;
    }
    if version >= VERSION_OF_CHECKSUM && last != opcode::END {
        return Err(RdbError::Truncated);
    }
    let mut stored = [0; 8];
    source.read_exact(&mut stored).map_err(truncated)?;
    if version < VERSION_OF_CHECKSUM {
        // These belong to the file like all others.
        checksum.update(&stored);
    }
    let (expected, found) = (u64::from_le_bytes(stored), checksum.value());
    if version < VERSION_OF_CHECKSUM || expected == 0 || expected == found {
        Ok(found)
    } else {
        Err(RdbError::Checksum { expected, found })
    }
}

fn truncated(error: std::io::Error) -> RdbError {
    match error.kind() {
        ErrorKind::UnexpectedEof => RdbError::Truncated,
        _ => RdbError::Io(error),
    }
}

/// A file that ends within its header is no such file.
fn no_header(error: RdbError) -> RdbError {
    match error {
        RdbError::Truncated => RdbError::NotRdb,
        other => other,
    }
}

/// Marks of what is not a key.
pub(crate) mod opcode {
    /// Redis 8.6 and later.
    pub(crate) const KEY_METADATA: u8 = 243;
    /// Valkey 9 and later.
    pub(crate) const SLOT_IMPORT: u8 = 243;
    pub(crate) const SLOT: u8 = 244;
    pub(crate) const FUNCTION: u8 = 245;
    pub(crate) const FUNCTION_EARLY: u8 = 246;
    pub(crate) const MODULE: u8 = 247;
    pub(crate) const IDLE: u8 = 248;
    pub(crate) const FREQUENCY: u8 = 249;
    pub(crate) const AUXILIARY: u8 = 250;
    pub(crate) const SIZES: u8 = 251;
    pub(crate) const EXPIRES_MS: u8 = 252;
    pub(crate) const EXPIRES_S: u8 = 253;
    pub(crate) const DATABASE: u8 = 254;
    pub(crate) const END: u8 = 255;
}

/// The magic word and the version.
const HEADER_BYTES: usize = 9;
/// Files have a checksum from this version on.
const VERSION_OF_CHECKSUM: u32 = 5;
