//! Looks at the source from aside: how far its stream is, and whether the import may end.

use super::address::Source;
use crate::failure::{Failure, Result};
use crate::reply::Reply;
use crate::wire::Wire;
use std::time::{Duration, Instant};

/// When following ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Never: it ends when it is told to.
    Told,
    /// When everything has arrived that the source had written after the full copy was done.
    Synced,
    /// When the source was told to refuse writes for so long, and everything has arrived.
    HandedOver(Duration),
}

/// Asks the source over a connection of its own. One that breaks is opened again for a while: what is not answered is not
/// known yet.
pub struct SourceWatch<'s> {
    source: &'s Source,
    until: Until,
    wire: Option<Wire>,
    /// When it was asked last.
    asked: Option<Instant>,
    /// Since when it does not answer.
    silent: Option<Instant>,
    /// How far the source's stream was when it was last looked at.
    offset: Option<u64>,
    /// What must have arrived.
    goal: Option<u64>,
    paused: Option<Instant>,
}

impl<'s> SourceWatch<'s> {
    /// Asks nothing yet.
    pub fn new(source: &'s Source, until: Until) -> Self {
        Self { source, until, wire: None, asked: None, silent: None, offset: None, goal: None, paused: None }
    }

    /// Forgets what was known: the stream comes over another link, perhaps from a server that was started again and refuses
    /// no writes.
    pub fn begin_again(&mut self) {
        (self.wire, self.silent, self.offset, self.goal, self.paused) = (None, None, None, None, None);
    }

    /// Whether following may end, at this place in the stream. It asks the source once in a while, more often near the
    /// end.
    pub fn look(&mut self, applied: u64) -> Result<bool> {
        if self.silent.is_some() && !self.is_time() {
            return Ok(false);
        }
        match self.try_look(applied) {
            Err(failure) if is_passing(&failure) => {
                self.wire = None;
                let silent = *self.silent.get_or_insert_with(Instant::now);
                if silent.elapsed() < REOPEN_TIME { Ok(false) } else { Err(failure) }
            }
            outcome => outcome,
        }
    }

    fn try_look(&mut self, applied: u64) -> Result<bool> {
        if self.paused.is_none() && self.is_time() {
            self.offset = Some(self.ask_for_offset()?);
        }
        match self.until {
            Until::Told => Ok(false),
            Until::Synced => {
                self.goal = self.goal.or(self.offset);
                Ok(self.goal.is_some_and(|goal| applied >= goal))
            }
            Until::HandedOver(pause) => self.hand_over(applied, pause),
        }
    }

    fn hand_over(&mut self, applied: u64, pause: Duration) -> Result<bool> {
        if self.paused.is_none() && self.offset.is_some() && self.behind(applied) <= NEAR_BYTES {
            let milliseconds = pause.as_millis().to_string();
            self.ask(&[b"CLIENT", b"PAUSE", milliseconds.as_bytes(), b"WRITE"])?;
            self.paused = Some(Instant::now());
        }
        let Some(paused) = self.paused else { return Ok(false) };
        if paused.elapsed() >= pause {
            return Err(Failure::Arguments(
                "the source was paused for too short to hand over; writes go on there; give it longer with --pause"
                    .to_owned(),
            ));
        }
        let goal = match self.goal {
            Some(goal) => goal,
            // From here on it grows only by what the server says by itself.
            None => self.ask_for_offset()?,
        };
        (self.offset, self.goal) = (Some(goal), Some(goal));
        Ok(applied >= goal)
    }

    fn is_time(&self) -> bool {
        self.asked.is_none_or(|asked| asked.elapsed() >= LOOK_INTERVAL)
    }

    /// How far the source's stream is.
    fn ask_for_offset(&mut self) -> Result<u64> {
        let text = self.ask(&[b"INFO", b"replication"])?.text().unwrap_or_default();
        let fact = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        fact("master_repl_offset:").ok_or_else(|| Failure::Answer {
            address: self.source.address.clone(),
            question: "INFO replication".to_owned(),
        })
    }

