//! How shells are told to stop: first to take nothing new, then, once the deadline has passed, to drop what is left.

use tokio_util::sync::CancellationToken;

/// Two signals, the second never before the first. Clones hear the same.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Accept nothing new; finish what runs.
    pub drain: CancellationToken,
    /// Drop what still runs.
    pub abort: CancellationToken,
}

impl Shutdown {
    /// One that nobody has signalled.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that also stops with this one, and can be stopped alone: for one socket among many.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { drain: self.drain.child_token(), abort: self.abort.child_token() }
    }
}
