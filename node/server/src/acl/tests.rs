use super::*;
use crate::command::table::table;
use crate::testing::{self, Caller};
use std::sync::Arc;

/// What a user is after these rules, as `ACL LIST` would show it; or the first refusal.
fn described(rules: &str) -> Result<String, RuleError> {
    let words: Vec<&[u8]> = rules.split(' ').map(str::as_bytes).collect();
    let mut rights = Rights::new(false);
    for rule in file::merged(&words).unwrap() {
        rights.apply(&rule, false)?;
    }
    Ok(String::from_utf8(rights.describe()).unwrap())
}

fn check(rules: &str, expected: &str) {
    assert_eq!(described(rules).as_deref(), Ok(expected), "{rules}");
    // What is told comes back to the same.
    let line = format!("user u {expected}");
    let read = file::parse("text", line.as_bytes(), false).unwrap();
    assert_eq!(String::from_utf8(read[0].1.describe()).unwrap(), expected);
}

#[test]
fn rules_are_told_as_redis_tells_them() {
    check("", "off resetchannels -@all");
    check("on nopass ~* &* +@all", "on nopass ~* &* +@all");
    check("ON ALLKEYS ALLCHANNELS ALLCOMMANDS", "on ~* &* +@all");
    check("reset", "off sanitize-payload resetchannels -@all");
    check("%R~a %W~b %RW~c %rw~d ~e &f &g", "off %R~a %W~b ~c ~d ~e resetchannels &f &g -@all");
    check("%R~a %W~a", "off ~a resetchannels -@all");
    check("~* resetkeys ~a", "off ~a resetchannels -@all");
    check("+get +set -@all +@read -get", "off resetchannels -@all +@read -get");
    check("+select|0 +SELECT|1 +config|get", "off resetchannels -@all +select|0 +select|1 +config|get");
    check("+@all -config|set", "off resetchannels +@all -config|set");
    check(
        "on (+get ~a &b) (%R~* +@all)",
        "on resetchannels -@all (~a resetchannels &b -@all +get) (%R~* resetchannels +@all)",
    );
    check("(+get) clearselectors (+set)", "off resetchannels -@all (resetchannels -@all +set)");
    check(
        "#30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4",
        "off #30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4 resetchannels -@all",
    );
    assert_eq!(described(">pw"), described("#30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4"));
    assert_eq!(described(">pw <pw"), described(""));
    assert_eq!(described(">pw nopass"), described("nopass"));
    assert_eq!(
        described("skip-sanitize-payload sanitize-payload").unwrap(),
        "off sanitize-payload resetchannels -@all"
    );
}

#[test]
fn what_is_no_rule_is_refused_in_redis_words() {
    use RuleError::*;
    let cases = [
        ("foo", Syntax),
        ("%~a", Syntax),
        ("%X~a", Syntax),
        ("%RR~a", Syntax),
        ("%", Syntax),
        (")", Syntax),
        ("+foo", Unknown),
        ("-foo", Unknown),
        ("+@foo", Unknown),
        ("-@foo", Unknown),
        ("+", Unknown),
        ("+|", Unknown),
        ("+get|", Syntax),
        ("+config|", Syntax),
        ("+config|nope", Unknown),
        ("-get|x", Unknown),
        ("+get|a|b", Unknown),
        ("+config|get|x", FirstArgumentOfSubcommand),
        ("~* ~a", AfterAllKeys),
        ("&* &a", AfterAllChannels),
        ("<x", NoSuchPassword),
        ("#abc", NotAHash),
        ("!abc", NotAHash),
        ("(on)", Syntax),
        ("(>x)", Syntax),
        ("(foo)", Syntax),
    ];
    for (rules, error) in cases {
        assert_eq!(described(rules), Err(error), "{rules}");
    }
    assert_eq!(file::merged(&[b"(+get", b"~a"]), Err(b"(+get".to_vec()));
}

/// Whether a user with these rules may make a request.
fn may(rules: &str, request: &str) -> Result<(), Denied> {
    let words: Vec<&[u8]> = rules.split(' ').map(str::as_bytes).collect();
    let mut rights = Rights::new(false);
    for rule in file::merged(&words).unwrap() {
        rights.apply(&rule, false).unwrap();
    }
    let args: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
    let entry = table().find(args[0]).unwrap();
    let entry = args.get(1).and_then(|name| entry.subcommand(name)).unwrap_or(entry);
    rights.allows(entry, &args)
}

