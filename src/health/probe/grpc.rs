//! The gRPC health service: one unary call of `grpc.health.v1.Health/Check` over HTTP/2.
//!
//! The two messages have one field each, so they are written and read by hand.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request,
    body::{Bytes, Incoming},
    header,
};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use super::{Problem, Stream, http::while_driven};
use crate::config::GrpcCheck;

/// Octets of a response's message; the real one has two.
const MESSAGE_OCTETS_MAX: usize = 4096;
/// `SERVING` among the values of `ServingStatus`.
const SERVING: u64 = 1;

pub(super) async fn probe(
    connecting: impl Future<Output = Result<Box<dyn Stream>, Problem>>,
    address: SocketAddr,
    check: &GrpcCheck,
    is_tls: bool,
) -> Result<(), Problem> {
    let stream = connecting.await?;
    let tasks = Tasks::default();
    let mut builder = hyper::client::conn::http2::Builder::new(tasks.clone());
    builder.max_header_list_size(16 << 10);
    let (mut sender, connection) = builder.handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await?;
    let scheme = if is_tls { "https" } else { "http" };
    let authority = check.host.clone().unwrap_or_else(|| address.to_string());
    let request = Request::post(format!("{scheme}://{authority}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, concat!("fingerpost/", env!("CARGO_PKG_VERSION")))
        .body(Full::from(request_message(&check.service)))
        .map_err(|error| Problem::Unclear(format!("nothing that can be requested: {error}")))?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(Problem::Unexpected(format!("HTTP status {status}, expected 200")));
        }
        // Without a message the status stands among the headers.
        check_status(response.headers(), &check.service)?;
        let message = read_message(response.into_body(), &check.service).await?;
        match serving_status(&message) {
            Some(SERVING) => Ok(()),
            Some(status) => {
                let name = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
                let name = usize::try_from(status).ok().and_then(|status| name.get(status)).unwrap_or(&"another one");
                Err(Problem::Unexpected(format!("status {name}, expected SERVING")))
            }
            None => Err(Problem::Unexpected("response is not of the gRPC health service".to_owned())),
        }
    };
    let outcome = while_driven(connection, exchange).await;
    drop(tasks);
    outcome
}

/// What hyper wants to run beside a connection; it ends with the last handle.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).spawn(async move { drop(task.await) });
    }
}

/// A `HealthCheckRequest` in a gRPC frame: not compressed, length, then field 1 with the service's name.
fn request_message(service: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(service.len() + 8);
    if !service.is_empty() {
        message.push(0x0a);
        push_varint(&mut message, service.len());
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(0);
    let mut frame = vec![0];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.append(&mut message);
    frame
}

fn push_varint(message: &mut Vec<u8>, mut number: usize) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or(0);
        number >>= 7;
        message.push(if number == 0 { low } else { low | 0x80 });
        if number == 0 {
            return;
        }
    }
}

/// `grpc-status` must be 0 where it stands.
fn check_status(headers: &HeaderMap, service: &str) -> Result<(), Problem> {
    let Some(status) = headers.get("grpc-status") else { return Ok(()) };
    let text = match status.as_bytes() {
        b"0" => return Ok(()),
        b"5" => format!("the server knows no service `{service}`"),
        b"12" => "the server has no gRPC health service".to_owned(),
        other => format!("gRPC status {}, expected 0", other.escape_ascii()),
    };
    Err(Problem::Unexpected(text))
}

/// The message in the one frame of a response, whose trailers say that all went well.
async fn read_message(mut body: Incoming, service: &str) -> Result<Vec<u8>, Problem> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await.transpose()? {
        if let Some(trailers) = frame.trailers_ref() {
            check_status(trailers, service)?;
        }
        if let Some(octets) = frame.data_ref() {
            read.extend_from_slice(octets);
        }
        if read.len() > MESSAGE_OCTETS_MAX {
            break;
        }
    }
    let message = read.split_first_chunk().filter(|([compressed, ..], _): &(&[u8; 5], _)| *compressed == 0);
    let message = message
        .and_then(|([_, length @ ..], message)| message.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?));
    let bad = || Problem::Unexpected("response is not of the gRPC health service".to_owned());
    message.map(<[u8]>::to_vec).ok_or_else(bad)
}

/// Field 1 of a `HealthCheckResponse`; 0 if it is left out. `None` if this is none.
fn serving_status(message: &[u8]) -> Option<u64> {
    let mut status = 0;
    let mut rest = message;
    while !rest.is_empty() {
        let (key, after) = take_varint(rest)?;
        rest = match key & 7 {
            0 => {
                let (value, after) = take_varint(after)?;
                status = if key >> 3 == 1 { value } else { status };
                after
            }
            1 => after.get(8..)?,
            2 => {
                let (length, after) = take_varint(after)?;
                after.get(usize::try_from(length).ok()?..)?
            }
            5 => after.get(4..)?,
            _ => return None,
        };
    }
    Some(status)
}

