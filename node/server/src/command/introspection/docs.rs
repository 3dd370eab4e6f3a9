//! `COMMAND DOCS`: what a command is for and how it is called, from its row and its usage.

use super::write_names;
use crate::command::table::Entry;
use crate::command::usage::{Argument, Usage};
use resp::Reply;

/// One pair: the name and what is to know. `merge` is ours: what concurrent calls converge to.
pub fn write_docs(reply: &mut Reply, entry: &Entry) {
    let command = entry.command;
    let usage = Usage::of_command(&entry.full_name);
    reply.bulk(entry.full_name.as_bytes());
    let place = reply.deferred();
    let texts = [
        ("summary", command.summary),
        ("since", command.since),
        ("group", command.group.name()),
        ("complexity", command.complexity),
        ("merge", command.merge.sentence()),
    ];
    for (field, text) in texts {
        reply.bulk(field.as_bytes());
        reply.bulk(text.as_bytes());
    }
    let more = [
        write_flags(reply, usage),
        write_deprecation(reply, usage),
        write_history(reply, usage),
        write_arguments(reply, &usage.arguments),
        write_subcommands(reply, entry),
    ];
    reply.finish_map(place, texts.len() + more.into_iter().sum::<usize>());
}

/// Each of these writes some fields and says how many.
fn write_flags(reply: &mut Reply, usage: &Usage) -> usize {
    let flags = [("deprecated", usage.deprecated.is_some()), ("syscmd", usage.is_internal)];
    let mut flags = flags.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).peekable();
    if flags.peek().is_none() {
        return 0;
    }
    reply.bulk(b"doc_flags");
    write_names(reply, flags);
    1
}

fn write_deprecation(reply: &mut Reply, usage: &Usage) -> usize {
    let Some((since, instead)) = usage.deprecated else { return 0 };
    for text in ["deprecated_since", since, "replaced_by", instead] {
        reply.bulk(text.as_bytes());
    }
    2
}

fn write_history(reply: &mut Reply, usage: &Usage) -> usize {
    let history = usage.history();
    if history.is_empty() {
        return 0;
    }
    reply.bulk(b"history");
    reply.set(history.len());
    for (version, words) in history {
        reply.array(2);
        reply.bulk(version.as_bytes());
        let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        reply.bulk(format!("Takes {}", words.join(", ")).as_bytes());
    }
    1
}

fn write_arguments(reply: &mut Reply, arguments: &[Argument]) -> usize {
    if arguments.is_empty() {
        return 0;
    }
    reply.bulk(b"arguments");
    reply.array(arguments.len());
    arguments.iter().for_each(|argument| write_argument(reply, argument));
    1
}

fn write_argument(reply: &mut Reply, argument: &Argument) {
    let place = reply.deferred();
    let mut fields = 2;
    for text in ["name", &argument.name, "type", argument.kind.name()] {
        reply.bulk(text.as_bytes());
    }
    if let Some(search) = argument.key_search {
        reply.bulk(b"key_spec_index");
        reply.count(search);
        fields += 1;
    }
    let texts = [("token", argument.token), ("since", argument.since), ("deprecated_since", argument.deprecated_since)];
    for (field, text) in texts.into_iter().filter_map(|(field, text)| Some((field, text?))) {
        reply.bulk(field.as_bytes());
        reply.bulk(text.as_bytes());
        fields += 1;
    }
    if argument.flags().next().is_some() {
        reply.bulk(b"flags");
        write_names(reply, argument.flags());
        fields += 1;
    }
    fields += write_arguments(reply, argument.parts());
    reply.finish_map(place, fields);
}

fn write_subcommands(reply: &mut Reply, entry: &Entry) -> usize {
    if entry.subcommands.is_empty() {
        return 0;
    }
    reply.bulk(b"subcommands");
    reply.map(entry.subcommands.len());
    entry.subcommands.iter().for_each(|subcommand| write_docs(reply, subcommand));
    1
}
