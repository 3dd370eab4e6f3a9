//! `pelago export`: all keys and libraries of functions of a node into an RDB file, which Redis 7 and everything later can load, while it serves.
//!
//! Values are copied as the node dumps them, page by page. Every key is whole and as it was at one moment, but not all
//! keys at the same moment: what is written meanwhile may or may not be in the file. Of a backup they are. Fields of hashes
//! that end need a version of the format that Redis reads from 7.4 on: when the first is met, the file is begun anew in it.

use super::import::libraries::libraries;
use super::import::pages::{Pages, Told, ask, knows_deadlines};
use super::import::progress::Progress;
use super::import::{keys, select};
use crate::failure::{Failure, Result};
use crate::stop::Stop;
use crate::target::Target;
use crate::terminal::{self, bytes, grouped};
use crate::wire::Wire;
use clap::Args;
use rdb::payload::Payload;
use rdb::{RdbError, Writer};
use serde_json::json;
use server::persistence::backup::Backup;
use std::cell::Cell;
use std::fs::File;
use std::path::{Path, PathBuf};

/// What to export.
#[derive(Debug, Args)]
pub struct Export {
    /// The file to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace a file that is there, when everything is in the new one
    #[arg(long)]
    force: bool,
    /// Take the keys of the backup in this directory instead, all as they were at its moment; no node is asked
    #[arg(long, value_name = "DIR")]
    from_backup: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Export {
    /// Does it.
    pub fn run(self) -> Result<()> {
        self.check_place()?;
        let stop = Stop::on_signals()?;
        let partial = self.file.with_added_extension("part");
        let mut sheet = Sheet { path: &partial, version: VERSION, needed: Cell::new(VERSION) };
        let mut outcome = self.write_on(&sheet, &stop);
        if outcome.is_err() && sheet.needed.get() > sheet.version {
            sheet.version = sheet.needed.get();
            outcome = self.write_on(&sheet, &stop);
        }
        if outcome.is_err() {
            // What is there of it is of no use to anybody.
            let _ = std::fs::remove_file(&partial);
        }
        let Written { keys, libraries, length, seconds } = outcome?;
        let failed = |error| Failure::File { doing: "rename", path: partial.clone(), error };
        std::fs::rename(&partial, &self.file).map_err(failed)?;
        // The name is the directory's, and is on disk when that is.
        let home = self.file.parent().filter(|home| !home.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let failed = |error| Failure::File { doing: "make durable", path: home.to_owned(), error };
        File::open(home).and_then(|home| home.sync_all()).map_err(failed)?;
        terminal::line(if self.json {
            json!({ "keys": keys, "libraries": libraries, "bytes": length, "seconds": seconds, "file": self.file })
                .to_string()
        } else {
            let rate = (keys as f64 / seconds.max(0.001)) as u64;
            let (keys, rate) = (grouped(keys), grouped(rate));
            format!("{keys} keys, {} in {seconds:.1} s, {rate} keys a second: {}", bytes(length), self.file.display())
        });
        Ok(())
    }

    /// What is there may be the only copy of something.
    fn check_place(&self) -> Result<()> {
        if self.file.is_dir() {
            return Err(Failure::Arguments(format!(
                "{} is a directory; give the name of a file in it",
                self.file.display()
            )));
        }
        // A link that leads nowhere is something too.
        if !self.force && self.file.symlink_metadata().is_ok() {
            return Err(Failure::Arguments(format!(
                "{} exists already; give another name, or --force to replace it",
                self.file.display()
            )));
        }
        Ok(())
    }

    fn write_on(&self, sheet: &Sheet<'_>, stop: &Stop) -> Result<Written> {
        match &self.from_backup {
            Some(directory) => self.write_backup(directory, sheet, stop),
            None => {
                let mut wire = self.target.wire()?;
                self.write(&mut wire, sheet, stop)
            }
        }
    }

    /// The keys of a backup: all at one moment.
    fn write_backup(&self, directory: &Path, sheet: &Sheet<'_>, stop: &Stop) -> Result<Written> {
        let not_written = |error| sheet.not_written(&directory.display().to_string(), error);
        let found = Backup::open(directory)?.load(&mut |_| ())?;
        let libraries = found.libraries();
        let mut writer = sheet.begin(&libraries)?;
        let progress = Progress::of_keys(found.len());
        let (mut written, mut current) = (0, None);
        found.each(|entry| {
            if current != Some(entry.database) {
                let keys = found.databases().find(|(database, _)| *database == entry.database);
                writer.database(entry.database, keys.map_or(0, |(_, keys)| keys), 0).map_err(not_written)?;
                current = Some(entry.database);
            }
            writer.entry(&entry.key, entry.deadline, &entry.object).map_err(not_written)?;
            written += 1;
            progress.show(written, written);
            if stop.is_told() { Err(stopped()) } else { Ok(()) }
        })?;
        let length = sheet.finish(writer)?;
        progress.end();
        Ok(Written { keys: written, libraries: libraries.len(), length, seconds: progress.seconds() })
    }

    fn write(&self, wire: &mut Wire, sheet: &Sheet<'_>, stop: &Stop) -> Result<Written> {
        let not_written = |error| sheet.not_written(&self.target.via, error);
        let libraries = libraries(wire)?.map_err(|refusal| Failure::refused(&self.target.via, &refusal))?;
        let mut writer = sheet.begin(&libraries)?;
        let all = keys(wire)?;
        let progress = Progress::of_keys(all.values().sum());
        let exact = knows_deadlines(wire)?;
        let mut written = 0;
        for (database, count) in all {
            select(wire, database)?;
            writer.database(database, count, 0).map_err(not_written)?;
            let mut pages = Pages::new(wire, database)?;
            while let Some(page) = pages.next(wire)? {
                ask(wire, page.iter(), exact, |index, told, deadline| {
                    let key = page.get(index).unwrap_or_default();
                    match told {
                        Told::Gone => return Ok(()),
                        Told::Refused(text) => {
                            let text = format!("{}: {}", key.escape_ascii(), String::from_utf8_lossy(text));
                            return Err(Failure::Refused { address: self.target.via.clone(), text });
                        }
                        Told::Payload(payload) => {
                            let payload = Payload::verify(payload).map_err(not_written)?;
                            writer.dumped(key, deadline, payload).map_err(not_written)?;
                        }
                    }
                    written += 1;
                    Ok(())
                })?;
                progress.show(written, written);
                if stop.is_told() {
                    return Err(stopped());
                }
            }
        }
        let length = sheet.finish(writer)?;
        progress.end();
        Ok(Written { keys: written, libraries: libraries.len(), length, seconds: progress.seconds() })
    }
}

/// What was written.
struct Written {
    keys: u64,
    libraries: usize,
    /// Bytes of the file.
    length: u64,
    seconds: f64,
}

/// The version of the format that Redis 7.0 and everything later reads.
const VERSION: u32 = 10;

/// The file that is written.
struct Sheet<'p> {
    path: &'p Path,
    /// The version of the format.
    version: u32,
    /// The version that a value needed.
    needed: Cell<u32>,
}

impl Sheet<'_> {
    /// Begins the file, with these libraries of functions.
    fn begin(&self, libraries: &[Vec<u8>]) -> Result<Writer<File>> {
        let failed = |error| self.not_written("", error);
        let file = File::create(self.path).map_err(|error| failed(RdbError::Io(error)))?;
        let mut writer = Writer::with_version(file, self.version).map_err(failed)?;
        let of = if self.version == VERSION { "7.0.15" } else { "7.4.0" };
        writer.auxiliary("redis-ver", of).map_err(failed)?;
        writer.auxiliary("redis-bits", "64").map_err(failed)?;
        libraries.iter().try_for_each(|code| writer.function(code)).map_err(failed)?;
        Ok(writer)
    }

