//! One client's connection: bytes in, all complete requests executed in place, one write of all their replies.
//!
//! Generic over the stream, so that the simulator's sockets and in-memory pipes run the same code. A connection that
//! waits holds no buffer: they are taken from the worker when bytes come and given back when nothing is left over.

use crate::acl::protected;
use crate::client::ClientState;
use crate::clients::{Look, Marks, Presence};
use crate::command::table::Entry;
use crate::command::transaction::Arguments;
use crate::command::{Group, Keys};
use crate::dispatch::{self, Asked, dispatch, dispatch_named};
use crate::limits::{OUTPUT_BYTES_FLUSH, REQUESTS_AHEAD_MAX};
use crate::outbox::Overrun;
use crate::worker::Worker;
use crdt::UnixMillis;
use input::Input;
use keyspace::{EXPECTED_MAX, Expected, Place};
use resp::{Limits, Parser, Progress, Reply, Version};
use smallvec::SmallVec;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Serves one client until either side ends it. Spawn it on the worker's `LocalSet`.
pub async fn serve_connection<S>(worker: Rc<Worker>, mut stream: S, address: SocketAddr, local_address: SocketAddr)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let node = Arc::clone(&worker.node);
    let most = worker.config(|config| config.maxclients);
    if let Some(sentence) = worker.config(|config| protected::refusal(&node.acl, config, address)) {
        node.clients.note_refused();
        let _ = stream.write_all(format!("-{sentence}\r\n").as_bytes()).await;
        return;
    }
    let Ok(presence) = node.clients.enter(address, local_address, node.wall_clock(), most) else {
        // Whether the refusal arrives is of no consequence to us.
        let _ = stream.write_all(b"-ERR max number of clients reached\r\n").await;
        return;
    };
    let entered = Entered { presence, worker: &worker };
    let presence = &*entered.presence;
    let client = ClientState::new(Arc::clone(&entered.presence), Arc::clone(&worker.tally), node.seed(), &node.acl);
    let mut connection = Connection::new(&worker, presence, stream, client);
    if let Err(error) = connection.serve().await {
        tracing::debug!(client = presence.id, %address, %error, "a client's connection broke");
    }
    if let Some(Overrun { waiting, limit }) = presence.overrun() {
        note_overrun(&worker, presence, waiting, limit);
    }
    connection.close();
}

/// Takes the connection out of the list however its task ends.
struct Entered<'w> {
    presence: Arc<Presence>,
    worker: &'w Worker,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.worker.node.clients.leave(self.presence.id);
    }
}

struct Connection<'w, S> {
    worker: &'w Worker,
    presence: &'w Presence,
    stream: S,
    client: ClientState,
    parser: Parser,
    input: Input,
    reply: Reply,
    /// The request that has been looked into, if it came alone.
    lone: Option<Lone>,
    /// Our task's waker is with `presence` already.
    is_known: bool,
    /// Bytes have come since executing stopped.
    has_read_ahead: bool,
    /// So many bytes of the replies so far are written.
    written: usize,
}

/// Why executing stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// All complete requests are executed.
    Nothing,
    /// Enough replies wait to be written.
    Output,
    /// The next request is paused.
    Paused(UnixMillis),
    /// The last request's answer comes later.
    Ordered,
    /// The last request waits for a key.
    Waiting,
    /// The last request runs a script for long.
    Aside,
    /// The connection is to be closed.
    Close,
}

/// A request that was taken apart and waits for its turn.
struct Parsed {
    /// Its length in bytes.
    length: usize,
    /// Where its words lie among those of all.
    words: Range<usize>,
    /// The command that its first word names.
    named: Option<&'static Entry>,
    /// Where its first key is looked for.
    place: Option<Place>,
}

impl Parsed {
    /// Whether it will look into a collection for an element that it names.
    #[inline]
    fn names_element(&self) -> bool {
        let is_of = |entry: &Entry| matches!(entry.command.group, Group::Hash | Group::Set | Group::SortedSet);
        self.named.is_some_and(is_of)
    }

