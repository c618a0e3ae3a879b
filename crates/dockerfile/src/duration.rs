//! Durations as Go writes them: `1h2m3.5s`, `-10ms`, `0`.

/// A text that is no duration.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// Not numbers with units at all.
    #[error("`{0}` is not a duration")]
    Malformed(String),
    /// A number without a unit.
    #[error("the unit is missing after `{0}`")]
    NoUnit(String),
    /// A unit that doesn't exist.
    #[error("there is no unit `{0}`; units are ns, us, ms, s, m and h")]
    Unit(String),
    /// More than 292 years.
    #[error("`{0}` is too long a duration")]
    TooLong(String),
}

const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    // Both the micro sign and the Greek letter are written.
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Parses a duration into nanoseconds.
///
/// # Errors
/// On anything that Go's `time.ParseDuration` refuses.
pub fn parse(text: &str) -> Result<i64, DurationError> {
    let malformed = || DurationError::Malformed(text.to_owned());
    let too_long = || DurationError::TooLong(text.to_owned());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(malformed());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let whole = take_digits(&mut rest);
        let fraction = match rest.strip_prefix('.') {
            Some(after) => {
                rest = after;
                take_digits(&mut rest)
            }
            None => "",
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(malformed());
        }
        let length = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
        let (unit, after) = rest.split_at(length);
        if unit.is_empty() {
            return Err(DurationError::NoUnit(text.to_owned()));
        }
        let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(DurationError::Unit(unit.to_owned()));
        };
        rest = after;
        let number: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| too_long())? };
        // More digits than these don't change whole nanoseconds of the longest unit.
        let digits = &fraction[..fraction.len().min(15)];
        let part = if digits.is_empty() {
            0
        } else {
            let value: u128 = digits.parse().map_err(|_| malformed())?;
            (value * u128::from(*scale) / 10u128.pow(digits.len() as u32)) as u64
        };
        total = number
            .checked_mul(*scale)
            .and_then(|nanoseconds| nanoseconds.checked_add(part))
            .and_then(|nanoseconds| total.checked_add(nanoseconds))
            .filter(|total| *total <= i64::MAX as u64 + u64::from(negative))
            .ok_or_else(too_long)?;
    }
    Ok(if negative { 0i64.wrapping_sub_unsigned(total) } else { total as i64 })
}

fn take_digits<'a>(rest: &mut &'a str) -> &'a str {
    let length = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, after) = rest.split_at(length);
    *rest = after;
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let second = 1_000_000_000;
        for (text, expected) in [
            ("30s", 30 * second),
            ("1m30s", 90 * second),
            ("1.5h", 5400 * second),
            (".5s", second / 2),
            ("1.s", second),
            ("500ms", second / 2),
            ("1µs", 1_000),
            ("-2s", -2 * second),
            ("+2s", 2 * second),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for text in ["", "-", "30", "s", "1d", "1 s", "1s ", ".s", "1.2.3s", "99999999999h", "2562048h", "1s2"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("30"), Err(DurationError::NoUnit("30".to_owned())));
        assert_eq!(parse("3d"), Err(DurationError::Unit("d".to_owned())));
        assert_eq!(parse("-9223372036854775808ns"), Ok(i64::MIN));
    }
}
