use super::*;

fn monitor(threshold_ms: u64) -> LatencyMonitor {
    let monitor = LatencyMonitor::default();
    monitor.set_threshold(threshold_ms);
    monitor
}

fn note(monitor: &LatencyMonitor, at_seconds: u64, millis: u64) {
    monitor.note(Event::Command, Duration::from_millis(millis), || at_seconds * 1000 + 999);
}

fn samples(monitor: &LatencyMonitor) -> Vec<(u64, u64)> {
    let series = monitor.of(Event::Command).unwrap_or_default();
    series.samples.iter().map(|sample| (sample.unix_seconds, sample.millis)).collect()
}

#[test]
fn of_each_second_the_worst_is_kept_from_the_threshold_on() {
    let monitor = monitor(10);
    for (at, millis) in [(100, 9), (100, 10), (100, 30), (100, 20), (101, 11), (103, 9)] {
        note(&monitor, at, millis);
    }
    assert_eq!(samples(&monitor), [(100, 30), (101, 11)]);
    assert_eq!(monitor.of(Event::FastCommand), None);
    assert_eq!(monitor.all().len(), 1);
}

#[test]
fn nothing_is_kept_while_the_threshold_is_zero() {
    let monitor = monitor(0);
    assert!(!monitor.is_on());
    note(&monitor, 100, 1_000_000);
    assert!(monitor.all().is_empty());
}

#[test]
fn the_oldest_sample_goes_first_and_the_worst_is_remembered() {
    let monitor = monitor(1);
    (0..LATENCY_SAMPLES_MAX as u64 + 5).for_each(|second| note(&monitor, second, 500 - second));
    let kept = samples(&monitor);
    assert_eq!((kept.len(), kept[0]), (LATENCY_SAMPLES_MAX, (5, 495)));
    assert_eq!(monitor.of(Event::Command).unwrap().worst_millis, 500);
}

#[test]
fn what_is_forgotten_begins_anew() {
    let monitor = monitor(1);
    note(&monitor, 100, 50);
    assert!(monitor.forget(Event::Command));
    assert!(!monitor.forget(Event::Command));
    note(&monitor, 101, 5);
    assert_eq!(monitor.of(Event::Command).unwrap().worst_millis, 5);
}

#[test]
fn every_event_has_a_place_and_a_name_of_its_own() {
    for (position, event) in Event::ALL.into_iter().enumerate() {
        assert_eq!(event as usize, position);
        assert_eq!(Event::named(event.name().as_bytes()), Some(event));
    }
    assert_eq!(Event::named(b"COMMAND"), None);
}

#[test]
fn an_analysis_has_mean_deviation_and_period() {
    let monitor = monitor(1);
    for (at, millis) in [(100, 2), (101, 4), (102, 6)] {
        note(&monitor, at, millis);
    }
    let analysis = monitor.of(Event::Command).unwrap().analysis(106);
    assert_eq!(analysis, Analysis { mean_millis: 4, deviation_millis: 1, period_seconds: 2.0 });
}

/// As `redis-server` 7.0.15 has drawn it.
#[test]
fn the_graph_is_that_of_redis() {
    let monitor = monitor(1);
    for (at, millis) in [(967, 2), (968, 5), (969, 3), (970, 7)] {
        note(&monitor, at, millis);
    }
    let drawn = draw(Event::Command, &monitor.of(Event::Command).unwrap(), 970);
    let expected = format!(
        "command - high 7 ms, low 2 ms (all time high 7 ms)\n{}\n   #\n o |\n | |\n_|#|\n    \n3210\nssss\n",
        "-".repeat(80)
    );
    assert_eq!(drawn, expected);
}

#[test]
fn a_long_graph_has_two_rows_of_columns_and_labels_in_their_largest_unit() {
    let monitor = monitor(1);
    (0..100).for_each(|step| note(&monitor, step * 1800, 1 + step));
    let drawn = draw(Event::Command, &monitor.of(Event::Command).unwrap(), 99 * 1800);
    let lines: Vec<&str> = drawn.lines().collect();
    let widths: Vec<usize> = lines[2..].iter().map(|line| line.len()).collect();
    assert_eq!(widths, [vec![80; 4 + 1 + 3], vec![0], vec![20; 4 + 1 + 3]].concat());
    let last_label: String = lines[lines.len() - 3..].iter().map(|line| &line[18..19]).collect();
    assert_eq!(last_label, "30m");
    assert!(lines[7].starts_with("222") && lines[8].starts_with("ddd"), "{drawn}");
}
