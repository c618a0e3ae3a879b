//! Cancelling: a flag that everything which may take long looks at, and hooks for what must be woken.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

type Hook = Box<dyn Fn() + Send>;

/// A cloneable cancellation token. Once cancelled it stays so.
#[derive(Clone, Default)]
pub struct CancelToken {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    flag: Arc<AtomicBool>,
    hooks: Mutex<(u64, BTreeMap<u64, Hook>)>,
}

/// Removes its hook when dropped.
pub struct HookGuard {
    inner: Arc<Inner>,
    id: u64,
}

impl CancelToken {
    /// A token that nobody has cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels: sets the flag and calls every hook. Not for signal handlers: it locks.
    pub fn cancel(&self) {
        self.inner.flag.store(true, Ordering::SeqCst);
        let hooks = self.inner.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        for hook in hooks.1.values() {
            hook();
        }
    }

    /// Whether somebody has cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.inner.flag.load(Ordering::SeqCst)
    }

    /// The bare flag, for code that only polls.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.inner.flag)
    }

    /// Calls `hook` on cancellation, at once if that has happened, until the guard is dropped.
    pub fn on_cancel(&self, hook: impl Fn() + Send + 'static) -> HookGuard {
        let mut hooks = self.inner.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_cancelled() {
            hook();
        }
        hooks.0 += 1;
        let id = hooks.0;
        hooks.1.insert(id, Box::new(hook));
        HookGuard { inner: Arc::clone(&self.inner), id }
    }
}

impl Drop for HookGuard {
    fn drop(&mut self) {
        let mut hooks = self.inner.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        hooks.1.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn hooks_run_on_cancel_while_guarded() {
        let token = CancelToken::new();
        let calls = Arc::new(AtomicU32::new(0));
        let count = |calls: &Arc<AtomicU32>| {
            let calls = Arc::clone(calls);
            move || {
                calls.fetch_add(1, Ordering::SeqCst);
            }
        };
        drop(token.on_cancel(count(&calls)));
        let _guard = token.on_cancel(count(&calls));
        token.cancel();
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        let _late = token.on_cancel(count(&calls));
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }
}
