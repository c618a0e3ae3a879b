//! Readers and writers that can be told to stop: what takes long in this crate is one file or one stream, and its bytes pass
//! through here.

use crate::reading::check;
use rustix::fs::sendfile;
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::atomic::AtomicBool;

/// A reader or writer that fails once a flag is set.
#[derive(Debug)]
pub struct Stoppable<'a, T> {
    inner: T,
    stop: &'a AtomicBool,
}

impl<'a, T> Stoppable<'a, T> {
    /// Stops when `stop` is true.
    pub fn new(inner: T, stop: &'a AtomicBool) -> Self {
        Self { inner, stop }
    }

    /// What is read or written.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T: Read> Read for Stoppable<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        check(self.stop)?;
        self.inner.read(buffer)
    }
}

impl<T: Write> Write for Stoppable<'_, T> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        check(self.stop)?;
        self.inner.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes what is left of a file to another, where it is at, and gives the number of bytes. They do not come up from the kernel, which
/// halves the time that a large file takes.
///
/// # Errors
/// If reading or writing fails, or once `stop` is true.
pub fn send_file(from: &mut File, to: &mut File, stop: &AtomicBool) -> io::Result<u64> {
    let mut sent = 0;
    loop {
        check(stop)?;
        match sendfile(&*to, &*from, None, PIECE) {
            Ok(0) => return Ok(sent),
            Ok(more) => sent += more as u64,
            Err(Errno::INTR) => {}
            // One of them is on a filesystem that cannot.
            Err(Errno::INVAL | Errno::NOSYS) => return Ok(sent + io::copy(from, &mut Stoppable::new(to, stop))?),
            Err(error) => return Err(error.into()),
        }
    }
}

/// What is sent between two looks at the flag.
const PIECE: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, SeekFrom};
    use std::sync::atomic::Ordering;

    #[test]
    fn bytes_pass_until_told_otherwise() {
        let stop = AtomicBool::new(false);
        let mut reader = Stoppable::new(io::repeat(7), &stop);
        let mut writer = Stoppable::new(Vec::new(), &stop);
        let mut buffer = [0; 8];
        reader.read_exact(&mut buffer).unwrap();
        writer.write_all(&buffer).unwrap();
        stop.store(true, Ordering::Relaxed);
        assert!(reader.read_exact(&mut buffer).is_err());
        assert!(writer.write_all(&buffer).is_err());
        assert_eq!(writer.inner, [7; 8]);
    }
    #[test]
    fn the_rest_of_a_file_is_sent_to_where_the_other_is_at() {
        let bytes: Vec<u8> = (0..PIECE + 5).map(|n| (n % 251) as u8).collect();
        let (mut from, mut to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.write_all(&bytes).unwrap();
        from.seek(SeekFrom::Start(3)).unwrap();
        to.write_all(b"head").unwrap();
        let stop = AtomicBool::new(false);
        assert_eq!(send_file(&mut from, &mut to, &stop).unwrap(), bytes.len() as u64 - 3);
        let mut written = Vec::new();
        to.rewind().unwrap();
        to.read_to_end(&mut written).unwrap();
        assert!(written == [b"head", &bytes[3..]].concat());
        from.rewind().unwrap();
        stop.store(true, Ordering::Relaxed);
        assert!(send_file(&mut from, &mut to, &stop).is_err());
    }
}
