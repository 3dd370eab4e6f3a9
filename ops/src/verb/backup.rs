//! `pelago backup`: a copy of a node's store, made over its Redis port while it serves. The next one into the same directory
//! copies what has changed.
//!
//! What a cut of a store is, the node says; what a complete backup is, `server::persistence::backup`. Here bytes are
//! carried. The cut before stands until the new one is complete, verified and durable.

mod copying;
mod place;
mod source;

use super::import::progress::Progress;
use crate::failure::{Failure, Result};
use crate::stop::Stop;
use crate::target::Target;
use crate::terminal::{self, bytes};
use clap::Args;
use copying::{Amount, Copying};
use place::Place;
use serde_json::json;
use server::persistence::backup::{BACKUP_FORMAT, BackupManifest};
use source::Source;
use std::path::PathBuf;

/// What to copy, and where to.
#[derive(Debug, Args)]
pub struct Backup {
    #[command(flatten)]
    target: Target,
    /// The backup's directory; with a backup of the same node in it, only what has changed is copied
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Backup {
    /// Does it.
    pub fn run(self) -> Result<()> {
        let stop = Stop::on_signals()?;
        let mut place = Place::open(&self.out)?;
        let mut source = Source::begin(&self.target)?;
        place.check_owner(&source.cut)?;
        let progress = Progress::of_bytes(source.cut.bytes());
        let note = |amount: Amount| {
            progress.show_text(amount.copied + amount.reused, format!("{} copied", bytes(amount.copied)));
        };
        let (files, amount) = Copying::all(&place, &mut source, &stop, &note)?;
        let manifest =
            BackupManifest { format: BACKUP_FORMAT, cut: place.cut_number(), files, ..source.cut.manifest.clone() };
        // Everything is here: the node need keep nothing while it is verified.
        source.end();
        progress.say("verifying");
        place.finish(&manifest)?;
        progress.end();
        let (seconds, length) = (progress.seconds(), manifest.bytes());
        terminal::line(if self.json {
            json!({
                "directory": self.out, "node": manifest.node, "cut": manifest.cut, "taken_ms": manifest.taken_ms,
                "files": manifest.files.len(), "bytes": length, "bytes_copied": amount.copied,
                "bytes_reused": amount.reused, "seconds": seconds,
            })
            .to_string()
        } else {
            format!(
                "{} of {} in {} files: {} copied, {} were here already, in {seconds:.1} s. {} is complete and verified.",
                bytes(length),
                manifest.node,
                manifest.files.len(),
                bytes(amount.copied),
                bytes(amount.reused),
                self.out.display()
            )
        });
        Ok(())
    }
}

/// What is said where it was told to stop.
fn stopped() -> Failure {
    Failure::Arguments(
        "it was told to stop; the backup before stands, and the same command goes on where this one was".to_owned(),
    )
}
