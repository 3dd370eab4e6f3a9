//! Every setting there is, one entry each: name, type, default, range, when it may change, what it means.
//!
//! From the entries come the `Config` that code reads, `CONFIG GET` and `SET`, the checks of files and arguments,
//! and `docs/configuration.md`. A new setting is a new entry here and nothing else.

use std::path::PathBuf;
use std::time::Duration;

use super::address::Address;
use super::memory_share::MemoryShare;
use super::notify_events::NotifyEvents;
use super::output_limits::OutputLimits;
use super::value::{Rule, Secret, SettingValue, Unit, ValueError};

/// When a setting takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applies {
    /// When the node starts; `CONFIG SET` refuses it.
    AtStart,
    /// At once.
    AtOnce,
}

/// The heading a setting stands under in the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Who the node is and where it listens.
    Node,
    /// What clients may do.
    Clients,
    /// How changes reach other nodes.
    Replication,
    /// Limits of memory and of small encodings.
    Memory,
    /// What is kept on disk.
    Persistence,
    /// What the node tells about itself.
    Observation,
    /// For trying things out.
    Development,
}

impl Group {
    /// All groups, in the order of the documentation.
    pub const ALL: [Group; 7] = [
        Group::Node,
        Group::Clients,
        Group::Replication,
        Group::Memory,
        Group::Persistence,
        Group::Observation,
        Group::Development,
    ];

    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Node => "The node",
            Self::Clients => "Clients",
            Self::Replication => "Replication",
            Self::Memory => "Memory",
            Self::Persistence => "Persistence",
            Self::Observation => "Observation",
            Self::Development => "Development",
        }
    }
}

/// One row of the table.
pub struct Setting {
    /// The name first, then older names that Redis has for it.
    pub names: &'static [&'static str],
    /// The heading it stands under.
    pub group: Group,
    /// When it takes effect.
    pub applies: Applies,
    /// What its text must look like.
    pub rule: Rule,
    /// The text of its default.
    pub default: &'static str,
    /// What it means, in lines.
    pub lines: &'static [&'static str],
    /// Reads a text into a configuration.
    pub parse_into: fn(&mut Config, &str) -> Result<(), ValueError>,
    /// The text of the value in a configuration.
    pub show: fn(&Config) -> String,
}

impl Setting {
    /// The name.
    pub fn name(&self) -> &'static str {
        self.names[0]
    }

    /// What it means, in one line.
    pub fn meaning(&self) -> String {
        self.lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    }
}

