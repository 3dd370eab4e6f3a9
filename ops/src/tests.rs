//! What is typed is understood as `--help` says, and what does not fit is refused.

use super::*;
use clap::CommandFactory;

fn parse(line: &str) -> Result<Arguments, String> {
    Arguments::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())
}

#[test]
fn the_arguments_are_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn what_scripts_rely_on_is_understood() {
    let lines = [
        "pelago dev",
        "pelago dev --regions a,b --resp-port 0 --dir d --wan-delay-ms 80 --json",
        "pelago dev cut eu-west",
        "pelago dev heal eu-west --resp-port 7000",
        "pelago dev cut eu-west ap-south --resp-port 7000",
        "pelago init --region us-east --resp 127.0.0.1:6379 --peer 127.0.0.1:7379 --dir d",
        "pelago init --region a --resp [::1]:1 --peer h:2 --advertise h:3 --http h:4 --node n --dir d --json",
        "pelago serve --dir d --set loglevel=debug --set workers=2 --json",
        "pelago serve --config f",
        "pelago region add eu-west --resp h:1 --peer h:2 --via h:3 --ca c --out o --wait",
        "pelago region remove eu-west --via h:3",
        "pelago region remove eu-west --force --via h:3 --json",
        "pelago region list --via h:1 --json",
        "pelago region list --watch --via h:1",
        "pelago region release-drift eu-west-1 --preview --via h:1",
        "pelago region seal abcd --yes --via h:1",
        "pelago status --via h:1 --json",
        "pelago status --via h:1 --tls --cacert ca --cert c --key k --user operator",
        "pelago lag --via h:1 --watch --json",
        "pelago lag --watch=5",
        "pelago status --watch 0.5 --json",
        "pelago verify --via h:1 --json --timeout 3",
        "pelago config get max* --via h:1",
        "pelago config set slowlog-log-slower-than -1 --save",
        "pelago cert issue --ca c --node n --out o",
        "pelago cert renew --ca c --dir d --days 30",
        "pelago cert show d e --json",
        "pelago import f.rdb --via h:1 --json",
        "pelago import f.rdb --dry-run",
        "pelago import f.rdb --salvage --restart",
        "pelago import --from redis://:p@h:6379/0 --via h:1 --until-synced",
        "pelago import --from redis://h:6379 --cut-over --pause 10 --connections 8 --allow-skipped",
        "pelago import --from redis://h:6379 --until-synced --release",
        "pelago import --release --via h:1",
        "pelago export f.rdb --via h:1 --json",
        "pelago export f.rdb --force",
        "pelago export f.rdb --from-backup d --json",
        "pelago backup --via h:1 --out d --json",
        "pelago restore d --via h:1 --as-new-writes --connections 2 --json",
        "pelago restore d --dry-run",
        "pelago bench --via h:1,h:2 --clients 4 --pipeline 1 --requests 100 --calls incr --json",
    ];
    for line in lines {
        parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn a_negative_value_is_a_value_and_an_option_after_it_is_an_option() {
    let Verb::Config(config) = parse("pelago config set slowlog-log-slower-than -1 --via h:9 --save").unwrap().verb
    else {
        panic!("another verb was understood");
    };
    let understood = format!("{config:?}");
    assert!(
        understood.contains("\"-1\"]") && understood.contains("h:9") && understood.contains("save: true"),
        "{understood}"
    );
}

#[test]
fn a_watch_has_a_time_of_its_own_or_that_of_its_name() {
    for verb in ["region list", "status", "lag"] {
        for (watch, time) in
            [("", "None"), ("--watch", "Some(1s)"), ("--watch 5", "Some(5s)"), ("--watch=0.5", "Some(500ms)")]
        {
            let line = format!("pelago {verb} {watch} --via h:9");
            let understood = format!("{:?}", parse(&line).unwrap().verb);
            assert!(understood.contains(&format!("watch: {time}")) && understood.contains("h:9"), "{understood}");
        }
    }
}

#[test]
fn times_are_numbers_of_seconds_up_to_a_day() {
    use std::time::Duration;
    let day = Duration::from_secs(86_400);
    for (text, time) in
        [("0", Duration::ZERO), ("-0", Duration::ZERO), ("0.3", Duration::from_millis(300)), ("1e300", day)]
    {
        assert_eq!(verb::seconds(text), Ok(time), "{text}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let lines = [
        ("pelago init --region a --resp nowhere --peer h:2 --dir d", "host:port"),
        ("pelago init --region A --resp h:1 --peer h:2 --dir d", "the name"),
        ("pelago serve", "--dir"),
        ("pelago region add eu-west --resp h:1 --peer h:2 --ca c --out o", "--via"),
        ("pelago region seal abcd --yes --preview", "cannot be used with"),
        ("pelago cert renew --ca c --dir d --days 0", "0 is not in"),
        ("pelago bench --seconds 1 --requests 1", "cannot be used with"),
        ("pelago bench --seconds NaN", "a number of seconds"),
        ("pelago verify --timeout nan", "a number of seconds"),
        ("pelago verify --timeout inf", "a number of seconds"),
        ("pelago verify --timeout 1e999", "a number of seconds"),
        ("pelago verify --timeout=-1", "a number of seconds"),
        ("pelago verify --timeout soon", "a number of seconds"),
        ("pelago lag --watch=nan", "a number of seconds"),
        ("pelago status --watch inf", "a number of seconds"),
        ("pelago region list --watch=-inf", "a number of seconds"),
        ("pelago import", "<FILE>"),
        ("pelago import f.rdb --from redis://h", "cannot be used with"),
        ("pelago import f.rdb --until-synced", "cannot be used with"),
        ("pelago import f.rdb --release", "cannot be used with"),
        ("pelago import --from h:6379", "redis://"),
        ("pelago frobnicate", "unrecognized subcommand"),
    ];
    for (line, reason) in lines {
        let error = parse(line).expect_err(line);
        assert!(error.contains(reason), "{line}: {error}");
    }
}

#[test]
fn dashboard_and_alerts_name_metrics_that_there_are() {
    let known = server::metrics::document();
    let deployed = [include_str!("../deploy/dashboard.json"), include_str!("../deploy/alerts.yml")];
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    for text in deployed {
        let words = text.split(|letter| !is_letter(letter));
        for word in words.filter(|word| word.starts_with("pelago_") || word.starts_with("process_")) {
            assert!(known.contains(&format!("`{word}`")), "{word} is no metric");
        }
    }
}

#[test]
fn the_readme_shows_only_verbs_that_there_are() {
    let lines = include_str!("../../README.md").lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    for line in lines.filter(|line| line.starts_with("pelago ") || line.starts_with("$pelago ")) {
        let line = line.trim_start_matches('$').trim_end_matches('\\');
        if line.contains("region add") {
            continue; // it goes on in the next line
        }
        parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn every_verb_is_documented() {
    let documented = include_str!("../../docs/operations.md").split_whitespace().collect::<Vec<_>>().join(" ");
    let command = Arguments::command();
    let mut verbs: Vec<(String, &clap::Command)> = vec![("pelago".to_owned(), &command)];
    while let Some((line, command)) = verbs.pop() {
        let within = command.get_subcommands().filter(|verb| verb.get_name() != "help");
        let before = verbs.len();
        verbs.extend(within.map(|verb| (format!("{line} {}", verb.get_name()), verb)));
        assert!(verbs.len() > before || documented.contains(&line), "{line} is not in docs/operations.md");
    }
}

#[test]
fn a_node_that_can_never_run_in_its_directory_has_an_exit_status_of_its_own() {
    use crate::failure::Failure;
    use server::launch::LaunchError;
    use server::peers::StartError;
    let status = |error| Failure::Launch(LaunchError::Peers(error)).status();
    assert_eq!(status(StartError::Removed), 78);
    assert_eq!(status(StartError::NotAdmitted), 78);
    // Somebody may mend this, and then the node runs.
    assert_eq!(Failure::Launch(LaunchError::Expired).status(), 1);
}
