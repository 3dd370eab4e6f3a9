//! What clients are answered, request by request. The expected texts are those of Redis 7.0.15.

mod shown;

use super::*;
use crate::clients::InputBytes;
use crate::testing::{Caller, STARTED_AT, node};
use keyspace::{Database, Permission, Relocated, Relocation};
use resp::Version;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

/// A node and its clients, each with a one-letter name.
struct Scene {
    worker: Rc<Worker>,
    clients: BTreeMap<char, (ClientState, Reply)>,
}

impl Scene {
    fn new() -> Self {
        Self { worker: Worker::new(Arc::new(node())), clients: BTreeMap::new() }
    }

    fn with_password(password: &str) -> Self {
        let scene = Self::new();
        scene.worker.node.config.set(&[("requirepass", password)]).unwrap();
        scene
    }

    fn client(&mut self, name: char) -> &mut (ClientState, Reply) {
        let worker = &self.worker;
        self.clients.entry(name).or_insert_with(|| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, name as u16));
            let node = &worker.node;
            let presence = node.clients.enter(address, address, STARTED_AT, 100).unwrap();
            let client = ClientState::new(presence, Arc::clone(&worker.tally), node.seed(), &node.acl);
            (client, Reply::new(Version::Resp2))
        })
    }

    /// Gives one request, words separated by spaces, and returns its reply with `\r\n` as `;`.
    fn ask(&mut self, name: char, request: &str) -> String {
        self.try_ask(name, request).expect("nothing is paused")
    }

    fn try_ask(&mut self, name: char, request: &str) -> Option<String> {
        let worker = Rc::clone(&self.worker);
        let (client, reply) = self.client(name);
        let args: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
        let outcome = dispatch(&worker, client, reply, STARTED_AT, &args);
        let text = String::from_utf8_lossy(reply.bytes()).replace("\r\n", ";");
        reply.truncate(0);
        match outcome {
            Outcome::Done => Some(text),
            Outcome::Paused(_) | Outcome::Aside => None,
        }
    }

    /// Each line is `request -> reply`, or `x: request -> reply` for client `x` instead of `a`.
    #[track_caller]
    fn check(&mut self, script: &str) {
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (request, expected) = line.split_once(" ->").expect("a line has a request and a reply");
            let (name, request) = match request.split_once(": ") {
                Some((name, request)) if name.len() == 1 => (name.chars().next().unwrap(), request),
                _ => ('a', request),
            };
            assert_eq!(self.ask(name, request.trim()), expected.trim(), "{line}");
        }
    }
}

#[test]
fn refusals_have_the_texts_of_redis() {
    Scene::new().check(
        "
        nosuch a b -> -ERR unknown command 'nosuch', with args beginning with: 'a' 'b' ;
        nosuch -> -ERR unknown command 'nosuch', with args beginning with: ;
        get -> -ERR wrong number of arguments for 'get' command;
        client foo -> -ERR unknown subcommand 'foo'. Try CLIENT HELP.;
        client -> -ERR wrong number of arguments for 'client' command;
        CLIENT ID 3 -> -ERR wrong number of arguments for 'client|id' command;
        ping a b -> -ERR wrong number of arguments for 'ping' command;
        ",
    );
}

#[test]
fn a_refusal_repeats_only_the_beginning_of_a_long_request() {
    let long = "x".repeat(300);
    let reply = Scene::new().ask('a', &format!("nosuch {long} y z"));
    assert_eq!(reply, format!("-ERR unknown command 'nosuch', with args beginning with: '{}' ;", "x".repeat(128)));
}

#[test]
fn a_browser_is_hung_up_on() {
    for request in ["POST / HTTP/1.1", "Host: localhost"] {
        let mut scene = Scene::new();
        assert_eq!(scene.ask('a', request), "");
        assert!(scene.client('a').0.closing);
    }
}

