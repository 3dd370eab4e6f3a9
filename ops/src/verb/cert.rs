//! `pelago cert`: issues, renews and shows certificates. Renewal keeps the key, so a node stays who it is.

use super::name;
use crate::failure::{Failure, Result};
use crate::terminal::{self, Table};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use server::launch::wall_clock;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use time::OffsetDateTime;
use transport::{Authority, CertificateFacts, CertificateRequest, NodeCredentials, Validity, server_name};

/// What to do with certificates.
#[derive(Debug, Args)]
pub struct Cert {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Issue certificate and key for a node that is set up by hand; `region add` does it by itself
    Issue(Issue),
    /// Issue a new certificate for a node's key; the node stays who it is
    Renew(Renew),
    /// Show certificates and their expiry; exit status 1 if one has expired
    Show(Show),
}

#[derive(Debug, Args)]
struct Issue {
    /// The authority's directory
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    /// The node's name
    #[arg(long, value_parser = name)]
    node: String,
    /// Where to write node.pem, node.key and authority.pem
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Days until it expires
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(i64).range(1..=36_500))]
    days: i64,
}

#[derive(Debug, Args)]
struct Renew {
    /// The authority's directory
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    /// The node's directory
    #[arg(long)]
    dir: PathBuf,
    /// Days until it expires
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(i64).range(1..=36_500))]
    days: i64,
}

#[derive(Debug, Args)]
struct Show {
    /// Directories of nodes or of an authority
    #[arg(required = true, value_name = "DIR")]
    directories: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Cert {
    /// Does it.
    pub fn run(self) -> Result<ExitCode> {
        match self.action {
            Action::Issue(issue) => issue.run().map(|()| ExitCode::SUCCESS),
            Action::Renew(renew) => renew.run().map(|()| ExitCode::SUCCESS),
            Action::Show(show) => show.run(),
        }
    }
}

impl Issue {
    fn run(self) -> Result<()> {
        if self.out.join(KEY_FILE).exists() {
            return Err(Failure::Arguments(format!(
                "{} has a key already, and without it that node could not come back; to renew its certificate use `pelago cert renew`",
                self.out.display()
            )));
        }
        let request =
            CertificateRequest { name: self.node, validity: Validity::days(now_seconds(), self.days), seed: None };
        let credentials = Authority::read(&self.ca)?.issue(&request)?;
        credentials.write(&self.out)?;
        let facts = credentials.facts()?;
        terminal::line(format!("{} is certified until {}.", facts.name, date(facts.valid_until)));
        Ok(())
    }
}

impl Renew {
    fn run(self) -> Result<()> {
        let current = NodeCredentials::read(&self.dir)?;
        let renewed = Authority::read(&self.ca)?.renew(&current, Validity::days(now_seconds(), self.days))?;
        renewed.write(&self.dir)?;
        let facts = renewed.facts()?;
        terminal::line(format!(
            "{} is certified until {}. If it runs with this directory, it uses the new certificate within a minute, or at once when it gets a SIGHUP.",
            facts.name,
            date(facts.valid_until)
        ));
        Ok(())
    }
}

impl Show {
    fn run(self) -> Result<ExitCode> {
        let mut table = Table::new(&["NAME", "KIND", "UNTIL", "DAYS LEFT", "IDENTITY"]);
        let mut rows = Vec::new();
        let mut expired = false;
        for directory in &self.directories {
            let (kind, facts) = facts(directory)?;
            let days_left = (facts.valid_until - now_seconds()).div_euclid(SECONDS_A_DAY);
            expired |= days_left < 0;
            let days = if days_left < 0 { "EXPIRED".to_owned() } else { days_left.to_string() };
            table.row(vec![
                facts.name.clone(),
                kind.to_owned(),
                date(facts.valid_until),
                days,
                facts.identity.0.iter().map(|byte| format!("{byte:02x}")).collect(),
            ]);
            rows.push(row(directory, kind, &facts, days_left));
        }
        let status = u8::from(expired);
        terminal::verdict(if self.json { Value::Array(rows).to_string() } else { table.text() }, status);
        Ok(ExitCode::from(status))
    }
}

/// What the certificate in a directory says, be it a node's or an authority's.
fn facts(directory: &Path) -> Result<(&'static str, CertificateFacts)> {
    if directory.join(AUTHORITY_KEY_FILE).exists() {
        return Ok(("authority", Authority::read(directory)?.facts()?));
    }
    Ok(("node", NodeCredentials::read(directory)?.facts()?))
}

fn row(directory: &Path, kind: &str, facts: &CertificateFacts, days_left: i64) -> Value {
    let cluster = facts.clusters.first().map(|cluster| server_name(*cluster));
    json!({
        "dir": directory, "kind": kind, "name": facts.name,
        "identity": facts.identity.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        "cluster": cluster.as_deref().and_then(|name| name.split('.').next()),
        "valid_from": facts.valid_from, "valid_until": facts.valid_until, "days_left": days_left,
    })
}

fn now_seconds() -> i64 {
    i64::try_from(wall_clock() / 1000).unwrap_or(i64::MAX)
}

/// `2027-03-09`.
fn date(unix_seconds: i64) -> String {
    match OffsetDateTime::from_unix_timestamp(unix_seconds) {
        Ok(moment) => format!("{:04}-{:02}-{:02}", moment.year(), u8::from(moment.month()), moment.day()),
        Err(_) => "never".to_owned(),
    }
}

const SECONDS_A_DAY: i64 = 86_400;
const KEY_FILE: &str = "node.key";
const AUTHORITY_KEY_FILE: &str = "authority.key";
