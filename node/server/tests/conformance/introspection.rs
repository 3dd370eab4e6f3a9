//! What the server tells of its commands, settings, clients and itself, field by field beside a `redis-server`. Tools read it.

use super::Server;
use super::node::Pelago;
use super::redis::Redis;
use super::reply::Answer;
use resp::Version;
use std::collections::{BTreeMap, BTreeSet};

/// Both, or nothing without a Redis.
fn both() -> Option<[Box<dyn Asked>; 2]> {
    let Some(mut redis) = Redis::start() else {
        eprintln!(
            "SKIPPED: no redis-server 7.0 is installed, so what is told of the server is not compared with Redis"
        );
        return None;
    };
    let mut pelago = Pelago::new();
    redis.begin(Version::Resp2);
    pelago.begin(Version::Resp2);
    Some([Box::new(pelago), Box::new(redis)])
}

/// A server that is asked in words.
trait Asked {
    fn ask(&mut self, line: &str) -> Answer;
}

impl<S: Server> Asked for S {
    fn ask(&mut self, line: &str) -> Answer {
        self.call(&line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>())
    }
}

fn list(answer: Answer) -> Vec<Answer> {
    let Answer::Array(all) = answer else { panic!("a list was expected, not {answer}") };
    all
}

fn text(answer: &Answer) -> String {
    match answer {
        Answer::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Answer::Simple(text) => text.clone(),
        other => panic!("a text was expected, not {other}"),
    }
}

fn names(answer: Answer) -> BTreeSet<String> {
    list(answer).iter().map(text).collect()
}

/// Names and what stands behind each.
fn fields(answer: Answer) -> BTreeMap<String, Answer> {
    list(answer).chunks_exact(2).map(|pair| (text(&pair[0]), pair[1].clone())).collect()
}

/// Nothing is divided among nodes, so channels are no keys: `docs/differences.md`.
const CHANNELS_AS_KEYS: &[&str] = &["spublish", "ssubscribe", "sunsubscribe"];
/// There are no replicas that load what their master sends while they serve.
const LOADING_OF_REPLICAS: &str = "no_async_loading";
/// Not in the slow log at all, where Redis hides what passwords are set to.
const SECRET: &[(&str, &str)] = &[("config|set", "skip_slowlog")];

/// In Redis they may wait for another server with their keys held, and everybody else waits too.
const NEVER_WAITS_WITH_KEYS: &[(&str, &str)] = &[("migrate", "noscript"), ("migrate", "no_multi")];

/// What `COMMAND INFO` says of a command, in words that can be compared. Key specifications without their notes.
fn described(name: &str, info: Answer) -> Vec<String> {
    let parts = list(info);
    let mut flags = names(parts[2].clone());
    flags.remove(LOADING_OF_REPLICAS);
    flags.retain(|flag| !SECRET.iter().chain(NEVER_WAITS_WITH_KEYS).any(|left| *left == (name, flag.as_str())));
    let mut described = vec![
        format!("arity {}", parts[1]),
        format!("flags {flags:?}"),
        format!("categories {:?}", names(parts[6].clone())),
    ];
    if CHANNELS_AS_KEYS.contains(&name) {
        return described;
    }
    described.push(format!("keys {} {} {}", parts[3], parts[4], parts[5]));
    for specification in list(parts[8].clone()) {
        let mut fields = fields(specification);
        fields.remove("notes");
        let flags = fields.remove("flags").map(names).unwrap_or_default();
        let rest: Vec<String> = fields.iter().map(|(name, value)| format!("{name} {value}")).collect();
        described.push(format!("{flags:?} {}", rest.join(" ")));
    }
    described
}

