//! Several clients of one server: each says something in its turn, and then it is heard what came of it for all of them.
//!
//! That everything has come is known by the answer to a `PING` of its own, in which nothing else can hide. Who is in a
//! transaction or waits cannot be asked so: the one is heard at its next turn, and of the other the server says whether it
//! still waits.

use super::normal::name_of;
use super::session::clear;
use super::told::Common;
use super::topics::Turn;
use crate::client::Client;
use crate::reply::Reply;
use std::io;
use std::time::{Duration, Instant};

/// Clients of one server.
pub struct Parties<'a> {
    open: &'a dyn Fn() -> Client,
    /// One that says nothing of its own.
    control: Client,
    parties: Vec<Party>,
    asked: u64,
    /// The numbers of all connections that there were, and whose they were.
    numbers: Vec<(i64, usize)>,
    common: &'a Common,
}

struct Party {
    client: Client,
    version: u8,
    id: i64,
    is_in_transaction: bool,
    waits: bool,
}

/// What one client was told in a turn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Answers, in their order.
    pub answers: Vec<Reply>,
    /// Messages, in their order; where they stood between answers is each server's own business.
    pub messages: Vec<Reply>,
    /// Keys that it is to forget.
    pub forgotten: Vec<String>,
}

/// A client that was served on one side and is not within this time on the other was not served.
const SERVED_WITHIN: Duration = Duration::from_secs(5);
/// How long it is listened before it is asked whether the client waits.
const LISTENING: Duration = Duration::from_millis(1);

impl<'a> Parties<'a> {
    /// Clients of the server that `open` connects to, in these versions of the protocol, and nothing else there.
    pub fn new(open: &'a dyn Fn() -> Client, versions: &[u8], common: &'a Common) -> Self {
        let mut control = open();
        clear(&mut control);
        let parties: Vec<Party> = versions.iter().map(|version| Party::new(open(), *version)).collect();
        let numbers = parties.iter().enumerate().map(|(who, party)| (party.id, who)).collect();
        Self { open, control, parties, asked: 0, numbers, common }
    }

    /// Whether a client is in a transaction.
    pub fn is_in_transaction(&self, who: usize) -> bool {
        self.parties[who].is_in_transaction
    }

    /// Whether a client waits.
    pub fn waits(&self, who: usize) -> bool {
        self.parties[who].waits
    }

    /// The numbers and addresses of clients are written as `@id0` and `@addr0`.
    fn words(&self, request: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let word = |word: &Vec<u8>| {
            let (mark, who) = word.split_at(word.len().saturating_sub(1));
            let party = std::str::from_utf8(who).ok().and_then(|who| self.parties.get(who.parse::<usize>().ok()?));
            match (mark, party) {
                (b"@id", Some(party)) => party.id.to_string().into_bytes(),
                (b"@addr", Some(party)) => party.client.address().unwrap_or_default().into_bytes(),
                _ => word.clone(),
            }
        };
        request.iter().map(word).collect()
    }

    /// One turn: what each client was told. `waiting` says who waits after it on the other side, where that is known.
    pub fn take(&mut self, turn: &Turn, waiting: Option<&[bool]>) -> Vec<Told> {
        let mut told = vec![Told::default(); self.parties.len()];
        for request in &turn.requests {
            let words = self.words(request);
            self.parties[turn.who].client.queue(&words);
        }
        self.answer(turn, &mut told[turn.who], waiting.is_some_and(|waiting| !waiting[turn.who]));
        for who in 0..self.parties.len() {
            if self.parties[who].waits {
                self.wake(who, waiting.map(|waiting| waiting[who]), &mut told[who]);
            } else if who != turn.who && !self.parties[who].is_in_transaction {
                self.hear(who, &mut told[who]);
            }
        }
        told.iter_mut().for_each(|told| told.tidy(turn, &self.numbers, self.common));
        told
    }

    /// Who waits.
    pub fn waiting(&self) -> Vec<bool> {
        self.parties.iter().map(|party| party.waits).collect()
    }