#[test]
fn connection_commands_answer_as_redis_does() {
    Scene::new().check(
        "
        ping -> +PONG;
        ping a -> $1;a;
        echo a -> $1;a;
        select x -> -ERR value is not an integer or out of range;
        select 16 -> -ERR DB index is out of range;
        select -1 -> -ERR DB index is out of range;
        select 99999999999 -> -ERR value is out of range, value must between -2147483648 and 2147483647;
        select 15 -> +OK;
        auth x -> -ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?;
        auth a b c -> -ERR syntax error;
        auth default x -> +OK;
        auth foo x -> -WRONGPASS invalid username-password pair or user is disabled.;
        hello 4 -> -NOPROTO unsupported protocol version;
        hello x -> -ERR Protocol version is not an integer or out of range;
        hello 2 foo -> -ERR Syntax error in HELLO option 'foo';
        hello 2 setname -> -ERR Syntax error in HELLO option 'setname';
        hello 2 auth default -> -ERR Syntax error in HELLO option 'auth';
        client getname -> $-1;
        hello 3 auth default y setname foo -> %7;$6;server;$5;redis;$7;version;$5;7.4.0;$5;proto;:3;$2;id;:1;$4;mode;$10;standalone;$4;role;$6;master;$7;modules;*0;
        client getname -> $3;foo;
        client trackinginfo -> %3;$5;flags;~1;$3;off;$8;redirect;:-1;$8;prefixes;*0;
        reset -> +RESET;
        client getname -> $-1;
        client setname \u{1} -> -ERR Client names cannot contain spaces, newlines or special characters.;
        client setinfo lib-name x -> +OK;
        client setinfo foo x -> -ERR Unrecognized option 'foo';
        client getredir -> :-1;
        client caching yes -> -ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled;
        client list id x -> -ERR Invalid client ID;
        client list type foo -> -ERR Unknown client type 'foo';
        client list foo -> -ERR syntax error;
        client list id 999 -> $0;;
        client kill foo -> -ERR No such client;
        client kill id 0 -> -ERR client-id should be greater than 0;
        client kill id 9999 -> :0;
        client kill user foo -> -ERR No such user 'foo';
        client kill foo bar -> -ERR syntax error;
        client kill id 3 skipme -> -ERR syntax error;
        client no-evict foo -> -ERR syntax error;
        client no-evict on -> +OK;
        client reply foo -> -ERR syntax error;
        client pause x -> -ERR timeout is not an integer or out of range;
        client pause -1 -> -ERR timeout is negative;
        client pause 10 foo -> -ERR CLIENT PAUSE mode must be WRITE or ALL;
        client unblock 3 -> :0;
        client unblock x -> -ERR value is not an integer or out of range;
        client unblock 3 foo -> -ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR;
        quit -> +OK;
        ",
    );
}

#[test]
fn a_stranger_may_only_authenticate() {
    let mut scene = Scene::with_password("secret");
    scene.check(
        "
        get k -> -NOAUTH Authentication required.;
        ping -> -NOAUTH Authentication required.;
        hello 3 -> -NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time;
        auth wrong -> -WRONGPASS invalid username-password pair or user is disabled.;
        auth default secre -> -WRONGPASS invalid username-password pair or user is disabled.;
        auth secret -> +OK;
        get k -> $-1;
        b: auth default secret -> +OK;
        b: get k -> $-1;
        b: reset -> +RESET;
        b: get k -> -NOAUTH Authentication required.;
        ",
    );
}

#[test]
fn a_transaction_runs_at_exec_and_its_errors_stay_inside() {
    Scene::new().check(
        "
        exec -> -ERR EXEC without MULTI;
        discard -> -ERR DISCARD without MULTI;
        multi -> +OK;
        multi -> -ERR MULTI calls can not be nested;
        watch a -> -ERR WATCH inside MULTI is not allowed;
        set a 1 -> +QUEUED;
        incr a -> +QUEUED;
        sadd a x -> +QUEUED;
        get a -> +QUEUED;
        unwatch -> +QUEUED;
        b: get a -> $-1;
        exec -> *5;+OK;:2;-WRONGTYPE Operation against a key holding the wrong kind of value;$1;2;+OK;
        b: get a -> $1;2;
        multi -> +OK;
        set a 5 -> +QUEUED;
        discard -> +OK;
        get a -> $1;2;
        multi -> +OK;
        exec -> *0;
        ",
    );
}

#[test]
fn what_nobody_may_do_dooms_the_transaction_in_which_it_is_asked_for() {
    for line in ["debug sleep 0", "module load x", "module loadex x", "module unload x"] {
        let mut scene = Scene::new();
        scene.check("multi -> +OK;");
        assert!(scene.ask('a', line).contains(" command not allowed. If the enable-"), "{line}");
        scene.check("exec -> -EXECABORT Transaction discarded because of previous errors.;");
    }
}

