use super::super::table::table;
use super::*;
use std::collections::BTreeSet;

#[test]
fn every_command_is_described_and_nothing_else() {
    let (described, wrong) = read(include_str!("../usage.txt"));
    assert_eq!(wrong, Vec::<&str>::new());
    let known: BTreeSet<&str> = table().names().into_iter().collect();
    let described: BTreeSet<&str> = described.keys().copied().collect();
    assert_eq!(described, known);
}

/// Of commands that take more words or fewer, Redis' arity and what it tells of arguments do not always agree.
#[test]
fn a_command_of_so_many_words_is_described_with_as_many() {
    for entry in table().every().filter(|entry| entry.subcommands.is_empty() && entry.command.arity > 0) {
        let arguments = &Usage::of_command(&entry.full_name).arguments;
        let least = entry.full_name.split('|').count() + arguments.iter().map(words_min).sum::<usize>();
        assert_eq!(least, entry.command.arity.unsigned_abs() as usize, "{}", entry.full_name);
    }
}

fn words_min(argument: &Argument) -> usize {
    let body = match &argument.kind {
        _ if argument.is_optional => return 0,
        Kind::Token => return 1,
        Kind::OneOf(choices) => choices.iter().map(words_min).min().unwrap_or_default(),
        Kind::Block(parts) => parts.iter().map(words_min).sum(),
        Kind::Text | Kind::Integer | Kind::Double | Kind::Key | Kind::Pattern | Kind::UnixTime => 1,
    };
    body + usize::from(argument.token.is_some())
}

#[track_caller]
fn syntax(line: &'static str) -> String {
    let (described, wrong) = read(line);
    assert_eq!(wrong, Vec::<&str>::new());
    described.values().next().unwrap().syntax()
}

#[test]
fn syntax_is_written_as_people_read_it() {
    for (line, expected) in [
        ("c", ""),
        ("c key:k [count:i]", "key [count]"),
        ("c key:k...", "key [key ...]"),
        ("c pair(key:k value)...", "key value [key value ...]"),
        ("c [a(NX|XX)@6.2.0] [CH=change]", "[NX | XX] [CH]"),
        ("c a(LEFT|RIGHT)", "<LEFT | RIGHT>"),
        ("c [LIMIT range(offset:i count:i)]", "[LIMIT offset count]"),
        ("c [GET pattern:p1...*]", "[GET pattern [GET pattern ...]]"),
        ("c [WEIGHTS weight:i...]", "[WEIGHTS weight [weight ...]]"),
        ("c a(b(BEGIN=begin LEASE ms:i)|END token)", "<BEGIN LEASE ms | END token>"),
        ("c a(==equal|~=about|=nothing)", "<= | ~ | \"\">"),
        ("c yes/no ip:port", "yes/no ip:port"),
    ] {
        assert_eq!(syntax(line), expected, "{line}");
    }
}

#[test]
fn what_is_not_understood_is_told() {
    for line in
        ["c (", "c a(", "c a()", "c a)", "c [a", "c a]", "c a  b", "c |", "  internal", "c a|b", "c @1", "c a(b c|d)"]
    {
        assert_eq!(read(line).1, [line]);
    }
    assert_eq!(read("c\n  unheard of").1, ["  unheard of"]);
    assert_eq!(read("c a\nc b").1, ["c b"]);
}

#[test]
fn history_says_when_arguments_came() {
    let history = Usage::of_command("zrange").history();
    assert_eq!(history.into_iter().collect::<Vec<_>>(), [("6.2.0", vec!["BYSCORE", "BYLEX", "REV", "LIMIT"])]);
}
