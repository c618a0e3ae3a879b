//! The output of a step: passed on as it comes, its last lines kept for the error.

use crate::event::Stream;
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;

/// As many lines are repeated under the error of a failed step.
const KEPT_LINES: usize = 40;
/// A longer line is cut, so that a step cannot make kiln keep all it says.
const KEPT_BYTES: usize = 4096;

/// The last lines of a log.
#[derive(Debug, Default)]
pub(crate) struct LogTail {
    lines: VecDeque<Vec<u8>>,
    open: Vec<u8>,
}

impl LogTail {
    pub(crate) fn push(&mut self, data: &[u8]) {
        for piece in data.split_inclusive(|&byte| byte == b'\n') {
            let (text, ends) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let room = KEPT_BYTES.saturating_sub(self.open.len());
            self.open.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        if self.lines.len() == KEPT_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(std::mem::take(&mut self.open));
    }

    /// The lines, oldest first.
    pub(crate) fn into_lines(mut self) -> Vec<String> {
        if !self.open.is_empty() {
            self.end_line();
        }
        self.lines.into_iter().map(|line| String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned()).collect()
    }
}

/// Reads both streams to their ends.
pub(crate) fn forward(stdout: Option<File>, stderr: Option<File>, mut log: impl FnMut(Stream, &[u8])) -> LogTail {
    let mut tail = LogTail::default();
    let mut streams: Vec<(Stream, File)> = Vec::new();
    streams.extend(stdout.map(|file| (Stream::Stdout, file)));
    streams.extend(stderr.map(|file| (Stream::Stderr, file)));
    let mut buffer = vec![0; 32 * 1024];
    while !streams.is_empty() {
        let mut polled: Vec<PollFd<'_>> = streams.iter().map(|(_, file)| PollFd::new(file, PollFlags::IN)).collect();
        let ready: Vec<bool> = match poll(&mut polled, None) {
            Ok(_) => polled.iter().map(|fd| !fd.revents().is_empty()).collect(),
            Err(rustix::io::Errno::INTR) => continue,
            // Without poll the streams are read one after the other, which is slower but loses nothing.
            Err(_) => vec![true; streams.len()],
        };
        let mut number = 0;
        streams.retain_mut(|(stream, file)| {
            number += 1;
            if !ready[number - 1] {
                return true;
            }
            match file.read(&mut buffer) {
                Ok(0) => false,
                Ok(read) => {
                    tail.push(&buffer[..read]);
                    log(*stream, &buffer[..read]);
                    true
                }
                Err(error) => error.kind() == std::io::ErrorKind::Interrupted,
            }
        });
    }
    tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_keeps_the_last_lines() {
        let mut tail = LogTail::default();
        for number in 0..100 {
            tail.push(format!("line {number}\nha").as_bytes());
            tail.push(b"lf\r\n");
        }
        tail.push(b"open");
        let lines = tail.into_lines();
        assert_eq!(lines.len(), KEPT_LINES);
        assert_eq!(lines[KEPT_LINES - 3..], ["line 99", "half", "open"]);
    }

    #[test]
    fn long_lines_are_cut() {
        let mut tail = LogTail::default();
        tail.push(&vec![b'x'; 3 * KEPT_BYTES]);
        assert_eq!(tail.into_lines()[0].len(), KEPT_BYTES);
    }
}