#[test]
fn a_transaction_that_would_hold_too_much_can_only_be_discarded() {
    let mut caller = Caller::new(&Arc::new(node()));
    let piece = vec![b'x'; 1 << 20];
    let mut words: Vec<&[u8]> = vec![b"rpush".as_slice(), b"l".as_slice()];
    words.extend(std::iter::repeat_n(piece.as_slice(), 256));
    assert_eq!(caller.call("MULTI"), "+OK\r\n");
    assert_eq!(caller.call("RPUSH l a"), "+QUEUED\r\n");
    let refusal = caller.call_bytes(&words);
    let text = "-ERR the transaction holds too much: discard it and send less at once\r\n";
    assert_eq!(String::from_utf8_lossy(&refusal), text);
    assert_eq!(caller.call("EXEC"), "-EXECABORT Transaction discarded because of previous errors.\r\n");
    assert_eq!(caller.call("EXISTS l"), ":0\r\n");
}

#[test]
fn a_mistake_while_queueing_dooms_the_transaction() {
    Scene::new().check(
        "
        multi -> +OK;
        set a -> -ERR wrong number of arguments for 'set' command;
        set a 1 -> +QUEUED;
        exec -> -EXECABORT Transaction discarded because of previous errors.;
        multi -> +OK;
        nosuch -> -ERR unknown command 'nosuch', with args beginning with: ;
        exec -> -EXECABORT Transaction discarded because of previous errors.;
        multi -> +OK;
        exec foo -> -EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command;
        get a -> $-1;
        ",
    );
}

#[test]
fn a_changed_watched_key_prevents_the_transaction() {
    Scene::new().check(
        "
        watch a b b -> +OK;
        b: set b 1 -> +OK;
        multi -> +OK;
        set c 1 -> +QUEUED;
        exec -> *-1;
        get c -> $-1;
        watch a -> +OK;
        multi -> +OK;
        set c 1 -> +QUEUED;
        exec -> *1;+OK;
        watch a -> +OK;
        b: set a 1 -> +OK;
        unwatch -> +OK;
        multi -> +OK;
        exec -> *0;
        watch a -> +OK;
        b: set a 2 -> +OK;
        multi -> +OK;
        discard -> +OK;
        multi -> +OK;
        exec -> *0;
        ",
    );
}

#[test]
fn a_transaction_over_whole_databases_holds_them_all() {
    Scene::new().check(
        "
        set a 1 -> +OK;
        multi -> +OK;
        dbsize -> +QUEUED;
        flushall -> +QUEUED;
        set b 1 -> +QUEUED;
        dbsize -> +QUEUED;
        exec -> *4;:1;+OK;+OK;:1;
        ",
    );
}

#[test]
fn replies_that_are_not_wanted_are_not_written() {
    Scene::new().check(
        "
        client reply off ->
        ping ->
        nosuch ->
        client reply skip ->
        ping ->
        client reply on -> +OK;
        client reply skip ->
        ping ->
        ping -> +PONG;
        ",
    );
}

#[test]
fn the_condition_of_the_node_is_answered() {
    let mut scene = Scene::new();
    let node = Arc::clone(&scene.worker.node);
    scene.check("set a 1 -> +OK;");
    node.condition.set_loading(true);
    scene.check(
        "
        get a -> -LOADING Redis is loading the dataset in memory;
        client getname -> $-1;
        ",
    );
    node.condition.set_loading(false);
    node.condition.refuse_writes(Some("MISCONF the clock of this node is off"));
    scene.check(
        "
        set a 2 -> -MISCONF the clock of this node is off;
        get a -> $1;1;
        multi -> +OK;
        get a -> +QUEUED;
        exec -> *1;$1;1;
        ",
    );
    node.condition.refuse_writes(None);
    scene.check("multi -> +OK;\nset a 2 -> +QUEUED;");
    node.condition.refuse_writes(Some("MISCONF the clock of this node is off"));
    scene.check("exec -> -EXECABORT Transaction discarded because of: MISCONF the clock of this node is off;");
    node.condition.refuse_writes(None);
    node.condition.set_out_of_memory(true);
    scene.check(
        "
        set a 3 -> -OOM command not allowed when used memory > 'maxmemory'.;
        del a -> :1;
        ",
    );
}