    fn ask(&mut self, words: &[&[u8]]) -> Result<Reply> {
        self.asked = Some(Instant::now());
        let wire = match &mut self.wire {
            Some(wire) => wire,
            None => {
                let wire = self.source.connect()?;
                wire.wait_at_most(ANSWER_TIME)?;
                self.wire.insert(wire)
            }
        };
        let answer = wire.call(words)?;
        self.silent = None;
        Ok(answer)
    }

    /// How many bytes of the stream are still to come, as far as is known.
    pub fn behind(&self, applied: u64) -> u64 {
        self.offset.map_or(0, |offset| offset.saturating_sub(applied))
    }

    /// How long the source refuses writes from now on.
    pub fn paused_ms(&self) -> u64 {
        match (self.until, self.paused) {
            (Until::HandedOver(pause), Some(began)) => pause.saturating_sub(began.elapsed()).as_millis() as u64,
            (Until::HandedOver(_) | Until::Told | Until::Synced, _) => 0,
        }
    }
}

/// Whether another connection, or the same question later, may help.
fn is_passing(failure: &Failure) -> bool {
    match failure {
        Failure::Connect { .. } | Failure::Broken { .. } => true,
        Failure::Refused { text, .. } => PASSING.iter().any(|code| text.starts_with(code)),
        _ => false,
    }
}

/// What a server says that is being started, or that has too many clients.
const PASSING: [&str; 4] = ["LOADING", "max number of clients", "ERR max number of clients", "MASTERDOWN"];
/// For so long a source that cannot be reached is tried again.
pub const REOPEN_TIME: Duration = Duration::from_secs(60);
/// Nothing of the stream is applied while an answer is waited for.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// So near to the end the rest is a matter of milliseconds.
const NEAR_BYTES: u64 = 256 * 1024;
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// A source whose connections give these answers each and are closed then; what it was asked.
    fn source_of(connections: &'static [&'static [&'static str]]) -> (Source, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let source = format!("redis://{}", listener.local_addr().unwrap()).parse().unwrap();
        let serving = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for answers in connections {
                let mut stream = listener.accept().unwrap().0;
                for answer in *answers {
                    let mut received = [0; 256];
                    let count = stream.read(&mut received).unwrap();
                    let words = String::from_utf8_lossy(&received[..count]).into_owned();
                    asked.push(words.lines().skip(2).step_by(2).take(2).collect::<Vec<_>>().join(" "));
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            }
            asked
        });
        (source, serving)
    }

    #[test]
    fn a_connection_that_breaks_is_opened_again_and_nothing_is_concluded_meanwhile() {
        const AT_SEVEN: &str = "$21\r\nmaster_repl_offset:7\n\r\n";
        const AT_NINE: &str = "$21\r\nmaster_repl_offset:9\n\r\n";
        let (source, serving) = source_of(&[&[], &[AT_SEVEN], &["-LOADING\r\n"], &[AT_SEVEN, "+OK\r\n"], &[AT_NINE]]);
        let mut watch = SourceWatch::new(&source, Until::HandedOver(Duration::from_secs(600)));
        let began = Instant::now();
        while !watch.look(8).unwrap() && watch.goal.is_none() {
            assert!(began.elapsed() < Duration::from_secs(60));
            std::thread::yield_now();
        }
        assert_eq!((watch.goal, watch.behind(8)), (Some(9), 1));
        assert!(watch.look(9).unwrap());
        let asked = serving.join().unwrap();
        let [info, pause] = ["INFO replication", "CLIENT PAUSE"];
        assert_eq!(asked, [info, info, info, pause, info]);
    }

    #[test]
    fn a_refusal_is_final() {
        let (source, serving) = source_of(&[&["-NOPERM no\r\n"]]);
        let outcome = SourceWatch::new(&source, Until::Synced).look(0);
        assert!(matches!(&outcome, Err(Failure::Refused { text, .. }) if text.contains("NOPERM")), "{outcome:?}");
        serving.join().unwrap();
    }
}
