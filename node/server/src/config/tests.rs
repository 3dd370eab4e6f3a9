//! What settings promise.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;

fn settings(toml: &str) -> Result<Settings, ConfigError> {
    let mut sources = Sources::new();
    sources.file_text("pelago.toml", toml)?;
    sources.finish()
}

fn refusal(toml: &str) -> String {
    settings(toml).err().map(|error| error.to_string()).unwrap_or_default()
}

fn one(settings: &Settings, name: &str) -> String {
    let found = settings.matching(&[name.as_bytes()]);
    assert_eq!(found.len(), 1, "{name}");
    found[0].1.clone()
}

#[test]
fn every_default_follows_its_own_rule_and_shows_as_itself() {
    let mut config = Config::default();
    for setting in SETTINGS {
        assert_eq!((setting.parse_into)(&mut config, setting.default), Ok(()), "{}", setting.name());
        let shown = (setting.show)(&config);
        assert_eq!((setting.parse_into)(&mut config, &shown), Ok(()), "{} = {shown}", setting.name());
        assert_eq!((setting.show)(&config), shown);
    }
    assert_eq!(config, Config::default());
    assert_eq!(config.contradiction(), None);
}

#[test]
fn names_are_unique_and_fit_the_environment() {
    let mut names: Vec<&str> = SETTINGS.iter().flat_map(|setting| setting.names.iter().copied()).collect();
    for name in &names {
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{name}");
        assert!(
            !name.ends_with("port") || *name == "tls-port",
            "Kubernetes makes variables that end in PORT, which are told apart by their values only: {name}"
        );
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn later_sources_win() {
    let mut sources = Sources::new();
    sources.file_text("pelago.toml", "region = \"eu-west\"\nmaxclients = 5\ntimeout = 7").unwrap();
    sources.environment([("PELAGO_MAXCLIENTS".to_owned(), "6".to_owned())], &[]).unwrap();
    sources.arguments(["maxclients=8".to_owned()]).unwrap();
    let settings = sources.finish().unwrap();
    assert_eq!(settings.load().maxclients, 8);
    assert_eq!(settings.load().timeout, Duration::from_secs(7));
    assert_eq!(settings.load().node, "eu-west-1");
    assert_eq!(settings.origin("maxclients"), Some(Origin::CommandLine));
    assert_eq!(settings.origin("timeout"), Some(Origin::File));
    assert_eq!(settings.origin("tcp-keepalive"), Some(Origin::Default));
}

#[test]
fn units_are_understood() {
    let settings = settings(
        "ring-bytes = \"128mb\"\nfill-timeout = \"250ms\"\nmax-clock-drift = \"5m\"\ntimeout = \"2m\"\nheartbeat-ms = 100",
    )
    .unwrap();
    let config = settings.load();
    assert_eq!(config.ring_bytes, 128 << 20);
    assert_eq!(config.fill_timeout, Duration::from_millis(250));
    assert_eq!(config.max_clock_drift, Duration::from_secs(300));
    assert_eq!(config.timeout, Duration::from_secs(120));
    assert_eq!(config.heartbeat, Duration::from_millis(100));
    assert_eq!(one(&settings, "fill-timeout"), "250ms");
    assert_eq!(one(&settings, "max-clock-drift"), "300s");
    assert_eq!(one(&settings, "timeout"), "120");
    assert_eq!(one(&settings, "ring-bytes"), (128 << 20).to_string());
}

#[test]
fn toml_lists_and_truth_values_are_values_too() {
    let settings = settings("seeds = [\"a.example:7379\", \"[::1]:7380\"]\nlatency-tracking = false").unwrap();
    assert_eq!(settings.load().seeds, [Address::new("a.example", 7379), Address::new("::1", 7380)]);
    assert_eq!(one(&settings, "seeds"), "a.example:7379,[::1]:7380");
    assert!(!settings.load().latency_tracking);
}

#[test]
fn what_is_wrong_is_said_in_one_sentence() {
    let cases = [
        (
            "region = \"a\"\nhartbeat-ms = 3",
            "pelago.toml, line 2: there is no setting hartbeat-ms; did you mean heartbeat-ms?",
        ),
        ("heartbeat = 3", "pelago.toml, line 1: there is no setting heartbeat; did you mean heartbeat-ms?"),
        ("RING_BITES = 3", "pelago.toml, line 1: there is no setting RING_BITES; did you mean ring-bytes?"),
        ("something-else-entirely = 3", "pelago.toml, line 1: there is no setting something-else-entirely"),
        ("\nmaxclients = 0", "pelago.toml, line 2: maxclients must be between 1 and 4294967295 inclusive"),
        ("fill-timeout = 10", "pelago.toml, line 1: fill-timeout needs a unit: write 10s or 250ms"),
        ("timeout = \"250ms\"", "pelago.toml, line 1: timeout must be a whole number of seconds"),
        ("heartbeat-ms = \"500us\"", "pelago.toml, line 1: heartbeat-ms must be a whole number of milliseconds"),
        ("ring-bytes = \"64 apples\"", "pelago.toml, line 1: ring-bytes must be a memory value"),
        ("resp = \"nowhere\"", "pelago.toml, line 1: resp must be an address such as 127.0.0.1:6379 or [::1]:6379"),
        (
            "region = \"EU West\"",
            "pelago.toml, line 1: region must be 1 to 64 lower-case letters, digits, '-', '_' or '.', and begin with a letter",
        ),
        (
            "[region]\nname = \"x\"",
            "pelago.toml, line 1: region must be a text, a number, true, false or a list of texts",
        ),
        (
            "hash-max-listpack-value = 3\nhash-max-ziplist-value = 4",
            "pelago.toml, line 2: hash-max-ziplist-value is set twice",
        ),
        ("persistence = \"aof\"", "pelago.toml, line 1: persistence must be one of the following: on, off"),
        (
            "heartbeat-ms = 1000",
            "link-silence-ms (1500) must be at least three times heartbeat-ms (1000), or links that are fine are cut",
        ),
        ("http = \"127.0.0.1:6379\"", "resp and http are both 127.0.0.1:6379, but each needs an address of its own"),
    ];
    for (toml, sentence) in cases {
        assert_eq!(refusal(toml), sentence);
    }
    assert!(refusal("region = ").starts_with("pelago.toml: "));
    let mut sources = Sources::new();
    let error = sources.arguments(["maxclients".to_owned()]).unwrap_err();
    assert_eq!(error.to_string(), "--set maxclients: write --set name=value");
    let error = sources.arguments(["maxclient=3".to_owned()]).unwrap_err();
    assert_eq!(error.to_string(), "--set maxclient=3: there is no setting maxclient; did you mean maxclients?");
}

#[test]
fn the_environment_knows_only_settings() {
    let variables = |name: &str| [(name.to_owned(), "7".to_owned())];
    let mut sources = Sources::new();
    let error = sources.environment(variables("PELAGO_MAX_CLIENT"), &[]).unwrap_err();
    assert_eq!(error.to_string(), "PELAGO_MAX_CLIENT: there is no setting max-client; did you mean maxclients?");
    for passed_over in [
        "HOME",
        "PELAGO_VIA",
        "PELAGO_SERVICE_HOST",
        "PELAGO_SERVICE_PORT_RESP",
        "PELAGO_PORT",
        "PELAGO_PORT_6379_TCP",
        "PELAGO_PEER_SERVICE_HOST",
        "PELAGO_PEER_PORT",
    ] {
        sources.environment(variables(passed_over), &["PELAGO_VIA"]).unwrap();
    }
    assert_eq!(*sources.finish().unwrap().load().as_ref(), Config::default());
}

#[test]
fn config_set_changes_all_or_nothing() {
    let settings = Settings::new(Config::default());
    settings.set(&[("MaxClients", "20"), ("timeout", "3")]).unwrap();
    assert_eq!((settings.load().maxclients, settings.load().timeout), (20, Duration::from_secs(3)));
    assert!(settings.set(&[("maxclients", "30"), ("timeout", "-1")]).is_err());
    assert!(settings.set(&[("timeout", "250ms")]).is_err() && settings.set(&[("tcp-keepalive", "1500ms")]).is_err());
    assert_eq!(settings.load().timeout, Duration::from_secs(3));
    settings.set(&[("timeout", "3000ms")]).unwrap();
    assert_eq!(settings.load().maxclients, 20);
    settings.set(&[("hash-max-ziplist-entries", "12")]).unwrap();
    assert_eq!(one(&settings, "hash-max-listpack-entries"), "12");
    assert_eq!(one(&settings, "HASH-MAX-ZIPLIST-ENTRIES"), "12");
}

#[test]
fn config_set_refuses_in_the_words_of_redis() {
    let failed =
        |name: &str, reason: &str| format!("CONFIG SET failed (possibly related to argument '{name}') - {reason}");
    let cases: &[(&[(&str, &str)], String)] = &[
        (
            &[("maxclients", "1"), ("foo", "2")],
            "Unknown option or number of arguments for CONFIG SET - 'foo'".to_owned(),
        ),
        (&[("maxclients", "abc")], failed("maxclients", "argument couldn't be parsed into an integer")),
        (&[("maxclients", "0")], failed("maxclients", "argument must be between 1 and 4294967295 inclusive")),
        (&[("timeout", "10"), ("timeout", "11")], failed("timeout", "duplicate parameter")),
        (&[("databases", "4")], failed("databases", "can't set immutable config")),
        (&[("port", "65536")], failed("port", "argument must be between 0 and 65535 inclusive")),
        (&[("port", "x")], failed("port", "argument couldn't be parsed into an integer")),
        (&[("port", "7"), ("PORT", "8")], failed("port", "duplicate parameter")),
        (&[("appendonly", "no")], failed("appendonly", "can't set immutable config")),
        (
            &[("bind", "10.0.0.1 10.0.0.2")],
            failed("bind", "one address is wanted, such as 127.0.0.1, or 0.0.0.0 for all of this machine"),
        ),
        (&[("ring-bytes", "64mb")], failed("ring-bytes", "can't set immutable config")),
        (&[("proto-max-bulk-len", "1zz")], failed("proto-max-bulk-len", "argument must be a memory value")),
        (&[("latency-tracking", "maybe")], failed("latency-tracking", "argument must be 'yes' or 'no'")),
        (
            &[("loglevel", "loud")],
            failed("loglevel", "argument(s) must be one of the following: debug, verbose, notice, warning"),
        ),
        (&[("maxmemory", "much")], failed("maxmemory", "argument must be a memory value")),
    ];
    let settings = Settings::new(Config::default());
    for (pairs, sentence) in cases {
        assert_eq!(settings.set(pairs).unwrap_err().to_string(), *sentence);
    }
    settings.set(&[("save", ""), ("maxmemory", "0"), ("notify-keyspace-events", "")]).unwrap();
}

#[test]
fn port_and_bind_are_parts_of_where_clients_connect() {
    let settings = Settings::new(Config::default());
    settings.set(&[("port", "7000"), ("bind", "::1")]).unwrap();
    assert_eq!(settings.load().resp.to_string(), "[::1]:7000");
    assert_eq!(settings.origin("resp"), Some(Origin::RunTime));
    settings.set(&[("bind", "*"), ("tls-port", "7001"), ("port", "0")]).unwrap();
    assert_eq!((settings.load().resp.to_string().as_str(), settings.load().resp_plain), ("0.0.0.0:7000", false));
    assert_eq!((one(&settings, "port"), one(&settings, "bind")), ("0".to_owned(), "0.0.0.0".to_owned()));
    settings.set(&[("port", "7002")]).unwrap();
    assert!(settings.load().resp_plain);
}

#[test]
fn several_patterns_find_each_setting_once() {
    let settings = Settings::new(Config::default());
    let found = settings.matching(&[b"MAXMEM*", b"maxmemory", b"po?t"]);
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["maxmemory-clients", "maxmemory", "maxmemory-policy", "maxmemory-samples", "port"]);
    assert_eq!(settings.matching(&[b"MaxClients", b"maxclient?"]), [("MaxClients".to_owned(), "10000".to_owned())]);
    assert!(settings.matching(&[b"nothing-like-it"]).is_empty());
    assert!(settings.matching(&[b"*"]).len() > SETTINGS.len());
}

#[test]
fn readers_and_observers_see_a_change() {
    let settings = Settings::new(Config::default());
    let mut reader = settings.reader();
    assert_eq!(reader.load().maxclients, 10_000);
    let seen = Arc::new(AtomicU64::new(0));
    let noted = Arc::clone(&seen);
    settings.on_change(move |before, after| {
        noted.store(before.maxclients * 100_000 + after.maxclients, Ordering::Relaxed);
    });
    settings.set(&[("maxclients", "7")]).unwrap();
    assert_eq!(reader.load().maxclients, 7);
    assert_eq!(seen.load(Ordering::Relaxed), 10_000 * 100_000 + 7);
}

#[test]
fn a_password_is_not_printed_by_accident() {
    let settings = Settings::new(Config::default());
    settings.set(&[("requirepass", "hunter2")]).unwrap();
    assert!(!settings.load().requirepass.is_empty());
    assert!(!format!("{:?}", settings.load()).contains("hunter2"));
    assert_eq!(one(&settings, "requirepass"), "hunter2");
}

#[test]
fn rewriting_keeps_what_it_does_not_change() {
    let text = "# who we are\nregion = \"eu-west\"  # here\nmaxclients = 10 # few\nseeds = [\n  \"a:1\", # first\n]\n";
    let values = [
        (setting("maxclients").unwrap(), "20".to_owned()),
        (setting("requirepass").unwrap(), "se\"cret\\".to_owned()),
        (setting("timeout").unwrap(), "007".to_owned()),
    ];
    let after = rewrite::rewritten(text, &values).unwrap();
    assert!(after.starts_with(
        "# who we are\nregion = \"eu-west\"  # here\nmaxclients = 20 # few\nseeds = [\n  \"a:1\", # first\n]\n"
    ));
    let settings = settings(&after).unwrap();
    assert_eq!(settings.load().requirepass.reveal(), "se\"cret\\");
    assert_eq!(settings.load().timeout, Duration::from_secs(7));
    assert_eq!(rewrite::rewritten("region = ", &values), None);
}

#[test]
fn config_rewrite_writes_what_was_changed_at_run_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pelago.toml");
    std::fs::write(&path, "region = \"eu-west\"\ntimeout = 5").unwrap();
    let mut sources = Sources::new();
    sources.read_file(&path).unwrap().arguments(["maxclients=9".to_owned()]).unwrap();
    let settings = sources.finish().unwrap();
    assert_eq!(settings.load().path(&settings.load().key), directory.path().join("./node.key"));
    settings.set(&[("timeout", "6"), ("loglevel", "debug")]).unwrap();
    settings.rewrite().unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "region = \"eu-west\"\ntimeout = 6\nloglevel = \"debug\"\n");
    assert_eq!(
        Settings::new(Config::default()).rewrite().unwrap_err().to_string(),
        "The server is running without a config file"
    );
}