#[test]
fn a_pause_holds_commands_back_until_it_ends() {
    let mut scene = Scene::new();
    scene.check("client pause 1000 write -> +OK;");
    assert_eq!(scene.try_ask('b', "get a").as_deref(), Some("$-1;"));
    assert_eq!(scene.try_ask('b', "set a 1"), None);
    assert_eq!(scene.try_ask('b', "multi").as_deref(), Some("+OK;"));
    assert_eq!(scene.try_ask('b', "set a 1"), None);
    scene.check("client unpause -> +OK;\nb: set a 1 -> +QUEUED;\nb: exec -> *1;+OK;");
    scene.check("client pause 1000 -> +OK;");
    assert_eq!(scene.try_ask('b', "get a"), None);
}

#[test]
fn a_client_ends_others_and_itself_last() {
    let mut scene = Scene::new();
    for name in ['a', 'b', 'c'] {
        scene.ask(name, "ping");
    }
    scene.check("client kill id 2 -> :1;\nclient kill 127.0.0.1:99 -> +OK;");
    assert!(scene.client('b').0.presence.is_ended() && scene.client('c').0.presence.is_ended());
    scene.check("client kill type normal skipme no -> :3;");
    let (own, _) = scene.client('a');
    assert!(own.closing && !own.presence.is_ended());
}

#[test]
fn a_list_of_clients_has_the_fields_of_redis() {
    let mut scene = Scene::new();
    scene.check("client setname me -> +OK;\nselect 3 -> +OK;\nmulti -> +OK;");
    let line = "id=1 addr=127.0.0.1:97 laddr=127.0.0.1:97 fd=1 name=me age=0 idle=0 flags=x db=3 sub=0 psub=0 ssub=0 \
                multi=0 ";
    scene.check("client info -> +QUEUED;\nb: ping -> +PONG;");
    let within = scene.ask('a', "exec");
    assert!(within.contains("cmd=exec user=default redir=-1 resp=2 lib-name= lib-ver=\n"), "{within}");
    assert!(within.contains(" flags=x ") && within.contains(" multi=1 "), "{within}");
    assert!(scene.ask('a', "client info").contains(" flags=N db=3 sub=0 psub=0 ssub=0 multi=-1 "));
    scene.check("multi -> +OK;");
    let (client, reply) = scene.client('a');
    client.presence.update(&client.look(STARTED_AT, reply.version(), InputBytes::default()));
    assert!(scene.ask('b', "client list").contains(line));
}

#[test]
fn commands_tell_about_themselves() {
    let mut scene = Scene::new();
    scene.check(
        "
        command info get -> *1;*10;$3;get;:2;*2;+readonly;+fast;:1;:1;:1;*3;+@read;+@string;+@fast;*0;*1;*6;$5;flags;*2;+RO;+access;$12;begin_search;*4;$4;type;$5;index;$4;spec;*2;$5;index;:1;$9;find_keys;*4;$4;type;$5;range;$4;spec;*6;$7;lastkey;:0;$7;keystep;:1;$5;limit;:0;*0;
        command info nosuch -> *1;$-1;
        command info exec -> *1;*10;$4;exec;:1;*4;+noscript;+loading;+stale;+skip_slowlog;:0;:0;:0;*2;+@slow;+@transaction;*0;*0;*0;
        command info multi -> *1;*10;$5;multi;:1;*5;+noscript;+loading;+stale;+fast;+allow_busy;:0;:0;:0;*2;+@fast;+@transaction;*0;*0;*0;
        command info auth -> *1;*10;$4;auth;:-2;*6;+noscript;+loading;+stale;+fast;+no_auth;+allow_busy;:0;:0;:0;*2;+@fast;+@connection;*0;*0;*0;
        command info client|kill -> *1;*10;$11;client|kill;:-3;*4;+admin;+noscript;+loading;+stale;:0;:0;:0;*4;+@admin;+@slow;+@dangerous;+@connection;*0;*0;*0;
        command info command|count -> *1;*10;$13;command|count;:2;*2;+loading;+stale;:0;:0;:0;*2;+@slow;+@connection;*0;*0;*0;
        command list filterby pattern client|k* -> *1;$11;client|kill;
        command list filterby module foo -> *0;
        command list filterby foo bar -> -ERR syntax error;
        command list foo -> -ERR syntax error;
        command docs nosuch -> *0;
        command foo -> -ERR unknown subcommand 'foo'. Try COMMAND HELP.;
        command getkeys -> -ERR wrong number of arguments for 'command|getkeys' command;
        command getkeys get a -> *1;$1;a;
        command getkeys get a b -> -ERR Invalid number of arguments specified for command;
        command getkeys nosuch a -> -ERR Invalid command specified;
        command getkeys mset a b c d -> *2;$1;a;$1;c;
        command getkeys sintercard 2 a b -> *2;$1;a;$1;b;
        command getkeys sintercard 3 a b -> -ERR Invalid arguments specified for command;
        command getkeys georadius g 1 1 1 km store a storedist b -> *3;$1;g;$1;a;$1;b;
        command getkeys georadius g 1 1 1 km storedist a store b -> *3;$1;g;$1;b;$1;a;
        command getkeys georadiusbymember g m 1 km store a storedist b -> *3;$1;g;$1;a;$1;b;
        command getkeys georadius g 1 1 1 km store -> *1;$1;g;
        command getkeys client list -> -ERR The command has no key arguments;
        command getkeysandflags get a -> *1;*2;$1;a;*2;+RO;+access;
        ",
    );
    let docs = scene.ask('a', "command docs set");
    assert!(docs.contains(";group;$6;string;") && docs.contains(";$5;merge;"), "{docs}");
    let count = scene.worker.node.table.entries().len();
    assert_eq!(scene.ask('a', "command count"), format!(":{count};"));
    assert!(scene.ask('a', "command").starts_with(&format!("*{count};*10;")));
    assert!(scene.ask('a', "command help").starts_with("*21;+COMMAND <subcommand> [<arg>"));
}

