//! `pelago check`: whether what a node keeps in its directory, or what a backup holds, is sound.

use crate::failure::{Failure, Result};
use crate::terminal;
use clap::Args;
use server::persistence::{StoreReport, check_store};
use std::path::PathBuf;
use std::process::ExitCode;

/// The directory.
#[derive(Debug, Args)]
pub struct Check {
    /// The directory of a node, which must not be running, or of a backup
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    /// Reads everything. The exit status is 1 if anything is damaged.
    pub fn run(self) -> Result<ExitCode> {
        let report = check_store(&self.directory)?;
        let told = if self.json {
            let failed = |error: serde_json::Error| Failure::System { doing: "write JSON", error: error.into() };
            serde_json::to_string(&report).map_err(failed)?
        } else {
            text(&report)
        };
        let status = u8::from(!report.damage.is_empty());
        terminal::verdict(told, status);
        Ok(ExitCode::from(status))
    }
}

fn text(report: &StoreReport) -> String {
    let mut lines = Vec::new();
    let store = &report.store;
    let checkpoint = match store.checkpoint {
        0 => "no checkpoint".to_owned(),
        number => {
            format!(
                "checkpoint {number} of {} keys in {} images, {} bytes",
                store.keys, store.images, store.image_bytes
            )
        }
    };
    if let Some(backup) = &report.backup {
        lines.push(format!("Backup of {} in {} files, {} bytes.", backup.node, backup.files, backup.bytes));
    }
    lines.push(format!(
        "Journal: {} records in {} segments, {} bytes; {checkpoint}; catalogue: {} rows.",
        store.records, store.segments, store.journal_bytes, report.catalogue_rows
    ));
    lines.extend(report.notes.iter().map(|note| format!("  note: {note}")));
    lines.extend(store.moved_aside.iter().map(|name| format!("  note: {name} was moved aside earlier")));
    lines.extend(report.damage.iter().map(|damage| format!("  DAMAGED: {damage}")));
    lines.push(match (report.damage.len(), &report.backup) {
        (0, _) => "Sound.".to_owned(),
        (_, Some(_)) => "NOT sound: `pelago restore` refuses it. Make a new backup: into this directory what is damaged is copied again."
            .to_owned(),
        (_, None) => "NOT sound: start the node, and what is missing comes from the other regions, as far as they have it."
            .to_owned(),
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_told_from_notes() {
        let mut report = StoreReport { notes: vec!["a torn tail".to_owned()], ..StoreReport::default() };
        assert!(text(&report).ends_with("note: a torn tail\nSound."), "{}", text(&report));
        report.damage.push("image-1 is gone".to_owned());
        assert!(text(&report).contains("DAMAGED: image-1 is gone\nNOT sound"), "{}", text(&report));
    }
}
