//! A client's connection at the server, seen from outside: it hands the node one request at a time, so that what the
//! node does between taking a request and answering it is exactly that request.

use crate::observer::{Shared, Window};
use crate::reply::Value;
use crate::workload::commands_of;
use resp::{Limits, Parser, Progress};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::TcpStream;

/// A connection that the observer watches.
pub struct Tap {
    stream: TcpStream,
    observer: Shared,
    life: usize,
    /// Bytes that have come and that the node has not been given.
    arrived: Vec<u8>,
    parser: Parser,
    /// The rest of a request that did not fit the node's buffer.
    handing_over: Vec<u8>,
    window: Option<(Window, Vec<String>)>,
    /// Which request it is about, counted; nothing if there is none.
    asks: Rc<Cell<Option<u64>>>,
    requests: u64,
    database: u8,
    queued: Option<Vec<Vec<String>>>,
}

impl Tap {
    /// Watches a connection to this life of a node.
    pub fn new(stream: TcpStream, observer: Shared, life: usize) -> Self {
        Self {
            stream,
            observer,
            life,
            arrived: Vec::new(),
            parser: Parser::new(),
            handing_over: Vec::new(),
            window: None,
            asks: Rc::default(),
            requests: 0,
            database: 0,
            queued: None,
        }
    }

    /// The request that was handed over and has not been answered.
    pub fn asks(&self) -> Rc<Cell<Option<u64>>> {
        self.asks.clone()
    }

    /// Takes the next whole request out of what has arrived.
    fn next_request(&mut self) -> Option<Vec<u8>> {
        let limits = Limits { bulk_bytes_max: 1 << 20, authenticated: true };
        let Ok(Progress::Request(length)) = self.parser.next(&self.arrived, limits) else { return None };
        let args: Vec<String> =
            self.parser.arguments(&self.arrived).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
        let bytes: Vec<u8> = self.arrived.drain(..length).collect();
        let window = self.observer.borrow_mut().begin(self.life, self.database);
        self.window = window.map(|window| (window, args));
        self.requests += 1;
        self.asks.set(self.window.is_some().then_some(self.requests));
        Some(bytes)
    }

    fn answered(&mut self, reply: &[u8]) {
        self.asks.set(None);
        let Some((window, args)) = self.window.take() else { return };
        let Some((answer, _)) = Value::parse(reply) else { return };
        let mut observer = self.observer.borrow_mut();
        let name = args.first().map_or(String::new(), |name| name.to_ascii_lowercase());
        if matches!(&answer, Value::Error(text) if is_refusal(text)) {
            if matches!(name.as_str(), "exec" | "discard") {
                self.queued = None;
            }
            return observer.refused(&window, &args, &answer);
        }
        match (name.as_str(), &mut self.queued, &answer) {
            ("select", _, Value::Simple(_)) => {
                self.database = args.get(1).and_then(|text| text.parse().ok()).unwrap_or_default();
            }
            ("multi", queued, Value::Simple(_)) => *queued = Some(Vec::new()),
            ("discard", queued, _) => *queued = None,
            ("exec", queued, Value::Array(answers)) => {
                let commands = queued.take().unwrap_or_default();
                observer.finish(&window, &commands, answers, true);
            }
            ("exec", queued, _) => *queued = None,
            (_, Some(queued), Value::Simple(text)) if text == "QUEUED" => queued.push(args),
            (_, Some(_), _) => {}
            ("eval", None, Value::Array(answers)) => {
                // What was refused for want of memory was not executed.
                let commands = commands_of(&args).unwrap_or_default().into_iter().zip(answers);
                let refused = |answer: &Value| matches!(answer, Value::Error(text) if is_refusal(text));
                let executed = commands.filter(|(_, answer)| !refused(answer));
                let (commands, answers): (Vec<_>, Vec<_>) =
                    executed.map(|(args, answer)| (args, answer.clone())).unzip();
                observer.finish(&window, &commands, &answers, true);
            }
            (_, None, answer) => observer.finish(&window, &[args], std::slice::from_ref(answer), false),
        }
    }
}

/// Serves a connection, and lets nobody else have a turn between a request and its answer unless the answer takes time:
/// a server that hands all answers of one turn over at its end would do so.
pub async fn at_once(serving: impl Future<Output = ()>, asks: Rc<Cell<Option<u64>>>) {
    let mut serving = pin!(serving);
    poll_fn(|context| {
        let mut asked = None;
        loop {
            let poll = serving.as_mut().poll(context);
            if poll.is_ready() || asks.get().is_none() || asks.get() == asked {
                return poll;
            }
            asked = asks.get();
        }
    })
    .await;
}

/// Whether a node could not serve, rather than would not.
fn is_refusal(text: &str) -> bool {
    ["LOADING ", "MISCONF ", "EXECABORT ", "OOM ", "ERR this node"].iter().any(|code| text.starts_with(code))
}

impl AsyncRead for Tap {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.handing_over.is_empty()
                && let Some(request) = self.next_request()
            {
                self.handing_over = request;
            }
            if !self.handing_over.is_empty() {
                let length = self.handing_over.len().min(room.remaining());
                let piece: Vec<u8> = self.handing_over.drain(..length).collect();
                room.put_slice(&piece);
                return Poll::Ready(Ok(()));
            }
            let mut bytes = [0; 4096];
            let mut more = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(context, &mut more) {
                Poll::Ready(Ok(())) if more.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => {
                    let filled = more.filled().to_vec();
                    self.arrived.extend_from_slice(&filled);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl AsyncWrite for Tap {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.answered(bytes);
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