    /// Ends it, durably; how many bytes it has.
    fn finish(&self, writer: Writer<File>) -> Result<u64> {
        let failed = |error| self.not_written("", error);
        let (length, file) = writer.finish().map_err(failed)?;
        file.sync_all().map_err(|error| failed(RdbError::Io(error)))?;
        Ok(length)
    }

    fn not_written(&self, of: &str, error: RdbError) -> Failure {
        match error {
            RdbError::Io(error) => Failure::File { doing: "write", path: self.path.to_owned(), error },
            other => {
                if let RdbError::NeedsVersion(version) = other {
                    self.needed.set(version);
                }
                Failure::Arguments(format!("a value of {of} cannot be exported: {other}"))
            }
        }
    }
}

fn stopped() -> Failure {
    Failure::Arguments("it was told to stop before every key was exported".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        export: Export,
    }

    #[test]
    fn a_file_that_is_there_is_replaced_only_by_force() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("dump.rdb");
        std::fs::write(&file, "the only copy").unwrap();
        let path = file.display().to_string();
        let run = |path: &str, more: &[&str]| {
            // Nothing is at this address, so whoever asks fails in another way.
            let words = [&["export", path, "--via", "127.0.0.1:0"], more].concat();
            Line::parse_from(words).export.run().unwrap_err().to_string()
        };
        assert_eq!(run(&path, &[]), format!("{path} exists already; give another name, or --force to replace it"));
        assert!(run(&path, &["--force"]).starts_with("no node answers"));
        assert_eq!(std::fs::read(&file).unwrap(), b"the only copy");
        let home = home.path().display().to_string();
        assert_eq!(run(&home, &["--force"]), format!("{home} is a directory; give the name of a file in it"));
    }
}