#[test]
fn a_rewritten_file_with_a_password_is_its_owners_alone_and_none_becomes_more_readable() {
    use std::os::unix::fs::PermissionsExt;
    let cases = [
        (0o644, "", "requirepass", 0o600),
        (0o640, "requirepass = \"p\"\n", "timeout", 0o600),
        (0o644, "user = [\"a on >p\"]\n", "timeout", 0o600),
        (0o400, "", "requirepass", 0o400),
        (0o644, "requirepass = \"\"\n", "timeout", 0o644),
        (0o640, "", "timeout", 0o640),
    ];
    for (before, text, name, after) in cases {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pelago.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(before)).unwrap();
        let mut sources = Sources::new();
        sources.read_file(&path).unwrap();
        let settings = sources.finish().unwrap();
        settings.set(&[(name, "77")]).unwrap();
        settings.rewrite().unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, after, "{before:o}, {text:?}, {name}");
    }
}

#[test]
fn levels_of_modules_that_there_are_not_are_refused() {
    let settings = Settings::new(Config::default());
    settings.set(&[("log-levels", "peers=debug, server::http=warn,quinn=info")]).unwrap();
    let refused = settings.set(&[("log-levels", "peers=debug,server::peer=warn")]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "CONFIG SET failed (possibly related to argument 'log-levels') - argument must name modules that there are, and \
         server::peer is none; did you mean peers?"
    );
    assert_eq!(settings.load().log_levels, "peers=debug, server::http=warn,quinn=info");
}

