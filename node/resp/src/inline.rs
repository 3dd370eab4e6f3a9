//! Inline requests: a line of words, as somebody at a `telnet` prompt types it. Quotes and escapes as in Redis.

/// Splits `line` into words. Each word's text is appended to `text`, and its end within `text` given to `word`.
/// False if a quote is not closed or is followed by something else than a space.
pub(crate) fn split(line: &[u8], text: &mut Vec<u8>, mut word: impl FnMut(usize)) -> bool {
    let mut rest = line;
    loop {
        let Some(start) = rest.iter().position(|byte| !is_space(*byte)) else { return true };
        rest = &rest[start..];
        let Some(after) = take_word(rest, text) else { return false };
        word(text.len());
        rest = after;
    }
}

/// Takes one word off the front of `rest`, which starts with it, and returns what follows.
fn take_word<'l>(mut rest: &'l [u8], text: &mut Vec<u8>) -> Option<&'l [u8]> {
    loop {
        match rest {
            [] => return Some(rest),
            [b'"', inside @ ..] => return after_closing_quote(take_double_quoted(inside, text)?),
            [b'\'', inside @ ..] => return after_closing_quote(take_single_quoted(inside, text)?),
            [byte, after @ ..] if is_space(*byte) || *byte == 0 => return Some(after),
            [byte, after @ ..] => {
                text.push(*byte);
                rest = after;
            }
        }
    }
}

fn take_double_quoted<'l>(mut rest: &'l [u8], text: &mut Vec<u8>) -> Option<&'l [u8]> {
    loop {
        match rest {
            [] => return None,
            [b'"', after @ ..] => return Some(after),
            [b'\\', b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                text.push(hex_value(*high) << 4 | hex_value(*low));
                rest = after;
            }
            [b'\\', escaped, after @ ..] => {
                text.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                rest = after;
            }
            [byte, after @ ..] => {
                text.push(*byte);
                rest = after;
            }
        }
    }
}

fn take_single_quoted<'l>(mut rest: &'l [u8], text: &mut Vec<u8>) -> Option<&'l [u8]> {
    loop {
        match rest {
            [] => return None,
            [b'\'', after @ ..] => return Some(after),
            [b'\\', b'\'', after @ ..] => {
                text.push(b'\'');
                rest = after;
            }
            [byte, after @ ..] => {
                text.push(*byte);
                rest = after;
            }
        }
    }
}

/// A closing quote ends its word: a space or the end must follow.
fn after_closing_quote(rest: &[u8]) -> Option<&[u8]> {
    rest.first().is_none_or(|byte| is_space(*byte)).then_some(rest)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    fn words(line: &str) -> Option<Vec<String>> {
        let (mut text, mut ends) = (Vec::new(), Vec::new());
        if !split(line.as_bytes(), &mut text, |end| ends.push(end)) {
            return None;
        }
        let starts = std::iter::once(0).chain(ends.iter().copied());
        Some(starts.zip(&ends).map(|(start, end)| String::from_utf8_lossy(&text[start..*end]).into_owned()).collect())
    }

    #[test]
    fn words_are_split_as_redis_splits_them() {
        let cases: &[(&str, Option<&[&str]>)] = &[
            ("", Some(&[])),
            ("   ", Some(&[])),
            ("PING", Some(&["PING"])),
            ("  set  a   b ", Some(&["set", "a", "b"])),
            ("set a 'b c'", Some(&["set", "a", "b c"])),
            ("set a \"b c\"", Some(&["set", "a", "b c"])),
            ("set a \"\"", Some(&["set", "a", ""])),
            ("set a \"\\x41\\n\\q\\\"\"", Some(&["set", "a", "A\nq\""])),
            ("set a \"\\xzz\"", Some(&["set", "a", "xzz"])),
            ("set a 'it\\'s \\n'", Some(&["set", "a", "it's \\n"])),
            ("PING\"a\"", Some(&["PINGa"])),
            ("\"PING\"a", None),
            ("set a \"b", None),
            ("set a 'b", None),
            ("set a \"b\\", None),
        ];
        for (line, expected) in cases {
            let expected = expected.map(|words| words.iter().map(|word| word.to_string()).collect::<Vec<_>>());
            assert_eq!(words(line), expected, "{line:?}");
        }
    }
}
