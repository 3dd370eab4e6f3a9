//! Which cores a program runs on while something is measured: the server has its own, and load and peers have theirs, so
//! that neither is measured with the other.

use crate::arguments::Arguments;
use std::ffi::OsStr;
use std::fmt;
use std::process::{Command, Stdio};

/// Lists of cores as `taskset` takes them.
#[derive(Clone, Debug)]
pub struct Cores {
    /// Of what is measured.
    pub server: String,
    /// Of everything else.
    pub load: String,
}

impl Cores {
    /// What a program was asked for: `--server-cores` (0 by default) and `--load-cores` (1).
    pub fn asked(arguments: &Arguments) -> Self {
        Self { server: arguments.text("--server-cores", "0"), load: arguments.text("--load-cores", "1") }
    }

    /// Keeps this process, and whatever it starts from now on, to the cores of the load.
    pub fn take_load(&self) -> Result<(), String> {
        let process = std::process::id().to_string();
        run("taskset", &["-a", "-c", "-p", &self.load, &process])
    }

    /// The cores that a wait may be spent on, if server and load have one each: with more, nobody knows on which one it was.
    pub fn single(&self) -> Vec<&str> {
        let both = [self.server.as_str(), self.load.as_str()];
        let is_one = |cores: &&str| cores.bytes().all(|letter| letter.is_ascii_digit());
        if both.iter().all(is_one) { both.to_vec() } else { Vec::new() }
    }

    /// Those of a cluster whose first node is measured.
    pub fn of_cluster(&self) -> [&str; 2] {
        [&self.server, &self.load]
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "server on core {}, load and peers on core {}", self.server, self.load)
    }
}

/// The cores that this process may run on.
pub fn allowed() -> Result<Vec<String>, String> {
    let status = std::fs::read_to_string(STATUS).map_err(|error| format!("{STATUS}: {error}"))?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let list = list.ok_or_else(|| format!("{STATUS} names no cores"))?.trim();
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<usize>().ok()?..=last.parse().ok()?)
    };
    let ranges = list.split(',').map(range).collect::<Option<Vec<_>>>();
    let ranges = ranges.ok_or_else(|| format!("{STATUS} names cores as '{list}'"))?;
    Ok(ranges.into_iter().flatten().map(|core| core.to_string()).collect())
}

const STATUS: &str = "/proc/thread-self/status";

/// Keeps the calling thread to a core.
pub fn take_core(core: &str) -> Result<(), String> {
    run("taskset", &["-c", "-p", core, &this_thread()?])
}

/// Has the calling thread go before all others on its core that do not do the same, which only some users may.
pub fn precede() -> Result<(), String> {
    run("chrt", &["--fifo", "--pid", PRECEDENCE, &this_thread()?])
}

/// Has this process, and whatever it starts from now on, go before the other programs of the machine, so that what those do
/// meanwhile is not measured. What it starts goes on as equals. Only some users may; the others are told.
pub fn precede_programs() {
    let own = std::process::id().to_string();
    if let Err(error) = run("renice", &["-n", NICENESS, "-p", &own]) {
        eprintln!("other programs of this machine are measured too, where they take a core ({error})");
    }
}

/// Linux has no better for a program.
const NICENESS: &str = "-20";
/// Of Linux' 99 real-time priorities: before all ordinary threads, behind those that the system itself depends on.
const PRECEDENCE: &str = "40";

fn this_thread() -> Result<String, String> {
    let own = std::fs::read_link("/proc/thread-self").map_err(|error| format!("/proc/thread-self: {error}"))?;
    own.file_name().map(|name| name.to_string_lossy().into_owned()).ok_or_else(|| "a thread has a number".to_owned())
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match status.map_err(|error| format!("{program}: {error}"))? {
        status if status.success() => Ok(()),
        status => Err(format!("{program} {}: {status}", arguments.join(" "))),
    }
}

/// A call of a program on these cores, or wherever the system likes.
pub fn program_on(cores: Option<&str>, program: impl AsRef<OsStr>) -> Command {
    match cores {
        None => Command::new(program),
        // It becomes the program, so the process has the id that it would have without.
        Some(cores) => {
            let mut command = Command::new("taskset");
            command.args(["-c", cores]).arg(program);
            command
        }
    }
}
