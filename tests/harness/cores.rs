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
        let mut command = Command::new("taskset");
        command.args(["-a", "-c", "-p", &self.load, &process]).stdout(Stdio::null());
        match command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("this process cannot be kept to core {}: taskset {status}", self.load)),
            Err(error) => Err(format!("taskset: {error}")),
        }
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