#[test]
fn every_command_survives_any_number_of_arguments() {
    let names: Vec<String> =
        crate::command::table::table().names().into_iter().map(|name| name.replace('|', " ")).collect();
    for name in names.iter().filter(|name| *name != "shutdown") {
        let mut scene = Scene::new();
        for request in ["", " a", " a b", " 1 2 3", " a 1 b 2", " a b c d e", " -1 -1 -1", " 9223372036854775807 x 99"]
        {
            let reply = scene.try_ask('a', &format!("{name}{request}"));
            assert!(reply.is_none_or(|reply| reply.is_empty() || reply.ends_with(';')), "{name}{request}");
            scene.worker.node.condition.end_pause();
        }
    }
}

#[test]
fn every_command_can_be_part_of_a_transaction() {
    for entry in crate::command::table::table().entries() {
        if entry.command.name == "shutdown" || entry.command.flags.contains(Flags::NEVER_QUEUED) {
            continue;
        }
        let mut scene = Scene::new();
        scene.check("multi -> +OK;\nset k v -> +QUEUED;");
        let words = entry.command.arity.unsigned_abs().saturating_sub(1) as usize;
        scene.ask('a', &[entry.command.name, &" 1".repeat(words)].concat());
        scene.ask('a', &format!("{} a b c", entry.command.name));
        let reply = scene.ask('a', "exec");
        assert!(reply.starts_with('*') || reply.starts_with("-EXECABORT"), "{}: {reply}", entry.command.name);
    }
}

#[test]
fn calls_are_counted_and_slow_ones_noted() {
    let mut scene = Scene::new();
    let node = Arc::clone(&scene.worker.node);
    node.config.set(&[("slowlog-log-slower-than", "0")]).unwrap();
    scene.check(
        "
        set a 1 -> +OK;
        get a -> $1;1;
        sadd a x -> -WRONGTYPE Operation against a key holding the wrong kind of value;
        get -> -ERR wrong number of arguments for 'get' command;
        ",
    );
    let counts = |name: &str| node.tallies.command(node.table.find(name.as_bytes()).unwrap().ordinal);
    let (get, sadd) = (counts("get"), counts("sadd"));
    assert_eq!((get.calls, get.rejected, sadd.failed), (1, 1, 1));
    assert_eq!(node.tallies.totals().commands, 3);
    assert_eq!(node.tallies.errors().into_iter().collect::<Vec<_>>(), [("ERR".into(), 1), ("WRONGTYPE".into(), 1)]);
    assert!(!node.console.metrics.slow_log.is_empty());
}

