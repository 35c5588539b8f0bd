//! `fingerpost serve`: logs, signals, and the server in between.

use std::{io, path::Path};

use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use tracing_subscriber::EnvFilter;

use super::{FAILED, LogFormat, OK};
use crate::{
    runtime::{self, Bound},
    shutdown::Shutdown,
};

/// Serves until a signal says otherwise.
pub(super) fn serve(config: &Path, log_format: LogFormat) -> u8 {
    start_logging(log_format, "info");
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: could not start threads: {error}");
            return FAILED;
        }
    };
    // Sockets are bound within the runtime's context, since some of them register with it.
    let _context = runtime.enter();
    match runtime::bind(config) {
        Ok(bound) => {
            runtime.block_on(run(bound));
            OK
        }
        Err(problem) => {
            eprintln!("{problem}");
            FAILED
        }
    }
}

/// Log records go to standard error, filtered by the environment variable FINGERPOST_LOG.
pub(super) fn start_logging(format: LogFormat, default: &str) {
    let filter = EnvFilter::try_from_env("FINGERPOST_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    // A second subscriber in one process is refused, and the first goes on.
    let _ = match format {
        LogFormat::Text => subscriber.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init(),
        LogFormat::Json => subscriber.json().try_init(),
    };
}

async fn run(bound: Bound) {
    let shutdown = Shutdown::new();
    let (mut hangup, mut terminate, mut interrupt) =
        match (signal(SignalKind::hangup()), signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(hangup), Ok(terminate), Ok(interrupt)) => (hangup, terminate, interrupt),
            (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => {
                eprintln!("error: could not listen to signals: {error}");
                return;
            }
        };
    let (ready, remote) = tokio::sync::oneshot::channel();
    let server = bound.run(shutdown.clone(), move |_, remote| drop(ready.send(remote)));
    tokio::pin!(server);
    // Until everything is served there is nothing to reload, but a signal to stop counts at once.
    let remote = tokio::select! {
        () = &mut server => return,
        remote = remote => remote.ok(),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    let Some(remote) = remote else {
        shutdown.drain.cancel();
        return server.await;
    };
    info!("serving");
    loop {
        tokio::select! {
            () = &mut server => return,
            _ = hangup.recv() => remote.reload(),
            _ = terminate.recv() => shutdown.drain.cancel(),
            _ = interrupt.recv() => {
                // The second time it is meant.
                if shutdown.drain.is_cancelled() {
                    shutdown.abort.cancel();
                }
                shutdown.drain.cancel();
            }
        }
    }
}
