//! What the trials are measured with does not look away: a figure that is missing, a word that is not understood, a command
//! that took long.

use std::time::{Duration, Instant};
use tests::arguments::Arguments;
use tests::crashes::{Outcome, Plan, Round};
use tests::figure::{Bar, Sheet};
use tests::kills;
use tests::latencies::Latencies;
use tests::metrics::Metrics;
use tests::random::Random;
use tests::stalls::Stalls;
use tests::steady::Seen;
use tests::switches::foreign_spans;
use tests::taken::Taken;
use tests::texts::Texts;
use tests::zipf::Zipf;

#[test]
fn a_metric_that_is_not_there_is_no_zero() {
    let metrics = Metrics::new("# HELP a b\na{peer=\"x\"} 1\na{peer=\"y\"} 2\nb 0\nc{d=\"e\"} none\n".to_owned());
    let cases =
        [("a", "", Some(3.0)), ("a", "\"y\"", Some(2.0)), ("b", "", Some(0.0)), ("a", "\"z\"", None), ("no", "", None)];
    for (name, label, expected) in cases {
        assert_eq!(metrics.try_sum(name, label).ok(), expected, "{name} {label}");
    }
    assert!(metrics.try_sum("c", "").unwrap_err().contains("has no number"));
}

#[test]
fn what_was_taken_of_the_cores_is_no_wait_for_a_server() {
    let begin = Instant::now();
    let at = |ms: u64| begin + Duration::from_millis(ms);
    let span = |from: u64, until: u64| (at(from), at(until));
    // Two cores: the spans of one and of the other, which overlap.
    let taken = Taken::new(vec![span(10, 14), span(30, 40), span(12, 16), span(40, 41), span(60, 61)]);
    let cases =
        [((0, 10), 0), ((0, 100), 18), ((11, 13), 2), ((13, 35), 8), ((16, 30), 0), ((40, 60), 1), ((61, 90), 0)];
    for ((from, until), ms) in cases {
        assert_eq!(taken.of(span(from, until)), Duration::from_millis(ms), "{from} to {until}");
    }
    let mut seen = Seen::default();
    for (from, until) in [(0, 3), (10, 17), (29, 42)] {
        seen.latencies.note(Duration::from_millis(until - from));
        seen.long.push(span(from, until));
    }
    assert_eq!(seen.longest_without_ms(&taken), 3.0);
    assert_eq!(seen.longest_without_ms(&Taken::default()), 13.0);
}

#[test]
fn what_other_programs_had_of_a_core_is_told_from_what_the_servers_had() {
    let line = |core: u32, nanos: u32, from: u32, to: u32| {
        format!(
            "[{core:03}]     7.{nanos:09}: prev_comm=a b prev_pid={from} prev_prio=120 prev_state=R ==> next_comm=c next_pid={to} \
             next_prio=110"
        )
    };
    // 1 is a server, 75 and 76 are of other programs, 0 is nobody.
    let text = [
        line(0, 100, 1, 75),
        line(1, 150, 0, 75),
        line(0, 200, 75, 1),
        line(0, 300, 1, 75),
        // It gave its place to a server unseen: who had how much of it cannot be told.
        line(0, 400, 1, 76),
        // It gave its place unseen to one that is foreign too.
        line(0, 500, 75, 0),
        "perf: something else".to_owned(),
        line(0, 600, 0, 75),
        // Longer than anybody has a core before the watch of it comes: there are no records of what was between.
        line(0, 2_000_000, 75, 75),
        line(0, 2_000_100, 75, 0),
    ]
    .join("\n");
    let spans = |core: &str| {
        let spans = foreign_spans(&text, core, |thread| thread >= 75);
        spans.iter().map(|(from, until)| (from.subsec_nanos(), until.subsec_nanos())).collect::<Vec<_>>()
    };
    assert_eq!(spans("0"), [(100, 200), (400, 500), (2_000_000, 2_000_100)]);
    assert_eq!(spans("1"), []);
}

