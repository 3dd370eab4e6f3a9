//! Patterns as `KEYS`, `SCAN MATCH` and `PSUBSCRIBE` understand them: Redis' `stringmatchlen`, byte by byte.
//!
//! `*` any bytes, `?` one byte, `[abc]` `[a-z]` `[^a]` one of a class, `\x` the byte `x` itself. Not a path matcher:
//! `/` is a byte like any other. Time is linear in the text for each `*`, never exponential.

/// Whether the whole `text` matches `pattern`.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut position) = (0, 0);
    // Where to go on if the bytes after the last `*` do not fit: one byte of text further. An earlier `*` needs no
    // second chance, because whatever it could skip the last one can skip as well.
    let mut retry: Option<(usize, usize)> = None;
    while position < text.len() {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            retry = Some((at, position));
            continue;
        }
        match one(&pattern[at..], text[position]) {
            Some(used) => {
                at += used;
                position += 1;
            }
            None => match retry {
                Some((after_star, from)) => {
                    at = after_star;
                    position = from + 1;
                    retry = Some((after_star, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

/// Whether the pattern is nothing but `*`, so that nobody needs to ask it.
pub fn matches_everything(pattern: &[u8]) -> bool {
    pattern == b"*"
}

/// How many bytes of the pattern its first element takes, if that element matches `byte`.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', ref class @ ..] => {
            let (matched, used) = class_matches(class, byte);
            matched.then_some(used + 1)
        }
        [b'\\', escaped, ..] => (escaped == byte).then_some(2),
        [literal, ..] => (literal == byte).then_some(1),
    }
}

/// Whether a class (what follows `[`) matches, and how many bytes it takes with its `]`. A class that is never closed
/// ends with the pattern, as in Redis.
fn class_matches(class: &[u8], byte: u8) -> (bool, usize) {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut matched = false;
    loop {
        match class[at..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', escaped, ..] => {
                matched |= escaped == byte;
                at += 2;
            }
            [first, b'-', last, ..] => {
                let (low, high) = (first.min(last), first.max(last));
                matched |= (low..=high).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                matched |= literal == byte;
                at += 1;
            }
        }
    }
    (matched != negated, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        for text in yes {
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern:?} should match {text:?}");
        }
        for text in no {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern:?} should not match {text:?}");
        }
    }

    #[test]
    fn patterns_match_as_in_redis() {
        check("", &[""], &["a"]);
        check("*", &["", "a", "anything/at all"], &[]);
        check("h?llo", &["hello", "hallo"], &["hllo", "heello"]);
        check("h*llo", &["hllo", "heeeello", "hllollo"], &["hell", "ahllo"]);
        check("h[ae]llo", &["hello", "hallo"], &["hillo", "hllo"]);
        check("h[^e]llo", &["hallo", "hbllo"], &["hello"]);
        check("h[a-b]llo", &["hallo", "hbllo"], &["hcllo"]);
        check("h[b-a]llo", &["hallo", "hbllo"], &["hcllo"]);
        check("a\\*b", &["a*b"], &["axb", "a\\*b"]);
        check("[\\]]", &["]"], &["\\"]);
        check("a\\", &["a\\"], &["a"]);
        check("**a**", &["a", "ba", "ab", "bab"], &["", "b"]);
        check("*a*b*c", &["abc", "xaxbxc", "aabbcc"], &["acb", "abcx"]);
        check("a[", &[], &["a", "a["]);
        check("a[b", &["ab"], &["ac", "a"]);
        check("a[b-", &["ab", "a-"], &["ac"]);
        check("[a-]", &["a", "]"], &["-"]);
        check("???*", &["abc", "abcd"], &["ab"]);
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let pattern = b"a*".repeat(30);
        assert!(!matches(&[&pattern[..], b"b"].concat(), &[b'a'; 20_000]));
    }
}
