//! `docs/commands.md`, from the rows of the table.

use super::table::{Entry, table};
use super::usage::Usage;
use super::{Group, Merge};

/// The text of `docs/commands.md`.
pub fn document() -> String {
    let mut text = String::from(INTRODUCTION);
    for group in GROUPS {
        let entries: Vec<&Entry> = table().entries().iter().filter(|entry| entry.command.group == *group).collect();
        if entries.is_empty() {
            continue;
        }
        text.push_str(&format!("\n## {}\n\n{HEAD}", group.name()));
        for entry in entries {
            text.push_str(&row(entry));
            entry.subcommands.iter().for_each(|subcommand| text.push_str(&row(subcommand)));
        }
    }
    text
}

fn row(entry: &Entry) -> String {
    let command = entry.command;
    let merge = match command.merge {
        Merge::Reads => "reads",
        Merge::Local(sentence) | Merge::Writes(sentence) => sentence,
    };
    let name = entry.full_name.to_ascii_uppercase().replace('|', " ");
    let syntax = Usage::of_command(&entry.full_name).syntax();
    let call = if syntax.is_empty() { name } else { format!("{name} {syntax}") };
    let cell = |text: &str| text.replace('|', "\\|");
    format!("| `{}` | {} | {} | {} |\n", cell(&call), cell(command.summary), cell(command.complexity), cell(merge))
}

/// The order of the page.
const GROUPS: &[Group] = &[
    Group::String,
    Group::Bitmap,
    Group::HyperLogLog,
    Group::Hash,
    Group::Set,
    Group::List,
    Group::SortedSet,
    Group::Geo,
    Group::Stream,
    Group::Generic,
    Group::Transactions,
    Group::PubSub,
    Group::Scripting,
    Group::Connection,
    Group::Server,
    Group::Cluster,
    Group::Sentinel,
    Group::Pelago,
];

const HEAD: &str = "| command | what it does | cost | concurrent calls in two regions |\n|---|---|---|---|\n";

const INTRODUCTION: &str = "\
# Commands

<!-- Generated from the rows in node/server/src/command; a test fails when this page is stale. -->

Every command there is. Replies and errors are those of Redis 7.0; the last column says what differs from a single
Redis: what calls in two regions converge to when neither region had seen the other's. *Reads* answer what their region
has applied so far. Every region has all keys and executes every command by itself: none waits for another region. Of a call,
`[a]` may be left out, of `a | b` one is given, and `[a ...]` may be given several times.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_is_current() {
        crate::document_check::is_current("docs/commands.md", &document());
    }

    #[test]
    fn every_group_has_a_place_on_the_page() {
        for entry in table().entries() {
            assert!(GROUPS.contains(&entry.command.group), "{}", entry.full_name);
        }
    }
}
