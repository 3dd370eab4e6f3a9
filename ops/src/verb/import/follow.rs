//! Follows a source's stream of commands, until it is told to stop, has caught up, or everything was handed over.

use super::address::Source;
use super::commands::{Commands, Group, Passed};
use super::holding::Holding;
use super::link::{self, Keeper, Link, Place, Start};
use super::progress::{Progress, lag};
use super::refusals::Refusals;
use super::release::Lives;
use super::watch::{REOPEN_TIME, SourceWatch, Until};
use crate::failure::{Failure, Result};
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
    /// What became of the lives that were held meanwhile.
    pub lives: Lives,
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
        let mut watch = SourceWatch::new(self.source, self.until);
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
            watch.begin_again();
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
            match link::begin(self.source, Some(place), &place.writer) {
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
        watch: &mut SourceWatch<'_>,
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

    /// One transaction, which notes the place. If the target does not take it as a whole, because it will not even queue
    /// one of its commands, the commands are sent one by one, and the place is noted after their answers. A target that
    /// takes no writes at all ends the import, without a place that would pass over them.
    fn send(&mut self, group: &Group, place: &Place, refusals: &mut Refusals) -> Result<()> {
        let mut requests = Vec::with_capacity(group.requests.len() + 256);
        let replies = group.transaction(&self.marker, place, &mut requests);
        self.target.send(&requests)?;
        // All but the last say that they are queued, or why not.
        let mut refused = self.hear(replies - 1)?;
        match self.target.next()? {
            Answer::List(results) => {
                let results = self.hear(results as u64)?;
                refused.add(&results);
                refusals.add(&refused);
                return Ok(());
            }
            Answer::Error(text) if Refusals::is_fatal(text) => {
                let text = String::from_utf8_lossy(text).into_owned();
                return Err(Failure::refused(self.target.address(), &text));
            }
            Answer::Error(_) | Answer::Null | Answer::Status(_) | Answer::Integer(_) | Answer::Text(_) => {}
        }
        // What could not be queued is refused again, and is counted then.
        self.target.send(&group.requests)?;
        refusals.add(&self.hear(group.count)?);
        self.target.call(&[b"SELECT", b"0"])?;
        let (place, seconds) = (place.text(), super::file::MARKER_SECONDS.as_bytes());
        self.target.call(&[b"SET", self.marker.as_bytes(), place.as_bytes(), b"EX", seconds]).map(drop)
    }

    /// So many answers: what was refused of them. A refusal that all further writes would get as well is a failure.
    fn hear(&mut self, answers: u64) -> Result<Refusals> {
        let (mut refused, mut fatal) = (Refusals::default(), None);
        self.target.pass(answers, |text| {
            if Refusals::is_fatal(text) {
                fatal.get_or_insert_with(|| String::from_utf8_lossy(text).into_owned());
            }
            refused.note(text);
        })?;
        match fatal {
            Some(text) => Err(Failure::refused(self.target.address(), &text)),
            None => Ok(refused),
        }
    }

    fn show(&self, progress: &Progress, behind: u64, place: &Place, passed: &Passed) {
        if self.json {
            let row = serde_json::json!({
                "phase": "following", "offset": place.offset, "behind_bytes": behind, "commands": passed.commands,
            });
            crate::terminal::offer(row.to_string());
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
const REOPEN_INTERVAL: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use resp::{Limits, Parser, Progress as Parsed};
    use std::io::Write;
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    const PLACE: &str = "0123456789abcdef0123456789abcdef01234567 9 0";

    /// A target that gives these answers, one for each request, and then none; what it was asked.
    fn target(answers: &'static [&'static str]) -> (Wire, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let body = move || {
            let mut stream = listener.accept().unwrap().0;
            let (mut parser, mut received, mut asked) = (Parser::new(), Vec::new(), Vec::new());
            let mut answers = answers.iter();
            let limits = Limits { bulk_bytes_max: 1 << 20, authenticated: true };
            loop {
                while let Ok(Parsed::Request(length)) = parser.next(&received, limits) {
                    let words: Vec<_> = parser.arguments(&received).map(String::from_utf8_lossy).collect();
                    asked.push(words.join(" "));
                    received.drain(..length);
                    if let Some(answer) = answers.next() {
                        stream.write_all(format!("{answer}\r\n").as_bytes()).unwrap();
                    }
                }
                let mut more = [0; 4096];
                match stream.read(&mut more) {
                    Ok(0) | Err(_) => return asked,
                    Ok(count) => received.extend_from_slice(&more[..count]),
                }
            }
        };
        let thread = std::thread::spawn(body);
        (Wire::connect(&address, None, None).unwrap(), thread)
    }

    /// Sends `SET a 1` of database 3 to such a target: what came of it, what was counted, and what the target was asked.
    fn sent(answers: &'static [&'static str]) -> (Result<()>, u64, Vec<String>) {
        let (wire, thread) = target(answers);
        wire.wait_at_most(Duration::from_secs(2)).unwrap();
        let source: Source = "redis://h".parse().unwrap();
        let (holding, stop, marker) = (Holding::knowing(&["set"]), Stop::never(), "m".to_owned());
        let (source, holding, stop) = (&source, &holding, &stop);
        let mut follower = Follower { source, holding, target: wire, marker, until: Until::Told, stop, json: false };
        let (mut commands, mut group, mut refusals) =
            (Commands::new(source, holding, 3), Group::default(), Refusals::default());
        commands.take(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n", &mut group).unwrap();
        let outcome = follower.send(&group, &Place::parse(PLACE).unwrap(), &mut refusals);
        drop(follower);
        (outcome, refusals.total(), thread.join().unwrap())
    }

    fn noted() -> String {
        format!("SET m {PLACE} EX 604800")
    }

    #[test]
    fn a_target_without_room_ends_the_import_before_a_place_is_noted() {
        const QUEUED: &str = "+QUEUED";
        let at_the_queue: &[&str] = &["+OK", QUEUED, "-OOM no", QUEUED, QUEUED, "-EXECABORT because of errors"];
        let at_the_end: &[&str] =
            &["+OK", QUEUED, QUEUED, QUEUED, QUEUED, "-EXECABORT Transaction discarded because of: OOM no"];
        for answers in [at_the_queue, at_the_end] {
            let (outcome, _, asked) = sent(answers);
            assert!(matches!(&outcome, Err(Failure::Refused { text, .. }) if text.contains("OOM")), "{outcome:?}");
            assert_eq!(asked.len(), 6, "nothing after the transaction: {asked:?}");
        }
    }

    #[test]
    fn commands_that_cannot_be_queued_are_sent_one_by_one_and_the_place_is_noted_last() {
        const REFUSED: [&str; 6] = ["+OK", "+QUEUED", "-ERR no", "+QUEUED", "+QUEUED", "-EXECABORT because of errors"];
        const GOOD: &[&str] =
            &[REFUSED[0], REFUSED[1], REFUSED[2], REFUSED[3], REFUSED[4], REFUSED[5], "+OK", "-ERR no", "+OK", "+OK"];
        let (outcome, count, asked) = sent(GOOD);
        assert!(outcome.is_ok(), "{outcome:?}");
        assert_eq!((count, &asked[6..]), (1, &["SELECT 3", "SET a 1", "SELECT 0", &noted()].map(str::to_owned)[..]));
        const FULL: &[&str] =
            &[REFUSED[0], REFUSED[1], REFUSED[2], REFUSED[3], REFUSED[4], REFUSED[5], "+OK", "-OOM no"];
        let (outcome, _, asked) = sent(FULL);
        assert!(matches!(&outcome, Err(Failure::Refused { text, .. }) if text == "OOM no"), "{outcome:?}");
        assert_eq!(asked[6..], ["SELECT 3", "SET a 1"], "a place would pass over what was refused");
    }
}
