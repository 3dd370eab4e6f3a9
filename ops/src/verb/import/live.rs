//! From a running Redis or Valkey: as its replica where it allows that, else by going through its keys.

use super::Destination;
use super::address::Source;
use super::follow::{Followed, Follower};
use super::holding::{Holding, keys};
use super::libraries::libraries;
use super::link::{self, Ending, Keeper, Link, Place, Start};
use super::loader::{Tally, unreadable};
use super::pages::{Pages, knows_deadlines};
use super::progress::Progress;
use super::release::{self, Fields, Lives};
use super::watch::Until;
use super::writer::Earlier;
use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::stop::Stop;
use crate::terminal;
use rdb::{Entry, Item, Reader};
use serde_json::json;
use std::io::Read;
use std::time::{Duration, Instant};

/// What a live import has brought.
#[derive(Debug)]
pub struct Imported {
    /// The full copy, if there was one.
    pub tally: Tally,
    /// The stream of commands, unless the source did not let it be followed: then this says why.
    pub followed: std::result::Result<Followed, String>,
    /// How it began.
    pub beginning: Beginning,
}

/// How a live import began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// With a copy of everything.
    Copied,
    /// With a copy of everything, after an import that could not be gone on with: what the source has deleted in between
    /// is still there.
    CopiedAgain,
    /// Where an earlier run had ended.
    WentOn,
}

/// Imports from a running server.
pub struct Live<'l> {
    /// From where.
    pub source: &'l Source,
    /// Where to.
    pub into: &'l Destination,
    /// When following ends.
    pub until: Until,
    /// It is the last run even if it is not cut over: keys are given their own ends.
    pub releases: bool,
    /// Begin anew, whatever the target has noted.
    pub restart: bool,
    /// Ends it earlier.
    pub stop: &'l Stop,
    /// Print lines of JSON while following.
    pub json: bool,
}

