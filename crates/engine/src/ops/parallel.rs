//! The same work on many items, done on all cores.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// As many items at most are handed to a thread at a time: neighbours, which are in the same directory most of the time.
const CHUNK: usize = 256;

/// Calls `work` for each item, in any order; the first error ends it. Fewer than `worthwhile` items are left to this thread.
///
/// # Errors
/// One that `work` gave.
pub(crate) fn for_each<T: Send, E: Send>(
    items: &mut [T],
    worthwhile: usize,
    work: impl Fn(&mut T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    if items.len() < worthwhile || threads == 1 {
        return items.iter_mut().try_for_each(work);
    }
    let size = items.len().div_ceil(threads * 8).min(CHUNK);
    let chunks: Vec<Mutex<&mut [T]>> = items.chunks_mut(size).map(Mutex::new).collect();
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let take_chunks = || {
        while let Some(chunk) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut chunk = chunk.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = chunk.iter_mut().try_for_each(&work) {
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                next.store(chunks.len(), Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(take_chunks);
        }
        take_chunks();
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_is_worked_on_once() {
        for count in [0, 1, 63, 64, 65, 5000] {
            let mut items = vec![0; count];
            for_each(&mut items, 64, |item| {
                *item += 1;
                Ok::<_, ()>(())
            })
            .unwrap();
            assert!(items.iter().all(|item| *item == 1), "{count}");
        }
    }

    #[test]
    fn an_error_ends_it() {
        let mut items: Vec<u32> = (0..5000).collect();
        assert_eq!(for_each(&mut items, 64, |item| if *item == 7 { Err(*item) } else { Ok(()) }), Err(7));
    }
}
