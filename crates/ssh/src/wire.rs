//! The encoding of SSH (RFC 4251, section 5): big-endian lengths before strings, and numbers as strings.

/// Takes fields off the front of a buffer. `None` where they do not fit.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn u32(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*number))
    }

    pub(crate) fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (string, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(string)
    }

    /// A number that is not negative, without leading zeros.
    pub(crate) fn number(&mut self) -> Option<&'a [u8]> {
        let bytes = self.string()?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Some(&bytes[zeros..])
    }
}

pub(crate) fn put_u32(to: &mut Vec<u8>, number: usize) {
    // Nothing here is ever that long.
    to.extend(u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
}

pub(crate) fn put_string(to: &mut Vec<u8>, string: &[u8]) {
    put_u32(to, string.len());
    to.extend(string);
}

/// A number that is not negative, from big-endian bytes.
pub(crate) fn put_number(to: &mut Vec<u8>, bytes: &[u8]) {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let bytes = &bytes[zeros..];
    let sign = usize::from(bytes.first().is_some_and(|byte| *byte >= 0x80));
    put_u32(to, bytes.len() + sign);
    to.extend(std::iter::repeat_n(0, sign));
    to.extend(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (bytes, expected) in [
            (&[][..], &[0, 0, 0, 0][..]),
            (&[0, 0], &[0, 0, 0, 0]),
            (&[0, 1], &[0, 0, 0, 1, 1]),
            (&[0x80], &[0, 0, 0, 2, 0, 0x80]),
        ] {
            let mut out = Vec::new();
            put_number(&mut out, bytes);
            assert_eq!(out, expected);
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            assert_eq!(Reader(&out).number(), Some(&bytes[zeros..]));
        }
    }

    #[test]
    fn what_does_not_fit() {
        assert_eq!(Reader(&[0, 0, 0]).u32(), None);
        assert_eq!(Reader(&[0, 0, 0, 2, 1]).string(), None);
        assert_eq!(Reader(&[0xff, 0xff, 0xff, 0xff, 1]).string(), None);
    }
}
