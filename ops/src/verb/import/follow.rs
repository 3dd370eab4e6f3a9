//! Follows a source's stream of commands, until it is told to stop, has caught up, or everything was handed over.

use super::address::Source;
use super::commands::{Commands, Group, Passed};
use super::holding::Holding;
use super::link::{self, Keeper, Link, Place, Start};
use super::progress::{Progress, lag};
use super::refusals::Refusals;
use super::watch::{SourceWatch, Until};
use crate::failure::{Failure, Result};
use crate::reply::write_request;
use crate::stop::Stop;
use crate::terminal::grouped;
use crate::wire::{Answer, Wire};
use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

/// What following has brought.
#[derive(Debug, Default)]
pub struct Followed {
    /// What was passed on.
    pub passed: Passed,
    /// What the target did not take.
    pub refusals: Refusals,
    /// Everything that the source had at the end is at the target.
    pub is_complete: bool,
    /// Bytes of the stream that were still to come when it ended, as far as is known.
    pub behind: u64,
    /// How long the source refuses writes from now on, if it was paused.
    pub paused_ms: u64,
}

/// What following needs.
pub struct Follower<'f> {
    /// Whom.
    pub source: &'f Source,
    /// What the target knows.
    pub holding: &'f Holding,
    /// The connection that applies, in order.
    pub target: Wire,
    /// Where the target notes the place.
    pub marker: String,
    /// When it ends.
    pub until: Until,
    /// Ends it earlier.
    pub stop: &'f Stop,
    /// Print a line of JSON now and then.
    pub json: bool,
}

