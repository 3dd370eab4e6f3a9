//! `pelago`: runs nodes, and lets operators look at a cluster and change it.
//!
//! One verb a file, in `verb`. What a verb asks a running node goes over the node's Redis port as a command, so that
//! whatever can be done here can be done with `redis-cli` as well. The node itself is the library `server`.

mod allocator;
mod client;
mod encryption;
mod failure;
mod reply;
mod stop;
mod target;
mod terminal;
mod verb;
mod wire;

use clap::Parser;
use std::process::ExitCode;
use verb::Verb;

/// Memory that is freed goes back to the system within about a second; `.cargo/config.toml` sets the pace.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Redis in several regions, all of which take writes and converge.
#[derive(Debug, Parser)]
#[command(name = "pelago", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

fn main() -> ExitCode {
    match Arguments::parse().verb.run() {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("pelago: {failure}");
            ExitCode::from(failure.status())
        }
    }
}

#[cfg(test)]
mod tests;
