//! Scripts through dispatch: replies, locks, limits. What Redis answers to the same is compared in `tests/conformance`.

use super::Shadowed;
use crate::command::function::KEY;
use crate::limits::SCRIPT_MEMORY_BYTES_MAX;
use crate::testing::{Caller, STARTED_AT, node, node_with_steps};
use keyspace::Database;
use std::sync::Arc;

fn caller() -> Caller {
    Caller::new(&Arc::new(node()))
}

fn eval(caller: &mut Caller, script: &str) -> String {
    let reply = caller.call_bytes(&[b"EVAL", script.as_bytes(), b"0"]);
    String::from_utf8_lossy(&reply).into_owned()
}

/// Each script is answered so.
fn answers(caller: &mut Caller, expected: &[(&str, &str)]) {
    for (script, reply) in expected {
        assert_eq!(eval(caller, script), *reply, "{script}");
    }
}

#[test]
fn a_script_calls_commands_and_answers_what_it_returns() {
    let mut caller = caller();
    assert_eq!(eval(&mut caller, "return 1"), ":1\r\n");
    assert_eq!(
        eval(&mut caller, "return {1, 'a', {ok='fine'}, false, 3.9}"),
        "*5\r\n:1\r\n$1\r\na\r\n+fine\r\n$-1\r\n:3\r\n"
    );
    let script = "redis.call('set', KEYS[1], ARGV[1]) return redis.call('get', KEYS[1])";
    let reply = caller.call_bytes(&[b"EVAL", script.as_bytes(), b"1", b"k", b"v"]);
    assert_eq!(reply, b"$1\r\nv\r\n");
    assert_eq!(caller.call("GET k"), "$1\r\nv\r\n");
}