#[test]
fn what_a_transaction_or_a_script_calls_is_counted_timed_and_noted_as_what_stands_alone() {
    let mut scene = Scene::new();
    let node = Arc::clone(&scene.worker.node);
    node.config.set(&[("slowlog-log-slower-than", "0")]).unwrap();
    let script = "return(redis.call('zrange',KEYS[1],0,-1))";
    for line in ["multi", "sadd s a", "smembers s", "exec", &format!("eval {script} 1 z")] {
        scene.ask('a', line);
    }
    let noted = noted(&scene);
    for line in ["smembers s", "zrange z 0 -1", &format!("eval {script} 1 z")] {
        assert_eq!(noted.iter().filter(|noted| *noted == line).count(), 1, "{line}: {noted:?}");
    }
    // What a script calls stands before it, as in Redis.
    assert!(noted.last().unwrap().starts_with("eval "), "{noted:?}");
    let counts = |name: &str| node.tallies.command(node.table.find(name.as_bytes()).unwrap().ordinal);
    for name in ["smembers", "zrange"] {
        assert_eq!((counts(name).calls, counts(name).timed), (1, 1), "{name}");
    }
}

/// Moves a large set, and asks the scene between two steps until it has taken its stamp.
fn while_a_set_is_moved(scene: &mut Scene, mut ask: impl FnMut(&mut Scene)) {
    let members: Vec<String> = (0..3_000).map(|number| format!("m{number}")).collect();
    scene.ask('a', &format!("sadd moved {}", members.join(" ")));
    let keyspace = Arc::clone(&scene.worker.node.keyspace);
    let (source, target) = (b"moved".as_slice(), b"there".as_slice());
    let wish = Relocation { from: Database(0), source, to: Database(0), target, keeps_source: false, replaces: true };
    let mut between = || {
        if !keyspace.meets_frozen(&[source], false) {
            ask(scene);
        }
    };
    let came = keyspace.writer().relocate(&wish, &|| STARTED_AT, &|| Permission::Now, &mut between);
    assert!(matches!(came, Relocated::Done(_)));
}

#[test]
fn scripts_wait_for_the_end_of_a_move_of_a_key_that_they_declare() {
    let mut scene = Scene::new();
    let mut asked = 0;
    while_a_set_is_moved(&mut scene, |scene| {
        assert_eq!(scene.try_ask('a', "eval return(redis.call('sadd',KEYS[1],'late')) 1 moved"), None);
        assert_eq!(scene.try_ask('a', "evalsha 0000000000000000000000000000000000000000 1 there"), None);
        assert_eq!(scene.try_ask('a', "fcall f 1 moved"), None);
        assert!(scene.ask('a', "eval return(redis.call('sadd',KEYS[1],'m')) 1 beside").starts_with(':'));
        asked += 1;
    });
    assert!(asked > 1, "{asked} times");
    scene.check("scard there -> :3000;");
}

#[test]
fn scripts_wait_for_the_end_of_a_move_of_a_key_that_they_come_upon_unless_they_have_written() {
    let mut scene = Scene::new();
    let mut asked = 0;
    while_a_set_is_moved(&mut scene, |scene| {
        assert_eq!(scene.try_ask('a', "eval return(redis.call('sadd','moved','late')) 0"), None);
        assert_eq!(scene.try_ask('a', "eval redis.call('get','x')return(redis.call('del','there')) 0"), None);
        assert_eq!(scene.try_ask('a', "eval return(redis.call('flushall')) 0"), None);
        assert_eq!(scene.ask('a', "eval return(redis.call('scard','moved')) 0"), ":3000;");
        let halfway = "eval redis.call('set','x','1')return(redis.call('sadd','moved','late')) 0";
        let refused = "-TRYAGAIN a key that the script does not declare is being moved script: ";
        assert!(scene.ask('a', halfway).starts_with(refused));
        scene.check(
            "
            multi -> +OK;
            eval return(redis.call('flushall')) 0 -> +QUEUED;
            ",
        );
        assert!(scene.ask('a', "exec").starts_with(&format!("*1;{refused}")));
        asked += 1;
    });
    assert!(asked > 1, "{asked} times");
    scene.check("scard there -> :3000;");
    scene.check("eval return(redis.call('sadd','there','late')) 0 -> :1;");
}

#[test]
fn what_removes_all_keys_waits_for_the_end_of_a_move_and_looks_with_every_slot_locked() {
    let mut scene = Scene::new();
    while_a_set_is_moved(&mut scene, |scene| {
        assert_eq!(scene.try_ask('a', "flushall"), None);
        assert_eq!(scene.try_ask('a', "flushdb"), None);
    });
    scene.check("scard there -> :3000;");
    let worker = Rc::clone(&scene.worker);
    let (client, _) = scene.client('a');
    for name in [b"flushall", &b"flushdb"[..]] {
        let entry = worker.node.table.find(name).unwrap();
        let mut writer = worker.writer();
        let held = access(&mut writer, client, STARTED_AT, (entry, None), &[name], None).unwrap();
        assert!(held.holds(0) && held.holds(keyspace::SLOTS - 1));
    }
}

