//! The first line of a script that begins with `#!`: engine, flags, and a library's name.

use bitflags::bitflags;

bitflags! {
    /// What a script says of itself.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ScriptFlags: u8 {
        /// It writes nothing.
        const NO_WRITES = 1 << 0;
        /// It may run while memory is short.
        const ALLOW_OOM = 1 << 1;
        /// It may run while the node's state is known to be behind.
        const ALLOW_STALE = 1 << 2;
        /// Not in a cluster. Pelago is none in that sense: it is taken and has no effect.
        const NO_CLUSTER = 1 << 3;
        /// Keys of several slots in a cluster: taken, without effect.
        const ALLOW_CROSS_SLOT_KEYS = 1 << 4;
        /// It says nothing of itself: each of its calls is judged alone, as before Redis 7.
        const COMPATIBLE = 1 << 7;
    }
}

/// The flags that a script can name.
pub const FLAG_NAMES: [(&str, ScriptFlags); 5] = [
    ("no-writes", ScriptFlags::NO_WRITES),
    ("allow-oom", ScriptFlags::ALLOW_OOM),
    ("allow-stale", ScriptFlags::ALLOW_STALE),
    ("no-cluster", ScriptFlags::NO_CLUSTER),
    ("allow-cross-slot-keys", ScriptFlags::ALLOW_CROSS_SLOT_KEYS),
];

impl ScriptFlags {
    /// The flag of this name.
    pub fn named(name: &str) -> Option<Self> {
        FLAG_NAMES.iter().find(|(known, _)| *known == name).map(|(_, flag)| *flag)
    }

    /// The names of those that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        FLAG_NAMES.iter().filter(move |(_, flag)| self.contains(*flag)).map(|(name, _)| *name)
    }
}

/// What the first line of a script to evaluate says. The error is a whole reply.
pub fn of_script(body: &[u8]) -> Result<ScriptFlags, String> {
    if !body.starts_with(b"#!") {
        return Ok(ScriptFlags::COMPATIBLE);
    }
    let end = body.iter().position(|byte| *byte == b'\n').ok_or("ERR Invalid script shebang")?;
    let line = String::from_utf8_lossy(&body[..end]).into_owned();
    let mut words = line.split_ascii_whitespace();
    let engine = words.next().unwrap_or_default();
    if engine != "#!lua" {
        return Err(format!("ERR Unexpected engine in script shebang: {engine}"));
    }
    let mut flags = ScriptFlags::empty();
    for word in words {
        let Some(names) = word.strip_prefix("flags=") else {
            return Err(format!("ERR Unknown lua shebang option: {word}"));
        };
        for name in names.split(',').filter(|name| !name.is_empty()) {
            flags |=
                ScriptFlags::named(name).ok_or_else(|| format!("ERR Unexpected flag in script shebang: {name}"))?;
        }
    }
    Ok(flags)
}

/// The body of a script as it is compiled: a first line that is no Lua is left empty, so that lines keep their numbers.
pub fn without(body: &[u8]) -> &[u8] {
    match body.starts_with(b"#!") {
        true => body.iter().position(|byte| *byte == b'\n').map_or(&[], |end| &body[end..]),
        false => body,
    }
}

/// The name of a library, and its code without the first line. The error is a sentence.
pub fn of_library(code: &[u8]) -> Result<(String, &[u8]), String> {
    if !code.starts_with(b"#!") {
        return Err("ERR Missing library metadata".to_owned());
    }
    let end = code.iter().position(|byte| *byte == b'\n').ok_or("ERR Invalid library metadata")?;
    let line = String::from_utf8_lossy(&code[2..end]).into_owned();
    let mut words = line.split_ascii_whitespace();
    let engine = words.next().unwrap_or_default();
    let mut name = None;
    for word in words {
        match word.split_once('=') {
            Some((option, value)) if option.eq_ignore_ascii_case("name") => {
                if name.replace(value.to_owned()).is_some() {
                    return Err("ERR Invalid metadata value, name argument was given multiple times".to_owned());
                }
            }
            _ => return Err(format!("ERR Invalid metadata value given: {word}")),
        }
    }
    let name = name.ok_or("ERR Library name was not given")?;
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err("ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one \
                    character long"
            .to_owned());
    }
    if !engine.eq_ignore_ascii_case("lua") {
        return Err(format!("ERR Engine '{engine}' not found"));
    }
    Ok((name, &code[end..]))
}
