//! One node as a process of its own: `pelago serve` in its directory.

use crate::binary;
use crate::client::Client;
use crate::http;
use crate::metrics::Metrics;
use crate::wait;
use serde_json::Value;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;

/// A node, running or not. The process ends with this value.
#[derive(Debug)]
pub struct Node {
    /// Its region.
    pub region: String,
    /// Its name.
    pub name: String,
    /// Its directory.
    pub directory: PathBuf,
    /// Where clients connect.
    pub resp: String,
    /// Where other nodes connect.
    pub peer: String,
    /// Where probes connect.
    pub http: String,
    /// Given with `--set` at every start.
    pub settings: Vec<String>,
    /// The cores that its process is kept to, as `taskset` takes them; all of them without.
    pub cores: Option<String>,
    process: Option<Child>,
}

impl Node {
    /// A node that does not run yet.
    pub fn new(region: &str, directory: PathBuf, [resp, peer, http]: [String; 3], settings: &[&str]) -> Self {
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        let (region, name) = (region.to_owned(), format!("{region}-1"));
        Self { region, name, directory, resp, peer, http, settings, cores: None, process: None }
    }

    /// Starts the process and returns at once.
    pub fn spawn(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let out = File::create(self.output()).expect("the directory takes files");
        let log = File::options().create(true).append(true).open(self.log()).expect("the directory takes files");
        let mut command = binary::command_on(self.cores.as_deref());
        command.args(["serve", "--json", "--dir"]).arg(&self.directory);
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        let process = command.stdout(out).stderr(log).spawn();
        self.process = Some(process.expect("the program under test starts"));
    }

    /// Starts the process and waits until it serves.
    pub fn start(&mut self) {
        self.spawn();
        self.wait_ready();
    }

    /// Waits until it has said that it serves. Panics with its log if it ended instead.
    pub fn wait_ready(&mut self) {
        wait::until(&format!("{} serves", self.name), || {
            if let Some(status) = self.ended() {
                panic!("{} ended with {status} instead of serving:\n{}", self.name, self.log_tail());
            }
            let said = std::fs::read_to_string(self.output()).unwrap_or_default();
            let mut rows = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            match rows.next_back() {
                Some(row) if row["ready"] == true => Ok(()),
                last => Err(format!("it said {last:?}")),
            }
        });
    }

    /// The status of a process that has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let process = self.process.as_mut()?;
        let status = process.try_wait().expect("the process is ours");
        if status.is_some() {
            self.process = None;
        }
        status
    }

    /// Waits until the process has ended by itself.
    pub fn wait_ended(&mut self) -> ExitStatus {
        let name = self.name.clone();
        wait::until(&format!("{name} ends"), || self.ended().ok_or_else(|| "it runs".to_owned()))
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("the process is ours");
            process.wait().expect("the process is ours");
        }
    }

    /// Asks it to stop as a service manager does, and waits.
    pub fn stop(&mut self) -> ExitStatus {
        let process = self.process.as_ref().expect("it runs");
        let sent = Command::new("kill").args(["-TERM", &process.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "{} could not be sent a signal", self.name);
        self.wait_ended()
    }

    /// Takes the catalogue away from a node that does not run, and the copy of it: its numbers, and what it knew of the
    /// cluster.
    pub fn remove_catalogue(&self) {
        self.remove_catalogue_alone();
        match std::fs::remove_file(self.directory.join(CATALOGUE_COPY)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("the copy cannot be removed: {error}"),
            Ok(()) | Err(_) => {}
        }
    }

    /// The same without the copy.
    pub fn remove_catalogue_alone(&self) {
        assert!(!self.is_running(), "{} holds its catalogue open", self.name);
        std::fs::remove_dir_all(self.directory.join(CATALOGUE)).expect("the catalogue is in the directory");
    }

    /// The id of its process. Panics if it does not run.
    pub fn process_id(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// Whether a process was started that nobody has seen end.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// A connection of a client.
    pub fn client(&self) -> Client {
        let connected = Client::connect(&self.resp);
        connected.unwrap_or_else(|error| panic!("{} at {} takes no connections: {error}", self.name, self.resp))
    }

    /// Runs `pelago` with `--via` this node.
    pub fn pelago(&self, words: &[&str]) -> Output {
        let words: Vec<&str> = words.iter().copied().chain(["--via", &self.resp]).collect();
        run(&words)
    }

    /// Runs `pelago` with `--via` this node and `--json`; the answer of a call that succeeds.
    pub fn pelago_json(&self, words: &[&str]) -> Value {
        let words: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
        let output = self.pelago(&words);
        assert!(output.status.success(), "pelago {words:?} failed: {}", text(&output.stderr));
        serde_json::from_str(&text(&output.stdout)).unwrap_or_else(|error| panic!("pelago {words:?}: {error}"))
    }

    /// Its metrics now.
    pub fn metrics(&self) -> Metrics {
        let page = http::get(&self.http, "/metrics").unwrap_or_else(|error| panic!("no metrics: {error}"));
        assert_eq!(page.status, 200, "no metrics of {}: {}", self.name, page.body);
        Metrics::new(page.body)
    }

    /// Keys that it holds in the databases that trials write to.
    pub fn keys(&self) -> i64 {
        let mut client = self.client();
        let sizes = (0..DATABASES).map(|database| {
            client.must(&format!("SELECT {database}"));
            client.must("DBSIZE").integer().expect("a count")
        });
        sizes.sum()
    }

    /// The number of its life.
    pub fn number(&self) -> u64 {
        self.pelago_json(&["status"])["number"].as_u64().expect("a node that serves has a number")
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }

    /// Everything it has logged, over all its starts.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn log(&self) -> PathBuf {
        self.directory.with_extension("log")
    }

    fn output(&self) -> PathBuf {
        self.directory.with_extension("out")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of {}\n{}", self.name, self.log_tail());
        }
    }
}

/// Runs `pelago`, which must end by itself.
pub fn run(words: &[&str]) -> Output {
    let mut command = binary::command();
    let process = command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let process = process.expect("the program under test starts");
    let id = process.id();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(process.wait_with_output()));
    match receiver.recv_timeout(wait::PATIENCE) {
        Ok(output) => output.expect("the program's output can be read"),
        Err(_) => {
            // The thread takes the status.
            let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
            panic!("pelago {words:?} did not end");
        }
    }
}

/// What a program wrote.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const LOG_LINES_SHOWN: usize = 40;
/// Databases that `load::fill` writes to.
pub const DATABASES: usize = 3;
/// Where a node keeps its catalogue.
const CATALOGUE: &str = "data";
/// And its copy.
const CATALOGUE_COPY: &str = "store/catalogue";
