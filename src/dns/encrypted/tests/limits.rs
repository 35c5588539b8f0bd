//! Connections that cost and bring nothing are cut, and nobody can have too many. On the paused clock: time passes when nothing else happens.

use super::*;

#[tokio::test(start_paused = true)]
async fn handshake_that_stalls_is_cut() {
    for transport in [Transport::Tls, Transport::Https] {
        let server = Server::new(transport);
        for sent in [&b""[..], b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n\r\n"] {
            let mut stream = TcpStream::connect(server.address).await.expect("connected");
            stream.write_all(sent).await.expect("written");
            let mut rest = Vec::new();
            // An alert may come first.
            let _ = stream.read_to_end(&mut rest).await;
        }
        assert_eq!(server.count("fingerpost_dns_encrypted_timeouts_total"), 2.0, "{transport:?}");
        assert_eq!(server.count("fingerpost_dns_encrypted_handshake_errors_total"), 3.0);
        assert_eq!(server.count("fingerpost_dns_encrypted_connections"), 0.0);
    }
}

#[tokio::test(start_paused = true)]
async fn quic_handshake_that_stalls_is_cut_and_delays_no_other() {
    let server = Server::new(Transport::Quic);
    // The first packet of a client that never sends another.
    let trap = UdpSocket::bind("127.0.0.1:0").expect("bind");
    trap.set_nonblocking(true).expect("set");
    let trap = tokio::net::UdpSocket::from_std(trap).expect("socket");
    let tls = QuicClientConfig::try_from(server.authority.client(&["doq"])).expect("TLS 1.3");
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().expect("address")).expect("endpoint");
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(tls)));
    let connecting = endpoint.connect(trap.local_addr().expect("address"), NAME).expect("started");
    let mut first = [0; 1500];
    let n_octets = trap.recv(&mut first).await.expect("packet");
    drop(connecting);
    trap.send_to(&first[..n_octets], server.address).await.expect("sent");
    server.becomes("fingerpost_dns_encrypted_connections", 1.0).await;

    let connection = server.connect_quic(&["doq"]).await.expect("connected");
    let www = without_id(Asked::new("www.example.org A").wire);
    assert!(ask_quic(&connection, &framed(&www)).await.is_ok());
    connection.close(0u32.into(), b"");
    tokio::time::sleep(super::super::HANDSHAKE_TIMEOUT + Duration::from_secs(1)).await;
    server.becomes("fingerpost_dns_encrypted_connections", 0.0).await;
    assert_eq!(server.count("fingerpost_dns_encrypted_timeouts_total"), 1.0);
    assert_eq!(server.count("fingerpost_dns_encrypted_handshake_errors_total"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn connection_that_asks_nothing_is_cut() {
    let server = Server::new(Transport::Tls);
    for sent in [&b""[..], b"\x00", b"\x00\x20abc"] {
        let mut stream = server.connect(&["dot"]).await.expect("connected");
        stream.write_all(sent).await.expect("written");
        stream.flush().await.expect("flushed");
        assert_eq!(stream.read(&mut [0; 1]).await.expect("end"), 0, "{sent:?}");
    }
    assert_eq!(server.count("fingerpost_dns_encrypted_timeouts_total"), 3.0);

    let server = Server::new(Transport::Https);
    let mut sender = server.connect_https().await;
    let www = Asked::new("www.example.org A").wire;
    assert_eq!(sender.send_request(post(www.clone())).await.expect("response").status(), 200);
    // Requests that are no queries do not keep it open.
    let mut n_refused = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let Ok(response) = sender.send_request(post(Vec::new())).await else { break };
        assert_eq!(response.status(), 400);
        n_refused += 1;
    }
    assert!((10..=21).contains(&n_refused), "{n_refused}");
    server.becomes("fingerpost_dns_encrypted_connections", 0.0).await;
    assert_eq!(server.count("fingerpost_dns_encrypted_timeouts_total"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn quic_connection_and_stream_that_ask_nothing_are_cut() {
    let server = Server::new(Transport::Quic);
    let connection = server.connect_quic(&["doq"]).await.expect("connected");
    let (mut sender, mut receiver) = connection.open_bi().await.expect("stream");
    sender.write_all(&[0]).await.expect("written");
    let error = receiver.read_to_end(100).await.expect_err("reset").to_string();
    assert!(error.contains("reset by peer: error 5"), "{error}");
    assert!(matches!(connection.closed().await, ConnectionError::ApplicationClosed(_)));
    server.becomes("fingerpost_dns_encrypted_connections", 0.0).await;
    assert_eq!(server.count("fingerpost_dns_encrypted_timeouts_total"), 1.0);
}

#[tokio::test]
async fn connections_of_one_client_are_limited() {
    for transport in [Transport::Tls, Transport::Quic] {
        let server = Server::new(transport);
        let (mut streams, mut connections) = (Vec::new(), Vec::new());
        for _ in 0..64 {
            match transport {
                Transport::Quic => connections.push(server.connect_quic(&["doq"]).await.expect("connected")),
                _ => streams.push(server.connect(&["dot"]).await.expect("connected")),
            }
        }
        match transport {
            Transport::Quic => {
                let error = server.connect_quic(&["doq"]).await.expect_err("refused").to_string();
                assert!(error.contains("refused"), "{error}");
            }
            _ => drop(server.connect(&["dot"]).await.expect_err("refused")),
        }
        assert_eq!(server.count("fingerpost_dns_encrypted_refused_total"), 1.0);
        assert_eq!(server.count("fingerpost_dns_encrypted_connections"), 64.0);
        // A place that is given back can be taken again.
        drop((streams.pop(), connections.pop()));
        server.becomes("fingerpost_dns_encrypted_connections", 63.0).await;
        match transport {
            Transport::Quic => drop(server.connect_quic(&["doq"]).await.expect("connected")),
            _ => drop(server.connect(&["dot"]).await.expect("connected")),
        }
    }
}
