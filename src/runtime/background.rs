//! Work that may take its time, on threads that leave the cores to those who answer: reading zones, and letting go of old ones. To give back
//! the memory of a zone of a million names takes milliseconds, and must not become the work of whoever happens to look at it last.

use std::{
    io,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use tokio::sync::oneshot;
use tracing::debug;

use crate::snapshot::Snapshot;

/// As nice as one can be: beside a thread of ordinary priority on the same core it gets a seventieth.
const NICENESS: i32 = 19;
/// Old snapshots that are waited for; of more, whoever has them last lets them go.
const RETIRED_MAX: usize = 256;
/// How often it is looked whether anybody still has them.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Makes the calling thread, and no other, give way to all others.
pub(super) fn give_way() {
    // On Linux this is of a thread, and 0 the calling one (setpriority(2)).
    if let Err(problem) = rustix::process::setpriority_process(None, NICENESS) {
        debug!(%problem, "background work has the priority of all other");
    }
}

/// Does `work` on a thread of its own that gives way. `None` if it panicked, or there is no thread to be had.
pub(super) async fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    let work = move || {
        give_way();
        // Who asked may have gone away.
        let _ = reply.send(work());
    };
    thread::Builder::new().name("background".to_owned()).spawn(work).ok()?;
    answer.await.ok()
}

/// Where old snapshots are left.
pub(super) struct Retirement {
    snapshots: mpsc::SyncSender<Arc<Snapshot>>,
}

impl Retirement {
    /// Starts the thread that lets them go; it ends when this is dropped.
    pub(super) fn start() -> io::Result<Self> {
        let (snapshots, retired) = mpsc::sync_channel(RETIRED_MAX);
        thread::Builder::new().name("retirement".to_owned()).spawn(move || {
            give_way();
            let_go(&retired);
        })?;
        Ok(Self { snapshots })
    }

    /// Leaves a snapshot that is in force no more.
    pub(super) fn leave(&self, old: Arc<Snapshot>) {
        // Too many: this one is let go here, or by who is still looking at it.
        let _ = self.snapshots.try_send(old);
    }
}

/// Keeps what comes until nobody else has it.
fn let_go<T>(retired: &mpsc::Receiver<Arc<T>>) {
    let mut kept: Vec<Arc<T>> = Vec::new();
    loop {
        let next = if kept.is_empty() {
            retired.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected)
        } else {
            retired.recv_timeout(LOOK_INTERVAL)
        };
        match next {
            Ok(old) if kept.len() < RETIRED_MAX => kept.push(old),
            Ok(_) | Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
        // Nobody can get one any more who has it not.
        kept.retain(|old| Arc::strong_count(old) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells where it was dropped.
    struct Witness(mpsc::Sender<thread::ThreadId>);

    impl Drop for Witness {
        fn drop(&mut self) {
            let _ = self.0.send(thread::current().id());
        }
    }

    #[test]
    fn what_is_left_is_dropped_by_nobody_who_still_looked_at_it() {
        let (told, dropped) = mpsc::channel();
        let (leave, retired) = mpsc::sync_channel(8);
        let keeper = thread::spawn(move || let_go(&retired));
        for _ in 0..10 {
            let old = Arc::new(Witness(told.clone()));
            let reader = old.clone();
            leave.send(old).expect("left");
            // The last one but for the keeper.
            drop(reader);
            let by = dropped.recv_timeout(Duration::from_secs(20)).expect("dropped");
            assert_eq!(by, keeper.thread().id());
        }
        drop(leave);
        keeper.join().expect("ends with those who leave");
    }

    #[tokio::test]
    async fn background_work_is_nice_and_leaves_the_others_as_they_are() {
        let niceness = || rustix::process::getpriority_process(None).expect("priority");
        let before = niceness();
        assert_eq!(in_background(niceness).await, Some(NICENESS));
        assert_eq!(niceness(), before);
        assert_eq!(in_background(|| -> u8 { panic!("as it was asked to") }).await, None);
    }
}