/// As Redis 7.0.15 does: the options are done one after the other, and what was done before one that fails stays done.
#[test]
fn what_hello_has_done_before_an_option_that_fails_stays_done() {
    let mut scene = Scene::with_password("pw");
    let hello =
        |scene: &mut Scene, line: &str| scene.ask('a', line).split([' ', ';']).next().unwrap_or_default().to_owned();
    assert_eq!(hello(&mut scene, "hello 3 setname good auth default bad"), "-WRONGPASS");
    scene.check("ping -> -NOAUTH Authentication required.;");
    assert_eq!(hello(&mut scene, "hello 2 auth default pw setname b\nd"), "-ERR");
    scene.check("client getname -> $4;good;");
    assert_eq!(hello(&mut scene, "hello 2 setname x nosuch"), "-ERR");
    scene.check("client getname -> $1;x;");
    assert_eq!(hello(&mut scene, "hello 2 auth default wrong setname z"), "-WRONGPASS");
    scene.check(
        "
        client getname -> $1;x;
        acl setuser u on >p +@all -> +OK;
        ",
    );
    assert_eq!(hello(&mut scene, "hello 2 auth u p foo"), "-ERR");
    scene.check("acl whoami -> $1;u;");
    assert_eq!(hello(&mut scene, "hello 2 auth u p auth default pw"), "*14");
    scene.check("acl whoami -> $7;default;");
}

#[test]
fn what_is_no_digest_is_refused_before_the_keys_are_counted() {
    let mut scene = Scene::new();
    let unknown = "0".repeat(40);
    for (line, reply) in [
        ("evalsha abc -1".to_owned(), "-NOSCRIPT No matching script. Please use EVAL.;"),
        ("evalsha abc x".to_owned(), "-NOSCRIPT No matching script. Please use EVAL.;"),
        (format!("evalsha {unknown} -1"), "-ERR Number of keys can't be negative;"),
        (format!("evalsha_ro {unknown} 3 a"), "-ERR Number of keys can't be greater than number of args;"),
        (format!("evalsha {unknown} 1 a"), "-NOSCRIPT No matching script. Please use EVAL.;"),
    ] {
        assert_eq!(scene.ask('a', &line), reply, "{line}");
    }
}

/// The arguments of the calls in the slow log, oldest first, without when, from where and by whom.
fn noted(scene: &Scene) -> Vec<String> {
    let log = &scene.worker.node.console.metrics.slow_log;
    let join = |args: &[Vec<u8>]| args.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ");
    log.latest(usize::MAX).iter().rev().map(|entry| join(&entry.arguments)).collect()
}

/// As in Redis what `CLIENT CACHING` said is meant for the next command alone, whatever becomes of that.
#[test]
fn what_client_caching_said_ends_with_a_command_that_is_refused() {
    let mut scene = Scene::new();
    scene.check(
        "
        acl setuser bob on nopass ~ok* +@all -config|get -> +OK;
        b: auth bob any -> +OK;
        ",
    );
    scene.ask('b', "hello 3");
    scene.check("b: client tracking on optout -> +OK;");
    let says_no = |scene: &mut Scene| scene.ask('b', "client trackinginfo").contains("caching-no");
    for refused in ["get forbidden", "get", "config get hz", "nosuch", "client nosuch"] {
        scene.check("b: client caching no -> +OK;");
        assert!(says_no(&mut scene), "{refused}");
        assert!(scene.ask('b', refused).starts_with('-'), "{refused}");
        assert!(!says_no(&mut scene), "{refused}");
    }
    // Its own subcommands do not end it, refused or not.
    scene.check("b: client caching no -> +OK;");
    assert!(scene.ask('b', "client caching").starts_with('-'));
    assert!(says_no(&mut scene));
    // Nor do those of a transaction, before that ends.
    scene.check("b: multi -> +OK;");
    assert!(scene.ask('b', "get").starts_with('-'));
    assert!(scene.client('b').0.tracks.as_ref().is_some_and(|tracks| tracks.is_caching));
    assert!(scene.ask('b', "exec").starts_with("-EXECABORT"));
    assert!(!says_no(&mut scene));
}
