//! `pelago import`: data of Redis or Valkey into a cluster, from a file or from a running server that is followed until its
//! clients move.

mod address;
mod commands;
pub(super) mod compare;
mod file;
mod follow;
mod holding;
mod lanes;
pub(super) mod libraries;
mod link;
mod live;
mod lives;
mod loader;
pub(super) mod pages;
pub(super) mod progress;
mod refusals;
mod release;
mod requests;
mod watch;
mod writer;

use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::stop::Stop;
use crate::target::Target;
use crate::terminal::{self, grouped};
use crate::wire::Wire;
use address::Source;
use clap::Args;
use file::{Course, Dump};
use holding::Holding;
use lanes::Lanes;
use live::{Beginning, Imported, Live};
use loader::Loader;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use watch::Until;

pub(super) use holding::keys;
pub(super) use lanes::select;
pub(super) use loader::Tally;

/// What to import, and how.
#[derive(Debug, Args)]
pub struct Import {
    /// An RDB file of Redis 2.6 to 8 or Valkey
    #[arg(value_name = "FILE", required_unless_present_any = ["from", "release"], conflicts_with = "from")]
    file: Option<PathBuf>,
    /// A running Redis or Valkey: `redis://user:password@host:port/database`, of which only the host is needed; the
    /// password may be in PELAGO_SOURCE_PASSWORD instead, and without a database all of them are imported
    #[arg(long, value_name = "URL")]
    from: Option<Source>,
    #[command(flatten)]
    into: Destination,
    /// Compare instead of importing, and write nothing; exit status 1 if anything differs
    #[arg(long)]
    dry_run: bool,
    /// End as soon as everything has arrived that the source had when its full copy was done; the same command later goes
    /// on from there
    #[arg(long, conflicts_with_all = ["file", "cut_over", "dry_run"])]
    until_synced: bool,
    /// When nearly everything has arrived, let the source refuse writes (CLIENT PAUSE), wait for the rest, and end: the
    /// clients move then
    #[arg(long, conflicts_with_all = ["file", "dry_run"])]
    cut_over: bool,
    /// Give keys their own ends: as long as an import can be gone on with, they end only when the source says so. Goes with the
    /// last run of --until-synced where nothing is cut over; alone, it ends all live imports into the cluster
    #[arg(long, conflicts_with_all = ["file", "cut_over", "dry_run"])]
    release: bool,
    /// How long the source refuses writes at a cut-over
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pause: u64,
    /// Begin anew instead of going on where an earlier run ended
    #[arg(long, conflicts_with = "dry_run")]
    restart: bool,
    /// Import a damaged file as far as it can be read; what is damaged may come in as something else
    #[arg(long, conflicts_with_all = ["from", "dry_run"])]
    salvage: bool,
    /// Exit status 0 even if the target cannot hold everything; what was skipped is told all the same
    #[arg(long)]
    allow_skipped: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Where to.
#[derive(Debug, Args)]
pub(crate) struct Destination {
    #[command(flatten)]
    target: Target,
    /// Connections that write at once
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    connections: u32,
}

impl Destination {
    pub(super) fn wire(&self) -> Result<Wire> {
        self.target.wire()
    }

    /// The same, for single questions.
    fn client(&self) -> Result<Client> {
        self.target.connect()
    }

    /// A connection to another node of the cluster.
    fn wire_to(&self, address: &str) -> Result<Wire> {
        self.target.secret.wire(address)
    }

    fn holding(&self) -> Result<Holding> {
        Holding::of(&mut self.wire()?)
    }

    pub(super) fn loader(&self) -> Result<Loader> {
        self.loader_for(self.holding()?)
    }

