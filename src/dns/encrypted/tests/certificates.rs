//! How certificates are read, and change while connections run.

use rcgen::date_time_ymd;

use super::*;

/// What is said of the files, paths left out.
fn findings(authority: &Authority) -> String {
    let told = match Certificate::load(&authority.named(), Timestamp::now()) {
        Ok((_, warnings)) => warnings.to_string(),
        Err(errors) => errors.to_string(),
    };
    told.replace(&format!("{}/", authority.folder.path().display()), "")
}

#[test]
fn files_that_cannot_be_used_are_told_with_a_way_out() {
    let authority = Authority::new();
    assert_eq!(findings(&authority), "");
    let (certificate, key) = (authority.path("ns1.pem"), authority.path("ns1.key"));
    let (good_certificate, good_key) = (std::fs::read(&certificate).expect("read"), std::fs::read(&key).expect("read"));
    let other_key = KeyPair::generate().expect("key").serialize_pem();
    for (certificate_text, key_text, expected) in [
        (&b""[..], &good_key[..], "could not use the certificate in `ns1.pem`: it has none"),
        (b"nonsense", &good_key, "could not use the certificate in `ns1.pem`: it has none"),
        (&good_key, &good_key, "could not use the certificate in `ns1.pem`: it has none"),
        (&good_certificate[..200], &good_key, "could not use the certificate in `ns1.pem`: "),
        (
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            &good_key,
            "could not use the certificate in `ns1.pem`: it is not in X.509 form",
        ),
        (&good_certificate, b"", "could not use the private key in `ns1.key`: it has none"),
        (
            &good_certificate,
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "could not use the private key in `ns1.key`: ",
        ),
        (
            &good_certificate,
            other_key.as_bytes(),
            "the key in `ns1.key` does not fit the certificate in `ns1.pem`\n\
             hint: the server's own certificate comes first in its file, those of its issuers after it",
        ),
    ] {
        std::fs::write(&certificate, certificate_text).expect("written");
        std::fs::write(&key, key_text).expect("written");
        let found = findings(&authority);
        assert!(found.starts_with(&format!("error: {expected}")), "{found}");
        assert!(found.contains("\nhint: "), "{found}");
    }
    // Both mistakes in one go.
    std::fs::remove_file(&certificate).expect("removed");
    std::fs::remove_file(&key).expect("removed");
    let found = findings(&authority);
    for path in ["ns1.pem", "ns1.key"] {
        assert!(found.contains(&format!("error: could not read `{path}`: No such file")), "{found}");
    }
}

#[test]
fn certificate_out_of_its_time_is_a_warning() {
    let authority = Authority::new();
    authority.issue(|parameters| parameters.not_after = date_time_ymd(2020, 1, 2));
    let hint = "hint: clients will not accept it; renew it, or set the clock";
    let expected =
        format!("warning: the certificate in `ns1.pem` has expired: it was valid until 2020-01-02T00:00:00Z\n{hint}");
    assert_eq!(findings(&authority), expected);
    authority.issue(|parameters| parameters.not_before = date_time_ymd(2500, 1, 2));
    let expected = format!("warning: the certificate in `ns1.pem` is not valid before 2500-01-02T00:00:00Z\n{hint}");
    assert_eq!(findings(&authority), expected);
}

#[test]
fn end_of_the_certificate_is_a_metric() {
    let authority = Authority::new();
    let identity = Identity::default();
    let mut samples = Vec::new();
    identity.observe(&mut samples);
    assert!(samples.is_empty());
    authority.issue(|parameters| parameters.not_after = date_time_ymd(2100, 1, 1));
    identity.replace(authority.load());
    identity.observe(&mut samples);
    let seen: Vec<_> = samples.iter().map(|sample| (sample.name, sample.value)).collect();
    assert_eq!(seen, [("fingerpost_dns_certificate_not_after_seconds", 4_102_444_800.0)]);
}

#[tokio::test]
async fn new_certificate_is_seen_by_new_connections_and_disturbs_no_old_one() {
    let www = without_id(Asked::new("www.example.org A").wire);

    let server = Server::new(Transport::Tls);
    let mut old = server.connect(&["dot"]).await.expect("connected");
    let certificate = server.authority.issue(|_| {});
    server.identity.replace(server.authority.load());
    let new = server.connect(&["dot"]).await.expect("connected");
    let shown = |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().expect("chain")[0].clone();
    assert_eq!(shown(&new), certificate);
    assert_ne!(shown(&old), certificate);
    old.write_all(&framed(&www)).await.expect("written");
    assert!(read_framed(&mut old).await.is_ok());

    let server = Server::new(Transport::Quic);
    let old = server.connect_quic(&["doq"]).await.expect("connected");
    let certificate = server.authority.issue(|_| {});
    server.identity.replace(server.authority.load());
    let new = server.connect_quic(&["doq"]).await.expect("connected");
    let shown = |connection: &Connection| {
        let chain = connection.peer_identity().expect("chain").downcast::<Vec<CertificateDer<'static>>>();
        chain.expect("certificates")[0].clone()
    };
    assert_eq!(shown(&new), certificate);
    assert_ne!(shown(&old), certificate);
    assert!(ask_quic(&old, &framed(&www)).await.is_ok());
}

#[tokio::test]
async fn without_a_certificate_nobody_is_served() {
    let server = Server::new(Transport::Tls);
    let empty = Arc::new(Identity::default());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let snapshots = Arc::new(Snapshots::from(serving()));
    tokio::spawn(serve_tls(listener, empty, snapshots, server.counters.clone(), server.shutdown.clone()));
    let connector = TlsConnector::from(Arc::new(server.authority.client(&["dot"])));
    let stream = TcpStream::connect(address).await.expect("connected");
    assert!(connector.connect(ServerName::try_from(NAME).expect("name"), stream).await.is_err());
}
