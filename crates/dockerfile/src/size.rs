//! Sizes as Docker writes them: `64m`, `1.5 GiB`, `4096`; units are powers of 1024.

/// A text that is no size.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is not a size such as `64m` or `1GiB`")]
pub struct SizeError(String);

/// Parses a size into bytes.
///
/// # Errors
/// On texts that are no number with an optional unit `b`, `k`, `m`, `g`, `t`, `p` (then `b` or `ib`), and on negative ones.
pub fn parse(text: &str) -> Result<u64, SizeError> {
    let error = || SizeError(text.to_owned());
    let last = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(error)?;
    let (number, unit) = text.split_at(last + 1);
    let number = number.strip_suffix(' ').unwrap_or(number);
    // Rust also reads `inf` and `nan`, which end in no digit and so never get here.
    let number: f64 = number.parse().map_err(|_| error())?;
    if number < 0.0 || !number.is_finite() {
        return Err(error());
    }
    let unit = unit.to_ascii_lowercase();
    let power = match unit.as_bytes() {
        [] | [b'b'] => 0,
        [prefix] | [prefix, b'b'] | [prefix, b'i', b'b'] => {
            1 + b"kmgtp".iter().position(|known| known == prefix).ok_or_else(error)?
        }
        _ => return Err(error()),
    };
    Ok((number * 1024f64.powi(power as i32)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("0", 0),
            ("4096", 4096),
            ("64m", 64 << 20),
            ("64MB", 64 << 20),
            ("1.5GiB", 3 << 29),
            ("2 k", 2048),
            ("7b", 7),
            ("1e3", 1000),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for text in ["", "m", "-1", "1x", "1kbb", "1bb", "12 34x", "64mib2"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
