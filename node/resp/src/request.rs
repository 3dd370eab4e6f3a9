//! Requests as clients write them. How they are read is `parser`'s business.

use crate::number::write_integer;

/// Appends a request. It allocates nothing but the room for it.
pub fn write_request(output: &mut Vec<u8>, words: &[&[u8]]) {
    header(output, b'*', words.len());
    for word in words {
        header(output, b'$', word.len());
        output.extend_from_slice(word);
        output.extend_from_slice(END);
    }
}

fn header(output: &mut Vec<u8>, kind: u8, count: usize) {
    output.push(kind);
    write_integer(output, count as i64);
    output.extend_from_slice(END);
}

/// What ends every line and every text.
const END: &[u8] = b"\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_how_many_words_it_has_and_how_long_each_is() {
        let mut output = b"before".to_vec();
        write_request(&mut output, &[b"SET", b"", b"a\r\nb"]);
        write_request(&mut output, &[b"PING"]);
        assert_eq!(output, b"before*3\r\n$3\r\nSET\r\n$0\r\n\r\n$4\r\na\r\nb\r\n*1\r\n$4\r\nPING\r\n");
    }
}