macro_rules! settings {
    ($($(#[doc = $line:literal])+ $field:ident: $type:ty = $names:expr, $group:ident, $applies:ident, $rule:expr, $default:literal;)*) => {
        /// The value of every setting at one moment. Read it through `Settings`.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config {
            $($(#[doc = $line])+ pub $field: $type,)*
        }

        impl Default for Config {
            fn default() -> Self {
                Self {
                    $($field: <$type as SettingValue>::parse($default, &$rule).expect("defaults follow their own rule"),)*
                }
            }
        }

        /// The table of settings.
        pub const SETTINGS: &[Setting] = &[$(Setting {
            names: &$names,
            group: Group::$group,
            applies: Applies::$applies,
            rule: $rule,
            default: $default,
            lines: &[$($line),+],
            parse_into: |config, text| {
                config.$field = config.$field.parse_over(text, &$rule)?;
                Ok(())
            },
            show: |config| SettingValue::show(&config.$field, &$rule),
        },)*];
    };
}

settings! {
    /// The region this node serves, such as `us-east`.
    region: String = ["region"], Node, AtStart, Rule::Name { optional: true }, "";
    /// The node's name, unique in the cluster; by default the region's name with `-1`.
    node: String = ["node"], Node, AtStart, Rule::Name { optional: true }, "";
    /// The cluster's id, 32 hexadecimal digits; nodes of different clusters never speak to each other.
    cluster_id: String = ["cluster-id"], Node, AtStart, Rule::Text, "";
    /// Where clients connect. Redis' names `port` and `bind` are its parts; with `CONFIG SET port 0` it is `resp-plain` that becomes `no`.
    resp: Address = ["resp"], Node, AtOnce, Rule::Address, "127.0.0.1:6379";
    /// Whether clients may connect to `resp` without TLS. With `no` only `tls-port` takes them.
    resp_plain: bool = ["resp-plain"], Node, AtOnce, Rule::Flag, "yes";
    /// The port at the host of `resp` where clients connect over TLS; 0 for none.
    tls_port: u64 = ["tls-port"], Node, AtOnce, Rule::Integer { low: 0, high: 65_535 }, "0";
    /// The certificate that clients are shown, with those between it and its authority (PEM). It is read again when it changes.
    tls_cert_file: PathBuf = ["tls-cert-file"], Node, AtOnce, Rule::Path, "";
    /// The private key of that certificate (PEM).
    tls_key_file: PathBuf = ["tls-key-file"], Node, AtOnce, Rule::Path, "";
    /// The authorities whose clients are believed (PEM).
    tls_ca_cert_file: PathBuf = ["tls-ca-cert-file"], Node, AtOnce, Rule::Path, "";
    /// Whether clients must show a certificate.
    tls_auth_clients: String = ["tls-auth-clients"], Node, AtOnce, Rule::Choice(&["no", "yes", "optional"]), "yes";
    /// The versions of TLS that clients may speak.
    tls_protocols: String = ["tls-protocols"], Node, AtOnce,
        Rule::Choice(&["TLSv1.2 TLSv1.3", "TLSv1.3 TLSv1.2", "TLSv1.3", "TLSv1.2", ""]), "TLSv1.2 TLSv1.3";
    /// Where other nodes connect (QUIC, so a UDP port).
    peer: Address = ["peer"], Node, AtStart, Rule::Address, "127.0.0.1:7379";
    /// The QUIC address other nodes are told, behind NAT or a relay; by default that of `peer`.
    advertise: Option<Address> = ["advertise"], Node, AtStart, Rule::OptionalAddress, "";
    /// Where `/livez`, `/readyz` and `/metrics` are served; empty for nowhere.
    http: Option<Address> = ["http"], Node, AtStart, Rule::OptionalAddress, "";
    /// The node's directory; relative paths of other settings begin here.
    dir: PathBuf = ["dir"], Node, AtStart, Rule::Path, ".";
    /// The node's certificate (PEM); its key is the node's identity.
    certificate: PathBuf = ["certificate"], Node, AtStart, Rule::Path, "node.pem";
    /// The certificate's private key (PEM).
    key: PathBuf = ["key"], Node, AtStart, Rule::Path, "node.key";
    /// The certificate of the authority that signs the nodes of the cluster (PEM).
    authority: PathBuf = ["authority"], Node, AtStart, Rule::Path, "authority.pem";
    /// Nodes to dial first; the others are learnt from them.
    seeds: Vec<Address> = ["seeds"], Node, AtStart, Rule::Addresses, "";
    /// Threads that serve clients; 0 is one for each core.
    workers: u64 = ["workers"], Node, AtStart, Rule::Integer { low: 0, high: 256 }, "0";
    /// How many databases there are.
    databases: u64 = ["databases"], Node, AtStart, Rule::Integer { low: 16, high: 16 }, "16";

    /// The password of the user `default`; empty for none. `CONFIG GET` shows it to those who may call it.
    requirepass: Secret = ["requirepass"], Clients, AtOnce, Rule::Text, "";
    /// A file with users, a line each as `ACL LIST` shows them, for `ACL LOAD` and `ACL SAVE`. Without one and without `user`
    /// the node keeps its users in `users.acl` in its directory, with every change.
    aclfile: PathBuf = ["aclfile"], Clients, AtStart, Rule::Path, "";
    /// Users, a line each: a name and rules, as in `alice on >password ~app:* +@all`. Not together with `aclfile`.
    user: String = ["user"], Clients, AtStart, Rule::Lines, "";
    /// Whether new users may use all channels of publish and subscribe, or none.
    acl_pubsub_default: String = ["acl-pubsub-default"], Clients, AtOnce, Rule::Choice(&["allchannels", "resetchannels"]), "resetchannels";
    /// Entries of `ACL LOG`.
    acllog_max_len: u64 = ["acllog-max-len"], Clients, AtOnce, Rule::Integer { low: 0, high: i64::MAX }, "128";
    /// Whether only this machine may connect while the user `default` needs no password.
    protected_mode: bool = ["protected-mode"], Clients, AtOnce, Rule::Flag, "yes";
    /// The memory that requests (also those that `MULTI` has queued, or that wait behind a blocked one) and replies of all clients together may take, in bytes or, as in `5%`, as a share of `maxmemory`; the largest are disconnected first. 0 is no limit.
    maxmemory_clients: MemoryShare = ["maxmemory-clients"], Clients, AtOnce, Rule::Bytes { low: 0, high: 1 << 50 }, "0";
    /// Clients that may be connected at once.
    maxclients: u64 = ["maxclients"], Clients, AtOnce, Rule::Integer { low: 1, high: 4_294_967_295 }, "10000";
    /// Seconds after which an idle client is disconnected, unless it has subscribed to something, is shown commands or waits for an answer; 0 is never.
    timeout: Duration = ["timeout"], Clients, AtOnce, seconds(0, 2_147_483_647), "0";
    /// Seconds between TCP keep-alive probes; 0 is none.
    tcp_keepalive: Duration = ["tcp-keepalive"], Clients, AtOnce, seconds(0, 2_147_483_647), "300";
    /// Connections that may wait to be accepted.
    tcp_backlog: u64 = ["tcp-backlog"], Clients, AtStart, Rule::Integer { low: 1, high: 65_535 }, "511";
    /// The largest single argument of a command, and the largest string. Other nodes take no larger one.
    proto_max_bulk_len: u64 = ["proto-max-bulk-len"], Clients, AtOnce, Rule::Bytes { low: 1 << 20, high: 512 << 20 }, "512mb";
    /// The largest request of one client, all arguments together; also what is kept of a client that sends on while its
    /// replies wait to be written.
    client_query_buffer_limit: u64 = ["client-query-buffer-limit"], Clients, AtOnce, Rule::Bytes { low: 1 << 20, high: i64::MAX as u64 }, "1gb";
    /// Replies that may wait for a client that does not read: `class hard soft seconds` for each class.
    client_output_buffer_limit: OutputLimits = ["client-output-buffer-limit"], Clients, AtOnce, Rule::BufferLimits,
        "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
    /// Whether published messages reach the subscribers of other regions, and those of other regions the subscribers here.
    pubsub_regions: bool = ["pubsub-regions"], Clients, AtOnce, Rule::Flag, "yes";
    /// Keys that are remembered for clients that cache what they read; beyond it they are told that keys have changed. 0 is no limit.
    tracking_table_max_keys: u64 = ["tracking-table-max-keys"], Clients, AtOnce, Rule::Integer { low: 0, high: i64::MAX }, "1000000";
    /// Which events of keys are published, by Redis' letters; with R also those of changes that arrive from other nodes.
    notify_keyspace_events: NotifyEvents = ["notify-keyspace-events"], Clients, AtOnce, Rule::EventLetters, "";
    /// What Sentinel-aware clients call this node's region, beside the region's own name.
    sentinel_master_name: String = ["sentinel-master-name"], Clients, AtOnce, Rule::Text, "mymaster";
    /// Regions in the order in which Sentinel-aware clients are sent to them when their own fails, with commas between them;
    /// those that are not named come after these, the nearest first.
    sentinel_preference: String = ["sentinel-preference"], Clients, AtOnce, Rule::Text, "";
    /// Whether connections of Sentinel-aware clients that came here while their region failed are ended, between two
    /// requests, once it serves again: then they go back.
    sentinel_bring_back: bool = ["sentinel-bring-back"], Clients, AtOnce, Rule::Flag, "yes";
    /// Whether the node is part of a Redis Cluster: every node holds all keys, so it never is.
    cluster_enabled: String = ["cluster-enabled"], Clients, AtStart,
        Rule::Only { value: "no", reason: "every node holds all keys, so there are no cluster slots to divide" }, "no";

    /// Memory for recent batches of all nodes, from which others catch up without comparing state.
    ring_bytes: u64 = ["ring-bytes"], Replication, AtStart, Rule::Bytes { low: 1 << 20, high: 1 << 40 }, "64mb";
    /// Milliseconds at most between two batches while there is something to send.
    batch_interval: Duration = ["batch-interval-ms"], Replication, AtOnce, milliseconds(1, 1_000), "8";
    /// Milliseconds a known gap may last before its batches are asked of a third node.
    grace: Duration = ["grace-ms"], Replication, AtStart, milliseconds(10, 600_000), "1000";
    /// Milliseconds between heartbeats on an idle link.
    heartbeat: Duration = ["heartbeat-ms"], Replication, AtStart, milliseconds(10, 60_000), "250";
    /// Milliseconds without a word after which a link is taken for dead; at least three heartbeats.
    link_silence: Duration = ["link-silence-ms"], Replication, AtStart, milliseconds(100, 600_000), "1500";
    /// How long a starting node looks for others with data before it serves what it has; it waits anew when all that filled
    /// it have gone.
    fill_timeout: Duration = ["fill-timeout"], Replication, AtStart, written(0, 86_400_000), "10s";
    /// How far clocks may differ before changes are held and writes refused.
    max_clock_drift: Duration = ["max-clock-drift"], Replication, AtStart, written(1_000, 86_400_000), "60s";

    /// The memory limit; 0 is none. Buffers that have limits of their own do not count: the ring, batches that wait, changes
    /// that no batch contains yet, the journal's queue; nor do collections that were removed and wait to be freed.
    maxmemory: u64 = ["maxmemory"], Memory, AtOnce, Rule::Bytes { low: 0, high: 1 << 50 }, "0";
    /// What is evicted at the memory limit, in every region: an eviction replicates.
    maxmemory_policy: String = ["maxmemory-policy"], Memory, AtOnce, Rule::Choice(&[
        "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl", "allkeys-lru", "allkeys-lfu", "allkeys-random",
        "noeviction",
    ]), "noeviction";
    /// Keys that are drawn for each that is evicted.
    maxmemory_samples: u64 = ["maxmemory-samples"], Memory, AtOnce, Rule::Integer { low: 1, high: 64 }, "5";
    /// How slowly the counter of uses grows, under an `lfu` policy.
    lfu_log_factor: u64 = ["lfu-log-factor"], Memory, AtOnce, Rule::Integer { low: 0, high: 2_147_483_647 }, "10";
    /// Minutes after which the counter of a key that is not used loses one; 0 is never.
    lfu_decay_time: u64 = ["lfu-decay-time"], Memory, AtOnce, Rule::Integer { low: 0, high: 2_147_483_647 }, "1";
    /// Fields up to which `OBJECT ENCODING` calls a hash a listpack.
    hash_max_listpack_entries: u64 = ["hash-max-listpack-entries", "hash-max-ziplist-entries"], Memory, AtOnce, count(), "512";
    /// The longest field or value in such a hash, in bytes.
    hash_max_listpack_value: u64 = ["hash-max-listpack-value", "hash-max-ziplist-value"], Memory, AtOnce, any_bytes(), "64";
    /// Members up to which `OBJECT ENCODING` calls a sorted set a listpack.
    zset_max_listpack_entries: u64 = ["zset-max-listpack-entries", "zset-max-ziplist-entries"], Memory, AtOnce, count(), "128";
    /// Bytes of a member up to which `OBJECT ENCODING` calls a sorted set a listpack.
    zset_max_listpack_value: u64 = ["zset-max-listpack-value", "zset-max-ziplist-value"], Memory, AtOnce, any_bytes(), "64";
    /// Members up to which `OBJECT ENCODING` calls a set of whole numbers an intset.
    set_max_intset_entries: u64 = ["set-max-intset-entries"], Memory, AtOnce, count(), "512";

    /// Whether keys are kept on disk. With `off` they are in memory and in the other regions only.
    persistence: String = ["persistence"], Persistence, AtStart, Rule::Choice(&["on", "off"]), "on";
    /// What is answered about keys that a start has not read yet: `error` is `LOADING` at once, `wait` is the reply itself, as
    /// soon as they are there. Keys that are asked for are read first.
    loading_replies: String = ["loading-replies"], Persistence, AtOnce, Rule::Choice(&["error", "wait"]), "error";
    /// When what was written is made durable: `always` before the reply, `everysec` within a second, `no` when the system
    /// likes.
    appendfsync: String = ["appendfsync"], Persistence, AtOnce, Rule::Choice(&["always", "everysec", "no"]), "everysec";
    /// A checkpoint is taken when the journal has grown to this percentage of the last one's size; 0 takes none by itself.
    auto_aof_rewrite_percentage: u64 = ["auto-aof-rewrite-percentage"], Persistence, AtOnce, Rule::Integer { low: 0, high: 1_000_000 }, "100";
    /// But not before the journal is so large.
    auto_aof_rewrite_min_size: u64 = ["auto-aof-rewrite-min-size"], Persistence, AtOnce, Rule::Bytes { low: 1 << 10, high: 1 << 50 }, "64mb";
    /// Journal that is kept, although a checkpoint covers it, for nodes that were away.
    journal_retain_bytes: u64 = ["journal-retain-bytes"], Persistence, AtOnce, Rule::Bytes { low: 0, high: 1 << 50 }, "256mb";
    /// For how long at most it is kept for them.
    journal_retain: Duration = ["journal-retain"], Persistence, AtOnce, written(0, 365 * 86_400_000), "24h";
    /// Redis' snapshots by time and changes; empty is the only value.
    save: String = ["save"], Persistence, AtOnce,
        Rule::Only { value: "", reason: "checkpoints follow the growth of the journal (auto-aof-rewrite-percentage), and BGSAVE takes one" }, "";

    /// How much is logged.
    loglevel: String = ["loglevel"], Observation, AtOnce, Rule::Choice(&["debug", "verbose", "notice", "warning"]), "notice";
    /// Levels of single modules, such as `server::peers=debug,transport=trace`; they go before `loglevel`. A crate or module
    /// that there is not is refused; what is named below a module is not looked up.
    log_levels: String = ["log-levels"], Observation, AtOnce, Rule::LogLevels, "";
    /// How log lines are written.
    log_format: String = ["log-format"], Observation, AtStart, Rule::Choice(&["text", "json"]), "text";
    /// Lines a second that one place in the code may log before the rest is counted instead.
    log_burst: u64 = ["log-burst"], Observation, AtOnce, Rule::Integer { low: 1, high: 1_000_000 }, "20";
    /// Milliseconds after which a script that still runs makes the node answer `BUSY` to others, so that it can be
    /// ended (`SCRIPT KILL`, `FUNCTION KILL`); 0 or less: never.
    busy_reply_threshold: i64 = ["busy-reply-threshold", "lua-time-limit"], Clients, AtOnce, Rule::Integer { low: i64::MIN, high: i64::MAX }, "5000";
    /// Microseconds from which a command enters the slow log; 0 logs all that are timed, a negative number none. Of
    /// commands that take constant time one in 128 is timed, of others every one.
    slowlog_log_slower_than: i64 = ["slowlog-log-slower-than"], Observation, AtOnce, Rule::Integer { low: -1, high: i64::MAX }, "10000";
    /// Entries of the slow log.
    slowlog_max_len: u64 = ["slowlog-max-len"], Observation, AtOnce, Rule::Integer { low: 0, high: i64::MAX }, "128";
    /// Commands that `MONITOR` shows in a second; how many were left out beyond that is shown in a line of its own. Five
    /// thousand take about one hundredth of a core.
    monitor_lines_max: u64 = ["monitor-lines-max"], Observation, AtOnce, Rule::Integer { low: 1, high: 1_000_000_000 }, "5000";
    /// Milliseconds from which `LATENCY` keeps what took long: commands, turns of expiry and eviction, writes and flushes of
    /// the journal. While it is not 0 every command is timed.
    latency_monitor_threshold: u64 = ["latency-monitor-threshold"], Observation, AtOnce, Rule::Integer { low: 0, high: i64::MAX }, "0";
    /// Whether `INFO latencystats` is kept.
    latency_tracking: bool = ["latency-tracking"], Observation, AtOnce, Rule::Flag, "yes";

    /// Whether `PELAGO CUT` and `PELAGO HEAL` may cut the node off from the others and join it again.
    development: bool = ["development"], Development, AtStart, Rule::Flag, "no";
    /// Milliseconds added to everything sent to other nodes, to try wide area links on one machine; with `development` only.
    wan_delay: Duration = ["wan-delay-ms"], Development, AtOnce, milliseconds(0, 60_000), "0";
}

const fn seconds(low: u64, high: u64) -> Rule {
    Rule::Duration { unit: Unit::Seconds, low: Duration::from_secs(low), high: Duration::from_secs(high) }
}

const fn milliseconds(low: u64, high: u64) -> Rule {
    Rule::Duration { unit: Unit::Milliseconds, low: Duration::from_millis(low), high: Duration::from_millis(high) }
}

/// A span in milliseconds whose unit must be written.
const fn written(low_ms: u64, high_ms: u64) -> Rule {
    Rule::Duration { unit: Unit::Written, low: Duration::from_millis(low_ms), high: Duration::from_millis(high_ms) }
}

const fn count() -> Rule {
    Rule::Integer { low: 0, high: i64::MAX }
}

const fn any_bytes() -> Rule {
    Rule::Bytes { low: 0, high: i64::MAX as u64 }
}
