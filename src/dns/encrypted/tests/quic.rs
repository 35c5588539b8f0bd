//! What RFC 9250 says of streams.

use super::*;

/// The application's error code that the server closed the connection with.
async fn closed_with(connection: &Connection) -> u64 {
    match connection.closed().await {
        ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn rfc9250_answers_are_carried_as_they_are_a_stream_each() {
    let mut server = Server::new(Transport::Quic);
    let connection = server.connect_quic(&["doq"]).await.expect("connected");
    let expected = expected(Transport::Quic);
    for (query, response) in &expected {
        assert!(ask_quic(&connection, &framed(query)).await == Ok(framed(response)), "{query:02x?}");
    }
    assert_eq!(server.count("fingerpost_dns_encrypted_connections"), 1.0);
    server.stop().await;
    assert_eq!(closed_with(&connection).await, 0);
    assert_eq!(server.count("fingerpost_dns_queries_total"), expected.len() as f64);
    assert_eq!(server.count("fingerpost_dns_encrypted_protocol_errors_total"), 0.0);
    assert_eq!(server.count("fingerpost_dns_encrypted_connections"), 0.0);
    assert_eq!(server.count("fingerpost_dns_send_errors_total"), 0.0);
}

#[tokio::test]
async fn rfc9250_4_3_3_what_is_no_query_ends_the_connection() {
    let server = Server::new(Transport::Quic);
    let www = without_id(Asked::new("www.example.org A").wire);
    let with_id = Asked::new("www.example.org A").wire;
    let mut keepalive = www.clone();
    super::super::super::testing::add_opt(&mut keepalive, 1232, [0; 4], &[0, 3, 0, 0, 0, 11, 0, 0]);
    let mut response = www.clone();
    response[2] |= 0x80;
    let cases = [
        framed(&with_id),
        framed(&keepalive),
        framed(&response),
        framed(b""),
        framed(&[0; 11]),
        [framed(&www), framed(&www)].concat(),
        framed(&www)[..20].to_vec(),
        Vec::new(),
        vec![0],
        vec![0; 70_000],
    ];
    let n_cases = cases.len();
    for octets in cases {
        let connection = server.connect_quic(&["doq"]).await.expect("connected");
        let asked = ask_quic(&connection, &octets).await;
        assert!(asked.is_err(), "{octets:02x?}");
        assert_eq!(closed_with(&connection).await, 2, "{asked:?}");
    }
    server.becomes("fingerpost_dns_encrypted_protocol_errors_total", n_cases as f64).await;
    server.becomes("fingerpost_dns_encrypted_connections", 0.0).await;
}

#[tokio::test]
async fn stream_that_stalls_delays_no_other() {
    let server = Server::new(Transport::Quic);
    let connection = server.connect_quic(&["doq"]).await.expect("connected");
    let mut stalled = Vec::new();
    for _ in 0..50 {
        let (mut sender, receiver) = connection.open_bi().await.expect("stream");
        sender.write_all(&[0]).await.expect("written");
        stalled.push((sender, receiver));
    }
    for (query, response) in &expected(Transport::Quic) {
        assert!(ask_quic(&connection, &framed(query)).await == Ok(framed(response)));
    }
}

#[tokio::test]
async fn streams_at_once_are_limited() {
    let server = Server::new(Transport::Quic);
    let connection = server.connect_quic(&["doq"]).await.expect("connected");
    let mut open = Vec::new();
    for _ in 0..100 {
        open.push(connection.open_bi().await.expect("stream"));
    }
    // The next one has to wait until one of them ends.
    let mut waiting = Box::pin(connection.open_bi());
    let poll = std::future::poll_fn(|context| std::task::Poll::Ready(waiting.as_mut().poll(context).is_pending()));
    assert!(poll.await);
    let www = without_id(Asked::new("www.example.org A").wire);
    // New ones are allowed a few at a time.
    for (mut sender, mut receiver) in open.drain(..50) {
        sender.write_all(&framed(&www)).await.expect("written");
        sender.finish().expect("finished");
        assert!(receiver.read_to_end(1000).await.is_ok());
    }
    assert!(tokio::time::timeout(PATIENCE, waiting).await.expect("in time").is_ok());
    assert!(connection.open_uni().poll_now().await.is_none(), "streams of one direction have no use here");
}

trait PollNow: Future + Sized {
    /// What it gives without waiting.
    async fn poll_now(self) -> Option<Self::Output> {
        let mut future = std::pin::pin!(self);
        std::future::poll_fn(|context| match future.as_mut().poll(context) {
            std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }
}

impl<F: Future> PollNow for F {}