#[test]
fn keys_are_allowed_for_what_a_command_does_with_them() {
    const RULES: &str = "+@all ~k:* %R~r:* %W~w:*";
    let allowed = [
        "get k:1",
        "get r:1",
        "set w:1 x",
        "append w:1 x",
        "strlen w:1",
        "exists r:1 w:1 k:1",
        "del w:1",
        "expire w:1 5",
        "type w:1",
        "copy r:1 w:2",
        "sunionstore w:1 r:1",
        "sort r:1 store w:3",
        "object encoding w:1",
        "lpush w:l a",
        "bitfield r:1 get u8 0",
        "touch w:1",
        "zadd w:z 1 a",
        "hset w:h a 1",
        "pfadd w:p 1",
        "rename k:1 w:1",
        "ping",
    ];
    for request in allowed {
        assert_eq!(may(RULES, request), Ok(()), "{request}");
    }
    let denied = [
        ("get w:1", 1),
        ("set r:1 x", 1),
        ("set w:1 x get", 1),
        ("incr w:1", 1),
        ("getset w:1 y", 1),
        ("mget k:1 zz r:1", 2),
        ("del r:1", 1),
        ("ttl w:1", 1),
        ("copy w:1 k:1", 1),
        ("copy r:1 r:2", 2),
        ("rename r:1 w:1", 1),
        ("sunionstore r:1 w:1", 1),
        ("sunionstore w:1 r:1 w:1", 3),
        ("memory usage zz", 2),
        ("rpop w:l", 1),
        ("bitfield w:1 get u8 0", 1),
        ("hincrby w:h a 1", 1),
        ("pfmerge w:p r:p", 1),
        ("mset w:1 1 r:1 2", 3),
        ("spop w:s", 1),
        ("smove w:s w:t 1", 1),
        ("watch zz", 1),
    ];
    for (request, at) in denied {
        assert_eq!(may(RULES, request), Err(Denied::Key(at)), "{request}");
    }
}

#[test]
fn one_selector_must_allow_all_of_a_request() {
    assert_eq!(may("+get ~a (+set ~b)", "get a"), Ok(()));
    assert_eq!(may("+get ~a (+set ~b)", "set b x"), Ok(()));
    assert_eq!(may("+get ~a (+set ~b)", "set a x"), Err(Denied::Key(1)));
    assert_eq!(may("+get ~a (+set ~b)", "del a"), Err(Denied::Command));
    // Told is the one that allowed most.
    assert_eq!(may("+mget ~a (+mget ~a ~b)", "mget a b c"), Err(Denied::Key(3)));
}

#[test]
fn commands_subcommands_and_first_arguments_are_told_apart() {
    assert_eq!(may("+@all -config|set", "config get a"), Ok(()));
    assert_eq!(may("+@all -config|set", "config set a b"), Err(Denied::Command));
    assert_eq!(may("+config", "config set a b"), Ok(()));
    assert_eq!(may("+select|0", "select 0"), Ok(()));
    assert_eq!(may("+select|0", "select 1"), Err(Denied::Command));
    assert_eq!(may("+select|0 -select", "select 0"), Err(Denied::Command));
    assert_eq!(may("", "auth x"), Ok(()), "everybody may say who they are");
    assert_eq!(may("+@all -@dangerous", "flushall"), Err(Denied::Command));
    assert_eq!(may("+@all -@dangerous", "pelago status"), Err(Denied::Command));
    for rules in ["+@all -@dangerous", "+@all -@admin"] {
        assert_eq!(may(rules, "pelago token"), Ok(()), "{rules}");
        assert_eq!(may(rules, "pelago await t 1"), Ok(()), "{rules}");
    }
}

#[test]
fn who_may_do_everything_is_known_by_a_flag_that_follows_the_rules_at_once() {
    let acl = Acl::default();
    let user = Arc::clone(acl.default_user());
    assert!(user.is_unrestricted() && !acl.requires_password());
    acl.set(b"default", &[b"-get"], false).unwrap();
    assert!(!user.is_unrestricted());
    acl.set(b"default", &[b"+get"], false).unwrap();
    assert!(user.is_unrestricted());
    acl.set_default_password("secret");
    assert!(user.is_unrestricted() && acl.requires_password());
    assert!(acl.authenticate(b"default", b"secret").is_some() && acl.authenticate(b"default", b"Secret").is_none());
    acl.set(b"default", &[b"off"], false).unwrap();
    assert!(acl.authenticate(b"default", b"secret").is_none());
    acl.set_default_password("");
    assert!(acl.requires_password(), "a user that is off lets nobody in");
}

