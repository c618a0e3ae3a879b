//! Readers and writers that can be told to stop: what takes long in this crate is one file or one stream, and its bytes pass
//! through here.

use crate::reading::check;
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

#[cfg(test)]
mod tests {
    use super::*;
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
}