impl Follower<'_> {
    /// Follows. The link is opened again when it breaks, as long as the source still has what follows.
    pub fn follow(mut self, mut link: Link, mut keeper: Keeper) -> Result<Followed> {
        let mut followed = Followed::default();
        let mut watch = SourceWatch::new(self.source, self.until)?;
        let progress = Progress::of_text();
        loop {
            let broken = match self.follow_link(&mut link, &keeper, &mut watch, &progress, &mut followed) {
                Ok(()) => break,
                Err(Ended::Link(reason)) => reason,
                Err(Ended::Other(failure)) => {
                    progress.end();
                    return Err(failure);
                }
            };
            progress.say(format!("the link broke ({broken}), it is opened again"));
            drop(keeper);
            link = self.reopen(&link.place, &broken)?;
            keeper = Keeper::start(&link)?;
        }
        progress.end();
        followed.behind = watch.behind(link.place.offset);
        followed.paused_ms = watch.paused_ms();
        keeper.applied(link.place.offset);
        keeper.tell_now();
        Ok(followed)
    }

    fn reopen(&self, place: &Place, reason: &str) -> Result<Link> {
        let began = Instant::now();
        loop {
            match link::begin(self.source, Some(place)) {
                Ok(Start::Continued(link)) => return Ok(link),
                Ok(Start::Full(..) | Start::Refused(_)) => {
                    return Err(Failure::Arguments(format!(
                        "the link to {} broke ({reason}), and it no longer has what followed; begin again with an empty target, \
                         and a larger repl-backlog-size at the source",
                        self.source.address
                    )));
                }
                Err(failure) if began.elapsed() >= REOPEN_TIME || self.stop.is_told() => return Err(failure),
                Err(_) => std::thread::sleep(REOPEN_INTERVAL),
            }
        }
    }

    /// Follows on one link until something ends it.
    fn follow_link(
        &mut self,
        link: &mut Link,
        keeper: &Keeper,
        watch: &mut SourceWatch,
        progress: &Progress,
        followed: &mut Followed,
    ) -> std::result::Result<(), Ended> {
        link.stream.set_read_timeout(Some(LOOK_INTERVAL)).map_err(|error| Ended::Link(error.to_string()))?;
        let (source, holding) = (self.source, self.holding);
        let mut commands = Commands::new(source, holding, link.place.database);
        commands.passed = std::mem::take(&mut followed.passed);
        let mut group = Group::default();
        let (mut heard, mut shown) = (Instant::now(), Instant::now());
        let outcome = loop {
            if let Err(failure) = self.apply(link, &mut commands, &mut group, followed) {
                break Err(Ended::Other(failure));
            }
            keeper.applied(link.place.offset);
            if std::mem::take(&mut commands.asks_for_place) {
                keeper.tell_now();
            }
            if self.stop.is_told() {
                break Ok(());
            }
            match watch.look(link.place.offset) {
                Ok(false) => {}
                Ok(true) => {
                    followed.is_complete = true;
                    break Ok(());
                }
                Err(failure) => break Err(Ended::Other(failure)),
            }
            if shown.elapsed() >= SHOW_INTERVAL {
                shown = Instant::now();
                self.show(progress, watch.behind(link.place.offset), &link.place, &commands.passed);
            }
            match receive(link) {
                Ok(true) => heard = Instant::now(),
                Ok(false) if heard.elapsed() >= SILENCE_MAX => break Err(Ended::Link("it is silent".to_owned())),
                Ok(false) => {}
                Err(error) => break Err(Ended::Link(error.to_string())),
            }
        };
        followed.passed = commands.passed;
        outcome
    }

    /// Applies what was received, as far as it is whole.
    fn apply(
        &mut self,
        link: &mut Link,
        commands: &mut Commands<'_>,
        group: &mut Group,
        followed: &mut Followed,
    ) -> Result<()> {
        let mut taken = 0;
        loop {
            let more = commands.take(&link.received[taken..], group)?;
            taken += more;
            let is_drained = more == 0 || taken == link.received.len();
            if commands.is_between_transactions() && group.bytes > 0 {
                link.place.offset += group.bytes;
                link.place.database = commands.database();
                if group.count > 0 {
                    self.send(group, &link.place, &mut followed.refusals)?;
                }
                group.clear();
            }
            if is_drained {
                link.received.drain(..taken);
                return Ok(());
            }
        }
    }

    /// One transaction. If the target does not take it as a whole, because it will not even queue one of its commands, the
    /// commands are sent one by one.
    fn send(&mut self, group: &Group, place: &Place, refusals: &mut Refusals) -> Result<()> {
        let mut requests = Vec::with_capacity(group.requests.len() + 256);
        let replies = group.transaction(&self.marker, place, &mut requests);
        self.target.send(&requests)?;
        // All but the last say that they are queued, or why not.
        let mut refused = Refusals::default();
        self.target.pass(replies - 1, |text| refused.note(text))?;
        let results = match self.target.next()? {
            Answer::List(results) => results as u64,
            Answer::Error(_) | Answer::Null | Answer::Status(_) | Answer::Integer(_) | Answer::Text(_) => {
                // What could not be queued is refused again, and is counted then.
                refused = Refusals::default();
                requests.clear();
                requests.extend_from_slice(&group.requests);
                write_request(&mut requests, &[b"SELECT", b"0"]);
                write_request(&mut requests, &[b"SET", self.marker.as_bytes(), place.text().as_bytes()]);
                self.target.send(&requests)?;
                group.count + 2
            }
        };
        let mut fatal = None;
        self.target.pass(results, |text| {
            if Refusals::is_fatal(text) {
                fatal.get_or_insert_with(|| String::from_utf8_lossy(text).into_owned());
            }
            refused.note(text);
        })?;
        refusals.add(&refused);
        match fatal {
            Some(text) => Err(Failure::Refused { address: self.target.address().to_owned(), text }),
            None => Ok(()),
        }
    }

    fn show(&self, progress: &Progress, behind: u64, place: &Place, passed: &Passed) {
        if self.json {
            let row = serde_json::json!({
                "phase": "following", "offset": place.offset, "behind_bytes": behind, "commands": passed.commands,
            });
            crate::terminal::line(row.to_string());
        } else {
            progress.say(format!("following: {} commands, {}", grouped(passed.commands), lag(behind)));
        }
    }
}

/// Why following a link ended.
enum Ended {
    /// The link itself.
    Link(String),
    /// Something that another link would not help.
    Other(Failure),
}

/// Waits a little for more. False if nothing came.
fn receive(link: &mut Link) -> std::io::Result<bool> {
    let filled = link.received.len();
    link.received.resize(filled + READ_BYTES, 0);
    let outcome = link.stream.read(&mut link.received[filled..]);
    let count = outcome.as_ref().map_or(0, |count| *count);
    link.received.truncate(filled + count);
    match outcome {
        Ok(0) => Err(std::io::Error::new(ErrorKind::UnexpectedEof, "the source closed it")),
        Ok(_) => Ok(true),
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => Ok(false),
            _ => Err(error),
        },
    }
}

const READ_BYTES: usize = 256 * 1024;
/// How long one wait for more commands takes at most.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
const SHOW_INTERVAL: Duration = Duration::from_secs(1);
/// A source says something every ten seconds, if only PING.
const SILENCE_MAX: Duration = Duration::from_secs(60);
const REOPEN_TIME: Duration = Duration::from_secs(60);
const REOPEN_INTERVAL: Duration = Duration::from_millis(500);
