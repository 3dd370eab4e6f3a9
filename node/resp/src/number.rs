//! Numbers as Redis reads and prints them. Arithmetic that must agree between regions is not here but in `crdt`.

/// Reads a decimal 64-bit integer strictly: no sign but `-`, no leading zero, no space, nothing after it.
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut magnitude: u64 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        // Nineteen digits always fit.
        magnitude = magnitude * 10 + u64::from(digit - b'0');
    }
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// Reads a floating point number as C's `strtod` does, except for hexadecimal, and refuses what is not a number, what
/// overflows and what underflows to zero. Infinities may be spelled out.
pub fn parse_double(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let value: f64 = text.parse().ok()?;
    let spelled_out = || text.bytes().any(|byte| byte.eq_ignore_ascii_case(&b'i'));
    let mantissa_is_zero =
        || text.bytes().take_while(|byte| !byte.eq_ignore_ascii_case(&b'e')).all(|byte| !matches!(byte, b'1'..=b'9'));
    if value.is_nan() || (value.is_infinite() && !spelled_out()) || (value == 0.0 && !mantissa_is_zero()) {
        return None;
    }
    Some(value)
}

/// Appends `value` in decimal.
pub fn write_integer(output: &mut Vec<u8>, value: i64) {
    if (0..10).contains(&value) {
        output.push(b'0' + value as u8);
        return;
    }
    if value < 0 {
        output.push(b'-');
    }
    write_magnitude(output, value.unsigned_abs());
}

pub(crate) fn write_magnitude(output: &mut Vec<u8>, mut magnitude: u64) {
    let mut digits = [0u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (magnitude % 10) as u8;
        magnitude /= 10;
        if magnitude == 0 {
            break;
        }
    }
    output.extend_from_slice(&digits[start..]);
}

/// `value` as Redis 7.0 prints a double in a reply: C's `%.17g`, with `inf`, `-inf` and `nan`.
pub fn double_text(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    // Most doubles that are printed are whole numbers.
    let whole = value as i64;
    if whole as f64 == value
        && whole.unsigned_abs() < 1 << f64::MANTISSA_DIGITS
        && (whole != 0 || value.is_sign_positive())
    {
        return whole.to_string();
    }
    let scientific = format!("{value:.16e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..17).contains(&exponent) {
        let decimals = usize::try_from(16 - exponent).unwrap_or(0);
        let fixed = format!("{value:.decimals$}");
        return without_trailing_zeros(&fixed).to_owned();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", without_trailing_zeros(mantissa), exponent.unsigned_abs())
}

fn without_trailing_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_strictly() {
        let cases: &[(&str, Option<i64>)] = &[
            ("0", Some(0)),
            ("7", Some(7)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("99999999999999999999", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("00", None),
            ("01", None),
            ("+1", None),
            (" 1", None),
            ("1 ", None),
            ("1a", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_integer(text.as_bytes()), *expected, "{text:?}");
        }
    }

    #[test]
    fn integers_print_as_they_are_read() {
        for value in [0, 9, 10, -1, -10, 12345, i64::MAX, i64::MIN] {
            let mut output = Vec::new();
            write_integer(&mut output, value);
            assert_eq!(String::from_utf8(output).unwrap(), value.to_string());
        }
    }

    #[test]
    fn doubles_print_as_seventeen_significant_digits() {
        let cases: &[(f64, &str)] = &[
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (0.1, "0.10000000000000001"),
            (0.5, "0.5"),
            (1e-5, "1.0000000000000001e-05"),
            (0.0001, "0.0001"),
            (1e16, "10000000000000000"),
            (123456789012345678.0, "1.2345678901234568e+17"),
            (1e20, "1e+20"),
            (-1.5e300, "-1.5000000000000001e+300"),
            (99999999999999999.0, "1e+17"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (value, expected) in cases {
            assert_eq!(double_text(*value), *expected);
        }
    }

    #[test]
    fn doubles_are_read_as_strtod_reads_them() {
        let cases: &[(&str, Option<f64>)] = &[
            ("1", Some(1.0)),
            ("+1.5", Some(1.5)),
            (".5", Some(0.5)),
            ("1.", Some(1.0)),
            ("1e3", Some(1000.0)),
            ("inf", Some(f64::INFINITY)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("0e5", Some(0.0)),
            ("1e400", None),
            ("1e-400", None),
            ("nan", None),
            ("", None),
            (" 1", None),
            ("1 ", None),
            ("1x", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_double(text.as_bytes()), *expected, "{text:?}");
        }
    }
}