#[test]
fn a_delay_for_trials_is_refused_where_nothing_is_tried() {
    let started = |arguments: &[&str]| {
        let mut sources = Sources::new();
        sources.arguments(arguments.iter().map(|argument| (*argument).to_owned())).unwrap();
        sources.finish()
    };
    let sentence = "wan-delay-ms is 80, which is for trials: start the node with development = yes, or set it to 0";
    assert_eq!(started(&["wan-delay-ms=80"]).err().unwrap().to_string(), sentence);
    let settings = started(&["wan-delay-ms=0"]).unwrap();
    let refused = settings.set(&[("wan-delay-ms", "80")]).unwrap_err();
    assert_eq!(refused.to_string(), format!("CONFIG SET failed - {sentence}"));
    let settings = started(&["wan-delay-ms=80", "development=yes"]).unwrap();
    settings.set(&[("wan-delay-ms", "90")]).unwrap();
}

#[test]
fn hostile_values_are_refused_and_never_panic() {
    let hostile = [
        "",
        "-",
        "99999999999999999999",
        "184467440737095516160gb",
        "\u{1F30A}",
        "a\nb",
        "a\0b",
        ":",
        "[",
        "[]:1",
        "-9223372036854775808",
    ];
    let mut config = Config::default();
    for setting in SETTINGS {
        for text in hostile {
            let _ = (setting.parse_into)(&mut config, text);
        }
    }
    for text in hostile {
        let _ = settings(text);
        let _ = rewrite::rewritten(text, &[(setting("save").unwrap(), String::new())]);
    }
}

#[test]
fn the_documentation_is_current() {
    crate::document_check::is_current("docs/configuration.md", &document());
}