#[test]
fn programs_refuse_what_they_do_not_understand() {
    const USAGE: &str = "usage: trial [--seconds N] [--seed S]\n       trial --link [--seconds N] [--ring-bytes SIZE]\n       \
                         trial --crashes [--rounds N]\n       trial --kills N [--seed S]\nIt tries. --set NAME=VALUE gives all nodes a setting.";
    let parse = |line: &str| {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Arguments::parse(&words, USAGE)
    };
    let arguments = parse("--link --seconds 7 --set a=b --set c=d").unwrap();
    assert!(arguments.has("--link") && !arguments.has("--crashes"));
    assert_eq!((arguments.number("--seconds", 1), arguments.number("--rounds", 5)), (7, 5));
    assert_eq!(arguments.all("--set").collect::<Vec<_>>(), ["a=b", "c=d"]);
    assert!(parse("").is_ok());
    let arguments = parse("--seed 3 --kills 20").unwrap();
    assert!(arguments.has("--kills"));
    assert_eq!((arguments.number("--kills", 1), arguments.number("--seed", 1)), (20, 3));
    for (line, error) in [
        ("--second 7", "--second is not understood"),
        ("7", "7 is not understood"),
        ("--seconds", "--seconds wants a value"),
        ("--link --rounds 7", "--rounds does not go with --link"),
        ("--link --crashes", "--link and --crashes do not go together"),
        ("--kills", "--kills wants a value"),
        ("--kills 20 --rounds 7", "--rounds does not go with --kills"),
    ] {
        assert_eq!(parse(line).unwrap_err(), error);
    }
}

#[test]
fn a_crash_before_which_nobody_wrote_proves_nothing() {
    let plan = Plan { durable: true, ..Plan::default() };
    let faults = |rounds| Outcome { plan, rounds, counters_wrong: Vec::new() }.faults();
    assert!(!faults(Vec::new()).is_empty());
    let tried = || Round {
        acknowledged: 1,
        seen_elsewhere: 1,
        acknowledged_since: 1,
        acknowledged_elsewhere: 1,
        verify: Some(0),
        ..Round::default()
    };
    assert_eq!(faults(vec![tried()]), Vec::<String>::new());
    for wrong in [
        Round { acknowledged: 0, ..tried() },
        Round { seen_elsewhere: 0, ..tried() },
        Round { acknowledged_since: 0, ..tried() },
        Round { acknowledged_elsewhere: 0, ..tried() },
        Round { lost_since: 1, ..tried() },
        Round { verify: None, ..tried() },
    ] {
        assert_eq!(faults(vec![tried(), wrong]).len(), 1);
    }
}

#[test]
fn long_commands_are_counted_and_the_longest_are_told_in_the_order_of_time() {
    let (mut one, mut other) = (Stalls::default(), Stalls::default());
    for number in 0..100u64 {
        let stalls = if number % 2 == 0 { &mut one } else { &mut other };
        let words = ["SET".to_owned(), format!("k{number}"), "v".repeat(100)];
        stalls.note(Duration::from_secs(100 - number), Duration::from_millis(number), 3, &words);
    }
    one.add(other);
    let told = one.lines("us-east-1");
    assert!(told[0].contains("79 commands took over 20 ms, the longest"), "{}", told[0]);
    assert_eq!(told.len(), 25);
    assert!(told[1].contains("second    1.000") && told[1].contains("99.0 ms  client   3  SET k99 vvv"), "{}", told[1]);
    assert!(told[24].contains("SET k76 "), "{}", told[24]);
}

#[test]
fn the_longest_stall_is_told_without_what_was_taken_of_a_core() {
    let (started, ms) = (Instant::now(), Duration::from_millis);
    let mut stalls = Stalls::default();
    let taken = Taken::of_any(&[
        Taken::new(vec![(started + ms(1_010), started + ms(1_100))]),
        Taken::new(vec![(started + ms(1_080), started + ms(1_110)), (started + ms(4_000), started + ms(5_000))]),
    ]);
    assert_eq!(stalls.longest_without(started, &taken), Duration::ZERO);
    for (at, took) in [(1_000, 120), (2_000, 19), (3_000, 30)] {
        stalls.note(ms(at), ms(took), 0, &["PING".to_owned()]);
    }
    // The first was longer, but not by the server; the second was none.
    assert_eq!(stalls.longest_without(started, &taken), ms(30));
    assert_eq!(stalls.longest_without(started, &Taken::default()), ms(120));
}