/// As Redis 7.0.15 answers them.
#[test]
fn tables_are_lists_up_to_the_first_gap_unless_a_name_says_otherwise() {
    let mut caller = caller();
    answers(
        &mut caller,
        &[
            ("return {1, nil, 3}", "*1\r\n:1\r\n"),
            ("return {[1]='a', [3]='c'}", "*1\r\n$1\r\na\r\n"),
            ("return {[2]='b', [1]='a'}", "*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
            ("local t = {} t[3] = 3 t[2] = 2 t[1] = 1 return t", "*3\r\n:1\r\n:2\r\n:3\r\n"),
            ("return {1, 2, name='z', [0]=7, [1.5]=8}", "*2\r\n:1\r\n:2\r\n"),
            ("return {'x', err='E y'}", "-E y\r\n"),
            ("return {1, {2, {3, {4, err='E in'}}}, ok=5}", "*2\r\n:1\r\n*2\r\n:2\r\n*2\r\n:3\r\n-E in\r\n"),
            ("return {1, 2, ok='fine'}", "+fine\r\n"),
            ("return {{}, {1, ok='s'}, {}}", "*3\r\n*0\r\n+s\r\n*0\r\n"),
            ("return {false, 1}", "*2\r\n$-1\r\n:1\r\n"),
        ],
    );
}

#[test]
fn an_error_says_where() {
    let mut caller = caller();
    let reply = eval(&mut caller, "return redis.call('nosuch')");
    assert_eq!(
        reply,
        "-ERR Unknown Redis command called from script script: 206396248e12c6e742fd7296250433c8d7343b74, on \
         @user_script:1.\r\n"
    );
    assert!(eval(&mut caller, "error('x')").starts_with("-ERR user_script:1: x script: "));
    assert!(eval(&mut caller, "return {err='foo'}").starts_with("-foo\r\n"));
}

#[test]
fn nil_is_no_word_of_a_call_and_nothing_is_none() {
    let mut caller = caller();
    for before in 0..8 {
        let words: String = (0..before).map(|_| "'x',").collect();
        let reply = eval(&mut caller, &format!("return redis.call({words} nil)"));
        assert!(reply.starts_with("-ERR Lua redis lib command arguments must be strings or integers"), "{reply}");
        let reply = eval(&mut caller, &format!("redis.call('del', 'l') return redis.call('rpush', 'l', {words} 7)"));
        assert_eq!(reply, format!(":{}\r\n", before + 1));
        assert_eq!(eval(&mut caller, "return redis.call('lindex', 'l', -1)"), "$1\r\n7\r\n");
    }
    assert!(eval(&mut caller, "return redis.call()").starts_with("-ERR Please specify at least one argument"));
}

#[test]
fn names_of_commands_that_are_remembered_are_those_that_are_called() {
    let mut caller = caller();
    let names = ["get", "GET", "Get", "strlen", "exists", "ttl", "type", "incr", "decr", "append", "getdel", "nosuch"];
    for _ in 0..3 {
        caller.call("SET k 41");
        let of = |caller: &mut Caller, name: &str| eval(caller, &format!("return redis.pcall('{name}', 'k')"));
        let replies: Vec<_> = names.iter().map(|name| of(&mut caller, name)).collect();
        assert_eq!(
            replies[..8],
            ["$2\r\n41\r\n"; 3]
                .into_iter()
                .chain([":2\r\n", ":1\r\n", ":-1\r\n", "+string\r\n", ":42\r\n"])
                .collect::<Vec<_>>()[..]
        );
        assert_eq!(replies[8], ":41\r\n");
        assert!(replies[9].starts_with("-ERR Wrong number of args"), "{}", replies[9]);
        assert_eq!(replies[10], "$2\r\n41\r\n");
        assert!(replies[11].starts_with("-ERR Unknown Redis command"), "{}", replies[11]);
    }
    assert_eq!(eval(&mut caller, "return redis.call('object', 'help')[1] ~= nil"), ":1\r\n");
    assert!(eval(&mut caller, "return redis.call('object', 'nosuch')").starts_with("-ERR Unknown"));
}

#[test]
fn lists_without_words_are_there_when_they_are_asked_for() {
    let mut caller = caller();
    answers(
        &mut caller,
        &[
            ("return {#KEYS, #ARGV, rawequal(ARGV, ARGV), rawequal(KEYS, ARGV)}", "*4\r\n:0\r\n:0\r\n:1\r\n$-1\r\n"),
            ("return {type(rawget(_G, 'KEYS')), type(rawget(_G, 'ARGV'))}", "*2\r\n$5\r\ntable\r\n$5\r\ntable\r\n"),
            ("local n = 0 for name in pairs(_G) do if name == 'ARGV' then n = n + 1 end end return n", ":1\r\n"),
            ("ARGV[1] = 'left' return ARGV[1]", "$4\r\nleft\r\n"),
            ("return #ARGV", ":0\r\n"),
            ("return rawget(redis, 'KEYS') == nil", ":1\r\n"),
        ],
    );
    assert_eq!(
        caller.call_bytes(&[b"EVAL", b"return {KEYS[1], ARGV[1], #KEYS, #ARGV}", b"1", b"\xff", b"\xfe"]),
        b"*4\r\n$1\r\n\xff\r\n$1\r\n\xfe\r\n:1\r\n:1\r\n"
    );
    let code =
        "#!lua name=l\nredis.register_function('f', function(keys, args) return {#keys, #args, keys[1] or 'none'} end)";
    caller.call_bytes(&[b"FUNCTION", b"LOAD", code.as_bytes()]);
    assert_eq!(caller.call("FCALL f 0"), "*3\r\n:0\r\n:0\r\n$4\r\nnone\r\n");
    assert_eq!(caller.call("FCALL f 1 k a b"), "*3\r\n:1\r\n:2\r\n$1\r\nk\r\n");
}

#[test]
fn keys_that_are_not_declared_are_locked_when_they_are_used() {
    let mut caller = caller();
    let script = "for i = 1, 50 do redis.call('set', 'k' .. i, i) end return redis.call('dbsize')";
    assert_eq!(eval(&mut caller, script), ":50\r\n");
    // It has shown that it keeps to what it declares, and then does not.
    let script = "if ARGV[1] then redis.call('set', 'other', 1) end return redis.call('incr', KEYS[1])";
    let of = |caller: &mut Caller, rest: &[&[u8]]| {
        let mut words: Vec<&[u8]> = vec![b"EVAL", script.as_bytes(), b"1", b"n"];
        words.extend(rest);
        String::from_utf8(caller.call_bytes(&words)).unwrap()
    };
    assert_eq!(of(&mut caller, &[]), ":1\r\n");
    assert_eq!(of(&mut caller, &[b"x"]), ":2\r\n");
    assert_eq!(caller.call("GET other"), "$1\r\n1\r\n");
    // It has written before it strays.
    let script = "redis.call('incr', KEYS[1]) if ARGV[1] then redis.call('incr', 'stray') end return 'done'";
    for rest in [&[][..], &[b"x".as_slice()][..]] {
        let mut words: Vec<&[u8]> = vec![b"EVAL", script.as_bytes(), b"1", b"n2"];
        words.extend(rest);
        assert_eq!(caller.call_bytes(&words), b"$4\r\ndone\r\n");
    }
    assert_eq!(caller.call("MGET n2 stray"), "*2\r\n$1\r\n2\r\n$1\r\n1\r\n");
    assert_eq!(eval(&mut caller, "redis.call('flushall') return redis.call('keys', '*')"), "*0\r\n");
}

#[test]
fn nothing_of_a_script_is_left_for_the_next() {
    let mut caller = caller();
    for escape in [
        "x = 1",
        "_G.x = 1",
        "rawset(_G, 'x', 1)",
        "string.x = 1",
        "rawset(string, 'x', 1)",
        "string.format = nil",
        "setmetatable(_G, {})",
        "getmetatable('').__index = {}",
        "getmetatable(_G).__index = {}",
        "redis.call = nil",
        "setmetatable(redis, nil)",
        "loadstring('x = 1')()",
        "load(function() return nil end)() x = 1",
        "setmetatable('', {})",
        "for k, v in pairs(string) do if type(v) == 'table' then v.x = 1 end end string.y = 1",
        "require('os')",
        "dofile('/etc/passwd')",
        "loadfile('/etc/passwd')",
        "print('x')",
        "io.open('/etc/passwd')",
        "os.execute('true')",
        "debug.getinfo(1)",
        "getfenv(0).x = 1",
        "setfenv(1, {})",
        "newproxy(true)",
        "package.loadlib('x', 'y')",
    ] {
        let reply = eval(&mut caller, escape);
        assert!(reply.starts_with("-ERR "), "{escape}: {reply}");
    }
    assert_eq!(eval(&mut caller, "return rawget(_G, 'x')"), "$-1\r\n");
    assert_eq!(eval(&mut caller, "return ('x'):upper() .. string.format('%d', 5)"), "$2\r\nX5\r\n");
    assert_eq!(eval(&mut caller, "return {loadstring(string.char(27) .. 'Lua')}"), "*0\r\n");
    // Settings of libraries, each alone, also one that is set beside one that is refused.
    let settings = "return {cjson.encode_sparse_array(), tostring(cjson.encode_max_depth()), \
                    tostring(cjson.decode_max_depth()), tostring(cjson.encode_number_precision()), \
                    tostring(cjson.encode_keep_buffer()), tostring(cjson.encode_invalid_numbers()), \
                    tostring(cjson.decode_invalid_numbers()), select(2, cjson.encode_sparse_array()), \
                    select(3, cjson.encode_sparse_array())}";
    let before = eval(&mut caller, settings);
    for change in [
        "encode_sparse_array(true)",
        "encode_sparse_array(nil, 0)",
        "encode_sparse_array(nil, nil, 1)",
        "encode_sparse_array('none', 7, 7)",
        "encode_max_depth(3)",
        "decode_max_depth(3)",
        "encode_number_precision(3)",
        "encode_keep_buffer(false)",
        "encode_invalid_numbers('null')",
        "decode_invalid_numbers(false)",
    ] {
        eval(&mut caller, &format!("cjson.{change} return 1"));
        assert_eq!(eval(&mut caller, settings), before, "{change}");
    }
    // What one puts into a library by a function that asks nobody is seen by nobody else.
    eval(&mut caller, "table.insert(math, 'mine') return 1");
    assert_eq!(eval(&mut caller, "return math[1] == nil and #math"), ":0\r\n");
}

#[test]
fn too_much_memory_ends_the_script_and_no_other() {
    let mut caller = caller();
    let reply = eval(&mut caller, "local t = {} for i = 1, 1e9 do t[i] = string.rep('x', 1e6) .. i end return 1");
    assert!(reply.contains("not enough memory"), "{reply}");
    assert_eq!(eval(&mut caller, "return 1"), ":1\r\n");
}

#[test]
fn a_script_in_a_transaction_is_part_of_it() {
    let mut caller = caller();
    caller.call("MULTI");
    caller.call("SET a 1");
    caller.call_bytes(&[b"EVAL", b"return redis.call('incr', 'b')", b"0"]);
    caller.call("GET a");
    assert_eq!(caller.call("EXEC"), "*3\r\n+OK\r\n:1\r\n$1\r\n1\r\n");
}

#[test]
fn what_one_worker_has_loaded_all_workers_run() {
    let node = Arc::new(node());
    let (mut one, mut other) = (Caller::new(&node), Caller::new(&node));
    let digest = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
    assert!(other.call(&format!("EVALSHA {digest} 0")).starts_with("-NOSCRIPT"));
    one.call_bytes(&[b"SCRIPT", b"LOAD", b"return 1"]);
    assert_eq!(other.call(&format!("EVALSHA {digest} 0")), ":1\r\n");
    other.call("SCRIPT FLUSH");
    assert!(one.call(&format!("EVALSHA {digest} 0")).starts_with("-NOSCRIPT"));
    one.call_bytes(&[
        b"FUNCTION",
        b"LOAD",
        b"#!lua name=a\nredis.register_function('f', function() return 'first' end)",
    ]);
    assert_eq!(other.call("FCALL f 0"), "$5\r\nfirst\r\n");
    let second = b"#!lua name=a\nredis.register_function('f', function() return 'second' end)";
    other.call_bytes(&[b"FUNCTION", b"LOAD", b"REPLACE", second]);
    assert_eq!(one.call("FCALL f 0"), "$6\r\nsecond\r\n");
    one.call("FUNCTION DELETE a");
    assert_eq!(other.call("FCALL f 0"), "-ERR Function not found\r\n");
}

#[test]
fn libraries_are_no_keys_of_any_client() {
    let mut caller = caller();
    caller.call_bytes(&[b"FUNCTION", b"LOAD", b"#!lua name=a\nredis.register_function('f', function() return 1 end)"]);
    let dumped = caller.call_bytes(&[b"FUNCTION", b"DUMP"]);
    assert_eq!(caller.call("DBSIZE"), ":0\r\n");
    assert_eq!(caller.call("SCAN 0 COUNT 1000"), "*2\r\n$1\r\n0\r\n*0\r\n");
    assert_eq!(caller.call("RANDOMKEY"), "$-1\r\n");
    assert!(caller.call("SELECT 16").starts_with("-ERR"));
    caller.call("FLUSHALL");
    assert_eq!(caller.call("FCALL f 0"), ":1\r\n");
    let payload: Vec<u8> = {
        let start = dumped.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        dumped[start..dumped.len() - 2].to_vec()
    };
    assert!(caller.call_bytes(&[b"FUNCTION", b"RESTORE", &payload]).starts_with(b"-ERR Library a already exists"));
    assert_eq!(caller.call_bytes(&[b"FUNCTION", b"RESTORE", &payload, b"REPLACE"]), b"+OK\r\n");
    caller.call("FUNCTION FLUSH");
    assert_eq!(caller.call_bytes(&[b"FUNCTION", b"RESTORE", &payload]), b"+OK\r\n");
    assert_eq!(caller.call("FCALL f 0"), ":1\r\n");
}

#[test]
fn a_library_in_a_transaction_is_there_for_what_follows() {
    let mut caller = caller();
    caller.call("MULTI");
    caller.call_bytes(&[b"FUNCTION", b"LOAD", b"#!lua name=a\nredis.register_function('f', function() return 1 end)"]);
    caller.call("FCALL f 0");
    assert_eq!(caller.call("EXEC"), "*2\r\n$1\r\na\r\n:1\r\n");
}

#[test]
fn while_a_script_is_put_aside_its_worker_begins_no_other() {
    let node = Arc::new(node());
    node.config.set(&[("busy-reply-threshold", "1")]).unwrap();
    let mut one = Caller::new(&node);
    let mut other = Caller::beside(&one);
    assert!(one.is_put_aside(&[b"EVAL", b"while true do end", b"1", b"k"]));
    // As if nobody had said so.
    node.set_busy(false);
    let refused = other.call_bytes(&[b"EVAL", b"return 'other'", b"0"]);
    assert!(refused.starts_with(b"-BUSY "), "{}", String::from_utf8_lossy(&refused));
    node.set_busy(true);
    node.scripts.running.end_all();
    let ended = String::from_utf8(one.go_on()).unwrap();
    assert!(ended.contains("Script killed by user with SCRIPT KILL"), "{ended}");
    assert_eq!(eval(&mut other, "return 'other'"), "$5\r\nother\r\n");
}

/// What a worker does for a script before it runs, its machine counts too: it was looked at as if the script before it
/// still ran, for longer than it may, and the process died.
#[test]
fn a_machine_that_rests_is_never_put_aside() {
    let node = Arc::new(node());
    node.config.set(&[("busy-reply-threshold", "1")]).unwrap();
    let mut caller = Caller::new(&node);
    for number in 0..1_000 {
        // Each reading lets a microsecond pass.
        for _ in 0..4_000 {
            let _ = node.monotonic_ns();
        }
        assert_eq!(eval(&mut caller, &format!("return {number}")), format!(":{number}\r\n"));
    }
}

#[test]
fn who_watches_sees_a_script_and_then_what_it_calls() {
    let node = Arc::new(node());
    let (mut watcher, mut caller) = (Caller::new(&node), Caller::new(&node));
    assert_eq!(watcher.call("MONITOR"), "+OK\r\n");
    let script = "redis.call('SELECT', 3) return redis.call('incr', KEYS[1])";
    caller.call_bytes(&[b"EVAL", script.as_bytes(), b"1", b"k"]);
    let library = "#!lua name=one\nredis.register_function('f', function() return redis.call('get', 'k') end)";
    caller.call_bytes(&[b"FUNCTION", b"LOAD", library.as_bytes()]);
    caller.call("FCALL f 0");
    let seen = watcher.mail();
    let commands: Vec<&str> = seen.lines().filter_map(|line| line.split_once(" [")).map(|(_, rest)| rest).collect();
    let check = |at: usize, start: &str, end: &str| {
        assert!(commands[at].starts_with(start) && commands[at].ends_with(end), "{at}: {commands:?}");
    };
    check(0, "0 127.0.0.1:", " \"1\" \"k\"");
    check(1, "3 lua] ", "\"SELECT\" \"3\"");
    check(2, "3 lua] ", "\"incr\" \"k\"");
    check(commands.len() - 2, "0 127.0.0.1:", "\"FCALL\" \"f\" \"0\"");
    check(commands.len() - 1, "0 lua] ", "\"get\" \"k\"");
}

#[test]
fn any_worker_counts_libraries_that_it_has_not_used_yet() {
    let node = Arc::new(node());
    let library = "#!lua name=one\nredis.register_function('f', function() return 1 end)";
    Caller::new(&node).call_bytes(&[b"FUNCTION", b"LOAD", library.as_bytes()]);
    // As if it had come from another region: nobody here has counted it.
    node.scripts.note_libraries(&std::collections::BTreeMap::new(), || true);
    let stats = Caller::new(&node).call("FUNCTION STATS");
    assert!(stats.contains("libraries_count\r\n:1") && stats.contains("functions_count\r\n:1"), "{stats}");
}

#[test]
fn what_was_found_before_a_change_is_not_noted_after_it() {
    let node = Arc::new(node());
    let library = "#!lua name=one\nredis.register_function('f', function() return 1 end)";
    Caller::new(&node).call_bytes(&[b"FUNCTION", b"LOAD", library.as_bytes()]);
    node.scripts.note_libraries(&std::collections::BTreeMap::new(), || false);
    assert!(node.scripts.functions() == (1, 1) && node.scripts.flags_of("f").is_some());
}

#[test]
fn small_conversions_leave_the_limit_of_memory_where_it_was() {
    let mut caller = caller();
    let grows = "local some, t = string.rep('x', 1000), {} \
                 for i = 1, 1e9 do t[i] = string.rep(some, 1e4) .. i .. redis.call('ping').ok end";
    for _ in 0..2 {
        let reply = eval(&mut caller, grows);
        assert!(reply.starts_with("-ERR not enough memory"), "{reply}");
        assert_eq!(eval(&mut caller, "return #redis.call('time')"), ":2\r\n");
    }
    // Words that are not small, and words that are no text.
    let large = vec![b'x'; 1 << 20];
    assert_eq!(caller.call_bytes(&[b"EVAL", b"return #ARGV[1]", b"0", &large]), b":1048576\r\n");
    let words = caller.call_bytes(&[b"EVAL", b"return ARGV", b"0", b"\xff", b"a"]);
    assert_eq!(words, b"*2\r\n$1\r\n\xff\r\n$1\r\na\r\n");
}

#[test]
fn replies_that_are_small_one_by_one_stay_below_the_limit_together() {
    let mut caller = caller();
    let text: Vec<u8> = (0_u32..1 << 18).flat_map(u32::to_le_bytes).collect();
    caller.call_bytes(&[b"SET", b"k", &text]);
    // Nothing is taken beside the replies: the table has room for them before.
    let keeps = "local t = {} for i = 1, 2^14 do t[i] = 0 end \
                 for i = 1, 2^14 do t[i] = redis.call('getrange', 'k', i, i + 60000) redis.call('incr', 'kept') end";
    let reply = eval(&mut caller, keeps);
    assert!(reply.starts_with("-ERR not enough memory"), "{}", &reply[..reply.len().min(100)]);
    let kept = caller.call("GET kept");
    let kept: usize = kept.lines().nth(1).and_then(|kept| kept.parse().ok()).expect("a number");
    assert!(kept * 60_000 < SCRIPT_MEMORY_BYTES_MAX, "{kept} replies were kept");
    assert_eq!(eval(&mut caller, "return #redis.call('getrange', 'k', 1, 60000)"), ":60000\r\n");
}

#[test]
fn what_a_script_returned_is_gone_before_the_next_one_needs_the_room() {
    let mut caller = caller();
    // More than half of what it may have, in one value.
    let large = "local t = {} for i = 1, 300 do t[i] = string.rep(i .. ' ', 2^20 / 4) end return {#t, ok = nil, t = t}";
    for _ in 0..4 {
        assert_eq!(eval(&mut caller, large), "*1\r\n:300\r\n");
    }
}

#[test]
fn what_is_made_of_values_of_a_script_counts_as_its_memory() {
    let mut caller = caller();
    for made in [
        "return t",
        "return {map = {[t] = t}}",
        "return cjson.encode(t)",
        "return cmsgpack.pack(t)",
        "return struct.pack(string.rep('s', 600), unpack(t))",
        "return redis.call('rpush', 'k', unpack(t))",
        "return redis.log(redis.LOG_DEBUG, unpack(t))",
    ] {
        // One text, six hundred times.
        let script = format!("local s, t = string.rep('x', 2^20), {{}} for i = 1, 600 do t[i] = s end {made}");
        let reply = eval(&mut caller, &script);
        let shown: String = reply.chars().take(100).collect();
        assert!(shown.starts_with("-ERR not enough memory"), "{made}: {shown}");
        assert!(eval(&mut caller, "return string.rep('x', 1e5)").len() > 100_000);
    }
}

/// Lua's matcher calls itself for each of them, and the process died when the stack was used up.
#[test]
fn patterns_that_would_use_up_the_stack_are_refused_and_others_are_not() {
    let mut caller = caller();
    for items in ["'a?'", "'a*'", "'a-'", "'a+'", "'%a?'", "'[ab]?'"] {
        for call in ["find(s, p)", "match(s, p)", "gmatch(s, p)", "gfind(s, p)", "gsub(s, p, '')"] {
            let script = format!("local s, p = string.rep('a', 3e5), string.rep({items}, 3e5) .. 'b' string.{call}");
            let reply = eval(&mut caller, &script);
            assert!(reply.starts_with("-ERR user_script:1: pattern too complex script: "), "{call}: {reply}");
        }
    }
    let deep = "local function f(n, p) if n > 0 then return (string.gsub('a', 'a', function() return f(n - 1, p) end)) end \
                return string.match(string.rep('a', 4000), p) end return #f(150, string.rep('a?', 4000))";
    assert_eq!(eval(&mut caller, deep), ":4000\r\n");
    let long = "local s = string.rep('(?*', 1e5) return {(s .. 'x'):find(s, 1, true), #(('a'):rep(1e5):match(('a'):rep(1e5)))}";
    assert_eq!(eval(&mut caller, long), "*2\r\n:1\r\n:100000\r\n");
}

#[test]
fn errors_of_patterns_say_where_they_are() {
    let mut caller = caller();
    for (call, sentence) in [
        ("string.find('a', '[')", "malformed pattern (missing ']')"),
        ("string.find()", "bad argument #1 to 'find' (string expected, got no value)"),
        ("string.match('a')", "bad argument #2 to 'match' (string expected, got no value)"),
        ("string.gsub('a', 'a')", "bad argument #3 to 'gsub' (string/function/table expected)"),
        ("string.gmatch({}, 'a')", "bad argument #1 to 'gmatch' (string expected, got table)"),
        ("string.find('a', '(')", "unfinished capture"),
    ] {
        let reply = eval(&mut caller, &format!("local a = 1\n{call}"));
        let place = ", on @user_script:2.\r\n";
        assert!(
            reply.starts_with(&format!("-ERR user_script:2: {sentence} script: ")) && reply.ends_with(place),
            "{reply}"
        );
        let caught = eval(&mut caller, &format!("return select(2, pcall(function() {call} end))"));
        assert!(caught.ends_with(&format!("\r\n{sentence}\r\n")), "{caught}");
    }
}

#[test]
fn work_on_values_without_end_is_put_aside_and_ended() {
    let node = Arc::new(node());
    node.config.set(&[("busy-reply-threshold", "1")]).unwrap();
    let mut caller = Caller::new(&node);
    for made in ["t", "cjson.encode(t)", "{pcall(cjson.encode, t)}", "cmsgpack.pack(t)"] {
        // Nothing in it takes much, and all together more than there is.
        let script = format!("local t = 1 for i = 1, 15 do t = {{t, t, t, t, t, t, t, t}} end return {made}");
        assert!(caller.is_put_aside(&[b"EVAL", script.as_bytes(), b"0"]), "{made}");
        assert!(Caller::beside(&caller).call("GET k").starts_with("-BUSY "), "{made}");
        node.scripts.running.end_all();
        let ended = String::from_utf8(caller.go_on()).unwrap();
        assert!(ended.contains("Script killed by user with SCRIPT KILL"), "{ended}");
        assert_eq!(eval(&mut caller, "return cjson.encode({1})"), "$3\r\n[1]\r\n");
    }
}

#[test]
fn a_script_that_begins_again_does_so_out_of_a_coroutine_too() {
    let mut caller = caller();
    let script = "coroutine.resume(coroutine.create(function() redis.call('strlen', ARGV[1]) end)) \
                  return redis.call('incr', KEYS[1])";
    // The first time it reads what is declared, which is then all that is held for it.
    for (reads, counted) in [(&b"k"[..], ":1\r\n"), (b"other", ":2\r\n")] {
        let reply = caller.call_bytes(&[b"EVAL", script.as_bytes(), b"1", b"k", reads]);
        assert_eq!(String::from_utf8_lossy(&reply), counted);
    }
    assert_eq!(caller.call("GET k"), "$1\r\n2\r\n");
}

/// A library in which `f` answers its name, and which says with which flags.
fn library(name: &str, flags: &str) -> String {
    format!(
        "#!lua name={name}\nredis.register_function{{function_name='f', callback=function() return '{name}' end, \
         flags={{{flags}}}}}"
    )
}

#[test]
fn of_libraries_of_two_regions_with_one_function_the_one_whose_name_comes_first_is_called_and_the_other_told() {
    for (here, arrives) in [("one", "two"), ("two", "one")] {
        let node = Arc::new(node());
        let mut caller = Caller::new(&node);
        caller.call_bytes(&[b"FUNCTION", b"LOAD", library(here, "").as_bytes()]);
        assert_eq!(node.scripts.shadowed(), []);
        // As if another region had loaded it at once.
        node.keyspace
            .writer()
            .access(STARTED_AT, &[KEY])
            .put_field(Database::SYSTEM, KEY, arrives.as_bytes(), library(arrives, "").as_bytes())
            .unwrap();
        assert_eq!(caller.call("FCALL f 0"), "$3\r\none\r\n");
        let [function, library, called] = ["f", "two", "one"].map(str::to_owned);
        assert_eq!(node.scripts.shadowed(), [Shadowed { function, library, called }]);
        let told = caller.call("INFO pelago");
        assert!(told.contains("\r\nshadowed_function0:function=f,library=two,called=one\r\n"), "{told}");
        // Both are there, and deleting one of them is the way out.
        assert!(caller.call("FUNCTION LIST").starts_with("*2\r\n"));
        assert_eq!(caller.call("FUNCTION DELETE one"), "+OK\r\n");
        assert_eq!((caller.call("FCALL f 0"), node.scripts.shadowed()), ("$3\r\ntwo\r\n".to_owned(), vec![]));
    }
}

/// As Redis 7.0.15 holds them back.
#[test]
fn what_waits_while_clients_that_write_are_paused() {
    let node = Arc::new(node());
    let mut caller = Caller::new(&node);
    let [silent, open] = ["#!lua flags=no-writes\nreturn 1", "#!lua\nreturn 1"];
    let digest = |caller: &mut Caller, body: &str| {
        let reply = caller.call_bytes(&[b"SCRIPT", b"LOAD", body.as_bytes()]);
        String::from_utf8_lossy(&reply[5..45]).into_owned()
    };
    let [silent_digest, open_digest, plain_digest] = [silent, open, "return 1"].map(|body| digest(&mut caller, body));
    caller.call_bytes(&[b"FUNCTION", b"LOAD", library("one", "'no-writes'").as_bytes()]);
    let mut queued = Caller::new(&node);
    assert_eq!(queued.call("MULTI") + &queued.call("SET k 1"), "+OK\r\n+QUEUED\r\n");
    let mut harmless = Caller::new(&node);
    assert_eq!(harmless.call("MULTI") + &harmless.call("EVAL_RO return 0"), "+OK\r\n+QUEUED\r\n");
    assert_eq!(caller.call("CLIENT PAUSE 100000 WRITE"), "+OK\r\n");
    let waits = |words: &[&str]| {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let at_once = Caller::beside(&caller).waits(&words);
        // A command is not queued either that would wait.
        let mut other = Caller::beside(&caller);
        other.call("MULTI");
        assert_eq!(other.waits(&words), at_once, "{words:?}");
        at_once
    };
    for (words, is_held) in [
        (&["GET", "k"][..], false),
        (&["SET", "k", "1"], true),
        (&["PUBLISH", "c", "m"], true),
        (&["SPUBLISH", "c", "m"], true),
        (&["PFCOUNT", "h"], true),
        (&["EVAL", "return 1", "0"], true),
        (&["EVAL", silent, "0"], false),
        (&["EVAL", open, "0"], true),
        (&["EVAL", "#!lua flags=no\nreturn 1", "0"], true),
        (&["EVAL_RO", "return 1", "0"], false),
        (&["EVAL_RO", open, "0"], true),
        (&["EVALSHA", &silent_digest, "0"], false),
        (&["EVALSHA", &open_digest, "0"], true),
        (&["EVALSHA", &plain_digest, "0"], true),
        (&["EVALSHA", "f", "0"], true),
        (&["EVALSHA_RO", &plain_digest, "0"], false),
        (&["EVALSHA_RO", &open_digest, "0"], true),
        (&["FCALL", "f", "0"], false),
        (&["FCALL", "nosuch", "0"], true),
        (&["FCALL_RO", "f", "0"], false),
        (&["SCRIPT", "LOAD", "return 2"], false),
        (&["FUNCTION", "LIST"], false),
        (&["FUNCTION", "STATS"], false),
        (&["FUNCTION", "DELETE", "nosuch"], true),
    ] {
        assert_eq!(waits(words), is_held, "{words:?}");
    }
    assert!(queued.waits(&[b"EXEC"]));
    assert!(!harmless.waits(&[b"EXEC"]));
    node.condition.end_pause();
    assert_eq!(queued.call("EXEC"), "*1\r\n+OK\r\n");
    // What a function says of itself now counts.
    caller.call_bytes(&[b"FUNCTION", b"LOAD", b"REPLACE", library("one", "").as_bytes()]);
    assert_eq!(caller.call("CLIENT PAUSE 100000 WRITE"), "+OK\r\n");
    assert!(caller.waits(&[b"FCALL", b"f", b"0"]));
}

/// As Redis 7.0.15 answers, of functions too.
#[test]
fn a_script_that_is_killed_says_where_it_was() {
    let node = Arc::new(node());
    node.config.set(&[("busy-reply-threshold", "1")]).unwrap();
    let mut caller = Caller::new(&node);
    let kill = |caller: &Caller, words: &str| Caller::beside(caller).call(words);
    let busy = |what: &str| {
        format!("-BUSY Redis is busy running a script. You can only call {what} KILL or SHUTDOWN NOSAVE.\r\n")
    };
    assert!(caller.is_put_aside(&[b"EVAL", b"local a = 1\nwhile true do a = a + 1 end", b"0"]));
    assert_eq!(kill(&caller, "FUNCTION KILL"), busy("SCRIPT"));
    assert_eq!(kill(&caller, "SCRIPT KILL"), "+OK\r\n");
    let ended = String::from_utf8(caller.go_on()).unwrap();
    assert!(ended.starts_with("-ERR Script killed by user with SCRIPT KILL... script: "), "{ended}");
    assert!(ended.ends_with(", on @user_script:2.\r\n"), "{ended}");
    let library = "#!lua name=one\nredis.register_function('f', function() while true do end end)";
    caller.call_bytes(&[b"FUNCTION", b"LOAD", library.as_bytes()]);
    assert!(caller.is_put_aside(&[b"FCALL", b"f", b"0"]));
    assert_eq!(kill(&caller, "SCRIPT KILL"), busy("FUNCTION"));
    assert_eq!(kill(&caller, "FUNCTION KILL"), "+OK\r\n");
    let ended = String::from_utf8(caller.go_on()).unwrap();
    assert_eq!(ended, "-ERR Script killed by user with SCRIPT KILL... script: f, on @user_function:2.\r\n");
    // What has written stays, whatever is to be killed.
    assert!(caller.is_put_aside(&[b"EVAL", b"redis.call('set', KEYS[1], 1) while true do end", b"1", b"k"]));
    for words in ["SCRIPT KILL", "FUNCTION KILL"] {
        assert!(kill(&caller, words).starts_with("-UNKILLABLE Sorry the script already executed write commands "));
    }
    node.scripts.running.end_all();
    caller.go_on();
}

#[test]
fn a_library_that_loads_without_end_is_refused() {
    // Each look at the clock takes long: what it runs does not matter.
    let mut caller = Caller::new(&Arc::new(node_with_steps(100_000_000)));
    let reply = caller.call_bytes(&[b"FUNCTION", b"LOAD", b"#!lua name=one\nwhile true do end"]);
    let reply = String::from_utf8_lossy(&reply);
    assert_eq!(reply, "-ERR Error registering functions: ERR FUNCTION LOAD timeout\r\n");
}

#[test]
fn what_a_debugger_needs_is_there_for_scripts_alone() {
    let mut caller = caller();
    assert_eq!(eval(&mut caller, "redis.debug() return tostring(redis.breakpoint())"), "$5\r\nfalse\r\n");
    let library = "#!lua name=one\nredis.register_function('f', function() return tostring(redis.breakpoint) end)";
    caller.call_bytes(&[b"FUNCTION", b"LOAD", library.as_bytes()]);
    assert_eq!(caller.call("FCALL f 0"), "$3\r\nnil\r\n");
}

#[test]
fn numbers_are_unpacked_as_their_digits() {
    let mut caller = caller();
    assert_eq!(eval(&mut caller, "return cmsgpack.unpack(1)"), ":49\r\n");
    assert!(eval(&mut caller, "return cmsgpack.unpack({})").contains("(string expected, got table)"));
}

#[test]
fn nothing_is_left_of_scripts_that_are_forgotten() {
    let mut caller = caller();
    let kibibytes = |caller: &mut Caller| {
        let reply = eval(caller, "collectgarbage() collectgarbage() return math.floor(collectgarbage('count'))");
        reply.trim().trim_start_matches(':').parse::<usize>().unwrap()
    };
    // Tables that have grown stay as large, so there are several rounds.
    let mut left = Vec::new();
    for round in 0..3 {
        let before = kibibytes(&mut caller);
        for number in 500 * round..500 * (round + 1) {
            let script = format!("local f = function() return KEYS[1] end return {number}");
            assert_eq!(eval(&mut caller, &script), format!(":{number}\r\n"));
        }
        assert!(kibibytes(&mut caller) > before + 500, "each has something of its own");
        caller.call("SCRIPT FLUSH");
        left.push(kibibytes(&mut caller));
    }
    assert!(left[2] < left[0] + 100, "KiB that are left: {left:?}");
}
