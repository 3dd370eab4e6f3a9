//! `pelago restore`: the keys of a backup, as ordinary new writes.
//!
//! A backup's files are of no use to a cluster that runs: it knows of every removal since, and would take nothing from
//! them. So they are recovered here, in this process, and written as an import writes.

use super::import::progress::Progress;
use super::import::{Destination, Tally, compare, keys};
use crate::failure::{Failure, Result};
use crate::reply::Reply;
use crate::stop::Stop;
use crate::terminal::{self, grouped};
use clap::Args;
use serde_json::json;
use server::persistence::backup::{Backup, BackupKeys};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// What to restore, and where to.
#[derive(Debug, Args)]
pub struct Restore {
    /// The directory of a backup
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    #[command(flatten)]
    into: Destination,
    /// Write into a cluster that has keys: those of the backup replace what is there under their names, others stay
    #[arg(long)]
    as_new_writes: bool,
    /// Read the backup, compare it with what is there, and write nothing; exit status 1 if anything differs
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Restore {
    /// Does it. The exit status is 1 if anything could not be written.
    pub fn run(self) -> Result<ExitCode> {
        let (stop, began) = (Stop::on_signals()?, Instant::now());
        let backup = Backup::open(&self.directory)?;
        let present = self.keys_there()?;
        if present > 0 && !self.as_new_writes && !self.dry_run {
            return Err(self.refusal(present));
        }
        let progress = Progress::of_bytes(backup.manifest.bytes());
        let mut read = 0;
        let found = backup.load(&mut |bytes| {
            read += bytes;
            progress.show_text(read, "verified".to_owned());
        })?;
        progress.end();
        if self.dry_run {
            return self.compare(&found, present);
        }
        let tally = self.write(&found, &stop)?;
        let (seconds, is_whole) = (began.elapsed().as_secs_f64(), !tally.has_losses());
        terminal::line(if self.json {
            json!({ "restored": tally.json(), "keys_before": present, "seconds": seconds, "is_whole": is_whole })
                .to_string()
        } else {
            let told = format!("{} keys of the backup in {seconds:.1} s.", grouped(tally.keys));
            let verdict = if is_whole { "Everything is restored." } else { "NOT everything is restored." };
            let lines = std::iter::once(told).chain(tally.lines()).chain(std::iter::once(verdict.to_owned()));
            lines.collect::<Vec<_>>().join("\n")
        });
        Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Keys that the cluster has, once the node knows.
    fn keys_there(&self) -> Result<u64> {
        let mut wire = self.into.wire()?;
        let told = wire.call(&[b"INFO", b"persistence"])?;
        let is_loading = match told {
            Reply::Text(text) => String::from_utf8_lossy(&text).lines().any(|line| line == "loading:1"),
            Reply::Error(_) | Reply::Integer(_) | Reply::Null | Reply::List(_) => false,
        };
        if is_loading {
            return Err(Failure::Arguments(format!(
                "{} does not have all its keys yet, so nobody can say whether the cluster is empty; try again when `pelago status` shows it active",
                wire.address()
            )));
        }
        Ok(keys(&mut wire)?.values().sum())
    }

    fn refusal(&self, present: u64) -> Failure {
        Failure::Arguments(format!(
            "the cluster has {} keys. A backup goes into a new, empty cluster (`pelago init`); with --as-new-writes its keys are written into this one and replace what is there under their names, while keys that are not in the backup stay. Copying the files back into a node's directory would do nothing: the cluster knows of every removal since",
            grouped(present)
        ))
    }

    fn compare(&self, found: &BackupKeys, present: u64) -> Result<ExitCode> {
        let comparison = compare::with_backup(found, &self.into)?;
        let needs_flag = present > 0;
        terminal::line(if self.json {
            json!({
                "keys": found.len(), "keys_there": present, "needs_as_new_writes": needs_flag,
                "comparison": comparison.json(),
            })
            .to_string()
        } else {
            let mut lines = vec![format!("{:>12} keys in the backup", grouped(found.len()))];
            lines.extend(comparison.lines());
            if needs_flag {
                lines.push("The cluster has keys: --as-new-writes would be needed.".to_owned());
            }
            lines.join("\n")
        });
        Ok(if comparison.is_equal() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn write(&self, found: &BackupKeys, stop: &Stop) -> Result<Tally> {
        let mut loader = self.into.loader()?;
        let progress = Progress::of_keys(found.len());
        found.libraries().iter().for_each(|code| loader.function(code));
        let mut seen = 0_u64;
        let written = found.each(|entry| {
            seen += 1;
            if seen.is_multiple_of(LOOK_EVERY) {
                progress.show(seen, seen);
                if stop.is_told() {
                    return Err(Failure::Arguments(format!(
                        "it was told to stop after about {} keys; the same command with --as-new-writes writes everything again",
                        grouped(seen)
                    )));
                }
            }
            loader.key(entry, entry.object.kind())
        });
        let ended = loader.end();
        progress.end();
        written.and(ended)
    }
}

/// Keys between two looks at the bar.
const LOOK_EVERY: u64 = 1024;