    /// What it will look for first.
    #[inline]
    fn expects<'w>(&self, words: &[&'w [u8]]) -> Option<Expected<'w>> {
        let (entry, place) = (self.named?, self.place?);
        let args = &words[self.words.clone()];
        let first = first_key(entry)?;
        let key = *args.get(first)?;
        let element = if matches!(entry.command.group, Group::Hash | Group::Set) {
            args.get(first + 1)
        } else if entry.command.group == Group::SortedSet {
            // Behind a score, if there is one.
            args.get(first + 2).or(args.get(first + 1))
        } else {
            None
        };
        Some(Expected { place, key, element: element.copied() })
    }
}

/// A request that came alone and was looked into before its turn.
#[derive(Clone, Copy)]
struct Lone {
    /// The command that its first word names.
    named: Option<&'static Entry>,
    /// Where its first key is looked for.
    place: Option<Place>,
}

/// Which word of a request is its first key, where the command's row says so.
#[inline]
fn first_key(entry: &Entry) -> Option<usize> {
    match entry.command.keys {
        Keys::Range { first, .. } => Some(first),
        // Where there are none, some other word is looked for in vain, or there is no word.
        Keys::Counted { count, .. } => Some(count + 1),
        Keys::None | Keys::Computed(_) | Keys::Open { .. } | Keys::Queued => None,
    }
}

/// A request that comes alone is looked into before its turn up to this length.
const LONE_REQUEST_BYTES_MAX: usize = 4096;

/// What comes behind the requests that were executed.
enum Ahead {
    /// Perhaps more of them.
    More,
    /// An inline request of this length.
    Inline(usize),
    /// The beginning of one; so many more bytes are known to be needed.
    Incomplete(usize),
    /// What is no request.
    Malformed(resp::ProtocolError),
}