#[test]
fn all_rules_of_a_change_hold_or_none() {
    let acl = Acl::default();
    let refused = acl.set(b"u", &[b"on", b"+foo"], false).unwrap_err();
    assert_eq!((&*refused.rule, refused.error), (&b"+foo"[..], RuleError::Unknown));
    assert!(acl.find(b"u").is_none());
    acl.set(b"u", &[b"on", b">p"], false).unwrap();
    assert!(acl.set(b"u", &[b"off", b"~*", b"~a"], false).is_err());
    assert!(acl.authenticate(b"u", b"p").is_some());
}

#[test]
fn users_are_deleted_and_the_first_one_never() {
    let acl = Acl::default();
    acl.set(b"u", &[], false).unwrap();
    assert_eq!(acl.delete(&[b"u", b"default", b"nobody"]).what.len(), 1);
    assert!(acl.find(b"u").is_none() && acl.find(b"default").is_some());
}

#[test]
fn a_file_of_users_is_read_whole_or_not_at_all() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("users.acl");
    std::fs::write(&path, "user a on >p ~* +get\n\n  user b   off\n").unwrap();
    let acl = Acl::default();
    acl.set(b"gone", &[], false).unwrap();
    acl.begin_with_file(&path, false).unwrap();
    assert_eq!(acl.all().iter().map(|user| user.name().to_vec()).collect::<Vec<_>>(), [&b"a"[..], b"b", b"default"]);
    let a = acl.find(b"a").unwrap();
    std::fs::write(&path, "user a on +foo\nuser b badop\nusr c\nuser a\nuser c (x\n").unwrap();
    let shown = path.display();
    assert_eq!(
        acl.load(false).unwrap_err().to_string(),
        format!(
            "{shown}:1: Error in applying operation '+foo': Unknown command or category name in ACL. {shown}:2: Syntax error. \
             {shown}:3 should start with user keyword followed by the username. \
             WARNING: Duplicate user 'a' found on line 4. \
             {shown}:5: Unmatched parenthesis in selector definition. \
             WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
        )
    );
    assert!(acl.authenticate(b"a", b"p").is_some());
    std::fs::write(&path, "user a on >q\nuser default off\n").unwrap();
    let gone = acl.load(false).unwrap();
    assert_eq!((gone.len(), gone[0].name()), (1, &b"b"[..]));
    assert!(Arc::ptr_eq(&a, &acl.find(b"a").unwrap()), "who stays keeps the connections");
    assert!(acl.authenticate(b"a", b"q").is_some() && acl.requires_password());
    acl.set(b"c", &[b"+@all"], false).unwrap();
    acl.save().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("user c off resetchannels +@all\n") && text.contains("user default off"), "{text}");
}

#[test]
fn a_change_of_users_that_cannot_be_kept_holds_and_is_no_success() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("users.acl");
    let node = Arc::new(testing::node());
    let mut operator = Caller::new(&node);
    node.acl.begin_with_own_file(&path, false).unwrap();
    assert_eq!(operator.call("ACL SETUSER u on nopass +get ~*"), "+OK\r\n");
    // A directory stands where the new file would be written.
    std::fs::create_dir(home.path().join("users.acl.new")).unwrap();
    let sentence =
        "-ERR the change holds, but could not be written to the file of users and is lost when the node stops: ";
    for (line, held) in [("ACL SETUSER u -get", "user u on nopass "), ("ACL SETUSER v on", "user v on ")] {
        let reply = operator.call(line);
        assert!(reply.starts_with(sentence) && reply.contains("users.acl"), "{reply}");
        let lines = operator.call("ACL LIST");
        assert!(lines.contains(held), "{lines}");
    }
    let reply = operator.call("ACL DELUSER u");
    assert!(reply.starts_with(sentence) && node.acl.find(b"u").is_none(), "{reply}");
    std::fs::remove_dir(home.path().join("users.acl.new")).unwrap();
    assert_eq!(operator.call("ACL SETUSER v off"), "+OK\r\n");
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(kept.contains("user v off") && !kept.contains("user u"), "{kept}");
}

#[test]
fn the_nodes_own_file_has_every_change() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("users.acl");
    let acl = Acl::default();
    acl.begin_with_own_file(&path, false).unwrap();
    acl.set(b"a", &[b"on", b">p", b"+get"], false).unwrap();
    acl.set(b"b", &[], false).unwrap();
    acl.delete(&[b"b"]);
    assert!(matches!(acl.save(), Err(FileError::NoFile)), "it is not the operator's");
    let again = Acl::default();
    again.begin_with_own_file(&path, false).unwrap();
    assert_eq!(again.lines(), acl.lines());
    assert!(again.authenticate(b"a", b"p").is_some());
}

