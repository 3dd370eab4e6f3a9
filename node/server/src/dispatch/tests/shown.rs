//! What `MONITOR` shows of commands, and what nobody is shown.

use super::*;

/// The commands that were shown to who sees all of them, without when and where.
fn shown(presence: &crate::clients::Presence) -> Vec<String> {
    let mut reply = Reply::new(Version::Resp2);
    presence.collect_all_mail(&mut reply);
    let text = String::from_utf8_lossy(reply.bytes()).into_owned();
    text.lines().filter_map(|line| Some(line.split_once("] ")?.1.replace('"', ""))).collect()
}

#[test]
fn passwords_are_neither_shown_nor_noted() {
    let mut scene = Scene::new();
    scene.check("monitor -> +OK;");
    let watching = Arc::clone(&scene.client('a').0.presence);
    scene.worker.node.config.set(&[("slowlog-log-slower-than", "0")]).unwrap();
    for line in [
        "acl setuser bob on >secret ~* +@all",
        "auth bob secret",
        "auth bob wrongsecret",
        "hello 2 auth bob secret setname x",
        "config set requirepass secret",
        "multi",
        "auth bob secret",
        "hello 2 auth bob secret",
        "set k v",
        "exec",
    ] {
        scene.ask('b', line);
    }
    let (shown, noted) = (shown(&watching), noted(&scene));
    let hidden = ["auth (redacted) (redacted)", "hello 2 auth (redacted) (redacted)"];
    assert!(!shown.concat().contains("secret") && !noted.concat().contains("secret"), "{shown:?} {noted:?}");
    for line in hidden {
        assert!(shown.iter().any(|known| known == line), "{line}: {shown:?}");
    }
    for line in [
        "acl setuser (redacted) (redacted) (redacted) (redacted) (redacted)",
        "auth (redacted) (redacted)",
        "hello 2 auth (redacted) (redacted) setname x",
    ] {
        assert!(noted.iter().any(|known| known == line), "{line}: {noted:?}");
    }
}

#[test]
fn a_script_that_begins_again_shows_each_of_its_calls_once() {
    let mut scene = Scene::new();
    scene.check("monitor -> +OK;");
    let watching = Arc::clone(&scene.client('a').0.presence);
    // It comes upon a key that it has not declared, and begins again with all keys within its reach.
    let script =
        "eval redis.call('get',KEYS[1])redis.call('get','other')return(redis.call('set','third','v')) 1 declared";
    let calls = ["get declared", "get other", "set third v"];
    for round in 0..2 {
        assert_eq!(scene.ask('b', script), "+OK;");
        let lines = shown(&watching);
        assert_eq!((lines[0].as_str(), &lines[1..]), (script, &calls.map(str::to_owned)[..]), "round {round}");
    }
}

#[test]
fn a_script_that_is_given_again_after_a_move_shows_each_of_its_calls_once() {
    let mut scene = Scene::new();
    assert_eq!(scene.ask('c', "monitor"), "+OK;");
    let watching = Arc::clone(&scene.client('c').0.presence);
    let script = "eval redis.call('get','x')return(redis.call('sadd','moved','late')) 0";
    let mut asked = 0;
    while_a_set_is_moved(&mut scene, |scene| {
        assert_eq!(scene.try_ask('b', script), None);
        asked += 1;
    });
    assert!(asked > 1, "{asked} times");
    assert_eq!(scene.ask('b', script), ":1;");
    let lines = shown(&watching);
    let count = |wanted: &str| lines.iter().filter(|line| line.as_str() == wanted).count();
    assert_eq!((count(script), count("get x"), count("sadd moved late")), (1, 1, 1), "{lines:?}");
    // What was shown of one request says nothing about the next.
    assert_eq!(scene.ask('b', script), ":0;");
    assert_eq!(shown(&watching), [script, "get x", "sadd moved late"]);
}

/// As Redis 7.0.15 shows them.
#[test]
fn commands_are_shown_once_they_are_executed_and_what_is_in_a_transaction_before_its_end() {
    let node = Arc::new(node());
    let [mut watcher, mut client] = [(); 2].map(|()| Caller::new(&node));
    assert_eq!(watcher.call("MONITOR"), "+OK\r\n");
    for words in ["MULTI", "SET a 1", "SELECT 3", "NOSUCH", "GET a", "EVAL x 0"] {
        client.call(words);
    }
    // It was refused as a whole.
    client.call("EXEC");
    for words in ["MULTI", "SET a 1", "SELECT 3", "GET a", "EXEC", "SELECT 0", "LPUSH a x"] {
        client.call(words);
    }
    client.call_bytes(&[b"EVAL", b"redis.call('select', 5) redis.call('ping')", b"0"]);
    let shown = watcher.mail();
    let shown: Vec<&str> = shown.lines().map(|line| &line[line.find('[').unwrap()..]).collect();
    let expected = [
        "[0 127.0.0.1:50000] \"MULTI\"",
        "[0 127.0.0.1:50000] \"EXEC\"",
        "[0 127.0.0.1:50000] \"MULTI\"",
        "[0 127.0.0.1:50000] \"SET\" \"a\" \"1\"",
        "[3 127.0.0.1:50000] \"SELECT\" \"3\"",
        "[3 127.0.0.1:50000] \"GET\" \"a\"",
        "[3 127.0.0.1:50000] \"EXEC\"",
        "[0 127.0.0.1:50000] \"SELECT\" \"0\"",
        "[0 127.0.0.1:50000] \"LPUSH\" \"a\" \"x\"",
        "[0 127.0.0.1:50000] \"EVAL\" \"redis.call('select', 5) redis.call('ping')\" \"0\"",
        "[5 lua] \"select\" \"5\"",
        "[5 lua] \"ping\"",
    ];
    assert_eq!(shown, expected);
}

/// As Redis 7.0.15 answers.
#[test]
fn who_is_shown_all_commands_asks_nothing_of_keys_until_it_is_reset() {
    let node = Arc::new(node());
    let mut watcher = Caller::new(&node);
    assert_eq!(watcher.call("MONITOR"), "+OK\r\n");
    let refusal = "-ERR Replica can't interact with the keyspace\r\n";
    for words in ["GET k", "SET k 1", "PUBLISH c m", "EVAL x 0", "EVAL_RO x 0", "DEL k"] {
        assert_eq!(watcher.call(words), refusal, "{words}");
    }
    assert_eq!(watcher.call("PING"), "+PONG\r\n");
    assert_eq!(watcher.call("MULTI") + &watcher.call("GET k"), format!("+OK\r\n{refusal}"));
    assert!(watcher.call("EXEC").starts_with("-EXECABORT "));
    assert_eq!(watcher.call("RESET") + &watcher.call("SET k 1"), "+RESET\r\n+OK\r\n");
}
