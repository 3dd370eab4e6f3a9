//! Small scripts in Lua, mostly right: they call commands, make every type of reply, and fail in all the ways scripts do.

use crate::random::Random;

/// A call as scripts write it, quoted so that every byte survives.
fn quoted(words: &[Vec<u8>]) -> String {
    let word = |word: &Vec<u8>| {
        let letters = word.iter().map(|byte| match byte {
            b'\\' | b'"' => format!("\\{}", char::from(*byte)),
            32..=126 => char::from(*byte).to_string(),
            _ => format!("\\{byte:03}"),
        });
        format!("\"{}\"", letters.collect::<String>())
    };
    words.iter().map(word).collect::<Vec<_>>().join(",")
}

/// The body of a script. `calls` makes the calls in it.
pub fn body(random: &mut Random, calls: &mut dyn FnMut(&mut Random) -> Vec<Vec<u8>>) -> String {
    let mut lines = String::new();
    for _ in 0..random.below(3) {
        lines.push_str(&statement(random, calls));
        lines.push('\n');
    }
    lines + &ending(random, calls)
}

/// The code of a library of functions with one or two of them.
pub fn library(random: &mut Random, calls: &mut dyn FnMut(&mut Random) -> Vec<Vec<u8>>) -> String {
    let head = *random.one_of(HEADS);
    let mut code = format!("{head}\n");
    for _ in 0..1 + random.below(2) {
        let name = *random.one_of(FUNCTIONS);
        let body = body(random, calls);
        let function = format!("function(keys, args)\n{}\nend", body.replace("KEYS", "keys").replace("ARGV", "args"));
        let flags = *random.one_of(FLAGS);
        code.push_str(&match random.below(6) {
            0 => format!("redis.register_function{{function_name='{name}', callback={function}, flags={{{flags}}}}}\n"),
            1 => format!(
                "redis.register_function{{function_name='{name}', callback={function}, flags={{{flags}}}, description='d'}}\n"
            ),
            _ => format!("redis.register_function('{name}', {function})\n"),
        });
    }
    if random.percent(10) {
        code.push_str(random.one_of::<&str>(BAD_ENDS));
    }
    code
}

fn call(random: &mut Random, calls: &mut dyn FnMut(&mut Random) -> Vec<Vec<u8>>) -> String {
    let way = if random.percent(70) { "call" } else { "pcall" };
    match random.below(12) {
        0 => format!("redis.{way}('get', KEYS[1])"),
        1 => format!("redis.{way}('set', KEYS[1], ARGV[1])"),
        2 => format!("redis.{way}({})", random.one_of(BAD_CALLS)),
        _ => {
            let words = calls(random);
            format!("redis.{way}({})", quoted(&words))
        }
    }
}

fn statement(random: &mut Random, calls: &mut dyn FnMut(&mut Random) -> Vec<Vec<u8>>) -> String {
    match random.below(10) {
        0..=4 => call(random, calls),
        5 => "redis.setresp(3)".to_owned(),
        6 => "redis.setresp(2)".to_owned(),
        7 => (*random.one_of(STATEMENTS)).to_owned(),
        _ => format!("local a = {}", value(random, 2)),
    }
}

fn ending(random: &mut Random, calls: &mut dyn FnMut(&mut Random) -> Vec<Vec<u8>>) -> String {
    match random.below(12) {
        0..=3 => format!("return {}", call(random, calls)),
        4 => format!("return {{{}, ARGV[1], #KEYS, #ARGV}}", call(random, calls)),
        5 => {
            let call = call(random, calls);
            format!("local r = {call}\nif type(r) == 'table' and r.err then return {{'caught', r.err}} end\nreturn r")
        }
        6 => {
            format!("local ok, r = pcall(function() return {} end)\nreturn {{ok and 1 or 0, r}}", call(random, calls))
        }
        7 | 8 => format!("return {}", value(random, 0)),
        _ => format!("return {}", random.one_of(EXPRESSIONS)),
    }
}