/// A user `u` with everything but what the rules take away, and a client of that user beside an operator.
fn operator_and_user() -> (Arc<crate::node::Node>, Caller, Caller) {
    let node = Arc::new(testing::node());
    let (mut operator, mut user) = (Caller::new(&node), Caller::new(&node));
    assert_eq!(operator.call("ACL SETUSER u on >p ~* &* +@all"), "+OK\r\n");
    assert_eq!(user.call("AUTH u p"), "+OK\r\n");
    (node, operator, user)
}

#[test]
fn what_was_queued_is_looked_at_again_before_it_is_executed() {
    let (node, mut operator, mut user) = operator_and_user();
    assert_eq!(user.call("MULTI"), "+OK\r\n");
    assert_eq!(user.call("SET k v"), "+QUEUED\r\n");
    assert_eq!(user.call("GET k"), "+QUEUED\r\n");
    operator.call("ACL SETUSER u -get");
    assert_eq!(
        user.call("EXEC"),
        "*2\r\n+OK\r\n-NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This \
         command is no longer allowed for the following reason: no permission to execute the command or subcommand\r\n"
    );
    let log = node.acl.log.lock();
    let refusal = log.entries().next().unwrap();
    assert_eq!((refusal.reason, refusal.place, &*refusal.object), (Reason::Command, Place::Transaction, &b"get"[..]));
    assert!(refusal.client.contains(" user=u "), "{}", refusal.client);
}

#[test]
fn a_change_holds_at_once_and_the_clients_of_a_user_that_goes_are_ended() {
    let (node, mut operator, mut user) = operator_and_user();
    assert_eq!(user.call("GET k"), "$-1\r\n");
    operator.call("ACL SETUSER u resetkeys");
    assert_eq!(
        user.call("GET k"),
        "-NOPERM this user has no permissions to access one of the keys used as arguments\r\n"
    );
    assert_eq!(operator.call("ACL DELUSER u"), ":1\r\n");
    let ended: Vec<bool> = node.clients.all().iter().map(|presence| presence.is_ended()).collect();
    assert_eq!(ended, [false, true]);
    assert!(!operator.is_closing());
}

#[test]
fn subscribers_that_may_not_hear_a_channel_any_more_are_ended() {
    let (node, mut operator, mut user) = operator_and_user();
    user.call("SUBSCRIBE news:1 other");
    operator.call("SUBSCRIBE secret");
    operator.call("UNSUBSCRIBE");
    operator.call("ACL SETUSER u resetchannels &news:* &other");
    assert!(node.clients.all().iter().all(|presence| !presence.is_ended()));
    operator.call("ACL SETUSER u resetchannels &news:*");
    let ended: Vec<bool> = node.clients.all().iter().map(|presence| presence.is_ended()).collect();
    assert_eq!(ended, [false, true]);
}

#[test]
fn subscribers_of_the_default_user_are_ended_like_any_others() {
    let (node, mut default, mut other) = operator_and_user();
    default.call("SUBSCRIBE news secret");
    other.call("ACL SETUSER default resetchannels &news");
    let ended: Vec<bool> = node.clients.all().iter().map(|presence| presence.is_ended()).collect();
    assert_eq!(ended, [true, false]);
}

#[test]
fn who_was_deleted_while_it_was_found_is_no_user_any_more() {
    let acl = Acl::default();
    acl.set(b"u", &[b"on", b">p"], false).unwrap();
    let found = acl.authenticate(b"u", b"p").unwrap();
    assert!(acl.has(&found) && acl.has(acl.default_user()));
    acl.delete(&[b"u"]);
    assert!(!acl.has(&found));
    acl.set(b"u", &[b"on", b">p"], false).unwrap();
    assert!(!acl.has(&found), "another one has the name");
}

#[test]
fn the_log_of_refusals_keeps_the_beginning_of_a_long_name() {
    let (node, mut operator, mut user) = operator_and_user();
    operator.call("ACL SETUSER u resetkeys");
    let long = "k".repeat(100_000);
    user.call(&format!("GET {long}"));
    user.call(&format!("AUTH {long} p"));
    let log = node.acl.log.lock();
    let lengths: Vec<_> = log.entries().map(|refusal| (refusal.user.len(), refusal.object.len())).collect();
    assert_eq!(lengths, [(1024, 4), (1, 1024)]);
}
