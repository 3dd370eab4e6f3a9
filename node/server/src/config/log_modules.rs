//! The modules whose lines there are: a level for one that there is not would be kept, shown, and change nothing.

/// The crates and libraries that write lines.
const CRATES: &[&str] = &[
    "crdt",
    "hyper",
    "keyspace",
    "mio",
    "ops",
    "pelago",
    "protocol",
    "quinn",
    "quinn_proto",
    "quinn_udp",
    "rdb",
    "resp",
    "rustls",
    "server",
    "simulation",
    "sled",
    "storage",
    "tokio",
    "transport",
];

/// The modules of this crate, which may be named without it.
const MODULES: &[&str] = &[
    "acl",
    "arrivals",
    "backups",
    "blocking",
    "certificates",
    "client",
    "clients",
    "command",
    "condition",
    "config",
    "connection",
    "console",
    "dispatch",
    "doors",
    "durability",
    "files",
    "http",
    "info",
    "latency_monitor",
    "launch",
    "limits",
    "logging",
    "memory_limit",
    "metrics",
    "migration",
    "monitors",
    "node",
    "notifications",
    "outbox",
    "peers",
    "persistence",
    "pubsub",
    "readiness",
    "relocations",
    "resolving",
    "scripting",
    "sentinel",
    "setup",
    "socket",
    "tally",
    "tls",
    "tracking",
    "worker",
];

/// Whether lines may come from a module: `transport`, `server::peers`, `peers`, or something below one of these.
pub(super) fn is_known(module: &str) -> bool {
    let mut parts = module.split("::");
    let first = parts.next().unwrap_or_default();
    let is_own = |name: &str| MODULES.contains(&name);
    match (first, parts.next()) {
        ("server", Some(second)) => is_own(second),
        (first, _) => CRATES.contains(&first) || is_own(first),
    }
}

/// The known name that somebody probably meant.
pub(super) fn nearest(module: &str) -> Option<&'static str> {
    let last = module.rsplit("::").next().unwrap_or_default().to_ascii_lowercase();
    let ranked = CRATES.iter().chain(MODULES).map(|known| (strsim::damerau_levenshtein(&last, known), *known));
    ranked.min().filter(|(distance, _)| *distance <= DISTANCE_MAX).map(|(_, known)| known)
}

/// Names of modules are short: more errors make another one.
const DISTANCE_MAX: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modules_are_those_that_there_are() {
        let lines = include_str!("../lib.rs").split("#[cfg(test)]").enumerate().flat_map(|(part, text)| {
            // What follows the attribute is for tests alone.
            text.trim_start().lines().skip(usize::from(part > 0))
        });
        let named = lines.filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'));
        assert_eq!(named.collect::<Vec<_>>(), MODULES);
    }

    #[test]
    fn modules_are_known_with_and_without_their_crate() {
        for known in
            ["peers", "server::peers", "server::peers::control", "peers::control", "transport", "sled::tree", "server"]
        {
            assert!(is_known(known), "{known}");
        }
        for unknown in ["peer", "server::peer", "server::", "", "::peers", "tests", "sercer::peers"] {
            assert!(!is_known(unknown), "{unknown}");
        }
        assert_eq!((nearest("server::peer"), nearest("nothing_like_it")), (Some("peers"), None));
    }
}
