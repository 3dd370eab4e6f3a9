//! Clients: each on a connection of its own to the node of its region, with timeouts, and a new connection after one.
//!
//! SUBTLE: a segment that the simulated network dropped is never sent again, so a stream may hang for ever; a client
//! that gets no answer in time gives its connection up, as real ones do.

use crate::deliveries::ids_of;
use crate::random::Random;
use crate::reply::{Value, request};
use crate::workload::{DELIVERED, Mixture};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use turmoil::net::TcpStream;

/// The port of every node for clients.
pub const RESP_PORT: u16 = 6379;

const ANSWER_TIME: Duration = Duration::from_millis(1500);
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// A connection of a client.
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// What clients do and when they stop.
#[derive(Clone)]
pub struct Script {
    /// What they draw from.
    pub mixture: Mixture,
    /// The longest pause between two calls, in milliseconds.
    pub pause_ms_max: u64,
    /// Whether to go on.
    pub goes_on: Rc<Cell<bool>>,
    /// How many clients have not stopped yet.
    pub running: Rc<Cell<usize>>,
    /// Whether the user who moves awaits its tokens.
    pub awaits: Rc<Cell<bool>>,
    /// How many calls were answered, and how many were not in time.
    pub answered: Rc<Cell<u64>>,
    /// Calls whose answer was lost.
    pub unanswered: Rc<Cell<u64>>,
}

impl Connection {
    /// Connects to a node.
    pub async fn open(node: &str) -> io::Result<Self> {
        let stream = within(TcpStream::connect((node, RESP_PORT))).await?;
        Ok(Self { stream, received: Vec::new() })
    }

    /// Sends requests at once and waits for all their answers.
    pub async fn call(&mut self, requests: &[Vec<String>]) -> io::Result<Vec<Value>> {
        let bytes: Vec<u8> = requests.iter().flat_map(|args| request(args)).collect();
        within(self.stream.write_all(&bytes)).await?;
        let mut answers = Vec::new();
        while answers.len() < requests.len() {
            match Value::parse(&self.received) {
                Some((answer, length)) => {
                    self.received.drain(..length);
                    answers.push(answer);
                }
                None => within(self.receive()).await?,
            }
        }
        Ok(answers)
    }

    async fn receive(&mut self) -> io::Result<()> {
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes).await? {
            0 => Err(io::ErrorKind::ConnectionReset.into()),
            length => {
                self.received.extend_from_slice(&bytes[..length]);
                Ok(())
            }
        }
    }
}

async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(ANSWER_TIME, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Runs one client until it shall stop.
pub async fn run(node: String, database: u8, mut random: Random, script: Script) {
    while script.goes_on.get() {
        if let Ok(mut connection) = Connection::open(&node).await {
            // Why a connection ends does not matter: the next one begins.
            let _ = converse(&mut connection, database, &mut random, &script).await;
        }
        sleep(AGAIN_AFTER).await;
    }
    script.running.set(script.running.get() - 1);
}

async fn converse(connection: &mut Connection, database: u8, random: &mut Random, script: &Script) -> io::Result<()> {
    let mut given = Given::default();
    connection.call(&[vec!["SELECT".to_owned(), database.to_string()]]).await?;
    while script.goes_on.get() {
        let mut requests = script.mixture.draw(random);
        requests.iter_mut().for_each(|request| given.complete(request, random));
        match connection.call(&requests).await {
            Ok(answers) => {
                given.note(&requests, &answers);
                script.answered.set(script.answered.get() + 1);
            }
            Err(error) => {
                script.unanswered.set(script.unanswered.get() + 1);
                return Err(error);
            }
        }
        sleep(Duration::from_millis(random.between(0, script.pause_ms_max))).await;
    }
    Ok(())
}

/// What a client was given of streams, so that it can name it.
#[derive(Default)]
struct Given(BTreeMap<String, VecDeque<String>>);

impl Given {
    /// More ids of a stream than this are forgotten, the oldest first.
    const IDS_MAX: usize = 12;

    fn note(&mut self, requests: &[Vec<String>], answers: &[Value]) {
        for (request, answer) in requests.iter().zip(answers) {
            let streams = request.iter().position(|word| word == "STREAMS");
            let Some(key) = streams.and_then(|at| request.get(at + 1)) else { continue };
            let ids = self.0.entry(key.clone()).or_default();
            ids.extend(ids_of(answer));
            ids.drain(..ids.len().saturating_sub(Self::IDS_MAX));
        }
    }

    /// Puts an id where a request has a word for one.
    fn complete(&self, request: &mut [String], random: &mut Random) {
        let Some(at) = request.iter().position(|word| word == DELIVERED) else { return };
        let ids = request.iter().find_map(|word| self.0.get(word)).filter(|ids| !ids.is_empty());
        request[at] = ids.map_or_else(|| "1-1".to_owned(), |ids| ids[random.below(ids.len())].clone());
    }
}

/// One question of the operator.
pub struct Question {
    /// The node that is asked.
    pub node: String,
    /// What is asked.
    pub args: Vec<String>,
    /// Where the answer goes; an error text if there is none.
    pub answer: Rc<RefCell<Option<Value>>>,
}

/// Questions that wait to be asked.
pub type Questions = Rc<RefCell<VecDeque<Question>>>;

/// The operator: asks what the driver of the simulation wants to know.
pub async fn operate(questions: Questions) {
    loop {
        let next = questions.borrow_mut().pop_front();
        let Some(question) = next else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        let asked = async { Connection::open(&question.node).await?.call(std::slice::from_ref(&question.args)).await };
        let answer = match asked.await {
            Ok(mut answers) => answers.swap_remove(0),
            Err(error) => Value::Error(format!("NOANSWER {error}")),
        };
        *question.answer.borrow_mut() = Some(answer);
    }
}