    /// The answers to the requests of a turn, unless it waits for them.
    fn answer(&mut self, turn: &Turn, told: &mut Told, is_answered: bool) {
        let party = &mut self.parties[turn.who];
        let first = name_of(&turn.requests[0]);
        if party.is_in_transaction || first == "MULTI" {
            let ends = matches!(first.as_str(), "EXEC" | "DISCARD" | "RESET" | "QUIT");
            let heard = party.client.send().and_then(|()| told.replies(&mut party.client, turn.requests.len()));
            let was_in_transaction = party.is_in_transaction;
            party.is_in_transaction = match first.as_str() {
                "MULTI" => was_in_transaction || told.answers.last() == Some(&Reply::Simple("OK".to_owned())),
                _ => !ends,
            };
            match heard {
                Ok(()) if !party.is_in_transaction => self.hear(turn.who, told),
                Ok(()) => {}
                Err(error) => self.reopen(turn.who, told, &error),
            }
            return;
        }
        if !turn.may_wait {
            // What it has sent itself may come behind the whole pipeline.
            self.hear(turn.who, told);
            return self.hear(turn.who, told);
        }
        if let Err(error) = party.client.send() {
            return self.reopen(turn.who, told, &error);
        }
        let began = Instant::now();
        let is_answered = is_answered || turn.is_answered_soon;
        loop {
            let party = &mut self.parties[turn.who];
            match party.client.hears_within(LISTENING) {
                Ok(true) => break,
                Ok(false) if is_answered && began.elapsed() < SERVED_WITHIN => {}
                Ok(false) => {
                    if is_waiting(&mut self.control, party.id) || began.elapsed() > SERVED_WITHIN {
                        party.waits = true;
                        return;
                    }
                }
                Err(error) => return self.reopen(turn.who, told, &error),
            }
        }
        self.served(turn.who, told);
    }

    /// What came for a client that waited, if it was served.
    fn wake(&mut self, who: usize, waits_there: Option<bool>, told: &mut Told) {
        let party = &mut self.parties[who];
        let is_served = match waits_there {
            // It must come. If it does not, it still waits, and that is seen.
            Some(false) => party.client.hears_within(SERVED_WITHIN).unwrap_or(true),
            Some(true) | None => !is_waiting(&mut self.control, party.id),
        };
        if is_served {
            party.waits = false;
            self.served(who, told);
        }
    }

    /// The answer to what may have waited, and whatever else has come.
    fn served(&mut self, who: usize, told: &mut Told) {
        match told.replies(&mut self.parties[who].client, 1) {
            Ok(()) => self.hear(who, told),
            Err(error) => self.reopen(who, told, &error),
        }
    }

    /// Everything that has come for a client.
    fn hear(&mut self, who: usize, told: &mut Told) {
        self.asked += 1;
        let word = format!("asked-{}", self.asked);
        let client = &mut self.parties[who].client;
        client.queue(&["PING", &word]);
        let heard = client.send().and_then(|()| told.until(client, &word));
        if let Err(error) = heard {
            self.reopen(who, told, &error);
        }
    }

    /// The connection was closed: that is told too, and another one takes its place.
    fn reopen(&mut self, who: usize, told: &mut Told, error: &io::Error) {
        let is_end = matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
        );
        told.answers.push(Reply::Simple(if is_end { "closed".to_owned() } else { format!("broken: {error}") }));
        let version = self.parties[who].version;
        self.parties[who] = Party::new((self.open)(), version);
        self.numbers.push((self.parties[who].id, who));
    }
}

impl Party {
    fn new(mut client: Client, version: u8) -> Self {
        client.must(&format!("HELLO {version}"));
        let id = client.must("CLIENT ID").integer().unwrap_or_default();
        Self { client, version, id, is_in_transaction: false, waits: false }
    }
}

/// Whether the server says that the client waits.
fn is_waiting(control: &mut Client, id: i64) -> bool {
    let list = control.must(&format!("CLIENT LIST ID {id}")).text().unwrap_or_default();
    let flags = list.split(' ').find_map(|field| field.strip_prefix("flags="));
    flags.is_some_and(|flags| flags.contains('b'))
}

impl Told {
    fn add(&mut self, reply: Reply) -> bool {
        let kind = reply.elements().first().and_then(Reply::text).unwrap_or_default();
        let is_push = matches!(reply, Reply::Push(_));
        match kind.as_str() {
            "message" | "pmessage" | "smessage" if is_push || matches!(reply, Reply::Array(_)) => {
                // Invalidations come so to who was named as the one to hear them.
                self.messages.push(reply);
                false
            }
            "invalidate" | "tracking-redir-broken" if is_push => {
                self.messages.push(reply);
                false
            }
            _ => {
                self.answers.push(reply);
                true
            }
        }
    }

