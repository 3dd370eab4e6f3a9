//! `pelago export`: all keys of a node into an RDB file, which Redis 7 and everything later can load, while it serves.
//!
//! Values are copied as the node dumps them, page by page. Every key is whole and as it was at one moment, but not all
//! keys at the same moment: what is written meanwhile may or may not be in the file.

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
use std::fs::File;
use std::path::PathBuf;

/// What to export.
#[derive(Debug, Args)]
pub struct Export {
    /// The file to write; it is replaced when everything is in the new one
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    target: Target,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Export {
    /// Does it.
    pub fn run(self) -> Result<()> {
        let stop = Stop::on_signals()?;
        let mut wire = Wire::connect(&self.target.via, None, self.target.secret.password.as_deref())?;
        let partial = self.file.with_added_extension("part");
        let outcome = self.write(&mut wire, &partial, &stop);
        if outcome.is_err() {
            // What is there of it is of no use to anybody.
            let _ = std::fs::remove_file(&partial);
        }
        let (keys, length, seconds) = outcome?;
        let failed = |error| Failure::File { doing: "rename", path: partial.clone(), error };
        std::fs::rename(&partial, &self.file).map_err(failed)?;
        terminal::line(if self.json {
            json!({ "keys": keys, "bytes": length, "seconds": seconds, "file": self.file }).to_string()
        } else {
            let rate = (keys as f64 / seconds.max(0.001)) as u64;
            let (keys, rate) = (grouped(keys), grouped(rate));
            format!("{keys} keys, {} in {seconds:.1} s, {rate} keys a second: {}", bytes(length), self.file.display())
        });
        Ok(())
    }

    fn write(&self, wire: &mut Wire, partial: &PathBuf, stop: &Stop) -> Result<(u64, u64, f64)> {
        let failed = |error| Failure::File { doing: "write", path: partial.clone(), error };
        let not_written = |error: RdbError| match error {
            RdbError::Io(error) => failed(error),
            other => Failure::Arguments(format!("a value of {} cannot be exported: {other}", self.target.via)),
        };
        let file = File::create(partial).map_err(failed)?;
        let mut writer = Writer::new(file).map_err(not_written)?;
        writer.auxiliary("redis-ver", "7.0.15").map_err(not_written)?;
        writer.auxiliary("redis-bits", "64").map_err(not_written)?;
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
                    return Err(Failure::Arguments("it was told to stop before every key was exported".to_owned()));
                }
            }
        }
        let (length, file) = writer.finish().map_err(not_written)?;
        file.sync_all().map_err(failed)?;
        progress.end();
        Ok((written, length, progress.seconds()))
    }
}
