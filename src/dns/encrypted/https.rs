//! DNS over HTTPS (RFC 8484): HTTP/2 within TLS, GET and POST of `/dns-query`.
//!
//! HTTP/1.1 is not spoken: RFC 8484 §5.2 recommends HTTP/2 as the least, and it would add a second set of limits.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{
    super::{
        Counters,
        encode::{MESSAGE_OCTETS_MAX, Transport},
        tcp::{End, IDLE_TIMEOUT, READ_TIMEOUT, Server, answer_framed, serve_connections},
    },
    GOODBYE, Identity, STREAMS_MAX,
    records::records,
    tls::{count_handshake_error, count_protocol_error, shake_hands, tls_config},
};
use crate::{shutdown::Shutdown, snapshot::Snapshots};

/// HTTP/2's name in the handshake (RFC 9113 §3.2).
const ALPN: &[u8] = b"h2";
/// Where queries are taken.
const PATH: &str = "/dns-query";
/// What a query and a response are (RFC 8484 §6).
const MEDIA_TYPE: &str = "application/dns-message";
/// Octets of a request's headers: a query in a GET may have 65,535 of its own, in base64, and none that is sent has a quarter of that.
const HEADERS_OCTETS_MAX: u32 = 32 * 1024;
/// Streams that a client has reset before they were taken up; more end the connection.
const RESET_STREAMS_MAX: usize = 20;
/// Streams that we had to reset for a client's errors; more end the connection.
const FAILED_STREAMS_MAX: usize = 1024;
/// What a client may send before it is read, in a stream and in all of them.
const STREAM_WINDOW_OCTETS: u32 = 16 * 1024;
const CONNECTION_WINDOW_OCTETS: u32 = 128 * 1024;
/// Octets of responses that wait to be sent, a stream.
const SEND_BUFFER_OCTETS_MAX: usize = 64 * 1024;

/// Serves `listener` as `serve_tcp` does, with a request a query.
///
/// # Errors
/// When `listener` cannot be handed to the runtime, or TLS cannot be set up.
pub async fn serve_https(
    listener: std::net::TcpListener,
    identity: Arc<Identity>,
    snapshots: Arc<Snapshots>,
    counters: Arc<Counters>,
    shutdown: Shutdown,
) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(Arc::new(tls_config(identity, ALPN)?));
    let server = Server::new(snapshots, counters, Transport::Https, shutdown);
    serve_connections(listener, server, |stream, peer, server| carry(acceptor.clone(), stream, peer, server)).await
}

fn http() -> http2::Builder<TokioExecutor> {
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .max_local_error_reset_streams(FAILED_STREAMS_MAX)
        .max_header_list_size(HEADERS_OCTETS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_OCTETS)
        .initial_connection_window_size(CONNECTION_WINDOW_OCTETS)
        .max_send_buf_size(SEND_BUFFER_OCTETS_MAX);
    http
}

/// One connection. It must bring a query every [`IDLE_TIMEOUT`] or two, whatever else it does: that covers who sends nothing, who trickles,
/// who does not read, and who only pings.
async fn carry(acceptor: TlsAcceptor, stream: TcpStream, peer: SocketAddr, server: Arc<Server>) -> End {
    let stream = match shake_hands(&acceptor, stream, &server).await {
        Ok(stream) => stream,
        Err(end) => return end,
    };
    // Who names no protocol may speak any.
    if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
        count_handshake_error(&server);
        return End::Closed;
    }
    let n_queries = Arc::new(AtomicU64::new(0));
    let service = {
        let (server, n_queries) = (server.clone(), n_queries.clone());
        service_fn(move |request| {
            let (server, n_queries) = (server.clone(), n_queries.clone());
            async move {
                let response = answer(&server, peer, request).await;
                match response.status() {
                    StatusCode::OK => drop(n_queries.fetch_add(1, Relaxed)),
                    _ => count_protocol_error(&server),
                }
                Ok::<_, Infallible>(response)
            }
        })
    };
    let mut connection = pin!(http().serve_connection(TokioIo::new(stream), service));
    let mut alarm = pin!(sleep(IDLE_TIMEOUT));
    let mut n_seen = 0;
    loop {
        tokio::select! {
            biased;
            // How it ended makes no difference: the peer is gone.
            _ = connection.as_mut() => return End::Closed,
            () = server.shutdown.drain.cancelled() => {
                connection.as_mut().graceful_shutdown();
                // Who waits for the end of all connections has a deadline for it.
                let _ = connection.await;
                return End::Closed;
            }
            () = alarm.as_mut() => {
                let n_now = n_queries.load(Relaxed);
                if n_now == n_seen {
                    connection.as_mut().graceful_shutdown();
                    let _ = timeout(GOODBYE, connection).await;
                    return End::Timeout;
                }
                n_seen = n_now;
                alarm.set(sleep(IDLE_TIMEOUT));
            }
        }
    }
}

/// What one request gets.
async fn answer(server: &Server, peer: SocketAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let wire = match query_of(request).await {
        Ok(wire) => wire,
        Err(status) => return refuse(status),
    };
    // What gets silence elsewhere cannot get it here.
    let Some(framed) = answer_framed(server, &wire, peer) else { return refuse(StatusCode::BAD_REQUEST) };
    let message = Bytes::from(framed).slice(2..);
    let lifetime = format!("private, max-age={}", lifetime_seconds(&message));
    let mut response = Response::new(Full::new(message));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    if let Ok(lifetime) = HeaderValue::from_maybe_shared(Bytes::from(lifetime)) {
        response.headers_mut().insert(CACHE_CONTROL, lifetime);
    }
    response
}

/// How long an HTTP cache may keep a response (RFC 8484 §5.1): as long as the first of its records. A cache of one client's own, since the
/// answer may be another one for the next client.
fn lifetime_seconds(message: &[u8]) -> u32 {
    records(message).filter(|record| !record.is_additional).map(|record| record.ttl).min().unwrap_or(0)
}

/// The DNS message that a request carries (RFC 8484 §4.1), or the status that says why there is none.
async fn query_of(request: Request<Incoming>) -> Result<Bytes, StatusCode> {
    if request.uri().path() != PATH {
        return Err(StatusCode::NOT_FOUND);
    }
    match *request.method() {
        Method::GET => query_in_uri(request.uri().query().unwrap_or_default()).ok_or(StatusCode::BAD_REQUEST),
        Method::POST if !is_dns_message(request.headers()) => Err(StatusCode::UNSUPPORTED_MEDIA_TYPE),
        Method::POST => {
            let body = Limited::new(request.into_body(), MESSAGE_OCTETS_MAX).collect();
            let collected = timeout(READ_TIMEOUT, body).await.map_err(|_| StatusCode::REQUEST_TIMEOUT)?;
            collected.map(|body| body.to_bytes()).map_err(|error| {
                if error.is::<LengthLimitError>() { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST }
            })
        }
        _ => Err(StatusCode::METHOD_NOT_ALLOWED),
    }
}

/// The variable `dns` of a GET: base64url. Padding must not be there (RFC 8484 §6), and does no harm.
fn query_in_uri(query: &str) -> Option<Bytes> {
    let text = query.split('&').find_map(|field| field.strip_prefix("dns="))?;
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok().map(Bytes::from)
}

fn is_dns_message(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(MEDIA_TYPE))
}

fn refuse(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
    }
    response
}
