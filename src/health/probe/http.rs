//! One HTTP/1.1 request, of whose response the status is read and, if the check asks for it, the beginning of the body.

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::pin,
    task::Poll,
};

use http_body_util::{BodyExt, Empty};
use hyper::{
    Request,
    body::{Bytes, Incoming},
    header,
};
use hyper_util::rt::TokioIo;

use super::{Problem, Stream, tcp::shown};
use crate::config::{HttpCheck, Pattern};

/// Octets of a response's head.
const HEAD_OCTETS_MAX: usize = 64 << 10;

pub(super) async fn probe(
    connecting: impl Future<Output = Result<Box<dyn Stream>, Problem>>,
    address: SocketAddr,
    http: &HttpCheck,
) -> Result<(), Problem> {
    let request = request(address, http)?;
    let stream = connecting.await?;
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(HEAD_OCTETS_MAX);
    let (mut sender, connection) = builder.handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        check_status(response.status().as_u16(), http)?;
        match &http.expect_body {
            Some(expect) => check_body(response.into_body(), expect, http.body_max).await,
            // The body is dropped unread, and the connection with it.
            None => Ok(()),
        }
    };
    while_driven(connection, exchange).await
}

/// Polls a connection along with what goes on over it, in one task: what ends with the probe leaves nothing behind.
pub(super) async fn while_driven<T>(connection: impl Future, exchange: impl Future<Output = T>) -> T {
    let (mut connection, mut exchange) = (pin!(connection), pin!(exchange));
    let mut is_open = true;
    poll_fn(|context| {
        if let Poll::Ready(done) = exchange.as_mut().poll(context) {
            return Poll::Ready(done);
        }
        if is_open && connection.as_mut().poll(context).is_ready() {
            is_open = false;
        }
        // What the connection did just now may be what the exchange waits for.
        exchange.as_mut().poll(context)
    })
    .await
}

fn request(address: SocketAddr, http: &HttpCheck) -> Result<Request<Empty<Bytes>>, Problem> {
    let host = http.host.clone().unwrap_or_else(|| address.to_string());
    let mut request = Request::builder()
        .method(&*http.method)
        .uri(&http.path)
        .header(header::HOST, host)
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close");
    if !http.headers.iter().any(|(name, _)| &**name == "user-agent") {
        request = request.header(header::USER_AGENT, concat!("fingerpost/", env!("CARGO_PKG_VERSION")));
    }
    for (name, value) in &http.headers {
        request = request.header(&**name, &**value);
    }
    request.body(Empty::new()).map_err(|error| Problem::Unclear(format!("nothing that can be requested: {error}")))
}

fn check_status(status: u16, http: &HttpCheck) -> Result<(), Problem> {
    if http.expect_status.iter().any(|range| range.contains(&status)) {
        return Ok(());
    }
    let expected = http.expect_status.iter().map(|range| match (range.start(), range.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    });
    let expected = expected.collect::<Vec<_>>().join(", ");
    Err(Problem::Unexpected(format!("status {status}, expected {expected}")))
}

/// Reads up to `octets_max` of a body until `expect` is in it.
async fn check_body(mut body: Incoming, expect: &Pattern, octets_max: usize) -> Result<(), Problem> {
    let mut read: Vec<u8> = Vec::new();
    // Looked at whenever it has doubled: a body that trickles is found out early, and none is looked through often.
    let mut look_at = 1;
    loop {
        let frame = body.frame().await.transpose()?;
        let is_over = frame.is_none();
        if let Some(octets) = frame.as_ref().and_then(|frame| frame.data_ref()) {
            read.extend(octets.iter().take(octets_max - read.len()));
        }
        let is_full = is_over || read.len() >= octets_max;
        if (is_full || read.len() >= look_at) && expect.is_in(&read) {
            return Ok(());
        }
        if is_full {
            return Err(Problem::Unexpected(format!("body is {}, expected `{expect}`", shown(&read))));
        }
        if read.len() >= look_at {
            look_at = 2 * read.len();
        }
    }
}

#[cfg(test)]
mod tests;