    fn loader_for(&self, holding: Holding) -> Result<Loader> {
        let wires = (0..self.connections).map(|_| self.wire()).collect::<Result<Vec<_>>>()?;
        Ok(Loader::new(Lanes::start(wires)?, holding))
    }
}

impl Import {
    /// Does it. The exit status is 1 if the target could not hold everything, differs, or the import was ended before it
    /// was done.
    pub fn run(self) -> Result<ExitCode> {
        if self.dry_run {
            return self.compare();
        }
        match (self.release, &self.from, self.until_synced) {
            (true, None, _) => return self.release(),
            (true, Some(_), false) => {
                return Err(Failure::Arguments("with --from, --release goes with --until-synced".to_owned()));
            }
            (true, Some(_), true) | (false, ..) => {}
        }
        let began = Instant::now();
        let stop = Stop::on_signals()?;
        let imported = match (&self.file, &self.from) {
            (Some(file), _) => {
                let mut dump = Dump::open(file)?;
                let course = match (self.salvage, self.restart) {
                    (true, _) => Course::Salvage,
                    (false, true) => Course::Anew,
                    (false, false) => Course::GoOn,
                };
                if course != Course::Salvage {
                    dump.verify()?;
                }
                let tally = file::import(dump, &self.into, course, &stop)?;
                Report { tally, followed: None, until: Until::Told, seconds: began.elapsed().as_secs_f64() }
            }
            (None, Some(source)) => {
                let live = Live {
                    source,
                    into: &self.into,
                    until: self.until(),
                    releases: self.release,
                    restart: self.restart,
                    stop: &stop,
                    json: self.json,
                };
                let Imported { tally, followed, beginning } = live.import()?;
                let seconds = began.elapsed().as_secs_f64();
                Report { tally, followed: Some((followed, beginning)), until: self.until(), seconds }
            }
            (None, None) => return Err(Failure::Arguments("give a file, or a server with --from".to_owned())),
        };
        terminal::line(if self.json { imported.json().to_string() } else { imported.text() });
        Ok(if imported.is_fine(self.allow_skipped) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn until(&self) -> Until {
        if self.cut_over {
            Until::HandedOver(Duration::from_secs(self.pause))
        } else if self.until_synced {
            Until::Synced
        } else {
            Until::Told
        }
    }

    /// Ends every live import, and releases what they hold.
    fn release(&self) -> Result<ExitCode> {
        let (holding, mut target) = (self.into.holding()?, self.into.wire()?);
        let notes = release::notes(&mut target)?;
        for note in &notes {
            target.call(&[b"DEL", note.as_bytes()])?;
        }
        release::forget_fields(&mut target)?;
        let released = release::release(&mut target, &holding, release::Fields::Sought)?;
        terminal::line(if self.json {
            json!({ "phase": "done", "ended": notes, "lives": released.json() }).to_string()
        } else {
            notes.iter().map(|note| format!("Ended {note}.")).chain([released.line()]).collect::<Vec<_>>().join("\n")
        });
        Ok(ExitCode::SUCCESS)
    }

    fn compare(&self) -> Result<ExitCode> {
        let found = match (&self.file, &self.from) {
            (Some(file), _) => compare::with_file(Dump::open(file)?, &self.into)?,
            (None, Some(source)) => compare::with_source(source, &self.into)?,
            (None, None) => return Err(Failure::Arguments("give a file, or a server with --from".to_owned())),
        };
        terminal::line(if self.json { found.json().to_string() } else { found.lines().join("\n") });
        Ok(if found.is_equal() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// What is told at the end.
struct Report {
    tally: Tally,
    followed: Option<(std::result::Result<follow::Followed, String>, Beginning)>,
    until: Until,
    seconds: f64,
}

impl Report {
    /// Whether what was asked for is done.
    fn is_fine(&self, allow_skipped: bool) -> bool {
        !self.is_unfinished() && (allow_skipped || !self.has_losses())
    }

    /// It was to end by itself when everything had arrived, and ended earlier.
    fn is_unfinished(&self) -> bool {
        match (&self.followed, self.until) {
            (None, _) | (Some(_), Until::Told) => false,
            (Some((followed, _)), Until::Synced | Until::HandedOver(_)) => {
                !followed.as_ref().is_ok_and(|followed| followed.is_complete)
            }
        }
    }

    fn has_losses(&self) -> bool {
        let stream = match &self.followed {
            Some((Ok(followed), _)) => {
                followed.passed.elsewhere + followed.refusals.total() > 0 || !followed.passed.unknown.is_empty()
            }
            Some((Err(_), _)) | None => false,
        };
        stream || self.tally.has_losses()
    }

    fn text(&self) -> String {
        let keys = self.tally.keys;
        let rate = keys as f64 / self.seconds.max(0.001);
        let copied = format!("{} keys in {:.1} s, {} a second.", grouped(keys), self.seconds, grouped(rate as u64));
        let mut lines = match &self.followed {
            Some((_, Beginning::WentOn)) => vec!["Went on where an earlier run had ended.".to_owned()],
            Some((Ok(_), _)) => vec![format!("{} keys copied, then followed.", grouped(keys))],
            Some((Err(_), _)) | None => vec![copied],
        };
        if let Some((_, Beginning::CopiedAgain)) = &self.followed {
            lines.push(
                "Everything was copied again, because an earlier import could not be gone on with: keys that the source has \
                 deleted since may still be here. --dry-run compares; an import into an empty cluster is free of them."
                    .to_owned(),
            );
        }
        lines.extend(self.tally.lines());
        match &self.followed {
            None => {}
            Some((Err(reason), _)) => lines.push(format!(
                "The source does not let itself be followed ({reason}): every key was copied once, and what was written \
                 meanwhile may be missing. Stop the writers and compare with --dry-run, or import again."
            )),
            Some((Ok(followed), _)) => lines.extend(stream_lines(followed)),
        }
        match self.until {
            Until::HandedOver(_) if self.is_unfinished() => {
                lines.push("NOT cut over: the clients stay where they are.".to_owned());
            }
            Until::Synced if self.is_unfinished() => lines.push("NOT synced.".to_owned()),
            Until::HandedOver(_) | Until::Synced | Until::Told => {}
        }
        lines.join("\n")
    }

    fn json(&self) -> Value {
        let stream = match &self.followed {
            None => Value::Null,
            Some((Err(reason), _)) => json!({ "refused": reason }),
            Some((Ok(followed), beginning)) => json!({
                "commands": followed.passed.commands, "unknown": followed.passed.unknown,
                "in_other_databases": followed.passed.elsewhere, "refused": followed.refusals.json(),
                "is_complete": followed.is_complete, "behind_bytes": followed.behind,
                "source_paused_ms": followed.paused_ms, "lives": followed.lives.json(), "is_resumed": *beginning == Beginning::WentOn,
                "is_after_interruption": *beginning == Beginning::CopiedAgain,
            }),
        };
        json!({ "phase": "done", "copy": self.tally.json(), "stream": stream, "seconds": self.seconds })
    }
}

fn stream_lines(followed: &follow::Followed) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |count: u64, what: &str| lines.push(format!("{:>12} {what}", grouped(count)));
    line(followed.passed.commands, "commands followed");
    for (name, count) in &followed.passed.unknown {
        line(*count, &format!("commands skipped: {name}, which the target does not know"));
    }
    if followed.passed.elsewhere > 0 {
        line(followed.passed.elsewhere, "commands skipped: in a database that the target does not have");
    }
    for (text, count) in followed.refusals.iter() {
        line(count, &format!("commands refused: {text}"));
    }
    lines.push(followed.lives.line());
    lines.push(match (followed.is_complete, followed.paused_ms) {
        (true, 0) if matches!(followed.lives, release::Lives::Released(_)) => "Everything is here.".to_owned(),
        (true, 0) => {
            "Everything that the source had at that moment is here; the same command goes on from there.".to_owned()
        }
        (true, left) => format!(
            "Everything is here. The source refuses writes for another {:.0} s: let the clients move now.",
            left as f64 / 1000.0
        ),
        (false, _) => format!("Ended {}; the same command goes on from there.", progress::lag(followed.behind)),
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use follow::Followed;

    #[test]
    fn an_import_that_ended_before_it_was_done_is_no_success() {
        let report = |until, is_complete| {
            let followed = Followed { is_complete, ..Followed::default() };
            Report { tally: Tally::default(), followed: Some((Ok(followed), Beginning::Copied)), until, seconds: 1.0 }
        };
        let pause = Until::HandedOver(Duration::from_secs(60));
        for (until, is_complete, expected) in [
            (Until::Told, false, true),
            (Until::Synced, true, true),
            (Until::Synced, false, false),
            (pause, true, true),
            (pause, false, false),
        ] {
            assert_eq!(report(until, is_complete).is_fine(true), expected, "{until:?} {is_complete}");
        }
        assert!(report(pause, false).text().contains("NOT cut over"));
    }
}
