//! Carries the decision: accepts within the connection limit, lets hyper speak HTTP/1.1 or cleartext HTTP/2, ends what idles, drains.
//!
//! One clock a connection: it must bring a request head every `idle_timeout`, whatever else it does. That covers who sends nothing, who
//! trickles, who does not read its answers, and in HTTP/2 who only sends pings or headers without an end. Request bodies are not read.

use std::{
    convert::Infallible,
    future::{poll_fn, ready},
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    body::Bytes,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue, LOCATION, RETRY_AFTER},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use smallvec::SmallVec;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::task::TaskTracker;

use super::{
    counters::{Counters, Limit, Permit},
    decision::{Decision, Refusal, Request, Send, decide},
};
use crate::{
    select::Turn,
    shutdown::Shutdown,
    snapshot::{Snapshot, Snapshots},
};

/// Bytes of a request's head, line and headers.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Headers of a request.
const HEADERS_MAX: usize = 100;
/// Requests of an HTTP/2 connection at once.
const STREAMS_MAX: u32 = 100;
/// Streams that an HTTP/2 client has reset before they were taken up, and that we had to reset, before the connection ends.
const RESET_STREAMS_MAX: usize = 20;
/// What an HTTP/2 client may send of a body that nobody reads.
const STREAM_WINDOW_BYTES: u32 = 4 * 1024;
/// Bytes of HTTP/2 responses that wait to be sent, a stream.
const SEND_BUFFER_BYTES_MAX: usize = 32 * 1024;
/// How long an HTTP/2 connection that idles may take to end after it was told so.
const GOODBYE: Duration = Duration::from_secs(1);
/// How often a full redirector looks whether a reload has raised the limit.
const LIMIT_RECHECK: Duration = Duration::from_secs(1);
/// Wait after an accept that failed, doubled up to the maximum while they do: without descriptors a loop would only burn.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(10);
const ACCEPT_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// `Retry-After` of a 503, in seconds: health changes that fast.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// Answers the clients of `listener` until `shutdown.drain`, lets open connections end until `shutdown.abort`, then returns.
///
/// `max_connections` counts for all listeners that share `counters`. Settings are those of the snapshot that is current when they are needed.
pub async fn serve(
    listener: std::net::TcpListener,
    snapshots: Arc<Snapshots>,
    counters: Arc<Counters>,
    shutdown: Shutdown,
) {
    let listener = match listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener)) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "redirect: the socket cannot be used");
            return;
        }
    };
    let shell = Arc::new(Shell { snapshots, counters, shutdown, http: http() });
    let connections = TaskTracker::new();
    let drain = shell.shutdown.drain.clone();
    // Accepting is cancelled between connections, never within one: each has its task.
    drain.run_until_cancelled(accept(&listener, &shell, &connections)).await;
    drop(listener);
    connections.close();
    connections.wait().await;
}

struct Shell {
    snapshots: Arc<Snapshots>,
    counters: Arc<Counters>,
    shutdown: Shutdown,
    http: Builder<TokioExecutor>,
}

fn http() -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    // The connection's own clock stands for hyper's, which begins with the first byte and knows HTTP/1 only.
    http.http1().max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX).header_read_timeout(None);
    http.http2()
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .max_local_error_reset_streams(RESET_STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX);
    http
}

async fn accept(listener: &TcpListener, shell: &Arc<Shell>, connections: &TaskTracker) {
    let mut backoff = ACCEPT_BACKOFF;
    loop {
        match accept_within_limit(listener, shell).await {
            None => {
                shell.counters.limited(Limit::Connections);
                wait_for_room(shell).await;
            }
            Some(Ok((stream, peer, permit))) => {
                backoff = ACCEPT_BACKOFF;
                shell.counters.accepted();
                let shell = shell.clone();
                connections.spawn(async move {
                    carry(&shell, stream, peer).await;
                    drop(permit);
                });
            }
            // The client gave up while it waited in the backlog.
            Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => shell.counters.accept_failed(),
            Some(Err(error)) => {
                shell.counters.accept_failed();
                tracing::warn!(%error, "redirect: accept failed");
                sleep(backoff).await;
                backoff = (backoff * 2).min(ACCEPT_BACKOFF_MAX);
            }
        }
    }
}

type Accepted = io::Result<(TcpStream, IpAddr, Permit)>;

/// The next connection, or `None` as soon as `max_connections` are open. Waiting takes no place, so that of two sockets neither starves.
async fn accept_within_limit(listener: &TcpListener, shell: &Shell) -> Option<Accepted> {
    poll_fn(|context| {
        let Some(permit) = shell.counters.enter(shell.snapshots.load().redirect.max_connections) else {
            return Poll::Ready(None);
        };
        let accepted = listener.poll_accept(context);
        accepted.map(|accepted| Some(accepted.map(|(stream, peer): (_, SocketAddr)| (stream, peer.ip(), permit))))
    })
    .await
}

async fn wait_for_room(shell: &Shell) {
    while shell.counters.open() >= shell.snapshots.load().redirect.max_connections {
        // Either way the limit is looked at again.
        let _ = timeout(LIMIT_RECHECK, shell.counters.room()).await;
    }
}

