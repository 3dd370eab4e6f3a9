//! Clients that write down everything they were told, so that it can be asked for after a crash.
//!
//! Every client has a set for each round of a trial, to which it adds numbers that rise, and a counter for all rounds; it
//! adds and counts in turn.

use crate::client::Client;
use crate::reply::Reply;
use crate::wait;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two attempts of a client whose node is gone.
const AGAIN: Duration = Duration::from_millis(5);
const ERRORS_KEPT_MAX: usize = 5;

/// Writing clients, one for each page of the ledger.
#[derive(Debug)]
pub struct Ledger {
    control: Arc<Control>,
    /// What each client was told, by client.
    pub pages: Vec<Arc<Mutex<Page>>>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Control {
    stop: AtomicBool,
    hold: AtomicBool,
    /// Clients that write nothing because they were told to hold.
    held: AtomicUsize,
    round: AtomicUsize,
}

/// What one client was told.
#[derive(Debug, Default)]
pub struct Page {
    /// Which node it writes to.
    pub node: usize,
    /// Numbers whose addition was acknowledged in this round.
    pub acknowledged: Vec<u64>,
    /// When each of them was.
    pub acknowledged_at: Vec<Instant>,
    /// Numbers in this round of which nobody knows whether they were added: the answer did not come, or was an error.
    pub unanswered: BTreeSet<u64>,
    /// Increments of its counter over all rounds that were acknowledged.
    pub increments: u64,
    /// Increments that were asked for, over all rounds, whatever came of them.
    pub increments_asked: u64,
    /// Commands that were answered without an error, over all rounds.
    pub answered: u64,
    /// The longest time that a command took in this round.
    pub longest: Duration,
    /// Errors of this round, the first few.
    pub errors: Vec<String>,
    /// How many errors there were in this round.
    pub errors_count: u64,
}

impl Ledger {
    /// `clients` clients at each address, which hold; each waits `pace` between two commands.
    pub fn start(addresses: &[String], clients: usize, pace: Duration) -> Self {
        let control = Arc::new(Control {
            stop: AtomicBool::new(false),
            hold: AtomicBool::new(true),
            held: AtomicUsize::new(0),
            round: AtomicUsize::new(0),
        });
        let (mut pages, mut threads) = (Vec::new(), Vec::new());
        for (node, address) in addresses.iter().enumerate() {
            for _ in 0..clients {
                let page = Arc::new(Mutex::new(Page { node, ..Page::default() }));
                let (control, shared) = (Arc::clone(&control), Arc::clone(&page));
                let (address, index) = (address.clone(), pages.len());
                threads.push(std::thread::spawn(move || write(&address, index, pace, &control, &shared)));
                pages.push(page);
            }
        }
        Self { control, pages, threads }
    }

    /// Begins a round: a new set for everybody, and nothing told yet.
    pub fn begin_round(&self, round: usize) {
        for page in &self.pages {
            let mut page = locked(page);
            let Page { node, increments, increments_asked, answered, .. } = *page;
            *page = Page { node, increments, increments_asked, answered, ..Page::default() };
        }
        self.control.round.store(round, Ordering::SeqCst);
    }

    /// Lets all clients hold, and waits until they do.
    pub fn hold(&self) {
        self.control.hold.store(true, Ordering::SeqCst);
        wait::until("all clients hold", || {
            let held = self.control.held.load(Ordering::SeqCst);
            if held == self.pages.len() { Ok(()) } else { Err(format!("{held} do")) }
        });
    }

    /// Lets them go on.
    pub fn go_on(&self) {
        self.control.hold.store(false, Ordering::SeqCst);
        wait::until("all clients go on", || {
            let held = self.control.held.load(Ordering::SeqCst);
            if held == 0 { Ok(()) } else { Err(format!("{held} hold")) }
        });
    }

    /// Ends the clients.
    pub fn stop(self) {
        self.control.hold.store(false, Ordering::SeqCst);
        self.control.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().expect("a client does not panic"));
    }
}

/// The set of a client in a round.
pub fn set_of(client: usize, round: usize) -> String {
    format!("ledger:{client}:{round}")
}

/// The counter of a client.
pub fn counter_of(client: usize) -> String {
    format!("tally:{client}")
}

/// What a node holds of a client's set.
pub fn members(client: &mut Client, of: usize, round: usize) -> BTreeSet<u64> {
    let reply = client.must(&format!("SMEMBERS {}", set_of(of, round)));
    reply.elements().iter().filter_map(|member| member.text()?.parse().ok()).collect()
}

impl Page {
    /// Notes what came of a number that was to be added, or of an increment. What was wrong with it, if anything was.
    fn note(&mut self, added: Option<u64>, answer: Result<&Reply, &String>) -> Option<String> {
        self.increments_asked += u64::from(added.is_none());
        let fault = match answer {
            Ok(reply) if !reply.is_error() => None,
            Ok(reply) => Some(reply.to_string()),
            Err(error) => Some(error.clone()),
        };
        match (added, fault.is_some()) {
            (Some(number), false) => {
                self.acknowledged.push(number);
                self.acknowledged_at.push(Instant::now());
            }
            (Some(number), true) => drop(self.unanswered.insert(number)),
            (None, false) => self.increments += 1,
            (None, true) => {}
        }
        self.answered += u64::from(fault.is_none());
        fault
    }
}

/// A page, to be read or written.
pub fn locked(page: &Mutex<Page>) -> std::sync::MutexGuard<'_, Page> {
    page.lock().expect("nobody panics with a page")
}

fn write(address: &str, index: usize, pace: Duration, control: &Control, page: &Mutex<Page>) {
    let mut client = Client::connect(address).map_err(|error| error.to_string());
    let mut number = 0;
    while !control.stop.load(Ordering::SeqCst) {
        if control.hold.load(Ordering::SeqCst) {
            control.held.fetch_add(1, Ordering::SeqCst);
            while control.hold.load(Ordering::SeqCst) {
                wait::pause(AGAIN);
            }
            control.held.fetch_sub(1, Ordering::SeqCst);
        }
        number += 1;
        let adds = number % 2 == 0;
        let words = match adds {
            true => vec!["SADD".into(), set_of(index, control.round.load(Ordering::SeqCst)), number.to_string()],
            false => vec!["INCR".into(), counter_of(index)],
        };
        let begin = Instant::now();
        let answer = match &mut client {
            Ok(client) => client.try_call(&words).map_err(|error| error.to_string()),
            Err(error) => Err(error.clone()),
        };
        let mut page = locked(page);
        page.longest = page.longest.max(begin.elapsed());
        let fault = page.note(adds.then_some(number), answer.as_ref());
        if answer.is_err() {
            client = Client::connect(address).map_err(|error| error.to_string());
        }
        let pace = if fault.is_some() { AGAIN } else { pace };
        if let Some(fault) = fault {
            page.errors_count += 1;
            if page.errors.len() < ERRORS_KEPT_MAX {
                page.errors.push(format!("{}: {fault}", words.join(" ")));
            }
        }
        drop(page);
        wait::pause(pace);
    }
}