impl Live<'_> {
    /// Does it.
    pub fn import(&self) -> Result<Imported> {
        let mut client = self.into.client()?;
        let marker = format!("pelago:import:from:{}", self.source.name());
        let Earlier { note: noted, writer } = Earlier::of(self.into, &mut client, &marker)?;
        // Whoever noted something here has copied: a full copy on top of that leaves what was deleted since.
        let mut beginning = if noted.is_some() { Beginning::CopiedAgain } else { Beginning::Copied };
        let place = noted.filter(|_| !self.restart).and_then(|text| Place::parse(&text));
        let start = link::begin(self.source, place.as_ref(), &writer)?;
        let mut tally = Tally::default();
        let (holding, link, keeper) = match start {
            Start::Refused(reason) if self.until != Until::Told => {
                return Err(Failure::Arguments(format!(
                    "nothing was imported: {} does not let itself be followed ({reason}), so there is nothing to wait for and \
                     nothing to cut over; let the user be a replica (PSYNC and REPLCONF), or stop the writers and import \
                     without --until-synced and --cut-over, which copies every key once",
                    self.source.address
                )));
            }
            Start::Refused(reason) => {
                return Ok(Imported { tally: self.go_through_keys()?, followed: Err(reason), beginning });
            }
            Start::Continued(link) => {
                beginning = Beginning::WentOn;
                let keeper = Keeper::start(&link)?;
                (self.into.holding()?, link, keeper)
            }
            Start::Full(link, ending) => {
                let seconds = super::file::MARKER_SECONDS;
                // Before the note is written, which is a key as well.
                let holding = self.into.holding()?;
                client.call(&["SET", &marker, format!("{COPYING} {writer}").trim_end(), "EX", seconds])?;
                let keeper = Keeper::start(&link)?;
                let (copied, holding, link) = self.copy(link, &ending, holding)?;
                tally = copied;
                client.call(&["SET", &marker, &link.place.text(), "EX", seconds])?;
                (holding, link, keeper)
            }
        };
        let follower = Follower {
            source: self.source,
            holding: &holding,
            target: self.into.wire()?,
            marker: marker.clone(),
            until: self.until,
            stop: self.stop,
            json: self.json,
        };
        let mut followed = follower.follow(link, keeper)?;
        if followed.is_complete && (self.releases || matches!(self.until, Until::HandedOver(_))) {
            self.finish(&mut client, &marker, &holding, &mut followed)?;
        }
        Ok(Imported { tally, followed: Ok(followed), beginning })
    }

    /// The import is over: nothing will go on from where it was. That is noted first, because whoever went on after lives
    /// are released would meet keys that have ended too early.
    fn finish(&self, client: &mut Client, marker: &str, holding: &Holding, followed: &mut Followed) -> Result<()> {
        if followed.paused_ms > 0 {
            self.say_that_clients_can_move(followed.paused_ms);
        }
        let began = Instant::now();
        client.call(&["DEL", marker])?;
        followed.lives = self.release(holding).map_err(|failure| {
            Failure::Arguments(format!(
                "everything has arrived, but not all keys were given their own ends ({failure}); pelago import --release does \
                 it"
            ))
        })?;
        followed.paused_ms = followed.paused_ms.saturating_sub(began.elapsed().as_millis() as u64);
        Ok(())
    }

    fn release(&self, holding: &Holding) -> Result<Lives> {
        let mut target = self.into.wire()?;
        let fields = Fields::of(&mut self.source.connect()?)?;
        let others = release::notes(&mut target)?;
        if !others.is_empty() {
            // The last of them releases for all, and its own source need not have any.
            if fields == Fields::Sought {
                release::note_fields(&mut target)?;
            }
            return Ok(Lives::HeldForOthers(others));
        }
        let fields = if release::forget_fields(&mut target)? { Fields::Sought } else { fields };
        release::release(&mut target, holding, fields).map(Lives::Released)
    }

    /// Before keys are released, which takes a while if they are many and does not concern the clients.
    fn say_that_clients_can_move(&self, paused_ms: u64) {
        terminal::offer(if self.json {
            json!({ "phase": "handed_over", "source_paused_ms": paused_ms }).to_string()
        } else {
            format!(
                "Everything is here. The source refuses writes for another {} s: the clients can move.",
                paused_ms / 1000
            )
        });
    }

    /// The full copy that comes first.
    fn copy(&self, link: Link, ending: &Ending, holding: Holding) -> Result<(Tally, Holding, Link)> {
        let Link { stream, received, place } = link;
        stream
            .set_read_timeout(Some(COPY_SILENCE_MAX))
            .map_err(|error| Failure::Broken { address: self.source.address.clone(), error })?;
        let what = format!("the copy from {}", self.source.address);
        let all: u64 = keys(&mut self.source.connect()?)?.values().sum();
        let progress = Progress::of_keys(all);
        let mut loader = self.into.loader_for(holding)?.holding_lives();
        let mut reader = Reader::continuing(stream, received).map_err(|error| unreadable(&what, 0, error))?;
        let mut entry = Entry::default();
        let (mut modules, held) = (0, loader.kinds());
        loop {
            let item = reader.next_of(&mut entry, |kind| held.contains(&kind));
            match item.map_err(|error| unreadable(&what, reader.position(), error))? {
                Item::Key if self.source.wants(entry.database) => loader.key(&entry, entry.object.kind())?,
                Item::Passed(kind) if self.source.wants(entry.database) => loader.key(&entry, kind)?,
                Item::Key | Item::Passed(_) => {}
                Item::Function(code) => loader.function(&code),
                Item::Module(_) => modules += 1,
                Item::Auxiliary { .. } | Item::Sizes { .. } => {}
                Item::End => break,
            }
            let keys = loader.tally.keys;
            if keys.is_multiple_of(LOOK_EVERY) {
                progress.show(keys, keys);
                if self.stop.is_told() {
                    return Err(Failure::Arguments("it was told to stop before the full copy was done".to_owned()));
                }
            }
        }
        let tally = Tally { modules_skipped: modules, ..loader.end()? };
        progress.end();
        let position = reader.position();
        let (mut stream, mut received) = reader.into_rest();
        let is_right = match ending {
            Ending::Length(length) => position == *length,
            Ending::Mark(mark) => {
                while received.len() < mark.len() {
                    let mut more = [0; 64];
                    let count = stream.read(&mut more[..mark.len() - received.len()]);
                    let count =
                        count.map_err(|error| Failure::Broken { address: self.source.address.clone(), error })?;
                    if count == 0 {
                        break;
                    }
                    received.extend_from_slice(&more[..count]);
                }
                let is_right = received.starts_with(mark);
                received.drain(..mark.len().min(received.len()));
                is_right
            }
        };
        if !is_right {
            return Err(Failure::Arguments(format!("{what} does not end where {} said", self.source.address)));
        }
        Ok((tally, loader.into_holding(), Link { stream, received, place }))
    }

    /// Where we may not be a replica: key by key, as they are when they are asked for.
    fn go_through_keys(&self) -> Result<Tally> {
        let mut wire = self.source.connect()?;
        let all = keys(&mut wire)?;
        let progress = Progress::of_keys(all.values().sum());
        // `SCAN` may show a key twice.
        let mut loader = self.into.loader_for(self.into.holding()?.replacing())?;
        match libraries(&mut wire)? {
            Ok(codes) => codes.iter().for_each(|code| loader.function(code)),
            Err(refusal) => loader.tally.refusals.note(refusal.as_bytes()),
        }
        for database in all.keys().copied().filter(|database| self.source.wants(*database)) {
            let knows_deadlines = knows_deadlines(&mut wire)?;
            let (mut pages, held) = (Pages::new(&mut wire, database)?, loader.kinds());
            while pages.each_entry(&mut wire, knows_deadlines, &held, |entry, kind| loader.key(entry, kind))?.is_some()
            {
                progress.show(loader.tally.keys, loader.tally.keys);
                if self.stop.is_told() {
                    return Err(Failure::Arguments("it was told to stop before every key was copied".to_owned()));
                }
            }
        }
        let tally = loader.end()?;
        progress.end();
        Ok(tally)
    }
}

/// Noted while a full copy is under way.
const COPYING: &str = "copying";
/// Keys between two looks at the clock.
const LOOK_EVERY: u64 = 1024;
/// A source that copies sends all the time.
const COPY_SILENCE_MAX: Duration = Duration::from_secs(60);
