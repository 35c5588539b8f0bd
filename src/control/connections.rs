//! The one way to accept that socket and HTTP share: so many connections at once, until told to drain, then a wait for what runs.

use std::{io, sync::Arc, time::Duration};

use tokio::{net, sync::Semaphore, task::JoinSet};

use crate::shutdown::Shutdown;

/// Pause after a failed accept: out of descriptors does not get better by asking at once.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Where connections come from.
pub(super) trait Listen: Send + Sync {
    type Stream: Send + 'static;

    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listen for net::UnixListener {
    type Stream = net::UnixStream;

    async fn accept(&self) -> io::Result<net::UnixStream> {
        Ok(net::UnixListener::accept(self).await?.0)
    }
}

impl Listen for net::TcpListener {
    type Stream = net::TcpStream;

    async fn accept(&self) -> io::Result<net::TcpStream> {
        Ok(net::TcpListener::accept(self).await?.0)
    }
}

/// Runs `serve` for each connection, at most `most` at once (what is over it waits in the backlog), until `shutdown.drain`.
///
/// The connections that still run then are in the set that comes back; [`finish`] waits for them.
pub(super) async fn accept<L, F>(
    listener: &L,
    most: usize,
    shutdown: &Shutdown,
    serve: impl Fn(L::Stream) -> F,
) -> JoinSet<()>
where
    L: Listen,
    F: Future<Output = ()> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(most));
    let mut running = JoinSet::new();
    loop {
        let next = async {
            let place = room.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, stream) = tokio::select! {
            () = shutdown.drain.cancelled() => return running,
            next = next => next,
        };
        match stream {
            Ok(stream) => {
                let serving = serve(stream);
                running.spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "control: could not accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
        while running.try_join_next().is_some() {}
    }
}

/// Waits until all of `running` have ended, or drops them on `shutdown.abort`.
pub(super) async fn finish(mut running: JoinSet<()>, shutdown: &Shutdown) {
    let all = async { while running.join_next().await.is_some() {} };
    tokio::select! {
        () = all => {}
        () = shutdown.abort.cancelled() => {}
    }
}
