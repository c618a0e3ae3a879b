//! A few threads that work through a list: requests wait for the network, and decompression wants all cores.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// How many packs are made or taken apart at once.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(2, NonZero::get).clamp(2, 8)
}

/// So many requests are under way at once.
pub(crate) const REQUESTS: usize = 8;

/// Calls `work` on so many `threads` for each of `list` and gives what it returns, in order. The first error ends it. Once `stop` is true,
/// the rest of the list is passed over.
pub(crate) fn map<T: Sync, U: Send, E: Send>(
    list: &[T],
    threads: usize,
    stop: &AtomicBool,
    work: impl Fn(&T) -> Result<U, E> + Sync,
) -> Result<Vec<U>, E> {
    let done = Mutex::new(Vec::with_capacity(list.len()));
    each(list, threads, stop, || {
        let done = &done;
        let work = &work;
        move |at: usize, one: &T| {
            let value = work(one)?;
            done.lock().unwrap_or_else(PoisonError::into_inner).push((at, value));
            Ok(())
        }
    })?;
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(at, _)| *at);
    Ok(done.into_iter().map(|(_, value)| value).collect())
}

/// Gives each of `list` to one of `threads` workers, which `worker` makes. The first error ends it. Once `stop` is
/// true, the rest of the list is passed over.
pub(crate) fn each<T: Sync, E: Send, W: FnMut(usize, &T) -> Result<(), E>>(
    list: &[T],
    threads: usize,
    stop: &AtomicBool,
    worker: impl Fn() -> W + Sync,
) -> Result<(), E> {
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    let failed = AtomicBool::new(false);
    let run = || {
        let mut work = worker();
        while !failed.load(Ordering::Relaxed) && !stop.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(one) = list.get(at) else { return };
            if let Err(error) = work(at, one) {
                failed.store(true, Ordering::Relaxed);
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(list.len()) {
            scope.spawn(run);
        }
        run();
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}
