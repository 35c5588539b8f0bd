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
    time::{Duration, SystemTime},
};

use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    body::Bytes,
    header::{
        CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
        SET_COOKIE,
    },
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
    decision::{Decision, Redirect, Refusal, Request, decide},
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
/// Streams that an HTTP/2 client has reset before they were taken up; more end the connection.
const RESET_STREAMS_MAX: usize = 20;
/// Streams that we had to reset for an HTTP/2 client's errors; more end the connection. A client that went on with bodies nobody reads makes some.
const FAILED_STREAMS_MAX: usize = 1024;
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
        .max_local_error_reset_streams(FAILED_STREAMS_MAX)
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
    fn failed(&self, peer: IpAddr, error: &(dyn std::error::Error + Send + Sync + 'static)) {
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
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let response =
        with_request(peer, now, request, |request| match decide(&snapshot, request, fastrand::u64(..), Turn::Take) {
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
    received: Duration,
    request: &hyper::Request<B>,
    decide: impl FnOnce(&Request<'_>) -> R,
) -> R {
    let uri = request.uri();
    let hosts: SmallVec<[&[u8]; 1]> = values(request.headers(), &HOST);
    let forwarded_for: SmallVec<[&[u8]; 1]> = values(request.headers(), &X_FORWARDED_FOR);
    let forwarded_proto: SmallVec<[&[u8]; 1]> = values(request.headers(), &X_FORWARDED_PROTO);
    let cookies: SmallVec<[&[u8]; 1]> = values(request.headers(), &COOKIE);
    decide(&Request {
        method: request.method(),
        version: request.version(),
        authority: uri.authority().map(|authority| authority.as_str().as_bytes()),
        path_and_query: uri.path_and_query().map(|path_and_query| path_and_query.as_str().as_bytes()),
        hosts: &hosts,
        forwarded_for: &forwarded_for,
        forwarded_proto: &forwarded_proto,
        cookies: &cookies,
        peer,
        received,
    })
}

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

fn values<'r>(headers: &'r HeaderMap, name: &HeaderName) -> SmallVec<[&'r [u8]; 1]> {
    headers.get_all(name).iter().map(HeaderValue::as_bytes).collect()
}

fn redirect(shell: &Shell, snapshot: &Snapshot, request: &Request<'_>, send: Redirect<'_>) -> Response<Full<Bytes>> {
    tracing::debug!(peer = %request.peer, realserver = %send.chosen.realserver.name, location = %send.location, "redirect");
    // The body is the URL itself, in the same memory: as plain text nothing in it means anything.
    let text = Bytes::from(send.location);
    // The decision let nothing else through; were it otherwise, this is where it would stop.
    let Ok(location) = HeaderValue::from_maybe_shared(text.clone()) else {
        return refuse(request.method, Refusal::Target);
    };
    shell.counters.sent(snapshot, &send.chosen, send.is_degraded);
    let mut response = respond(request.method, send.status, text);
    response.headers_mut().insert(LOCATION, location);
    if let Some(cookie) = send.set_cookie.and_then(|cookie| HeaderValue::try_from(cookie).ok()) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
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

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        task::JoinHandle,
    };

    use super::{super::testing::snapshot, *};
    use crate::{config, observe::Observed, types::Generation};

    /// Longer than anything here takes, so that a hang is a failure.
    const PATIENCE: Duration = Duration::from_secs(10);
    const GET: &str = "GET /x?y HTTP/1.1\r\nHost: plain.example.org\r\n\r\n";

    struct Server {
        address: SocketAddr,
        snapshots: Arc<Snapshots>,
        counters: Arc<Counters>,
        shutdown: Shutdown,
        task: JoinHandle<()>,
    }

    impl Server {
        fn start() -> Self {
            Self::with(snapshot())
        }

        fn with_redirect(change: impl FnOnce(&mut config::Redirect)) -> Self {
            let mut snapshot = snapshot();
            change(Arc::make_mut(&mut snapshot.redirect));
            Self::with(snapshot)
        }

        fn with(snapshot: Snapshot) -> Self {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
            let address = listener.local_addr().expect("address");
            let snapshots = Arc::new(Snapshots::from_pointee(snapshot));
            let (counters, shutdown) = (Arc::new(Counters::new()), Shutdown::new());
            let task = tokio::spawn(serve(listener, snapshots.clone(), counters.clone(), shutdown.clone()));
            Self { address, snapshots, counters, shutdown, task }
        }

        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.expect("connect")
        }

        /// Sends `request` on a connection of its own, and reads until the server ends it.
        async fn exchange(&self, request: &str) -> String {
            let mut stream = self.connect().await;
            stream.write_all(request.as_bytes()).await.expect("write");
            read_all(&mut stream).await
        }

        /// The counters that are not 0, one a line.
        fn counted(&self) -> String {
            let mut samples = Vec::new();
            self.counters.observe(&mut samples);
            let counted = samples.iter().filter(|sample| sample.value > 0.0).map(|sample| {
                let labels: Vec<_> = sample.labels.iter().map(|(_, value)| &**value).collect();
                let name = sample.name.trim_start_matches("fingerpost_redirect_");
                format!("{name}{{{}}} {}", labels.join(","), sample.value)
            });
            counted.collect::<Vec<_>>().join("\n")
        }

        /// Waits until `line` is among the counters.
        async fn until_counted(&self, line: &str) {
            self.until(|counted| counted.lines().any(|each| each == line)).await;
        }

        async fn until(&self, is_met: impl Fn(&str) -> bool) {
            let met = async {
                while !is_met(&self.counted()) {
                    tokio::task::yield_now().await;
                }
            };
            timeout(PATIENCE, met).await.unwrap_or_else(|_| panic!("counted\n{}", self.counted()));
        }

        async fn ended(self) {
            timeout(PATIENCE, self.task).await.expect("serve returns").expect("no panic");
        }
    }

    async fn read_all(stream: &mut TcpStream) -> String {
        let mut received = Vec::new();
        // A reset after the last byte is an end too.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut received)).await.expect("the server ends the connection");
        without_date(&received)
    }

    /// Sends `request` and reads one response with its body.
    async fn ask(stream: &mut TcpStream, request: &str) -> String {
        stream.write_all(request.as_bytes()).await.expect("write");
        read_response(stream).await
    }

    async fn read_response(stream: &mut TcpStream) -> String {
        let mut received = Vec::new();
        let response = async {
            loop {
                let mut byte = [0];
                stream.read_exact(&mut byte).await.expect("a response");
                received.extend(byte);
                let text = String::from_utf8_lossy(&received);
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("length");
                if body.len() >= length.parse().expect("number") {
                    break;
                }
            }
        };
        timeout(PATIENCE, response).await.expect("a response");
        without_date(&received)
    }

    fn without_date(received: &[u8]) -> String {
        let text = String::from_utf8(received.to_vec()).expect("text");
        text.split_inclusive('\n').filter(|line| !line.starts_with("date: ")).collect::<String>().replace("\r\n", "\n")
    }

    const REDIRECTED: &str = "HTTP/1.1 302 Found\ncache-control: no-store\ncontent-type: text/plain\ncontent-length: 21\n\
                              location: http://192.0.2.10/x?y\n\nhttp://192.0.2.10/x?y";

    #[tokio::test]
    async fn kept_connection_is_answered_again_and_again() {
        let server = Server::start();
        let mut stream = server.connect().await;
        for _ in 0..3 {
            assert_eq!(ask(&mut stream, GET).await, REDIRECTED);
        }
        stream.write_all(GET.repeat(2).as_bytes()).await.expect("write");
        assert_eq!(read_response(&mut stream).await, REDIRECTED);
        assert_eq!(read_response(&mut stream).await, REDIRECTED);
        let expected =
            "requests_total{302} 5\nsends_total{plain,a} 5\nconnections_open{} 1\nconnections_accepted_total{} 1";
        assert_eq!(server.counted(), expected);
        drop(stream);
        server.until(|counted| !counted.contains("connections_open")).await;
    }

    #[tokio::test]
    async fn head_is_told_the_length_of_a_body_that_does_not_come() {
        let server = Server::start();
        let response =
            server.exchange("HEAD /x?y HTTP/1.1\r\nHost: plain.example.org\r\nConnection: close\r\n\r\n").await;
        let head = REDIRECTED.strip_suffix("http://192.0.2.10/x?y").expect("body");
        assert_eq!(response.replace("connection: close\n", ""), head);
    }

    #[tokio::test]
    async fn refusals_say_why_and_503_when_to_come_again() {
        let server = Server::start();
        let mut stream = server.connect().await;
        let mut ask = async |host: &str| ask(&mut stream, &format!("GET / HTTP/1.1\r\n{host}\r\n")).await;
        let fields = "cache-control: no-store\ncontent-type: text/plain\ncontent-length:";
        let bad = format!("HTTP/1.1 400 Bad Request\n{fields} 27\n\nthe request names no host\n");
        assert_eq!(ask("").await, bad.replace("27", "26"));
        let unknown = format!("HTTP/1.1 421 Misdirected Request\n{fields} 33\n\nthis host is not redirected here\n");
        assert_eq!(ask("Host: example.net\r\n").await, unknown);
        let nobody = format!(
            "HTTP/1.1 503 Service Unavailable\n{fields} 39\nretry-after: 5\n\nno server is available, try again soon\n"
        );
        assert_eq!(ask("Host: dead.example.org\r\n").await, nobody);
        let expected = "requests_total{400} 1\nrequests_total{421} 1\nrequests_total{503} 1\nconnections_open{} 1\n\
                        connections_accepted_total{} 1";
        assert_eq!(server.counted(), expected);
    }

    #[tokio::test]
    async fn post_is_sent_on_by_307_without_reading_a_large_body() {
        let server = Server::start();
        let mut stream = server.connect().await;
        let request = "POST /x HTTP/1.1\r\nHost: open.example.org\r\nContent-Length: 5\r\n\r\nhello";
        assert!(ask(&mut stream, request).await.starts_with("HTTP/1.1 307 Temporary Redirect\n"));
        assert_eq!(ask(&mut stream, GET).await, REDIRECTED, "a small body is passed over");
        let request =
            "POST /x HTTP/1.1\r\nHost: plain.example.org\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n";
        let response = server.exchange(request).await;
        assert!(response.starts_with("HTTP/1.1 307 Temporary Redirect\n"), "{response}");
        assert!(response.ends_with("\n\nhttp://192.0.2.10/x"), "{response}");
        assert!(
            server
                .counted()
                .contains("requests_total{307} 2\nsends_total{plain,a} 2\nsends_total{open,a} 1\ndegraded_total{} 1\n"),
            "{}",
            server.counted()
        );
    }

    #[tokio::test]
    async fn request_that_smuggles_or_is_none_gets_400_and_the_connection_ends() {
        let server = Server::start();
        for request in [
            "GET / HTTP/1.1\r\nHost: plain.example.org\r\nX: a\rb\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : plain.example.org\r\n\r\n",
            "GET /a b HTTP/1.1\r\nHost: plain.example.org\r\n\r\n",
            "GET /\u{1}\u{7f} HTTP/1.1\r\nHost: plain.example.org\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: plain.example.org\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}",
        ] {
            let response = server.exchange(request).await;
            assert!(response.starts_with("HTTP/1.1 400 Bad Request\n"), "{request:?}: {response}");
            assert!(!response.contains("location:"), "{request:?}: {response}");
        }
        server.until_counted("limits_total{malformed} 6").await;
    }

    #[tokio::test]
    async fn large_head_gets_431() {
        let server = Server::start();
        let long = format!("GET / HTTP/1.1\r\nHost: plain.example.org\r\nX: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX));
        let many = format!("GET / HTTP/1.1\r\nHost: plain.example.org\r\n{}\r\n", "X: x\r\n".repeat(HEADERS_MAX));
        for request in [long, many] {
            let response = server.exchange(&request).await;
            assert!(response.starts_with("HTTP/1.1 431 Request Header Fields Too Large\n"), "{response}");
        }
        server.until_counted("limits_total{head} 2").await;
        let path = format!("/{}", "x".repeat(HEAD_BYTES_MAX - 100));
        let response = ask(&mut server.connect().await, &GET.replace("/x?y", &path)).await;
        assert!(response.ends_with(&format!("\nhttp://192.0.2.10{path}")), "what fits is answered");
    }

    #[tokio::test]
    async fn connection_without_a_request_ends_after_idle_timeout() {
        let idle_timeout = Duration::from_millis(200);
        let server = Server::with_redirect(|redirect| redirect.idle_timeout = idle_timeout);
        let started = Instant::now();
        let silent = async { read_all(&mut server.connect().await).await };
        let kept = async {
            let mut stream = server.connect().await;
            assert_eq!(ask(&mut stream, GET).await, REDIRECTED);
            read_all(&mut stream).await
        };
        let trickling = async {
            let (mut reader, mut writer) = server.connect().await.into_split();
            let trickle = async {
                for byte in GET.as_bytes().iter().take(30).cycle() {
                    if writer.write_all(&[*byte]).await.is_err() {
                        return;
                    }
                    sleep(idle_timeout / 10).await;
                }
            };
            let mut received = Vec::new();
            tokio::select! {
                () = trickle => {}
                _ = reader.read_to_end(&mut received) => {}
            }
            without_date(&received)
        };
        let preface_only = async {
            let mut stream = server.connect().await;
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("write");
            let mut received = Vec::new();
            let _ = stream.read_to_end(&mut received).await;
        };
        let (silent, kept, trickling, ()) =
            timeout(PATIENCE, async { tokio::join!(silent, kept, trickling, preface_only) }).await.expect("all end");
        assert_eq!([silent, kept, trickling], ["", "", ""]);
        assert!(started.elapsed() >= idle_timeout);
        server.until_counted("limits_total{idle} 4").await;
    }

    #[tokio::test]
    async fn connection_over_the_limit_waits_for_room() {
        let server = Server::with_redirect(|redirect| redirect.max_connections = 1);
        let mut first = server.connect().await;
        assert_eq!(ask(&mut first, GET).await, REDIRECTED);
        server.until_counted("limits_total{connections} 1").await;
        let mut second = server.connect().await;
        second.write_all(GET.as_bytes()).await.expect("write");
        let mut byte = [0];
        timeout(Duration::from_millis(50), second.read(&mut byte)).await.expect_err("nobody has accepted it");
        assert!(
            server.counted().contains("connections_open{} 1\nconnections_accepted_total{} 1\n"),
            "{}",
            server.counted()
        );
        drop(first);
        assert_eq!(read_response(&mut second).await, REDIRECTED);
    }

    #[tokio::test]
    async fn raised_limit_counts_without_a_restart() {
        let server = Server::with_redirect(|redirect| redirect.max_connections = 1);
        let mut first = server.connect().await;
        assert_eq!(ask(&mut first, GET).await, REDIRECTED);
        let mut second = server.connect().await;
        server.until_counted("limits_total{connections} 1").await;
        server.snapshots.store(Arc::new(Snapshot { generation: Generation(2), ..snapshot() }));
        assert_eq!(ask(&mut second, GET).await, REDIRECTED);
        assert_eq!(ask(&mut first, GET).await, REDIRECTED);
        server.until_counted("sends_total{plain,a} 3").await;
    }

    #[tokio::test]
    async fn sockets_share_one_limit() {
        let server = Server::with_redirect(|redirect| redirect.max_connections = 2);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        let other = serve(listener, server.snapshots.clone(), server.counters.clone(), server.shutdown.clone());
        let other = Server {
            address,
            task: tokio::spawn(other),
            snapshots: server.snapshots.clone(),
            counters: server.counters.clone(),
            shutdown: server.shutdown.clone(),
        };
        let (mut first, mut second) = (server.connect().await, other.connect().await);
        assert_eq!(ask(&mut first, GET).await, REDIRECTED);
        assert_eq!(ask(&mut second, GET).await, REDIRECTED);
        let mut third = other.connect().await;
        third.write_all(GET.as_bytes()).await.expect("write");
        other.until_counted("connections_open{} 2").await;
        let mut byte = [0];
        timeout(Duration::from_millis(50), third.read(&mut byte)).await.expect_err("nobody has accepted it");
        drop(first);
        assert_eq!(read_response(&mut third).await, REDIRECTED);
    }

    #[tokio::test]
    async fn drain_ends_idle_connections_and_finishes_started_requests() {
        let server = Server::start();
        let (mut started, mut stuck) = (server.connect().await, server.connect().await);
        let (start, end) = GET.split_at(30);
        for stream in [&mut started, &mut stuck] {
            stream.write_all(start.as_bytes()).await.expect("write");
        }
        let (mut silent, mut kept) = (server.connect().await, server.connect().await);
        // Whoever came before has been heard when this one is answered.
        assert_eq!(ask(&mut kept, GET).await, REDIRECTED);
        server.until_counted("connections_open{} 4").await;
        server.shutdown.drain.cancel();
        assert_eq!(read_all(&mut silent).await, "");
        assert_eq!(read_all(&mut kept).await, "");
        TcpStream::connect(server.address).await.expect_err("nobody listens");
        started.write_all(end.as_bytes()).await.expect("write");
        let response = read_all(&mut started).await;
        assert_eq!(response.replace("connection: close\n", ""), REDIRECTED);
        server.until_counted("connections_open{} 1").await;
        assert!(!server.task.is_finished(), "one request is still awaited");
        server.shutdown.abort.cancel();
        assert_eq!(read_all(&mut stuck).await, "");
        server.ended().await;
    }

    #[tokio::test]
    async fn http2_is_spoken_on_the_same_port() {
        let server = Server::start();
        let stream = server.connect().await;
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("handshake");
        let connection = tokio::spawn(connection);
        for (method, uri, status, location) in [
            ("GET", "http://plain.example.org/x?y=%0d", 302, Some("http://192.0.2.10/x?y=%0d")),
            ("HEAD", "http://plain.example.org/x", 302, Some("http://192.0.2.10/x")),
            ("POST", "http://plain.example.org//x", 307, Some("http://192.0.2.10//x")),
            ("GET", "http://example.net/", 421, None),
        ] {
            let request =
                hyper::Request::builder().method(method).uri(uri).body(Full::new(Bytes::from_static(b"body")));
            let response = client.send_request(request.expect("request")).await.expect("response");
            assert_eq!(response.status().as_u16(), status, "{method} {uri}");
            let found = response.headers().get(LOCATION).map(|value| value.to_str().expect("text").to_owned());
            assert_eq!(found.as_deref(), location, "{method} {uri}");
            let length: usize = response.headers()[CONTENT_LENGTH].to_str().expect("text").parse().expect("number");
            let body = http_body_util::BodyExt::collect(response.into_body()).await.expect("body").to_bytes();
            assert_eq!(body.len(), if method == "HEAD" { 0 } else { length }, "{method} {uri}");
        }
        server.shutdown.drain.cancel();
        timeout(PATIENCE, connection).await.expect("GOAWAY").expect("no panic").expect("a clean end");
        server.ended().await;
    }

    #[tokio::test]
    async fn idle_http2_connection_is_told_goodbye() {
        let server = Server::with_redirect(|redirect| redirect.idle_timeout = Duration::from_millis(200));
        let stream = server.connect().await;
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("handshake");
        let connection = tokio::spawn(connection);
        let request = hyper::Request::get("http://plain.example.org/x").body(Full::new(Bytes::new()));
        let response = client.send_request(request.expect("request")).await.expect("response");
        assert_eq!(response.status(), StatusCode::FOUND);
        timeout(PATIENCE, connection).await.expect("GOAWAY").expect("no panic").expect("a clean end");
        server.until_counted("limits_total{idle} 1").await;
    }
}
