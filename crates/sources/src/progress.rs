//! Whom a fetch tells how far it is, and asks whether to go on.

/// Told of a fetch as it goes on. Called from several threads.
pub trait Progress: Sync {
    /// Bytes of something so far, bytes in all where that is known, and whether it is whole.
    fn bytes(&self, item: &str, current: u64, total: Option<u64>, done: bool);
    /// A line of text that the fetching program wrote.
    fn log(&self, text: &str);
    /// Whether to stop.
    fn is_cancelled(&self) -> bool;
}
