//! Cutting files into chunks by what they hold (FastCDC), so that a change in the middle of a file changes the chunks around it and no
//! others.
//!
//! Where a chunk ends depends on the bytes of its file alone. Changing a number here makes every cache be sent again.

use fastcdc::v2020::FastCDC;
use kiln_digest::ContentDigest;
use serde::{Deserialize, Serialize};
use std::io::{self, Read};

/// Some bytes of a file, by what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Chunk {
    pub(crate) id: ContentDigest,
    pub(crate) size: u32,
}

/// No chunk is larger.
pub(crate) const MAX_CHUNK: usize = 256 * 1024;
/// How files are cut.
const FILES: Sizes = Sizes { whole: 128 * 1024, min: 16 * 1024, average: 64 * 1024, max: MAX_CHUNK };
/// How listings are cut: a few lines change here and there.
const LISTINGS: Sizes = Sizes { whole: 0, min: 1024, average: 4 * 1024, max: 16 * 1024 };
/// So much of a file is in memory at once.
const WINDOW: usize = 1024 * 1024;

impl Chunk {
    /// The chunk that `bytes` are, at most [`MAX_CHUNK`] of them.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let size = u32::try_from(bytes.len()).expect("a chunk is smaller than 4 GiB");
        Self { id: ContentDigest::of_bytes(bytes), size }
    }
}

/// How large chunks are.
struct Sizes {
    /// What is no larger is one chunk: caches are full of small files, of which nobody edits the middle.
    whole: usize,
    min: usize,
    average: usize,
    max: usize,
}

/// Cuts streams one after the other, with one buffer.
pub(crate) struct Cutter {
    sizes: &'static Sizes,
    window: Vec<u8>,
}

impl Cutter {
    /// Cuts files.
    pub(crate) fn of_files() -> Self {
        Self { sizes: &FILES, window: Vec::new() }
    }

    /// Cuts listings.
    pub(crate) fn of_listings() -> Self {
        Self { sizes: &LISTINGS, window: Vec::new() }
    }

    /// Gives each chunk of what `reader` yields to `take`, in order.
    ///
    /// # Errors
    /// What `reader` and `take` return.
    pub(crate) fn cut<E: From<io::Error>>(
        &mut self,
        mut reader: impl Read,
        mut take: impl FnMut(Chunk, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.window.resize(WINDOW, 0);
        let (mut start, mut end, mut ended) = (0, 0, false);
        let mut first = true;
        loop {
            while !ended && end < WINDOW {
                match reader.read(&mut self.window[end..]) {
                    Ok(0) => ended = true,
                    Ok(read) => end += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if first && ended && end <= self.sizes.whole {
                let bytes = &self.window[..end];
                return if bytes.is_empty() { Ok(()) } else { take(Chunk::of(bytes), bytes) };
            }
            first = false;
            // A chunk that the window's end cuts short must wait for what comes after.
            while start < end && (ended || end - start >= self.sizes.max) {
                let rest = &self.window[start..end];
                let bytes = &rest[..self.sizes.cut_point(rest)];
                take(Chunk::of(bytes), bytes)?;
                start += bytes.len();
            }
            if ended {
                return Ok(());
            }
            self.window.copy_within(start..end, 0);
            (start, end) = (0, end - start);
        }
    }
}

impl Sizes {
    /// Where the first chunk of `bytes` ends; all of it is there.
    fn cut_point(&self, bytes: &[u8]) -> usize {
        let (_, length) = FastCDC::new(bytes, self.min, self.average, self.max).cut(0, bytes.len());
        length.clamp(1, bytes.len().min(self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mounts::testing::noise;

    fn cut(bytes: &[u8]) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        let mut joined = Vec::new();
        let take = |chunk: Chunk, bytes: &[u8]| {
            assert_eq!(chunk, Chunk::of(bytes));
            joined.extend_from_slice(bytes);
            chunks.push(chunk);
            Ok::<(), io::Error>(())
        };
        // A reader that gives a few bytes at a time makes no difference.
        Cutter::of_files().cut(Dribble(bytes), take).unwrap();
        assert!(joined == bytes);
        chunks
    }

    struct Dribble<'a>(&'a [u8]);

    impl Read for Dribble<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let some = buffer.len().min(70_001);
            self.0.read(&mut buffer[..some])
        }
    }

    #[test]
    fn chunks_are_whole_bounded_and_in_order() {
        for size in [0, 1, FILES.whole, FILES.whole + 1, MAX_CHUNK, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW + 77] {
            let chunks = cut(&noise(size, 7));
            assert_eq!(chunks.iter().map(|chunk| chunk.size as usize).sum::<usize>(), size);
            assert!(chunks.iter().all(|chunk| (1..=MAX_CHUNK).contains(&(chunk.size as usize))));
            assert_eq!(chunks.len() <= 1, size <= FILES.whole, "{size}");
        }
    }

    #[test]
    fn an_insertion_changes_the_chunks_around_it() {
        let before = noise(8 * WINDOW, 1);
        let mut after = before.clone();
        after.splice(3 * WINDOW..3 * WINDOW, *b"something new");
        let (before, after) = (cut(&before), cut(&after));
        let new = after.iter().filter(|chunk| !before.contains(chunk)).count();
        assert!((1..=4).contains(&new), "{new} of {} chunks are new", after.len());
    }
}