/// A value, perhaps one made of others.
fn value(random: &mut Random, depth: usize) -> String {
    if depth < 2 && random.percent(30) {
        let count = random.below(4);
        let parts: Vec<String> = (0..count).map(|_| value(random, depth + 1)).collect();
        return format!("{{{}}}", parts.join(", "));
    }
    (*random.one_of(VALUES)).to_owned()
}

/// Names of functions.
pub const FUNCTIONS: &[&str] = &["f1", "f2", "f3", "f1", "f2", "bad-name", ""];
/// Names of libraries.
pub const LIBRARIES: &[&str] = &["lib1", "lib2", "lib3", "nolib", "li*", ""];

const HEADS: &[&str] = &[
    "#!lua name=lib1",
    "#!lua name=lib2",
    "#!lua name=lib3",
    "#!lua name=lib1",
    "#!lua name=lib2",
    "#!lua name=bad-name",
    "#!lua",
    "#!python name=lib1",
    "#!lua name=lib1 name=lib2",
    "#!lua name=lib1 other=x",
    "name=lib1",
    "",
];
const FLAGS: &[&str] =
    &["", "'no-writes'", "'allow-oom'", "'allow-stale'", "'no-cluster'", "'no-writes','allow-oom'", "'nonsense'", "1"];
const BAD_ENDS: &[&str] = &[
    "return 1\n",
    "redis.register_function('f1')\n",
    "redis.register_function()\n",
    "redis.register_function('f9', 'text')\n",
    "redis.register_function{function_name='f9'}\n",
    "redis.register_function{callback=function() end}\n",
    "redis.register_function{function_name='f9', callback=function() end, other=1}\n",
    "redis.call('get', 'x')\n",
    "x = 1\n",
    "local x = nothing\n",
    "(\n",
    "error('stop')\n",
];
const BAD_CALLS: &[&str] = &[
    "",
    "'nosuchcommand'",
    "'get'",
    "'get', 'a', 'b'",
    "'set', 'a', {}",
    "'set', 'a', nil",
    "'set', 's1', 1.5",
    "'set', 's1', 3",
    "'set', 's1', 1e20",
    "'set', 's1', true",
    "'multi'",
    "'subscribe', 'a'",
    "'blpop', 'none', 0",
    "'xread', 'block', 0, 'streams', 'none', '$'",
    "'auth', 'x'",
    "'client', 'id'",
    "'config', 'get', 'maxmemory'",
    "'eval', 'return 1', 0",
    "'client', 'nosuch'",
    "'object', 'encoding'",
    "'incr', 'h1'",
    "'hset', 'h1', 'f'",
    "'publish', 'a', 'b'",
    "'select', 1",
    "'select', 99",
    "'swapdb', 0, 1",
    "'echo', 'text'",
    "'ping'",
    "'time', 'x'",
    "'acl', 'whoami'",
    "'script', 'kill'",
    "'wait', 0, 0",
    "'lpush', 'l1', 1, 2, 3",
    "'lpop', 'l1', 2",
    "'hmget', 'h1', 'a', 'b'",
    "'zadd', 'z1', '1.5', 'a', 2, 'b'",
    "'zrange', 'z1', 0, -1, 'withscores'",
    "'zscore', 'z1', 'a'",
    "'hgetall', 'none'",
    "'exists', 's1'",
    "'command', 'count', 'x'",
];
const STATEMENTS: &[&str] = &[
    "x = 1",
    "local x = nosuchglobal",
    "error('stop')",
    "error({err='My error'})",
    "error({})",
    "error()",
    "local a = nil; local b = a.c",
    "local a = 1 + {}",
    "local a = 'x' + 1",
    "local a = {} .. 'x'",
    "local a = #nil",
    "local a = 1 < 'x'",
    "local f = nil; f()",
    "redis.nosuch()",
    "redis.log(redis.LOG_DEBUG, 'x')",
    "redis.log()",
    "redis.log(9, 'x')",
    "redis.log('x', 'y')",
    "redis.setresp(4)",
    "redis.setresp()",
    "redis.set_repl(redis.REPL_ALL)",
    "redis.set_repl(99)",
    "redis.set_repl()",
    "redis.replicate_commands()",
    "redis.sha1hex()",
    "redis.error_reply()",
    "redis.status_reply(1)",
    "redis.x = 1",
    "string.x = 1",
    "KEYS = 1",
    "KEYS[1] = 's2'",
    "table.insert(ARGV, 'more')",
    "return (",
    "x x",
    "goto l",
    "--[[ not closed",
    "local function f() return f() + 1 end f()",
    "setmetatable(_G, nil)",
    "_G.x = 1",
    "rawset(_G, 'x', 1)",
    "for i = 1, 3 do redis.call('incr', 'n1') end",
    "for i = 1, 3 do redis.call('rpush', 'l1', i) end",
    "dofile('x')",
    "loadfile('x')",
    "require('x')",
    "print('x')",
    "os.exit()",
    "io.write('x')",
    "cjson.decode('{')",
    "cjson.decode('[1,')",
    "cjson.decode('nul')",
    "cjson.encode(function() end)",
    "cmsgpack.unpack('\\193')",
    "struct.unpack('I4', 'ab')",
    "struct.pack('I9', 1)",
    "struct.pack('y', 1)",
    "bit.tobit('x')",
    "bit.band()",
    "tonumber({})",
    "string.rep()",
    "string.format('%d', 'x')",
    "string.format('%y', 1)",
    "unpack({}, 1, 1e8)",
    "table.concat({{}})",
    "math.random(0)",
    "tostring()",
];
const VALUES: &[&str] = &[
    "nil",
    "true",
    "false",
    "1",
    "0",
    "-1",
    "3.99",
    "-3.99",
    "1e15",
    "1e20",
    "-1e20",
    "0/0",
    "1/0",
    "''",
    "'text'",
    "'a\\0b'",
    "'two\\r\\nlines'",
    "KEYS[1]",
    "ARGV[1]",
    "ARGV[9]",
    "{}",
    "{1, nil, 3}",
    "{ok='fine'}",
    "{ok='two\\nlines'}",
    "{ok=1}",
    "{err='ERR it failed'}",
    "{err='it failed'}",
    "{err=''}",
    "{err='MY code'}",
    "{err='two\\r\\nlines'}",
    "{err=1}",
    "redis.error_reply('it failed')",
    "redis.error_reply('MY it failed')",
    "redis.error_reply('-MY it failed')",
    "redis.error_reply('')",
    "redis.error_reply('A\\nB')",
    "redis.status_reply('fine')",
    "redis.status_reply('')",
    "{double=1.5}",
    "{double=1/0}",
    "{double='x'}",
    "{map={a=1}}",
    "{map={a={map={b=2}}}}",
    "{map='x'}",
    "{set={a=true}}",
    "{set={a=false}}",
    "{big_number='123456789012345678901234567890'}",
    "{big_number='1\\r\\n2'}",
    "{verbatim_string={string='text', format='txt'}}",
    "{verbatim_string={string='text', format='toolong'}}",
    "{verbatim_string={string='text'}}",
    "{a=1, b=2}",
    "{[1]=1, [3]=3}",
    "{{{{1}}}}",
    "function() end",
    "{function() end, 1}",
    "redis",
    "cjson.null",
];
const EXPRESSIONS: &[&str] = &[
    "redis.sha1hex('')",
    "redis.sha1hex(ARGV[1])",
    "redis.sha1hex(1)",
    "redis.LOG_WARNING",
    "redis.REPL_NONE",
    "redis.acl_check_cmd('get', 's1')",
    "redis.acl_check_cmd('nosuch')",
    "redis.acl_check_cmd()",
    "redis.breakpoint()",
    "redis.replicate_commands()",
    "type(redis.call)",
    "type(redis)",
    "type(cjson)",
    "type(os.clock())",
    "type(loadstring)",
    "type(io)",
    "tostring(nil)",
    "tostring(1e15)",
    "tostring(0.1)",
    "tostring(-0)",
    "tonumber('0x10')",
    "tonumber(' 5 ')",
    "tonumber('5x')",
    "tonumber('z', 36)",
    "tostring(2^53)",
    "tostring(1/0)",
    "7 % -3",
    "-7 % 3",
    "2^10",
    "#'text'",
    "'a' .. 1",
    "'10' + 5",
    "'a' < 'b'",
    "select('#', 1, nil, 3)",
    "{select(2, 'a', 'b', 'c')}",
    "{unpack({1, 2, 3})}",
    "table.concat({1, 2, 'x'}, '-')",
    "{table.maxn({1, 2}), table.getn({1})}",
    "string.rep('ab', 3)",
    "string.format('%5.2f|%s|%q|%x|%d', 3.14159, 'x', 'a\"b', 255, 3.99)",
    "string.gsub('hello', 'l', 'L')",
    "{string.find('hello', 'l+')}",
    "string.byte('a', 1)",
    "string.char(0, 255)",
    "string.reverse('abc')",
    "math.floor(-1.5)",
    "math.max(1, 2, 3)",
    "tostring(math.huge)",
    "tostring(math.pi)",
    "{pcall(error, 'x')}",
    "{pcall(error, {code=1})}",
    "{xpcall(function() error('x') end, function(e) return 'h:' .. e end)}",
    "{pcall(redis.call, 'get')}",
    "{pcall(redis.call, 'incr', 'h1')}",
    "redis.pcall('incr', 'h1')",
    "redis.pcall('incr', 'h1').err",
    "redis.pcall('nosuch')['err']",
    "loadstring('return 1 + 1')()",
    "loadstring('return (')",
    "{loadstring('return (')}",
    "cjson.encode({1, 2, 3})",
    "cjson.encode({a=1})",
    "cjson.encode({})",
    "cjson.encode({1, nil, 3})",
    "cjson.encode({[1]=1, [100]=1})",
    "cjson.encode('a\"b\\n\\0/')",
    "cjson.encode(0.1)",
    "cjson.encode(1e100)",
    "cjson.encode(123456789012345)",
    "cjson.encode(1/0)",
    "cjson.encode({{}, cjson.null, true})",
    "cjson.decode('[1, 2.5, \"x\", null, true, {}]')",
    "cjson.decode('{\"a\": [1]}').a",
    "cjson.decode('\"\\\\u00e9\\\\n\"')",
    "cjson.decode('1e3')",
    "cjson.decode(' 5')",
    "cjson.decode('')",
    "tostring(cjson.null)",
    "cjson.decode('[null]')[1] == cjson.null",
    "cmsgpack.pack(1)",
    "cmsgpack.pack({1, 'a', 2.5, true, false})",
    "cmsgpack.pack({a=1})",
    "cmsgpack.pack(nil, -1, 300, 70000, -40000, 1e10)",
    "{cmsgpack.unpack(cmsgpack.pack(1, 'x', {1, 2}))}",
    "cmsgpack.unpack_one(cmsgpack.pack('a', 'b'))",
    "{cmsgpack.unpack_limit(cmsgpack.pack(1, 2, 3), 2, 0)}",
    "cmsgpack.pack()",
    "struct.pack('>I2i4s', 258, -2, 'abc')",
    "struct.pack('<dfB', 1.5, -2.25, 255)",
    "{struct.unpack('>I2', '\\1\\2\\3')}",
    "struct.size('>I2i4d')",
    "{struct.unpack('c0', 'abc')}",
    "{bit.band(255, 15), bit.bor(1, 2), bit.bxor(5, 1), bit.bnot(0)}",
    "{bit.lshift(1, 31), bit.rshift(-1, 1), bit.arshift(-8, 1), bit.rol(1, 33), bit.ror(1, 1)}",
    "bit.tohex(-1)",
    "bit.tohex(255, -4)",
    "bit.bswap(1)",
    "bit.tobit(2^32 + 5)",
    "_VERSION",
    "#KEYS + #ARGV",
    "getmetatable('').x",
    "rawlen",
    "next({})",
    "type(next)",
    "rawequal(1, 1)",
    "KEYS",
    "ARGV",
    "{KEYS, ARGV}",
    "redis.call",
    "coroutine.wrap(function() return 1 end)()",
    "{coroutine.resume(coroutine.create(function() error('in') end))}",
    "os.time",
    "math.random",
];