/// Lets every other connection go on that has something to do now. Unlike a yield to the runtime it does not ask the
/// system for more first.
async fn rest_of_turn() {
    let mut has_waited = false;
    poll_fn(|context| {
        if has_waited {
            return Poll::Ready(());
        }
        has_waited = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What waiting for bytes brought.
enum Wait {
    Bytes,
    /// Something was posted to the client.
    Mail,
    Over,
}

impl<'w, S: AsyncRead + AsyncWrite + Unpin> Connection<'w, S> {
    fn new(worker: &'w Worker, presence: &'w Presence, stream: S, client: ClientState) -> Self {
        let (parser, input, reply) = (Parser::new(), Input::default(), Reply::new(Version::Resp2));
        let (lone, is_known, has_read_ahead, written) = (None, false, false, 0);
        Self { worker, presence, stream, client, parser, input, reply, lone, is_known, has_read_ahead, written }
    }

    async fn serve(&mut self) -> io::Result<()> {
        loop {
            match self.read().await? {
                Wait::Bytes => {}
                Wait::Mail => {
                    self.write().await?;
                    self.presence.note_active(self.worker.node.wall_clock());
                    self.release_reply();
                    continue;
                }
                Wait::Over => return Ok(()),
            }
            let alone = self.has_one_request();
            if alone {
                // All connections that have something to read are read before the first of them is served: the memory
                // that their keys are looked up in comes meanwhile.
                rest_of_turn().await;
                self.worker.fetch_expected();
            }
            let mut now = self.worker.node.wall_clock();
            loop {
                let stop = self.execute(now);
                if stop != Stop::Nothing {
                    // As it looks while something is waited for.
                    self.presence.update(&self.look(now));
                }
                match stop {
                    Stop::Nothing => break,
                    Stop::Output => self.write().await?,
                    Stop::Close => return self.write().await,
                    Stop::Ordered => {
                        self.write().await?;
                        now = Box::pin(self.wait_for_answer()).await?;
                    }
                    Stop::Waiting => {
                        // In memory of its own: nearly no connection ever waits for a key.
                        now = Box::pin(self.wait_for_key(now)).await?;
                    }
                    Stop::Aside => now = Box::pin(self.wait_for_script()).await,
                    Stop::Paused(until) => {
                        self.write().await?;
                        now = Box::pin(self.wait_for_pause(now, until)).await?;
                    }
                }
            }
            self.presence.update(&self.look(now));
            let is_heard = std::mem::take(&mut self.client.is_heard);
            if !alone && !is_heard {
                // All connections that have pipelines to read are served before the first replies are written: a
                // client that serves many of them is woken once and not by each. Who has published is answered before
                // those who hear it are written to: it goes on meanwhile.
                rest_of_turn().await;
            }
            self.write().await?;
            // What is read into is given back when there is nothing to read.
            self.release_reply();
            if is_heard {
                // Who hears it has its turn before more is read, also of a client that waits for no answer.
                rest_of_turn().await;
            }
        }
    }

    /// How it looks to others now.
    fn look(&self, now: UnixMillis) -> Look {
        self.client.look(now, self.reply.version(), self.input.count())
    }

    /// Whether exactly one request has arrived. Its key is looked up soon.
    fn has_one_request(&mut self) -> bool {
        let input = self.input.unread();
        if input.len() > LONE_REQUEST_BYTES_MAX {
            return false;
        }
        let mut words: SmallVec<[&[u8]; 16]> = SmallVec::new();
        let limits = self.limits();
        if self.parser.simple(input, limits, |word| words.push(word)) != Some(input.len()) {
            return false;
        }
        let named = self.worker.node.table.find(words[0]);
        let place = named.and_then(|named| self.place_of(named, &words));
        self.worker.expect(place);
        self.lone = Some(Lone { named, place });
        true
    }

    /// Where the first key of a request is looked for. The memory that is read first for it is fetched.
    #[inline]
    fn place_of(&self, named: &Entry, words: &[&[u8]]) -> Option<Place> {
        let key = words.get(first_key(named)?)?;
        Some(self.worker.node.keyspace.place(self.client.database.0, key))
    }

    /// What the client may send. Who has not authenticated may send less.
    fn limits(&self) -> Limits {
        let bulk_bytes_max = self.worker.config(|config| config.proto_max_bulk_len);
        let bulk_bytes_max = i64::try_from(bulk_bytes_max).unwrap_or(i64::MAX);
        Limits { bulk_bytes_max, authenticated: self.client.authenticated }
    }

    /// Executes the requests that have arrived, in place, as one pipeline.
    fn execute(&mut self, now: UnixMillis) -> Stop {
        let before = self.worker.last_stamp();
        self.client.pipeline_began = before;
        let stop = {
            let _pipeline = Pipeline::begin(self.worker);
            self.execute_all(now)
        };
        let after = self.worker.last_stamp();
        if after > before {
            self.client.written = self.client.written.max(after);
        }
        stop
    }

    fn execute_all(&mut self, now: UnixMillis) -> Stop {
        self.take_reply_buffer();
        self.has_read_ahead = false;
        loop {
            let ahead = match self.execute_next(now) {
                Ok(ahead) => ahead,
                Err(stop) => return stop,
            };
            match ahead {
                Ahead::More | Ahead::Inline(_) => {}
                Ahead::Incomplete(wanted) => {
                    self.input.wanted = wanted;
                    return Stop::Nothing;
                }
                Ahead::Malformed(error) => {
                    self.worker.tally.protocol_errors.add(1);
                    self.reply.error(&format!("ERR {error}"));
                    return Stop::Close;
                }
            }
        }
    }

    /// Before something is written to a reply that is empty: it holds no buffer then.
    fn take_reply_buffer(&mut self) {
        if self.reply.is_empty() {
            let buffer = self.worker.take_buffer();
            self.worker.give_buffer(self.reply.replace_buffer(buffer));
        }
    }

    /// Executes the next few requests: they are taken apart first, so that the memory of their keys is on its way while
    /// the first ones run. Says what comes behind them, or why executing stopped among them.
    fn execute_next(&mut self, now: UnixMillis) -> Result<Ahead, Stop> {
        let limits = self.limits();
        if let Some(lone) = self.lone.take() {
            return self.execute_lone(lone, limits, now);
        }
        // `AUTH` may be the next request, and those behind it may be longer.
        let most = if limits.authenticated { REQUESTS_AHEAD_MAX } else { 1 };
        let input = self.input.unread();
        // The words of all of them.
        let mut words: SmallVec<[&[u8]; 4 * REQUESTS_AHEAD_MAX]> = SmallVec::new();
        let mut requests: SmallVec<[Parsed; REQUESTS_AHEAD_MAX]> = SmallVec::new();
        let mut parsed = 0;
        // Most pipelines are of one command: the last one is known by its bytes.
        let mut last: (&[u8], Option<&'static Entry>) = (&[], None);
        let behind = loop {
            if requests.len() == most {
                break Ahead::More;
            }
            let (rest, start) = (&input[parsed..], words.len());
            let length = if let Some(length) = self.parser.simple(rest, limits, |word| words.push(word)) {
                length
            } else {
                words.truncate(start);
                match self.parser.next(rest, limits) {
                    Ok(Progress::Request(length)) => {
                        // The words of an inline request are the parser's own: it is taken alone.
                        let Some(arguments) = self.parser.borrowed_arguments(rest) else { break Ahead::Inline(length) };
                        words.extend(arguments);
                        length
                    }
                    Ok(Progress::Incomplete(wanted)) => break Ahead::Incomplete(wanted),
                    Err(error) => break Ahead::Malformed(error),
                }
            };
            if let Some(&name) = words.get(start)
                && name != last.0
            {
                last = (name, self.worker.node.table.find(name));
            }
            let named = last.1.filter(|_| words.len() > start);
            let place = named.and_then(|named| self.place_of(named, &words[start..]));
            requests.push(Parsed { length, words: start..words.len(), named, place });
            parsed += length;
        };
        if let (Ahead::Inline(length), true) = (&behind, requests.is_empty()) {
            let args: Arguments<'_> = self.parser.arguments(input).collect();
            let outcome = if args.is_empty() {
                dispatch::Outcome::Done
            } else {
                dispatch(self.worker, &mut self.client, &mut self.reply, now, &args)
            };
            drop((args, words));
            let length = *length;
            return self.after(outcome, length).map_or(Ok(Ahead::More), Err);
        }
        if requests.len() > 1 && !requests.iter().any(Parsed::names_element) {
            self.worker.node.keyspace.fetch(requests.iter().filter_map(|request| request.place));
        } else if requests.len() > 1 {
            let wanted: SmallVec<[Expected<'_>; EXPECTED_MAX]> =
                requests.iter().filter_map(|request| request.expects(&words)).collect();
            self.worker.node.keyspace.expect(&wanted);
        }
        let mut executed = 0;
        let mut stop = None;
        for &Parsed { length, words: Range { start, end }, named, place } in &requests {
            let args = &words[start..end];
            let asked = Asked { named, place, args };
            let outcome = match args.is_empty() {
                true => dispatch::Outcome::Done,
                false => dispatch_named(self.worker, &mut self.client, &mut self.reply, now, asked),
            };
            stop = match outcome {
                dispatch::Outcome::Paused(until) => {
                    stop = Some(Stop::Paused(until));
                    break;
                }
                dispatch::Outcome::Aside => Some(Stop::Aside),
                dispatch::Outcome::Done => why_stop(&self.client, self.reply.len()),
            };
            executed += length;
            if stop.is_some() {
                break;
            }
        }
        drop(words);
        self.input.start += executed;
        if stop.is_some() || matches!(behind, Ahead::Inline(_)) {
            // What was taken apart and not executed is taken apart again.
            self.parser = Parser::new();
        }
        stop.map_or(Ok(behind), Err)
    }

    /// Executes the request that came alone and was looked into.
    #[inline]
    fn execute_lone(&mut self, lone: Lone, limits: Limits, now: UnixMillis) -> Result<Ahead, Stop> {
        let input = self.input.unread();
        let mut words: SmallVec<[&[u8]; 16]> = SmallVec::new();
        let Some(length) = self.parser.simple(input, limits, |word| words.push(word)) else { return Ok(Ahead::More) };
        let asked = Asked { named: lone.named, place: lone.place, args: &words };
        let outcome = dispatch_named(self.worker, &mut self.client, &mut self.reply, now, asked);
        drop(words);
        self.after(outcome, length).map_or(Ok(Ahead::Incomplete(1)), Err)
    }

    /// What follows from a request that was executed alone.
    fn after(&mut self, outcome: dispatch::Outcome, length: usize) -> Option<Stop> {
        if let dispatch::Outcome::Paused(until) = outcome {
            self.parser = Parser::new();
            return Some(Stop::Paused(until));
        }
        self.input.start += length;
        match outcome {
            dispatch::Outcome::Aside => Some(Stop::Aside),
            dispatch::Outcome::Done | dispatch::Outcome::Paused(_) => why_stop(&self.client, self.reply.len()),
        }
    }

    /// Waits for bytes, for the end of the stream or for somebody to end the connection.
    async fn read(&mut self) -> io::Result<Wait> {
        if self.has_read_ahead {
            // It came while replies were written.
            return Ok(Wait::Bytes);
        }
        let most = self.worker.config(|config| config.client_query_buffer_limit);
        if self.is_input_over(most) {
            return Ok(Wait::Over);
        }
        poll_fn(|context| {
            if self.presence.has_mail() && !self.presence.is_ended() && !self.write_mail(context)? {
                return Poll::Ready(Ok(Wait::Mail));
            }
            match self.poll_read(context) {
                // What has come is answered first, and so is what its last command waits for.
                Poll::Pending if self.presence.is_retired() && self.input.len() == 0 => Poll::Ready(Ok(Wait::Over)),
                other => other,
            }
        })
        .await
    }

    /// Whether more has come unexecuted than may; says so, since the connection ends with it.
    fn is_input_over(&self, most: u64) -> bool {
        let is_over = self.input.len() as u64 >= most;
        if is_over {
            tracing::warn!(
                client = self.presence.id,
                "what a client has sent is longer than client-query-buffer-limit"
            );
        }
        is_over
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Wait>> {
        self.make_known(context);
        if self.presence.is_ended() {
            return Poll::Ready(Ok(Wait::Over));
        }
        if self.presence.has_mail() {
            return Poll::Ready(Ok(Wait::Mail));
        }
        self.poll_bytes(context)
    }

    /// Reads what has come, or finds the end of the stream.
    fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Wait>> {
        self.input.make_room(self.worker);
        let mut room = ReadBuf::new(&mut self.input.bytes[self.input.end..]);
        match Pin::new(&mut self.stream).poll_read(context, &mut room) {
            Poll::Ready(Ok(())) if room.filled().is_empty() => Poll::Ready(Ok(Wait::Over)),
            Poll::Ready(Ok(())) => {
                let read = room.filled().len();
                self.input.end += read;
                self.worker.tally.reads.add(1);
                self.worker.tally.bytes_in.add(read as u64);
                Poll::Ready(Ok(Wait::Bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.input.release(self.worker);
                Poll::Pending
            }
        }
    }

    /// Writes all replies so far, and what was posted to the client meanwhile; gives up when somebody ends the connection,
    /// or when more waits than may.
    async fn write(&mut self) -> io::Result<()> {
        loop {
            if self.presence.has_mail() {
                self.take_reply_buffer();
                let worker = self.worker;
                self.presence.collect_mail(&mut self.reply, || worker.take_buffer());
            }
            self.write_replies().await?;
            if !self.presence.has_mail() {
                return Ok(());
            }
            // However fast others post, nobody else waits for that.
            rest_of_turn().await;
        }
    }

    async fn write_replies(&mut self) -> io::Result<()> {
        if self.worker.node.durability.replies_wait() {
            self.wait_for_flush().await?;
        }
        let class = self.client.class();
        let limit = self.worker.config(|config| config.client_output_buffer_limit.of(class));
        let mut written = std::mem::take(&mut self.written);
        let waiting = self.reply.len() - written;
        if limit.hard_bytes > 0 && waiting as u64 > limit.hard_bytes {
            return Err(self.exceed(waiting, "hard"));
        }
        match poll_fn(|context| Poll::Ready(self.poll_write(context, &mut written))).await {
            Poll::Ready(outcome) => outcome?,
            Poll::Pending => self.write_slowly(limit, &mut written).await?,
        }
        self.worker.tally.bytes_out.add(written as u64);
        self.reply.truncate(0);
        Ok(())
    }

    fn poll_write(&mut self, context: &mut Context<'_>, written: &mut usize) -> Poll<io::Result<()>> {
        while *written < self.reply.len() {
            if self.presence.is_ended() {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionAborted)));
            }
            match Pin::new(&mut self.stream).poll_write(context, &self.reply.bytes()[*written..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero))),
                Poll::Ready(Ok(count)) => *written += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
            self.worker.tally.writes.add(1);
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Waits until what was executed is durable. If it cannot be, the connection ends: an answer would be a promise.
    #[cold]
    async fn wait_for_flush(&mut self) -> io::Result<()> {
        self.presence.mark(Marks::ATTENDING, true);
        let reached = self.worker.node.durability.reaches(self.client.written).await;
        self.attended();
        reached.map_err(io::Error::other)
    }

    /// Once: says whom to wake when somebody ends the connection. All wakers of a task are alike.
    fn make_known(&mut self, context: &Context<'_>) {
        if !self.is_known {
            self.presence.wake_at_end(context.waker());
            self.is_known = true;
        }
    }

    /// Gives all buffers back, whatever is in them.
    fn close(&mut self) {
        self.input.start = self.input.end;
        self.reply.truncate(0);
        self.release();
    }

    /// Gives back the buffers that nothing is left in.
    fn release(&mut self) {
        self.input.release(self.worker);
        self.release_reply();
    }

    /// Gives the buffer of replies back if nothing is left in it.
    fn release_reply(&mut self) {
        if self.reply.is_empty() {
            self.worker.give_buffer(self.reply.replace_buffer(Vec::new()));
        }
    }
}

/// More waits for a client than may: its connection ends with it.
#[cold]
fn note_overrun(worker: &Worker, presence: &Presence, waiting: usize, limit: &str) {
    worker.tally.output_limit_closed.add(1);
    let (client, address) = (presence.id, presence.address);
    tracing::warn!(
        client, %address, waiting, limit,
        "a client does not read its replies: its connection is closed for client-output-buffer-limit"
    );
}

/// A pipeline of commands. However it ends, before any of its replies leaves, its changes are handed on: kept back they
/// would hold up those of all other workers.
struct Pipeline<'w>(&'w Worker);

impl<'w> Pipeline<'w> {
    fn begin(worker: &'w Worker) -> Self {
        worker.begin_pipeline();
        Self(worker)
    }
}

impl Drop for Pipeline<'_> {
    fn drop(&mut self) {
        self.0.end_pipeline();
    }
}

/// Whether executing stops after a request, and why.
fn why_stop(client: &ClientState, output: usize) -> Option<Stop> {
    if client.closing {
        Some(Stop::Close)
    } else if client.order.is_some() || client.wish.is_some() {
        Some(Stop::Ordered)
    } else if client.waiting.is_some() {
        Some(Stop::Waiting)
    } else if output >= OUTPUT_BYTES_FLUSH {
        Some(Stop::Output)
    } else {
        None
    }
}

/// How often a paused connection looks whether somebody ended it.
const PAUSE_LOOK: Duration = Duration::from_millis(100);

mod arriving;
mod attending;
mod input;
mod mail;
mod script;
mod slowly;
mod waiting;

#[cfg(test)]
mod tests;