fn take_varint(mut octets: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&octet, rest) = octets.split_first()?;
        number |= u64::from(octet & 0x7f) << shift;
        octets = rest;
        if octet & 0x80 == 0 {
            return Some((number, octets));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use hyper::{Response, body::Frame, service::service_fn};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::net::TcpStream;

    use super::{
        super::testing::{impatient, listen, outcome, serve, target},
        *,
    };
    use crate::config::CheckKind;

    type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;

    /// What a server says to a request for this service's name, as sent.
    type Says = fn(&str, &[u8]) -> Response<Body>;

    fn body(data: Vec<u8>, trailers: &[(&'static str, &'static str)]) -> Body {
        let trailers: HeaderMap =
            trailers.iter().map(|(name, value)| (name.parse().expect("name"), value.parse().expect("value"))).collect();
        let trailers = Some(Ok(trailers));
        Full::from(data).with_trailers(async move { trailers }).boxed()
    }

    async fn server(says: Says) -> SocketAddr {
        serve(move |stream: TcpStream| async move {
            let service = service_fn(move |request: Request<Incoming>| async move {
                let path = request.uri().path().to_owned();
                let is_grpc = request.headers().get("content-type").is_some_and(|kind| kind == "application/grpc");
                assert!(is_grpc && request.headers().get("te").is_some_and(|te| te == "trailers"));
                let asked = request.into_body().collect().await.expect("a body").to_bytes();
                Ok::<_, Infallible>(says(&path, &asked))
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        })
        .await
    }

    /// What health services do: `web` serves, `api` does not, the server as a whole does, others are not known.
    fn health_service(path: &str, asked: &[u8]) -> Response<Body> {
        assert_eq!(path, "/grpc.health.v1.Health/Check");
        let status = match asked {
            [0, 0, 0, 0, 0] | [0, 0, 0, 0, 5, 0x0a, 3, b'w', b'e', b'b'] => 1,
            [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'p', b'i'] => 2,
            _ => {
                let head = Response::builder().header("content-type", "application/grpc").header("grpc-status", "5");
                return head.body(body(Vec::new(), &[])).expect("response");
            }
        };
        let head = Response::builder().header("content-type", "application/grpc");
        head.body(body(vec![0, 0, 0, 0, 2, 8, status], &[("grpc-status", "0")])).expect("response")
    }

    fn kind(service: &str) -> CheckKind {
        CheckKind::Grpc(GrpcCheck { service: service.into(), host: None }, None)
    }

    #[tokio::test]
    async fn grpc_check_wants_the_service_to_be_serving() {
        let address = server(health_service).await;
        for (service, expected) in [
            ("", "ok"),
            ("web", "ok"),
            ("api", "status NOT_SERVING, expected SERVING"),
            ("other", "the server knows no service `other`"),
        ] {
            assert_eq!(outcome(&target(kind(service), address)).await, expected, "{service}");
        }
    }

    #[tokio::test]
    async fn what_is_not_the_health_service_is_a_failure() {
        let cases: [(Says, &str); 5] = [
            (
                |_, _| Response::builder().status(404).body(body(Vec::new(), &[])).expect("response"),
                "HTTP status 404, expected 200",
            ),
            (|_, _| Response::new(body(Vec::new(), &[("grpc-status", "12")])), "the server has no gRPC health service"),
            (
                |_, _| Response::new(body(vec![0, 0, 0, 0, 2, 8, 1], &[("grpc-status", "14")])),
                "gRPC status 14, expected 0",
            ),
            (|_, _| Response::new(body(b"<html>".to_vec(), &[])), "response is not of the gRPC health service"),
            (|_, _| Response::new(body(vec![b'x'; 100_000], &[])), "response is not of the gRPC health service"),
        ];
        for (says, expected) in cases {
            assert_eq!(outcome(&target(kind(""), server(says).await)).await, expected);
        }
    }

    #[tokio::test]
    async fn silent_and_refusing_servers_are_failures() {
        let (listener, address) = listen().await;
        assert_eq!(outcome(&impatient(target(kind(""), address))).await, "timed out after 300ms");
        drop(listener);
        assert_eq!(outcome(&target(kind(""), address)).await, "connection refused");
    }

    #[test]
    fn status_is_read_past_fields_that_are_not_known() {
        assert_eq!(serving_status(&[]), Some(0));
        assert_eq!(serving_status(&[8, 1]), Some(1));
        assert_eq!(
            serving_status(&[0x12, 2, 8, 9, 0x21, 0, 0, 0, 0, 0, 0, 0, 0, 0x2d, 0, 0, 0, 0, 8, 0x81, 1]),
            Some(129)
        );
        for bad in [&[8][..], &[8, 0x80], &[0x12, 9, 1], &[0x0b], &[0xff; 11]] {
            assert_eq!(serving_status(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn long_names_of_services_have_long_lengths() {
        let message = request_message(&"x".repeat(300));
        assert_eq!(message.get(..8), Some(&[0, 0, 0, 1, 47, 0x0a, 0xac, 2][..]));
        let frame: Frame<Bytes> = Frame::data(message.into());
        assert_eq!(frame.into_data().map(|data| data.len()).ok(), Some(308));
    }
}
