//! `LATENCY`: what took long, and how long commands take.

use super::help as help_lines;
use super::integer;
use crate::command::{Call, CommandError};
use crate::latency_monitor::{Event, Series, draw};

pub fn latest(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    let all = call.node.latency.all();
    call.reply.array(all.len());
    for (event, series) in all {
        let last = series.samples.back().copied();
        call.reply.array(4);
        call.reply.bulk(event.name().as_bytes());
        call.reply.integer(last.map_or(0, |last| integer(last.unix_seconds)));
        call.reply.integer(last.map_or(0, |last| integer(last.millis)));
        call.reply.integer(integer(series.worst_millis));
    }
    Ok(())
}

pub fn history(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let samples = series_of(call, args[2]).map(|(_, series)| series.samples).unwrap_or_default();
    call.reply.array(samples.len());
    for sample in samples {
        call.reply.array(2);
        call.reply.integer(integer(sample.unix_seconds));
        call.reply.integer(integer(sample.millis));
    }
    Ok(())
}

pub fn reset(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    // Here, and nowhere else, Redis takes the names in any case.
    let is_meant = |event: &Event| {
        args.len() == 2 || args[2..].iter().any(|name| name.eq_ignore_ascii_case(event.name().as_bytes()))
    };
    let forgotten = Event::ALL.into_iter().filter(is_meant).filter(|event| call.node.latency.forget(*event));
    let forgotten = forgotten.count();
    call.reply.count(forgotten);
    Ok(())
}

pub fn graph(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let Some((event, series)) = series_of(call, args[2]) else {
        let event = String::from_utf8_lossy(args[2]);
        return Err(CommandError::Detailed(format!("ERR No samples available for event '{event}'")));
    };
    call.reply.verbatim("txt", draw(event, &series, call.now() / 1000).as_bytes());
    Ok(())
}

fn series_of(call: &Call<'_, '_>, name: &[u8]) -> Option<(Event, Series)> {
    let event = Event::named(name)?;
    Some((event, call.node.latency.of(event)?))
}

/// What there is to say about it, in our own words.
pub fn doctor(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    let (all, now) = (call.node.latency.all(), call.now() / 1000);
    let mut text = String::new();
    if all.is_empty() && !call.node.latency.is_on() {
        text.push_str(
            "Nothing is watched: latency-monitor-threshold is 0. Set it to the milliseconds that something may take, as \
             in CONFIG SET latency-monitor-threshold 100.\n",
        );
    } else if all.is_empty() {
        text.push_str("Nothing took as long as latency-monitor-threshold since it was set.\n");
    }
    for (number, (event, series)) in all.iter().enumerate() {
        let analysis = series.analysis(now);
        text.push_str(&format!(
            "{}. {}: {} samples, {} ms on average, {} ms from it on average, one in {:.2} s; the longest took {} ms.\n   {}\n",
            number + 1,
            event.name(),
            series.samples.len(),
            analysis.mean_millis,
            analysis.deviation_millis,
            analysis.period_seconds,
            series.worst_millis,
            advice(*event)
        ));
    }
    let console = &call.node.console.metrics.console;
    text.push_str(&format!(
        "The longest delay of an event loop was {} us; {} were longer than 10 ms.\n",
        console.event_loop_stall_us_max.value(),
        console.event_loop_stalls.value()
    ));
    call.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// What to look at next.
const fn advice(event: Event) -> &'static str {
    match event {
        Event::Command => {
            "SLOWLOG GET shows which commands they were: ask for less at once, or keep collections smaller."
        }
        Event::FastCommand => "Such commands wait for others: for the core, or for a key that a long command holds.",
        Event::ExpireCycle => "Many keys end at the same time: spread their deadlines.",
        Event::EvictionCycle => "Memory is at its limit: raise maxmemory, or give keys deadlines.",
        Event::EvictionDel => "It took long to find and remove one key: the core is busy, or the key is large.",
        Event::AofWrite => "The disk takes writes slowly: look at what else writes to it.",
        Event::AofFsyncAlways => {
            "The disk flushes slowly, and every write waits for it: appendfsync everysec does not wait."
        }
    }
}

pub fn histogram(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let node = call.node;
    let statistics = node.console.metrics.statistics(node);
    let asked = |name: &str| {
        let container = name.split('|').next().unwrap_or(name);
        let is = |argument: &&[u8]| {
            argument.eq_ignore_ascii_case(name.as_bytes()) || argument.eq_ignore_ascii_case(container.as_bytes())
        };
        args.len() == 2 || args[2..].iter().any(is)
    };
    let timed = statistics.used_commands().filter(|(name, totals)| totals.latencies.count() > 0 && asked(name));
    let timed: Vec<_> = timed.collect();
    call.reply.map(timed.len());
    for (name, totals) in timed {
        call.reply.bulk(name.as_bytes());
        call.reply.map(2);
        call.reply.bulk(b"calls");
        call.reply.integer(integer(totals.latencies.count()));
        call.reply.bulk(b"histogram_usec");
        let powers = totals.latencies.by_powers_us();
        call.reply.map(powers.len());
        for (micros, below) in powers {
            call.reply.integer(integer(micros));
            call.reply.integer(integer(below));
        }
    }
    Ok(())
}

pub fn help(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    help_lines(
        call,
        "LATENCY",
        &[
            "DOCTOR",
            "    Return a human readable latency analysis report.",
            "GRAPH <event>",
            "    Return an ASCII latency graph for the <event> class.",
            "HISTORY <event>",
            "    Return time-latency samples for the <event> class.",
            "LATEST",
            "    Return the latest latency samples for all events.",
            "RESET [<event> ...]",
            "    Reset latency data of one or more <event> classes.",
            "    (default: reset all data for all event classes)",
            "HISTOGRAM [COMMAND ...]",
            "    Return a cumulative distribution of latencies in the format of a histogram for the specified command names.",
            "    If no commands are specified then all histograms are replied.",
        ],
    );
    Ok(())
}
