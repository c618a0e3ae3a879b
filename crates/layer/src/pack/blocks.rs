//! A stream cut into blocks of one size, which is what hashing and compressing work on.

use super::PackError;
use crate::tar::BLOCK;
use std::fs::File;
use std::io::{self, Read};

/// Collects a stream into blocks of one size, and hands each to a sink, which gives back a buffer to fill next.
pub(crate) struct Blocks<S> {
    buffer: Vec<u8>,
    size: usize,
    sink: S,
}

impl<S: FnMut(Vec<u8>) -> io::Result<Vec<u8>>> Blocks<S> {
    pub(crate) fn new(size: usize, sink: S) -> Self {
        Self { buffer: Vec::with_capacity(size), size, sink }
    }

    /// Hands the last, shorter block on.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.flush_block()?;
        }
        Ok(())
    }

    fn flush_block(&mut self) -> io::Result<()> {
        self.buffer = (self.sink)(std::mem::take(&mut self.buffer))?;
        self.buffer.clear();
        self.buffer.reserve_exact(self.size);
        Ok(())
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let length = bytes.len().min(self.size - self.buffer.len());
            self.buffer.extend_from_slice(&bytes[..length]);
            bytes = &bytes[length..];
            if self.buffer.len() == self.size {
                self.flush_block()?;
            }
        }
        Ok(())
    }

    /// Appends zeros up to a whole tar block.
    pub(super) fn pad(&mut self, size: u64) -> io::Result<()> {
        let padding = size.wrapping_neg() as usize % BLOCK;
        self.push(&[0; BLOCK][..padding])
    }
}

impl<S: FnMut(Vec<u8>) -> io::Result<Vec<u8>>> Blocks<S> {
    /// Appends `size` bytes of a file, read straight into the block. `false` if the file is shorter.
    pub(super) fn copy(&mut self, file: &mut File, mut size: u64) -> Result<bool, CopyError> {
        while size > 0 {
            let room = (self.size - self.buffer.len()) as u64;
            let read =
                Read::by_ref(file).take(room.min(size)).read_to_end(&mut self.buffer).map_err(CopyError::Read)?;
            if read == 0 {
                return Ok(false);
            }
            size -= read as u64;
            if self.buffer.len() == self.size {
                self.flush_block().map_err(CopyError::Write)?;
            }
        }
        Ok(true)
    }
}

impl<S: FnMut(Vec<u8>) -> io::Result<Vec<u8>>> Blocks<S> {
    /// Appends all of a stream.
    pub(crate) fn fill(&mut self, stream: &mut dyn Read) -> Result<(), PackError> {
        loop {
            let room = (self.size - self.buffer.len()) as u64;
            let read = stream.take(room).read_to_end(&mut self.buffer).map_err(PackError::Read)?;
            if self.buffer.len() == self.size {
                self.flush_block().map_err(PackError::Write)?;
            } else if read == 0 {
                return Ok(());
            }
        }
    }
}

/// What went wrong while a file was copied into a stream.
pub(super) enum CopyError {
    Read(io::Error),
    Write(io::Error),
}
