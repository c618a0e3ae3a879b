//! How long to wait for a registry, how often to ask again, and how to stop.

use crate::error::RegistryError;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the cancel flag is looked at while sleeping.
const SLICE: Duration = Duration::from_millis(50);

/// Limits of patience. The default is meant for the internet; tests shorten it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For name lookup, TCP and TLS together.
    pub connect_timeout: Duration,
    /// For a response to begin, and for each read of it.
    pub idle_timeout: Duration,
    /// For a small answer (manifest, token, list of tags) to be there entirely.
    pub answer_timeout: Duration,
    /// How often a request is sent at most, and a blob's transfer resumed without any progress.
    pub attempts: u32,
    /// The pause before the second attempt; it doubles with each further one, and each is shortened at random by up to half.
    pub pause: Duration,
    /// The longest pause. A registry that asks for a longer one (`Retry-After`) is taken at its word, and not asked again.
    pub longest_pause: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            answer_timeout: Duration::from_secs(120),
            attempts: 5,
            pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(30),
        }
    }
}

impl Policy {
    /// The pause after the attempt `failed` (from 1). `asked` is what the server wants; `None` when that is too long.
    pub(crate) fn pause_after(&self, failed: u32, asked: Option<Duration>) -> Option<Duration> {
        match asked {
            Some(asked) if asked > self.longest_pause => None,
            Some(asked) => Some(asked),
            None => {
                let doubled = self.pause.saturating_mul(1 << (failed.max(1) - 1).min(16));
                Some(jittered(doubled.min(self.longest_pause)))
            }
        }
    }
}

/// Between half of `pause` and all of it, so that many clients don't come back at the same instant.
fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    let share = (random >> 11) as f64 / (1_u64 << 53) as f64;
    pause.mul_f64(0.5 + share / 2.0)
}

/// The caller's way to stop whatever is going on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cancel(pub(crate) Arc<AtomicBool>);

impl Cancel {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn check(&self, host: &str) -> Result<(), RegistryError> {
        if self.is_set() { Err(RegistryError::Cancelled { host: host.to_owned() }) } else { Ok(()) }
    }

    /// Sleeps, but not longer than until the flag is set.
    pub(crate) fn sleep(&self, pause: Duration, host: &str) -> Result<(), RegistryError> {
        let end = Instant::now() + pause;
        loop {
            self.check(host)?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(SLICE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_are_bounded() {
        let policy =
            Policy { pause: Duration::from_millis(100), longest_pause: Duration::from_secs(1), ..Policy::default() };
        for (failed, most) in [(1, 100), (2, 200), (3, 400), (5, 1000), (60, 1000)] {
            let pause = policy.pause_after(failed, None).unwrap();
            let most = Duration::from_millis(most);
            assert!(pause <= most && pause >= most / 2, "{failed}: {pause:?}");
        }
        assert_eq!(policy.pause_after(1, Some(Duration::from_secs(1))), Some(Duration::from_secs(1)));
        assert_eq!(policy.pause_after(1, Some(Duration::from_secs(2))), None);
    }

    #[test]
    fn cancelling_ends_a_sleep() {
        let cancel = Cancel::default();
        let flag = cancel.0.clone();
        let setter = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            flag.store(true, Ordering::Relaxed);
        });
        let started = Instant::now();
        let outcome = cancel.sleep(Duration::from_secs(20), "h");
        assert!(matches!(outcome, Err(RegistryError::Cancelled { .. })));
        assert!(started.elapsed() < Duration::from_secs(5));
        setter.join().unwrap();
    }
}