#[test]
fn commands_are_described_as_in_redis() {
    let Some([mut pelago, mut redis]) = both() else { return };
    let known = names(pelago.ask("COMMAND LIST"));
    let (mut differences, mut compared) = (Vec::new(), 0);
    for name in names(redis.ask("COMMAND LIST")).intersection(&known) {
        let describe = |server: &mut dyn Asked| {
            let [info] = <[Answer; 1]>::try_from(list(server.ask(&format!("COMMAND INFO {name}")))).unwrap();
            described(name, info)
        };
        let (here, there) = (describe(&mut *pelago), describe(&mut *redis));
        compared += 1;
        if here != there {
            differences.push(format!("{name}\n  here:  {}\n  Redis: {}", here.join("; "), there.join("; ")));
        }
    }
    assert!(compared > 350, "{compared}");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn commands_are_documented_as_since_when_and_of_which_family() {
    let Some([mut pelago, mut redis]) = both() else { return };
    let documented = |server: &mut dyn Asked| {
        let mut all = BTreeMap::new();
        for (name, documentation) in fields(server.ask("COMMAND DOCS")) {
            let mut documentation = fields(documentation);
            let subcommands = documentation.remove("subcommands").map(fields).unwrap_or_default();
            let since_and_group = |of: &BTreeMap<String, Answer>| (text(&of["since"]), text(&of["group"]));
            for (name, of) in subcommands {
                all.insert(name, since_and_group(&fields(of)));
            }
            all.insert(name, since_and_group(&documentation));
        }
        all
    };
    let (here, there) = (documented(&mut *pelago), documented(&mut *redis));
    let mut compared = 0;
    for (name, documentation) in there {
        let Some(ours) = here.get(&name) else { continue };
        compared += 1;
        assert_eq!(ours.0, documentation.0, "since when there is {name}");
        assert_eq!(ours.1, documentation.1, "{name}");
    }
    assert!(compared > 350, "{compared}");
}

/// What redis_exporter and other tools read. The others stand in `docs/differences.md`.
const NO_SUCH_FIELDS: &[&str] =
    &["atomicvar_api", "gcc_version", "used_cpu_sys_main_thread", "used_cpu_user_main_thread"];

#[test]
fn info_has_the_fields_of_redis_in_the_same_sections() {
    let Some([mut pelago, mut redis]) = both() else { return };
    let told = |server: &mut dyn Asked| {
        server.ask("SET k v");
        server.ask("NOSUCH");
        let (mut section, mut all) = (String::new(), BTreeSet::new());
        for line in text(&server.ask("INFO everything")).lines() {
            match (line.strip_prefix("# "), line.split_once(':')) {
                (Some(name), _) => section = name.to_owned(),
                // Which commands were called and timed is each server's own business.
                (None, Some((name, _)))
                    if !name.starts_with("cmdstat_") && !name.starts_with("latency_percentiles") =>
                {
                    all.insert((section.clone(), name.to_owned()));
                }
                _ => {}
            }
        }
        all
    };
    let (here, there) = (told(&mut *pelago), told(&mut *redis));
    let missing: Vec<&(String, String)> =
        there.difference(&here).filter(|(_, field)| !NO_SUCH_FIELDS.contains(&field.as_str())).collect();
    assert!(there.len() > 130, "{}", there.len());
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn clients_are_listed_with_the_fields_of_redis() {
    let Some([mut pelago, mut redis]) = both() else { return };
    for call in ["CLIENT LIST", "CLIENT INFO"] {
        let names = |server: &mut dyn Asked| -> Vec<String> {
            let line = text(&server.ask(call));
            let fields = line.trim_end().split(' ').filter_map(|field| field.split_once('='));
            fields.map(|(name, _)| name.to_owned()).collect()
        };
        let (here, there) = (names(&mut *pelago), names(&mut *redis));
        // Those of later versions follow.
        assert_eq!(here[..there.len()], there[..], "{call}");
    }
}

#[test]
fn what_takes_memory_is_told_under_the_names_of_redis() {
    let Some([mut pelago, mut redis]) = both() else { return };
    let told = |server: &mut dyn Asked| -> BTreeSet<String> {
        server.ask("SET k v");
        // No database has a table of its own.
        fields(server.ask("MEMORY STATS")).into_keys().filter(|name| !name.starts_with("db.")).collect()
    };
    let (here, there) = (told(&mut *pelago), told(&mut *redis));
    let missing: Vec<&String> = there.difference(&here).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn slow_commands_are_told_in_the_form_of_redis() {
    let Some([mut pelago, mut redis]) = both() else { return };
    let form = |server: &mut dyn Asked| {
        server.ask("CONFIG SET slowlog-log-slower-than 0");
        server.ask("CLIENT SETNAME me");
        server.ask("KEYS nothing");
        let entries = list(server.ask("SLOWLOG GET -1"));
        let entry =
            entries.into_iter().map(list).find(|entry| entry[3].to_string().contains("nothing")).expect("it was slow");
        let kind = |part: &Answer| match part {
            Answer::Integer(_) => "number".to_owned(),
            Answer::Bulk(_) => "text".to_owned(),
            other => other.to_string(),
        };
        let name = entry[5].to_string();
        (entry.iter().map(kind).collect::<Vec<_>>(), name)
    };
    assert_eq!(form(&mut *pelago), form(&mut *redis));
}

/// Settings of Redis that there are none of here, by how their names begin, and why.
const NO_SUCH_SETTINGS: &[(&str, &[&str])] = &[
    ("keys are not divided among nodes", &["cluster-"]),
    (
        "all regions take writes: there are no replicas",
        &[
            "repl-",
            "replica-",
            "replicaof",
            "slave-",
            "slaveof",
            "masteruser",
            "masterauth",
            "min-replicas-",
            "min-slaves-",
            "propagation-error-behavior",
        ],
    ),
    (
        "what is on disk has other forms, and is written without a second process",
        &[
            "aof-",
            "aof_rewrite_cpulist",
            "append",
            "rdb",
            "bgsave_cpulist",
            "dbfilename",
            "no-appendfsync-on-rewrite",
            "stop-writes-on-bgsave-error",
            "sanitize-dump-payload",
        ],
    ),
    (
        "values have other encodings in memory, and it is given back and tidied up by itself",
        &[
            "list-",
            "stream-node-",
            "hll-sparse-max-bytes",
            "active-defrag-",
            "activedefrag",
            "activerehashing",
            "lazyfree-",
            "jemalloc-bg-thread",
            "maxmemory-eviction-tenacity",
            "active-expire-effort",
            "disable-thp",
        ],
    ),
    ("threads and rounds are those of `workers`", &["io-threads", "server_cpulist", "bio_cpulist", "hz", "dynamic-hz"]),
    (
        "TLS is that of rustls, for clients; nodes have their own",
        &[
            "tls-ca-cert-dir",
            "tls-ciphers",
            "tls-client-",
            "tls-cluster",
            "tls-dh-params-file",
            "tls-key-file-pass",
            "tls-prefer-server-ciphers",
            "tls-replication",
            "tls-session-",
        ],
    ),
    (
        "the service manager starts, names, logs and stops the process",
        &[
            "daemonize",
            "supervised",
            "pidfile",
            "logfile",
            "syslog-",
            "oom-score-adj",
            "proc-title-template",
            "set-proc-title",
            "crash-",
            "shutdown-",
            "always-show-logo",
            "ignore-warnings",
        ],
    ),
    ("clients come over TCP", &["unixsocket", "bind-source-addr", "socket-mark-id"]),
    ("what they would allow there is none of", &["enable-"]),
    ("percentiles are fixed", &["latency-tracking-info-percentiles"]),
];

#[test]
fn settings_have_the_names_of_redis_or_a_reason_why_there_are_none() {
    let Some([mut pelago, mut redis]) = both() else { return };
    let names =
        |server: &mut dyn Asked| -> BTreeSet<String> { fields(server.ask("CONFIG GET *")).into_keys().collect() };
    let (here, there) = (names(&mut *pelago), names(&mut *redis));
    let has_reason =
        |name: &str| NO_SUCH_SETTINGS.iter().flat_map(|(_, names)| *names).any(|begin| name.starts_with(begin));
    let missing: Vec<&String> = there.difference(&here).filter(|name| !has_reason(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let both = there.intersection(&here).count();
    println!("{both} of {} settings of Redis are known", there.len());
    assert!(both >= 52, "{both}");
    // A reason that nothing needs any more goes.
    for begin in NO_SUCH_SETTINGS.iter().flat_map(|(_, names)| *names) {
        assert!(there.difference(&here).any(|name| name.starts_with(begin)), "{begin}");
    }
}