    /// So many answers, and what comes before them.
    fn replies(&mut self, client: &mut Client, count: usize) -> io::Result<()> {
        let mut left = count;
        while left > 0 {
            left -= usize::from(self.add(client.receive()?));
        }
        Ok(())
    }

    /// Everything up to the answer that says this word.
    fn until(&mut self, client: &mut Client, word: &str) -> io::Result<()> {
        loop {
            let reply = client.receive()?;
            let says = match &reply {
                Reply::Bulk(_) => reply.text(),
                Reply::Array(parts) => parts.last().and_then(Reply::text),
                _ => None,
            };
            if says.as_deref() == Some(word) {
                return Ok(());
            }
            self.add(reply);
        }
    }

    /// Without what is each server's own.
    fn tidy(&mut self, turn: &Turn, numbers: &[(i64, usize)], common: &Common) {
        let forgets = |reply: &Reply| {
            let words: Vec<String> = reply.elements().iter().filter_map(Reply::text).collect();
            words.first().is_some_and(|kind| kind == "invalidate")
                || words.get(1).is_some_and(|channel| channel == "__redis__:invalidate")
        };
        // Patterns are told of a message in any order.
        let kind =
            |message: &Reply| (message.elements().first().cloned(), message.elements().get(2..).map(<[Reply]>::to_vec));
        self.messages.chunk_by_mut(|one, next| kind(one) == kind(next)).for_each(<[Reply]>::sort);
        let (forgotten, messages) = std::mem::take(&mut self.messages).into_iter().partition(forgets);
        self.messages = messages;
        let keys = |reply: Reply| match reply.elements().last() {
            Some(Reply::Array(keys)) => keys.iter().map(Reply::to_string).collect(),
            Some(other) => vec![other.to_string()],
            None => Vec::new(),
        };
        self.forgotten = forgotten.into_iter().flat_map(keys).collect();
        self.forgotten.sort();
        self.forgotten.dedup();
        turn.put_in_order(&mut self.answers, common);
        let is_about_clients = turn.requests.iter().any(|request| name_of(request) == "CLIENT");
        for reply in &mut self.answers {
            if is_about_clients {
                known(reply, numbers);
            }
        }
        for reply in &mut self.messages {
            if reply.elements().first().and_then(Reply::text).as_deref() == Some("tracking-redir-broken") {
                known(reply, numbers);
            }
        }
    }
}

/// Numbers of clients as the talk knows them.
fn known(reply: &mut Reply, numbers: &[(i64, usize)]) {
    match reply {
        Reply::Integer(number) => {
            if let Some((_, who)) = numbers.iter().find(|(id, _)| id == number) {
                *reply = Reply::Simple(format!("client {who}"));
            }
        }
        Reply::Array(parts) | Reply::Map(parts) | Reply::Set(parts) | Reply::Push(parts) => {
            parts.iter_mut().for_each(|part| known(part, numbers));
        }
        Reply::Bulk(text) | Reply::Verbatim(text) if text.windows(6).any(|part| part == b" addr=") => {
            *text = clients(&String::from_utf8_lossy(text), numbers).into_bytes();
        }
        _ => {}
    }
}

/// The fields of `CLIENT LIST` that say what a client is and does.
const FIELDS: &[&str] = &["id", "name", "flags", "db", "sub", "psub", "ssub", "multi", "cmd", "user", "redir", "resp"];

/// The lines of clients of the talk, in their order.
fn clients(list: &str, numbers: &[(i64, usize)]) -> String {
    let line = |line: &str| {
        let fields: Vec<(&str, &str)> = line.split(' ').filter_map(|field| field.split_once('=')).collect();
        let id = fields.first()?.1.trim_start_matches("txt:");
        let whose = |id: &str| numbers.iter().find(|(known, _)| known.to_string() == id).map(|(_, who)| *who);
        let who = whose(id)?;
        let value = |name: &str, value: &str| match (name, whose(value)) {
            ("id" | "redir", Some(who)) => format!("client{who}"),
            _ => value.to_owned(),
        };
        let fields = fields.iter().map(|(name, given)| (name.trim_start_matches("txt:"), *given));
        let kept = fields
            .filter(|(name, _)| FIELDS.contains(name))
            .map(|(name, given)| format!("{name}={}", value(name, given)));
        Some((who, kept.collect::<Vec<_>>().join(" ")))
    };
    let mut lines: Vec<(usize, String)> = list.lines().filter_map(line).collect();
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect::<Vec<_>>().join("\n")
}
