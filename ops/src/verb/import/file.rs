//! From a file. What has arrived is noted at the target, so that an import that was interrupted goes on there.

use super::Destination;
use super::loader::{Tally, unreadable};
use super::progress::Progress;
use super::writer::Earlier;
use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::stop::Stop;
use rdb::{Entry, Item, Kind, RdbError, Reader};
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A file that is to be imported.
pub struct Dump {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Its length and the checksum of its bytes, once it is verified: another file has another.
    identity: Option<String>,
}

impl Dump {
    /// Opens it.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |error| Failure::File { doing: "read", path: path.to_owned(), error };
        let file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        Ok(Self { path: path.to_owned(), file, bytes, identity: None })
    }

    /// Checks that it is as it was written, before anything of it is believed, and which file it is. The checksum that
    /// stands in it would not do for that: not every file has one.
    pub fn verify(&mut self) -> Result<()> {
        let failed = |error| Failure::File { doing: "read", path: self.path.clone(), error };
        let outcome = rdb::verify(&mut self.file, self.bytes);
        self.file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let checksum = outcome.map_err(|error| match error {
            RdbError::Io(error) => failed(error),
            error => Failure::Arguments(format!(
                "nothing was imported: {} cannot be believed: {error}; --salvage imports what can be read of it",
                self.path.display()
            )),
        })?;
        self.identity = Some(format!("{}-{checksum:016x}", self.bytes));
        Ok(())
    }

    /// Its bytes, for a bar.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads all of it: keys to `key` with their kind and the place in the file, without the value if it has none of the
    /// kinds in `wants`; libraries of functions to `function`.
    pub fn read(
        self,
        wants: impl Fn(Kind) -> bool,
        mut key: impl FnMut(&Entry, Kind, u64) -> Result<()>,
        mut function: impl FnMut(&[u8]),
    ) -> Result<u64> {
        let name = self.path.display().to_string();
        let mut reader = Reader::new(self.file).map_err(|error| unreadable(&name, 0, error))?;
        let (mut entry, mut modules) = (Entry::default(), 0);
        loop {
            match reader.next_of(&mut entry, &wants).map_err(|error| unreadable(&name, reader.position(), error))? {
                Item::Key => key(&entry, entry.object.kind(), reader.position())?,
                Item::Passed(kind) => key(&entry, kind, reader.position())?,
                Item::Function(code) => function(&code),
                Item::Module(_) => modules += 1,
                Item::Auxiliary { .. } | Item::Sizes { .. } => {}
                Item::End => return Ok(modules),
            }
        }
    }

    /// Where the target notes how far it came, if it is known which file it is.
    fn marker(&self) -> Option<String> {
        self.identity.as_ref().map(|identity| format!("pelago:import:file:{identity}"))
    }
}

/// Where an import begins, and whether it notes how far it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// Where an earlier run ended.
    GoOn,
    /// At the beginning.
    Anew,
    /// At the beginning of a damaged file: what comes of it is nothing to go on from.
    Salvage,
}

/// Imports a file, which is verified unless it is salvaged.
pub fn import(dump: Dump, into: &Destination, course: Course, stop: &Stop) -> Result<Tally> {
    let mut client = into.client()?;
    let marker = dump.marker().filter(|_| course != Course::Salvage);
    let earlier = marker.as_ref().map(|marker| Earlier::of(into, &mut client, marker)).transpose()?;
    let (noted, writer) = earlier.map_or((None, String::new()), |earlier| (earlier.note, earlier.writer));
    let noted = noted.filter(|_| course == Course::GoOn);
    let done = noted.and_then(|text| text.split(' ').next()?.parse::<u64>().ok()).unwrap_or(0);
    let loader = &mut into.loader()?;
    let note = |client: &mut Client, keys: u64| match &marker {
        Some(marker) => note(client, marker, keys.max(done), &writer),
        None => Ok(()),
    };
    let progress = Progress::of_bytes(dump.bytes());
    let shared = loader.shared();
    let (mut noted, mut left) = (Instant::now(), done);
    let functions = std::cell::RefCell::new(Vec::new());
    let held = loader.kinds();
    let read = dump.read(
        |kind| held.contains(&kind),
        |entry, kind, position| {
            if left > 0 {
                left -= 1;
                loader.pass();
            } else {
                loader.key(entry, kind)?;
            }
            if loader.tally.keys.is_multiple_of(LOOK_EVERY) {
                progress.show(position, loader.tally.keys);
                if stop.is_told() {
                    return Err(Failure::Arguments(
                        "it was told to stop; the same command goes on where it was".to_owned(),
                    ));
                }
                if noted.elapsed() >= NOTE_INTERVAL {
                    note(&mut client, shared.settled())?;
                    noted = Instant::now();
                }
            }
            Ok(())
        },
        |code| functions.borrow_mut().push(code.to_vec()),
    );
    functions.take().iter().for_each(|code| loader.function(code));
    let ended = loader.end();
    progress.end();
    // What has arrived is noted in any case; the failure that ended it is what counts.
    let outcome = read.and_then(|modules| ended.map(|tally| Tally { modules_skipped: modules, ..tally }));
    match outcome {
        Ok(tally) => {
            if let Some(marker) = &marker {
                client.call(&["DEL", marker])?;
            }
            Ok(tally)
        }
        Err(failure) => {
            let _ = note(&mut client, shared.settled());
            Err(failure)
        }
    }
}

fn note(client: &mut Client, marker: &str, keys: u64, writer: &str) -> Result<()> {
    client.call(&["SET", marker, format!("{keys} {writer}").trim_end(), "EX", MARKER_SECONDS]).map(drop)
}

/// Keys between two looks at the clock.
const LOOK_EVERY: u64 = 1024;
const NOTE_INTERVAL: Duration = Duration::from_secs(1);
/// A week: whoever goes on later begins again.
pub const MARKER_SECONDS: &str = "604800";

#[cfg(test)]
mod tests {
    use super::*;
    use rdb::{Object, Writer};

    /// A file of one key, whose checksum is left out; as an old one it would not have it at all.
    fn without_checksum(value: &[u8], is_old: bool) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new()).unwrap();
        writer.entry(b"k", None, &Object::String(value.to_vec())).unwrap();
        let mut bytes = writer.finish().unwrap().1;
        let end = bytes.len() - 8;
        if is_old {
            bytes.truncate(end);
            bytes[5..9].copy_from_slice(b"0004");
        } else {
            bytes[end..].fill(0);
        }
        bytes
    }

    #[test]
    fn files_without_a_checksum_are_told_apart_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let marker = |bytes: &[u8]| {
            let path = directory.path().join("dump.rdb");
            std::fs::write(&path, bytes).unwrap();
            let mut dump = Dump::open(&path).unwrap();
            assert_eq!(dump.marker(), None, "it is not known yet which file it is");
            dump.verify().unwrap();
            dump.marker().unwrap()
        };
        for is_old in [false, true] {
            let (one, other) = (without_checksum(b"one value", is_old), without_checksum(b"two value", is_old));
            assert_eq!(marker(&one), marker(&one));
            assert_ne!(marker(&one), marker(&other), "old: {is_old}");
        }
    }
}
