//! Bytes to text. A Dockerfile is UTF-8; a comment may be anything, as an author's name in an old encoding.

/// A file that is not text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EncodingError {
    /// It begins with the mark of UTF-16.
    #[error("UTF-16, not UTF-8")]
    Utf16,
    /// Bytes that no character of UTF-8 has, outside of comments.
    #[error("not UTF-8 at line {line}")]
    Utf8 {
        /// The line, from 1.
        line: usize,
    },
}

/// The text of a Dockerfile. In comments each byte that is not UTF-8 becomes `U+FFFD`.
///
/// # Errors
/// If anything but a comment is not UTF-8. Where there are heredocs a line that looks like a comment may be none.
pub fn decode(bytes: Vec<u8>) -> Result<String, EncodingError> {
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => return Ok(text),
        Err(error) => error.into_bytes(),
    };
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(EncodingError::Utf16);
    }
    let heredocs = bytes.windows(2).any(|pair| pair == b"<<");
    let mut text = String::with_capacity(bytes.len());
    for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        match std::str::from_utf8(line) {
            Ok(line) => text.push_str(line),
            Err(_) if !heredocs && line.trim_ascii_start().starts_with(b"#") => {
                text.push_str(&String::from_utf8_lossy(line));
            }
            Err(_) => return Err(EncodingError::Utf8 { line: index + 1 }),
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_may_be_anything() {
        for (bytes, expected) in [
            (&b"FROM a\n# \xc3\xa9\n"[..], Ok("FROM a\n# é\n")),
            (b"FROM a\n  # \xe9\nRUN x", Ok("FROM a\n  # \u{fffd}\nRUN x")),
            (b"FROM a\nRUN \\\n# \xe9\n x", Ok("FROM a\nRUN \\\n# \u{fffd}\n x")),
            (b"FROM a\nLABEL a=\xe9", Err(EncodingError::Utf8 { line: 2 })),
            (b"FROM a\nRUN x # \xe9", Err(EncodingError::Utf8 { line: 2 })),
            (b"FROM a\nCOPY <<E /x\n# \xe9\nE\n", Err(EncodingError::Utf8 { line: 3 })),
            (b"\xff\xfeF\0R\0O\0M\0", Err(EncodingError::Utf16)),
        ] {
            assert_eq!(decode(bytes.to_vec()), expected.map(str::to_owned), "{bytes:?}");
        }
    }
}
