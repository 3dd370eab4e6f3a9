//! `pelago config`: the settings of a running node.

use crate::failure::{Failure, Result};
use crate::reply::Reply;
use crate::target::Target;
use crate::terminal::{self, Table};
use clap::{Args, Subcommand};
use serde_json::{Map, Value};

/// What to do with settings.
#[derive(Debug, Args)]
pub struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show settings
    Get(Get),
    /// Change settings at once, all of them or none
    Set(Set),
}

#[derive(Debug, Args)]
struct Get {
    /// Names or patterns, such as 'max*'; all settings if there are none
    #[arg(default_value = "*")]
    patterns: Vec<String>,
    #[command(flatten)]
    target: Target,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Set {
    /// NAME VALUE [NAME VALUE]...
    #[arg(required = true, num_args = 2.., value_name = "NAME VALUE", allow_negative_numbers = true)]
    pairs: Vec<String>,
    /// Write it into the node's pelago.toml too, so that it outlives a restart
    #[arg(long)]
    save: bool,
    #[command(flatten)]
    target: Target,
}

impl Config {
    /// Does it.
    pub fn run(self) -> Result<()> {
        match self.action {
            Action::Get(get) => get.run(),
            Action::Set(set) => set.run(),
        }
    }
}

impl Get {
    fn run(self) -> Result<()> {
        let mut words = vec!["CONFIG", "GET"];
        words.extend(self.patterns.iter().map(String::as_str));
        let pairs = pairs(self.target.connect()?.call(&words)?);
        if pairs.is_empty() {
            return Err(Failure::Arguments(format!("no setting is called {}", self.patterns.join(" or "))));
        }
        if self.json {
            let fields: Map<String, Value> =
                pairs.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
            terminal::line(Value::Object(fields).to_string());
            return Ok(());
        }
        let mut table = Table::new(&["SETTING", "VALUE"]);
        pairs.into_iter().for_each(|(name, value)| table.row(vec![name, value]));
        terminal::line(table.text());
        Ok(())
    }
}

impl Set {
    fn run(self) -> Result<()> {
        if !self.pairs.len().is_multiple_of(2) {
            return Err(Failure::Arguments("write a value after each name: pelago config set NAME VALUE".to_owned()));
        }
        let mut client = self.target.connect()?;
        let mut words = vec!["CONFIG", "SET"];
        words.extend(self.pairs.iter().map(String::as_str));
        client.call(&words)?;
        if self.save {
            client.call(&["CONFIG", "REWRITE"]).map_err(|failure| {
                Failure::Arguments(format!(
                    "what was set is in force, but it is not saved and will be as before after a restart: {failure}"
                ))
            })?;
        }
        Ok(())
    }
}

/// Names and values, in turn.
fn pairs(reply: Reply) -> Vec<(String, String)> {
    let Reply::List(list) = reply else { return Vec::new() };
    let texts: Vec<String> = list.iter().map(|reply| reply.text().unwrap_or_default()).collect();
    texts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}