#[test]
fn a_figure_that_misses_its_bar_or_is_no_number_is_a_fault() {
    let cases = [
        (5.0, Bar::AtMost(5.0), true),
        (5.1, Bar::AtMost(5.0), false),
        (0.85, Bar::AtLeast(0.85), true),
        (0.84, Bar::AtLeast(0.85), false),
        (f64::NAN, Bar::AtMost(5.0), false),
        (f64::NAN, Bar::AtLeast(5.0), false),
        (f64::INFINITY, Bar::None, true),
    ];
    for (value, bar, is_met) in cases {
        let mut sheet = Sheet::new("the setting".to_owned());
        sheet.add("a figure", value, "ms", bar);
        assert_eq!(sheet.faults().is_empty(), is_met, "{value} {bar:?}");
        let text = sheet.to_string();
        assert!(text.contains("the setting") && text.contains("MISSED") != is_met, "{text}");
    }
    let mut sheet = Sheet::default();
    sheet.fault("something else".to_owned());
    assert_eq!(sheet.faults(), ["something else"]);
}

#[test]
fn shares_of_latencies_are_those_of_all_commands() {
    let mut latencies = Latencies::default();
    assert!(latencies.longest_ms().is_nan());
    (1..=1_001).rev().for_each(|ms| latencies.note(Duration::from_millis(ms)));
    let shares = [0.0, 0.5, 0.99, 0.999, 1.0].map(|share| latencies.within_ms(share));
    assert_eq!(shares, [1.0, 501.0, 991.0, 1_000.0, 1_001.0]);
    latencies.note(Duration::from_secs(2));
    assert_eq!(latencies.longest_ms(), 2_000.0);
}

#[test]
fn a_zipfian_trace_asks_for_a_number_as_often_as_its_rank_says() {
    let (zipf, mut random) = (Zipf::new(1_000, 0.99), Random::new(1));
    let mut drawn = vec![0_u32; 1_000];
    (0..200_000).for_each(|_| drawn[zipf.draw(&mut random)] += 1);
    let sum: f64 = (1..=1_000).map(|rank| f64::from(rank).powf(-0.99)).sum();
    for rank in [1, 2, 10, 100] {
        let expected = 200_000.0 * f64::from(rank).powf(-0.99) / sum;
        let found = f64::from(drawn[rank as usize - 1]);
        assert!((found - expected).abs() < 5.0 * expected.sqrt(), "rank {rank}: {found}, expected {expected}");
    }
}

#[test]
fn a_write_that_is_lost_is_held_against_when_it_was_acknowledged() {
    let ms = Duration::from_millis;
    let plan = kills::Plan {
        kills: 1,
        texts: Texts { keys: 1, value_bytes: 1, seed: 1 },
        writing: ms(1),
        clients: 1,
        pace: ms(1),
        seed: 1,
        unflushed: ms(1_000),
        slack: ms(100),
    };
    let faults = |round: kills::Round| {
        let outcome = kills::Outcome { plan, rounds: vec![round], counters_wrong: Vec::new() };
        outcome.sheet("the setting".to_owned()).faults().len()
    };
    let tried = || kills::Round { acknowledged: 2, sent: 1, since: (1, 0), verify: Some(0), ..kills::Round::default() };
    assert_eq!(faults(tried()), 0);
    assert_eq!(faults(kills::Round { unsent_lost: vec![ms(1_100), ms(3)], ..tried() }), 0);
    for wrong in [
        kills::Round { unsent_lost: vec![ms(1_101), ms(3)], ..tried() },
        kills::Round { sent_lost: vec!["7 of client 1".to_owned()], ..tried() },
        kills::Round { verify: Some(1), ..tried() },
        kills::Round { verify: None, ..tried() },
        kills::Round { numbers: (0, 1), ..tried() },
        kills::Round { since: (1, 1), ..tried() },
        kills::Round { since: (0, 0), ..tried() },
        kills::Round { sent: 0, ..tried() },
        kills::Round { wrong: vec!["something else".to_owned()], ..tried() },
    ] {
        assert_ne!(faults(wrong.clone()), 0, "{wrong:?}");
    }
    let none = kills::Outcome { plan, rounds: Vec::new(), counters_wrong: Vec::new() };
    assert_ne!(none.sheet(String::new()).faults(), Vec::<String>::new());
}
