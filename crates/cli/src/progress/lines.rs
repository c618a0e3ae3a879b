//! Cuts a step's output into lines. Standard output and standard error are cut apart from each other, so that half a line of one
//! never ends up within a line of the other.

use kiln_engine::Stream;

/// A line longer than this many bytes is cut.
const LONGEST: usize = 32 << 10;

/// The unfinished lines of one step.
#[derive(Debug, Default)]
pub(super) struct Lines {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Lines {
    /// Takes output, and hands out each line that is complete, without its line feed.
    pub(super) fn push(&mut self, stream: Stream, data: &[u8], mut line: impl FnMut(&[u8])) {
        let rest = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            rest.extend_from_slice(piece);
            while rest.len() > LONGEST {
                line(&rest[..LONGEST]);
                rest.drain(..LONGEST);
            }
            if rest.ends_with(b"\n") {
                line(&rest[..rest.len() - 1]);
                rest.clear();
            }
        }
    }

    /// The unfinished lines that have something in them.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = &[u8]> {
        [&self.stdout, &self.stderr].into_iter().map(Vec::as_slice).filter(|rest| !rest.is_empty())
    }

    /// Hands out what has no line feed at its end.
    pub(super) fn flush(&mut self, mut line: impl FnMut(&[u8])) {
        for rest in [&mut self.stdout, &mut self.stderr] {
            if !rest.is_empty() {
                line(rest);
                rest.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_cut_apart() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        let mut push = |stream, data: &[u8]| {
            lines.push(stream, data, |line| seen.push(String::from_utf8_lossy(line).into_owned()))
        };
        push(Stream::Stdout, b"a\nb");
        push(Stream::Stderr, b"warn");
        push(Stream::Stdout, b"c\n\nd");
        push(Stream::Stderr, b"ing\n");
        lines.flush(|line| seen.push(String::from_utf8_lossy(line).into_owned()));
        assert_eq!(seen, ["a", "bc", "", "warning", "d"]);
    }

    #[test]
    fn endless_lines_are_bounded() {
        let mut lines = Lines::default();
        let mut longest = 0;
        for _ in 0..100 {
            lines.push(Stream::Stdout, &[b'x'; 5000], |line| longest = longest.max(line.len()));
        }
        assert_eq!(longest, LONGEST);
        assert!(lines.stdout.len() <= LONGEST);
    }
}