/// One connection, from accept to its end.
async fn carry(shell: &Arc<Shell>, stream: TcpStream, peer: IpAddr) {
    // Without it only latency suffers.
    let _ = stream.set_nodelay(true);
    let activity = Arc::new(Activity::new());
    let service = {
        let (shell, activity) = (shell.clone(), activity.clone());
        service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            activity.seen(request.version());
            ready(Ok::<_, Infallible>(answer(&shell, peer, &request)))
        })
    };
    let mut connection = pin!(shell.http.serve_connection(TokioIo::new(stream), service));
    let mut stop = pin!(shell.shutdown.drain.cancelled());
    let mut is_draining = false;
    let mut is_leaving = false;
    let mut alarm = pin!(sleep(shell.idle_timeout()));
    loop {
        tokio::select! {
            biased;
            outcome = connection.as_mut() => {
                if let Err(error) = outcome {
                    shell.failed(peer, &*error);
                }
                return;
            }
            () = stop.as_mut() => {
                if is_draining {
                    return;
                }
                is_draining = true;
                stop.set(shell.shutdown.abort.cancelled());
                connection.as_mut().graceful_shutdown();
            }
            () = alarm.as_mut() => {
                if is_leaving {
                    return;
                }
                let deadline = activity.last() + shell.idle_timeout();
                if deadline > Instant::now() {
                    alarm.set(sleep_until(deadline));
                    continue;
                }
                shell.counters.limited(Limit::Idle);
                // HTTP/1 has no word for it, HTTP/2 has: GOAWAY.
                if !activity.is_http2() {
                    return;
                }
                is_leaving = true;
                alarm.set(sleep(GOODBYE));
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// When a connection last brought a request, seen from its requests and from its clock at once.
struct Activity {
    opened: Instant,
    last_milliseconds: AtomicU64,
    is_http2: AtomicBool,
}

impl Activity {
    fn new() -> Self {
        Self { opened: Instant::now(), last_milliseconds: AtomicU64::new(0), is_http2: AtomicBool::new(false) }
    }

    fn seen(&self, version: hyper::Version) {
        let milliseconds = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_milliseconds.store(milliseconds, Relaxed);
        if version == hyper::Version::HTTP_2 {
            self.is_http2.store(true, Relaxed);
        }
    }

    fn last(&self) -> Instant {
        self.opened + Duration::from_millis(self.last_milliseconds.load(Relaxed))
    }

    fn is_http2(&self) -> bool {
        self.is_http2.load(Relaxed)
    }
}

impl Shell {
    fn idle_timeout(&self) -> Duration {
        self.snapshots.load().redirect.idle_timeout
    }

    /// Counts what ended a connection, if the client is to blame; one that just went away is not.
    fn failed(&self, peer: IpAddr, error: &(dyn std::error::Error + std::marker::Send + Sync + 'static)) {
        let Some(error) = error.downcast_ref::<hyper::Error>() else { return };
        if error.is_parse_too_large() {
            self.counters.limited(Limit::Head);
        } else if error.is_parse() {
            self.counters.limited(Limit::Malformed);
        }
        tracing::debug!(%peer, %error, "redirect: connection failed");
    }
}

/// Answers one request from the current snapshot.
fn answer<B>(shell: &Shell, peer: IpAddr, request: &hyper::Request<B>) -> Response<Full<Bytes>> {
    let snapshot = shell.snapshots.load();
    let response =
        with_request(peer, request, |request| match decide(&snapshot, request, fastrand::u64(..), Turn::Take) {
            Decision::Send(send) => redirect(shell, &snapshot, request, send),
            Decision::Refuse(refusal) => {
                tracing::debug!(peer = %request.peer, %refusal, "redirect");
                refuse(request.method, refusal)
            }
        });
    shell.counters.answered(response.status());
    response
}

/// Takes out of an HTTP request what the decision depends on; header values stay where they are.
pub(super) fn with_request<B, R>(
    peer: IpAddr,
    request: &hyper::Request<B>,
    decide: impl FnOnce(&Request<'_>) -> R,
) -> R {
    let uri = request.uri();
    let hosts: SmallVec<[&[u8]; 1]> = values(request.headers(), &HOST);
    let forwarded_for: SmallVec<[&[u8]; 1]> = values(request.headers(), &X_FORWARDED_FOR);
    decide(&Request {
        method: request.method(),
        version: request.version(),
        authority: uri.authority().map(|authority| authority.as_str().as_bytes()),
        path_and_query: uri.path_and_query().map(|path_and_query| path_and_query.as_str().as_bytes()),
        hosts: &hosts,
        forwarded_for: &forwarded_for,
        peer,
    })
}

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

fn values<'r>(headers: &'r HeaderMap, name: &HeaderName) -> SmallVec<[&'r [u8]; 1]> {
    headers.get_all(name).iter().map(HeaderValue::as_bytes).collect()
}

fn redirect(shell: &Shell, snapshot: &Snapshot, request: &Request<'_>, send: Send<'_>) -> Response<Full<Bytes>> {
    tracing::debug!(peer = %request.peer, realserver = %send.chosen.realserver.name, location = %send.location, "redirect");
    // The body is the URL itself, in the same memory: as plain text nothing in it means anything.
    let text = Bytes::from(send.location);
    let Ok(location) = HeaderValue::from_maybe_shared(text.clone()) else {
        return refuse(request.method, Refusal::Target);
    };
    shell.counters.sent(snapshot, &send.chosen, send.is_degraded);
    let mut response = respond(request.method, send.status, text);
    response.headers_mut().insert(LOCATION, location);
    response
}

fn refuse(method: &Method, refusal: Refusal) -> Response<Full<Bytes>> {
    let mut response = respond(method, refusal.status(), Bytes::from_static(refusal.message().as_bytes()));
    if refusal == Refusal::Nobody {
        response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    response
}

/// A response with `text`, which HEAD is only told the length of.
fn respond(method: &Method, status: StatusCode, text: Bytes) -> Response<Full<Bytes>> {
    let length = text.len();
    let mut response = Response::new(Full::new(if method == Method::HEAD { Bytes::new() } else { text }));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(CONTENT_LENGTH, length.into());
    response
}
