//! `CLUSTER`, `MODULE` and `FAILOVER`: what Redis has for dividing keys among nodes, for loading code, and for promoting
//! replicas. They are known here and answer as a Redis that has none of it: every node holds all keys and takes writes.

use super::{Call, Command, CommandError, Flags, Group, Keys, Merge};

const fn row(
    name: &'static str,
    arity: i32,
    flags: Flags,
    handler: super::Handler,
    since: &'static str,
    summary: &'static str,
) -> Command {
    Command {
        name,
        arity,
        flags,
        keys: Keys::None,
        handler,
        since,
        summary,
        group: Group::Cluster,
        complexity: "O(1)",
        merge: Merge::Local("Changes nothing"),
        subcommands: &[],
    }
}

/// A row that belongs to the server, as Redis sees it.
const fn of_server(command: Command) -> Command {
    Command { group: Group::Server, ..command }
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    row("asking", 1, Flags::FAST, no_cluster, "3.0.0", "Sent by cluster clients after an -ASK redirect"),
    row(
        "readonly",
        1,
        Flags::LOADING.union(Flags::STALE).union(Flags::FAST),
        no_cluster,
        "3.0.0",
        "Enables read queries for a connection to a cluster replica node",
    ),
    row(
        "readwrite",
        1,
        Flags::LOADING.union(Flags::STALE).union(Flags::FAST),
        no_cluster,
        "3.0.0",
        "Disables read queries for a connection to a cluster replica node",
    ),
    of_server(row(
        "failover",
        -1,
        Flags::ADMIN.union(Flags::NO_SCRIPT).union(Flags::STALE),
        failover,
        "6.2.0",
        "Start a coordinated failover between this server and one of its replicas.",
    )),
    Command {
        complexity: "Depends on subcommand.",
        subcommands: CLUSTER,
        ..row("cluster", -2, Flags::empty(), alone, "3.0.0", "A container for cluster commands")
    },
    Command {
        complexity: "Depends on subcommand.",
        subcommands: MODULE,
        group: Group::Server,
        ..row("module", -2, Flags::empty(), alone, "4.0.0", "A container for module commands")
    },
];

const CLUSTER: &[Command] = &[
    Command {
        complexity: "O(N) where N is the total number of hash slot arguments",
        ..row(
            "addslots",
            -3,
            Flags::ADMIN.union(Flags::STALE),
            no_cluster,
            "3.0.0",
            "Assign new hash slots to receiving node",
        )
    },
    Command {
        complexity: "O(N) where N is the total number of the slots between the start slot and end slot arguments.",
        ..row(
            "addslotsrange",
            -4,
            Flags::ADMIN.union(Flags::STALE),
            no_cluster,
            "7.0.0",
            "Assign new hash slots to receiving node",
        )
    },
    row("bumpepoch", 2, Flags::ADMIN.union(Flags::STALE), no_cluster, "3.0.0", "Advance the cluster config epoch"),
    Command {
        complexity: "O(N) where N is the number of failure reports",
        ..row(
            "count-failure-reports",
            3,
            Flags::ADMIN.union(Flags::STALE),
            no_cluster,
            "3.0.0",
            "Return the number of failure reports active for a given node",
        )
    },
    row(
        "countkeysinslot",
        3,
        Flags::STALE,
        no_cluster,
        "3.0.0",
        "Return the number of local keys in the specified hash slot",
    ),
    Command {
        complexity: "O(N) where N is the total number of hash slot arguments",
        ..row(
            "delslots",
            -3,
            Flags::ADMIN.union(Flags::STALE),
            no_cluster,
            "3.0.0",
            "Set hash slots as unbound in receiving node",
        )
    },
    Command {
        complexity: "O(N) where N is the total number of the slots between the start slot and end slot arguments.",
        ..row(
            "delslotsrange",
            -4,
            Flags::ADMIN.union(Flags::STALE),
            no_cluster,
            "7.0.0",
            "Set hash slots as unbound in receiving node",
        )
    },
    row(
        "failover",
        -2,
        Flags::ADMIN.union(Flags::STALE),
        no_cluster,
        "3.0.0",
        "Forces a replica to perform a manual failover of its master.",
    ),
    row(
        "flushslots",
        2,
        Flags::ADMIN.union(Flags::STALE),
        no_cluster,
        "3.0.0",
        "Delete a node's own slots information",
    ),
    row("forget", 3, Flags::ADMIN.union(Flags::STALE), no_cluster, "3.0.0", "Remove a node from the nodes table"),
    Command {
        complexity: "O(log(N)) where N is the number of requested keys",
        ..row(
            "getkeysinslot",
            4,
            Flags::STALE,
            no_cluster,
            "3.0.0",
            "Return local key names in the specified hash slot",
        )
    },
    row(
        "help",
        2,
        Flags::LOADING.union(Flags::STALE),
        no_cluster,
        "5.0.0",
        "Show helpful text about the different subcommands",
    ),
    row("info", 2, Flags::STALE, no_cluster, "3.0.0", "Provides info about Redis Cluster node state"),
    Command {
        complexity: "O(N) where N is the number of bytes in the key",
        ..row("keyslot", 3, Flags::STALE, no_cluster, "3.0.0", "Returns the hash slot of the specified key")
    },
    Command {
        complexity: "O(N) where N is the total number of Cluster nodes",
        ..row(
            "links",
            2,
            Flags::STALE,
            no_cluster,
            "7.0.0",
            "Returns a list of all TCP links to and from peer nodes in cluster",
        )
    },
    row(
        "meet",
        -4,
        Flags::ADMIN.union(Flags::STALE),
        no_cluster,
        "3.0.0",
        "Force a node cluster to handshake with another node",
    ),
    row("myid", 2, Flags::STALE, no_cluster, "3.0.0", "Return the node id"),
    Command {
        complexity: "O(N) where N is the total number of Cluster nodes",
        ..row("nodes", 2, Flags::STALE, no_cluster, "3.0.0", "Get Cluster config for the node")
    },
    row(
        "replicas",
        3,
        Flags::ADMIN.union(Flags::STALE),
        no_cluster,
        "5.0.0",
        "List replica nodes of the specified master node",
    ),
    row(
        "replicate",
        3,
        Flags::ADMIN.union(Flags::STALE),
        no_cluster,
        "3.0.0",
        "Reconfigure a node as a replica of the specified master node",
    ),
    Command {
        complexity: "O(N) where N is the number of known nodes. The command may execute a FLUSHALL as a side effect.",
        ..row(
            "reset",
            -2,
            Flags::ADMIN.union(Flags::NO_SCRIPT).union(Flags::STALE),
            no_cluster,
            "3.0.0",
            "Reset a Redis Cluster node",
        )
    },
    row(
        "saveconfig",
        2,
        Flags::ADMIN.union(Flags::STALE),
        no_cluster,
        "3.0.0",
        "Forces the node to save cluster state on disk",
    ),
    row(
        "set-config-epoch",
        3,
        Flags::ADMIN.union(Flags::STALE),
        no_cluster,
        "3.0.0",
        "Set the configuration epoch in a new node",
    ),
    row("setslot", -4, Flags::ADMIN.union(Flags::STALE), no_cluster, "3.0.0", "Bind a hash slot to a specific node"),
    Command {
        complexity: "O(N) where N is the total number of cluster nodes",
        ..row("shards", 2, Flags::STALE, no_cluster, "7.0.0", "Get array of cluster slots to node mappings")
    },
    row(
        "slaves",
        3,
        Flags::ADMIN.union(Flags::STALE),
        no_cluster,
        "3.0.0",
        "List replica nodes of the specified master node",
    ),
    Command {
        complexity: "O(N) where N is the total number of Cluster nodes",
        ..row("slots", 2, Flags::STALE, no_cluster, "3.0.0", "Get array of Cluster slot to node mappings")
    },
];

const LOADS_MODULES: Flags = Flags::ADMIN.union(Flags::NO_SCRIPT).union(Flags::PROTECTED);

const MODULE: &[Command] = &[
    of_server(row(
        "help",
        2,
        Flags::LOADING.union(Flags::STALE),
        module_help,
        "5.0.0",
        "Show helpful text about the different subcommands",
    )),
    Command {
        complexity: "O(N) where N is the number of loaded modules.",
        group: Group::Server,
        ..row(
            "list",
            2,
            Flags::ADMIN.union(Flags::NO_SCRIPT),
            no_modules,
            "4.0.0",
            "List all modules loaded by the server",
        )
    },
    of_server(row("load", -3, LOADS_MODULES, modules_refused, "4.0.0", "Load a module")),
    of_server(row("loadex", -3, LOADS_MODULES, modules_refused, "7.0.0", "Load a module with extended parameters")),
    of_server(row("unload", 3, LOADS_MODULES, modules_refused, "4.0.0", "Unload a module")),
];

fn alone(_: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let name = args.first().map(|name| String::from_utf8_lossy(name).to_ascii_lowercase()).unwrap_or_default();
    Err(CommandError::wrong_arity(&name))
}

fn no_cluster(_: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    Err(CommandError::Plain("ERR This instance has cluster support disabled"))
}

fn no_modules(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    call.reply.array(0);
    Ok(())
}

fn modules_refused(_: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    Err(CommandError::protected("module"))
}

fn module_help(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    const LINES: &[&str] = &[
        "LIST",
        "    Return a list of loaded modules.",
        "LOAD <path> [<arg> ...]",
        "    Load a module library from <path>, passing to it any optional arguments.",
        "LOADEX <path> [[CONFIG NAME VALUE] [CONFIG NAME VALUE]] [ARGS ...]",
        "    Load a module library from <path>, while passing it module configurations and optional arguments.",
        "UNLOAD <name>",
        "    Unload a module.",
    ];
    super::client_calls::write_help(call, "MODULE", LINES);
    Ok(())
}

/// `FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT ms]`: there is nobody to promote.
fn failover(_: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let is = |word: &[u8], name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    if matches!(args, [_, option] if is(option, "abort")) {
        return Err(CommandError::Plain("ERR No failover in progress."));
    }
    let mut rest = &args[1..];
    let mut known: (bool, bool, bool) = (false, false, false);
    loop {
        rest = match rest {
            [] => return Err(CommandError::Plain("ERR FAILOVER requires connected replicas.")),
            [option, ms, rest @ ..] if is(option, "timeout") && !known.0 => {
                known.0 = true;
                if resp::parse_integer(ms).ok_or(CommandError::NotAnInteger)? <= 0 {
                    return Err(CommandError::Plain("ERR FAILOVER timeout must be greater than 0"));
                }
                rest
            }
            [option, _, port, rest @ ..] if is(option, "to") && !known.1 => {
                known.1 = true;
                resp::parse_integer(port).ok_or(CommandError::NotAnInteger)?;
                rest
            }
            [option, rest @ ..] if is(option, "force") && !known.2 => {
                known.2 = true;
                rest
            }
            _ => return Err(CommandError::Syntax),
        };
    }
}
