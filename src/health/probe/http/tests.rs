//! Requests and responses, TLS, and what operators are told.

use std::time::{Duration, Instant, SystemTime};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

use super::super::{
    Shared, probe,
    testing::{Https, OK, head, impatient, listen, outcome, responds, serve, target},
};
use crate::{
    config::{CheckKind, HttpCheck, TlsCheck},
    health::{Failure, Outcome, Target},
};

fn http() -> HttpCheck {
    HttpCheck { path: "/healthz?deep=1".into(), ..HttpCheck::default() }
}

fn tls() -> TlsCheck {
    TlsCheck::default()
}

/// The check with these keys.
fn kind(keys: &str) -> CheckKind {
    let toml = format!("version = 1\n[checks.c]\ntype = \"http\"\n{keys}\n");
    let (config, _) = crate::config::parse("test.toml".as_ref(), toml).expect("a valid check");
    config.checks[0].kind.clone()
}

async fn found(target: &Target, shared: &Shared) -> Outcome {
    probe(target, shared).await.outcome
}

async fn https_outcome(https: &Https, host: Option<&str>, tls: TlsCheck) -> String {
    let http = HttpCheck { host: host.map(str::to_owned), ..http() };
    outcome(&target(CheckKind::Https(http, tls), https.address)).await
}

#[tokio::test]
async fn refused_connection_is_told_as_such() {
    let (listener, address) = listen().await;
    drop(listener);
    assert_eq!(outcome(&target(CheckKind::Http(http()), address)).await, "connection refused");
    assert_eq!(outcome(&target(CheckKind::Https(http(), tls()), address)).await, "connection refused");
}

#[tokio::test]
async fn method_and_headers_are_sent_as_the_check_has_them() {
    let (address, mut heads) = responds(OK).await;
    let keys = "method = \"OPTIONS\"\nheaders = { X-Probe = \"a b\", user-agent = \"mine\" }";
    assert_eq!(outcome(&target(kind(keys), address)).await, "ok");
    let head = heads.recv().await.expect("a request").to_lowercase();
    assert!(head.starts_with("options / http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nx-probe: a b\r\n") && head.contains("\r\nuser-agent: mine\r\n"), "{head}");
    assert_eq!(head.matches("user-agent").count(), 1);
}

#[tokio::test]
async fn head_has_no_body_to_wait_for() {
    let (address, mut heads) = responds("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await;
    assert_eq!(outcome(&target(kind("method = \"HEAD\""), address)).await, "ok");
    assert!(heads.recv().await.expect("a request").starts_with("HEAD / HTTP/1.1\r\n"));
}

#[tokio::test]
async fn body_must_have_what_is_expected_within_its_first_octets() {
    let (address, _heads) =
        responds("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nstatus\r\n4\r\n: OK\r\n0\r\n\r\n").await;
    for (keys, expected) in [
        ("expect_body = 'status: OK'", "ok"),
        ("expect_body = '/^status: (OK|WARN)$/'", "ok"),
        ("expect_body = 'OK'\nbody_max = \"9B\"", "body is `status: O`, expected `OK`"),
        ("expect_body = 'OK'\nbody_max = \"10B\"", "ok"),
        ("expect_body = 'FINE'", "body is `status: OK`, expected `FINE`"),
    ] {
        assert_eq!(outcome(&target(kind(keys), address)).await, expected, "{keys}");
    }
    let (address, _heads) = responds("HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nOK").await;
    assert_eq!(outcome(&target(kind("expect_body = 'OK'"), address)).await, "status 500, expected 200-299");
    let (address, _heads) = responds("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(outcome(&target(kind("expect_body = 'OK'"), address)).await, "body is nothing, expected `OK`");
}

#[tokio::test]
async fn body_that_never_ends_is_read_as_far_as_it_is_of_use() {
    let address = serve(|mut stream| async move {
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        while stream.write_all(b"4\r\nmore\r\n").await.is_ok() {}
    })
    .await;
    assert_eq!(outcome(&target(kind("expect_body = 'remo'"), address)).await, "ok");
    let error = outcome(&target(kind("expect_body = 'less'\nbody_max = \"1MiB\""), address)).await;
    assert_eq!(error, format!("body is `{}`…, expected `less`", "more".repeat(15)));
}

#[tokio::test]
async fn end_of_the_certificate_is_noticed_whatever_else_is_found() {
    let https = Https::until((2099, 12, 31)).await;
    let trusted = TlsCheck { ca: Some(https.ca()), ..tls() };
    for (tls, status) in
        [(trusted.clone(), 200..=299), (TlsCheck { verify: false, ..tls() }, 200..=299), (trusted, 404..=404)]
    {
        let http = HttpCheck { host: Some("www.example.org".into()), expect_status: vec![status.clone()], ..http() };
        let found = probe(&target(CheckKind::Https(http, tls), https.address), &Shared::new()).await;
        assert_eq!(found.outcome.is_ok(), status == (200..=299));
        assert_eq!(found.certificate.map(|ends| ends.to_string()).as_deref(), Some("2099-12-31T00:00:00Z"));
    }
}

#[tokio::test]
async fn http_check_sends_path_and_host_and_reads_the_status() {
    let (address, mut heads) = responds(OK).await;
    assert_eq!(outcome(&target(CheckKind::Http(http()), address)).await, "ok");
    let head = heads.recv().await.expect("a request").to_lowercase();
    assert!(head.starts_with("get /healthz?deep=1 http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nhost: {address}\r\n")), "{head}");
    assert!(head.contains("\r\nconnection: close\r\n"), "{head}");

    let named = HttpCheck { host: Some("www.example.org".into()), ..http() };
    assert_eq!(outcome(&target(CheckKind::Http(named), address)).await, "ok");
    let head = heads.recv().await.expect("a request").to_lowercase();
    assert!(head.contains("\r\nhost: www.example.org\r\n"), "{head}");
    assert_eq!(head.matches("host:").count(), 1);
}

#[tokio::test]
async fn unexpected_status_is_a_failure_and_redirects_are_not_followed() {
    let (address, _heads) = responds("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(outcome(&target(CheckKind::Http(http()), address)).await, "status 503, expected 200-299");
    let several = HttpCheck { expect_status: vec![200..=200, 400..=404], ..http() };
    assert_eq!(outcome(&target(CheckKind::Http(several), address)).await, "status 503, expected 200, 400-404");

    let (address, mut heads) = responds("HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n").await;
    let redirect = HttpCheck { expect_status: vec![302..=302], ..http() };
    assert_eq!(outcome(&target(CheckKind::Http(redirect), address)).await, "ok");
    assert!(heads.recv().await.is_some());
    assert!(heads.try_recv().is_err(), "one request");
}

#[tokio::test]
async fn path_that_looks_like_a_host_leads_nowhere_else() {
    let (address, mut heads) = responds(OK).await;
    let check = HttpCheck { path: "//192.0.2.1/x".into(), ..http() };
    assert_eq!(outcome(&target(CheckKind::Http(check), address)).await, "ok");
    assert!(heads.recv().await.expect("a request").starts_with("GET //192.0.2.1/x HTTP/1.1\r\n"));
}

#[tokio::test]
async fn every_probe_has_its_own_connection() {
    let (listener, address) = listen().await;
    let (sender, mut connections) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((mut stream, peer)) = listener.accept().await {
            sender.send(peer).await.expect("wanted");
            tokio::spawn(async move {
                while !head(&mut stream).await.is_empty() {
                    let _ = stream.write_all(OK.as_bytes()).await;
                }
            });
        }
    });
    let (target, shared) = (target(CheckKind::Http(http()), address), Shared::new());
    for _ in 0..3 {
        assert_eq!(found(&target, &shared).await, Ok(()));
        assert!(connections.recv().await.is_some());
    }
}

#[tokio::test]
async fn slow_realserver_times_out() {
    let (_listener, address) = listen().await;
    let started = Instant::now();
    for kind in [CheckKind::Http(http()), CheckKind::Https(http(), TlsCheck { verify: false, ..tls() })] {
        assert_eq!(outcome(&impatient(target(kind, address))).await, "timed out after 300ms");
    }
    assert!(started.elapsed() >= Duration::from_millis(600));
}

#[tokio::test]
async fn garbage_silence_and_endless_bodies_end_at_once() {
    let (address, _heads) = responds("SSH-2.0-OpenSSH_9.6\r\n\r\n").await;
    assert_eq!(outcome(&target(CheckKind::Http(http()), address)).await, "response is not HTTP");
    let (address, _heads) = responds("").await;
    assert_eq!(outcome(&target(CheckKind::Http(http()), address)).await, "connection closed before a response");

    let (listener, address) = listen().await;
    let endless = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accept");
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        while stream.write_all(b"4\r\nmore\r\n").await.is_ok() {}
    });
    assert_eq!(outcome(&target(CheckKind::Http(http()), address)).await, "ok");
    let hung_up = tokio::time::timeout(Duration::from_secs(10), endless).await;
    assert!(matches!(hung_up, Ok(Ok(()))), "the probe has closed its connection");

    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accept");
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(b"x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n").await.is_ok() {}
    });
    let error = outcome(&target(CheckKind::Http(http()), address)).await;
    assert_eq!(error, "response is not HTTP");
}

fn name(name: &str) -> Option<String> {
    Some(name.to_owned())
}

#[tokio::test]
async fn https_check_sends_name_and_host_apart() {
    let mut https = Https::start().await;
    let check = TlsCheck { sni: name("www.example.org"), ca: Some(https.ca()), ..tls() };
    assert_eq!(https_outcome(&https, Some("other.example.org:8443"), check).await, "ok");
    let (name, head) = https.heads.recv().await.expect("a request");
    assert_eq!(name.as_deref(), Some("www.example.org"));
    assert!(head.to_lowercase().contains("\r\nhost: other.example.org:8443\r\n"), "{head}");

    let check = TlsCheck { sni: self::name("WWW.example.org"), ca: Some(https.ca()), ..tls() };
    assert_eq!(https_outcome(&https, None, check).await, "ok");
    let (name, head) = https.heads.recv().await.expect("a request");
    assert_eq!(name.as_deref(), Some("www.example.org"));
    assert!(head.to_lowercase().contains(&format!("\r\nhost: {}\r\n", https.address)), "{head}");
}

#[tokio::test]
async fn https_name_is_sni_else_host_else_the_address() {
    let mut https = Https::start().await;
    let ca = TlsCheck { ca: Some(https.ca()), ..tls() };
    assert_eq!(https_outcome(&https, Some("www.example.org:8443"), ca.clone()).await, "ok");
    assert_eq!(https.heads.recv().await.expect("a request").0.as_deref(), Some("www.example.org"));
    let error = https_outcome(&https, None, ca.clone()).await;
    assert!(error.starts_with("certificate: ") && error.contains("127.0.0.1"), "{error}");
    // An address as a name is no name; least of all is it connected to.
    let error = https_outcome(&https, Some("192.0.2.1"), ca).await;
    assert!(error.starts_with("certificate: ") && error.contains("127.0.0.1"), "{error}");
}

#[tokio::test]
async fn certificate_must_be_trusted_and_for_the_name_unless_told_otherwise() {
    let mut https = Https::start().await;
    let right = Some("www.example.org");
    assert_eq!(https_outcome(&https, right, TlsCheck { ca: Some(https.ca()), ..tls() }).await, "ok");
    let untrusted = https_outcome(&https, right, tls()).await;
    assert!(untrusted.starts_with("certificate: "), "{untrusted}");
    let wrong = TlsCheck { sni: name("wrong.example.org"), ca: Some(https.ca()), ..tls() };
    let error = https_outcome(&https, right, wrong.clone()).await;
    assert!(error.starts_with("certificate: ") && error.contains("wrong.example.org"), "{error}");
    https.heads.recv().await.expect("a request");
    assert_eq!(https_outcome(&https, right, TlsCheck { verify: false, ca: None, ..wrong }).await, "ok");
    assert_eq!(https.heads.recv().await.expect("a request").0.as_deref(), Some("wrong.example.org"));
}

#[tokio::test]
async fn bad_ca_file_is_named_until_it_is_good_and_is_nobodys_failure() {
    let https = Https::start().await;
    let path = https.dir.path().join("new.pem");
    let http = HttpCheck { host: name("www.example.org"), ..http() };
    let check = CheckKind::Https(http, TlsCheck { ca: Some(path.clone()), ..tls() });
    let (target, shared) = (target(check, https.address), Shared::new());
    let shown = format!("`ca` file `{}`: ", path.display());
    let error = found(&target, &shared).await.expect_err("no file");
    assert_eq!(error, Failure::unclear(format!("{shown}No such file or directory (os error 2)")));
    std::fs::write(&path, "no PEM at all").expect("written");
    let error = found(&target, &shared).await.expect_err("no PEM");
    assert_eq!(error, Failure::unclear(format!("{shown}no certificate in it")));
    std::fs::copy(https.ca(), &path).expect("copied");
    assert_eq!(found(&target, &shared).await, Ok(()));
}

#[tokio::test]
async fn renewed_ca_file_is_read_again_and_configurations_are_kept_otherwise() {
    let (https, other) = (Https::start().await, Https::start().await);
    let path = https.dir.path().join("new.pem");
    let write = |from: &Https, seconds: u64| {
        std::fs::copy(from.ca(), &path).expect("copied");
        let file = std::fs::File::options().write(true).open(&path).expect("opened");
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).expect("time set");
    };
    let http = HttpCheck { host: name("www.example.org"), ..http() };
    let check = CheckKind::Https(http, TlsCheck { ca: Some(path.clone()), ..tls() });
    let (target, shared) = (target(check, https.address), Shared::new());
    write(&https, 1);
    for _ in 0..2 {
        assert_eq!(found(&target, &shared).await, Ok(()));
    }
    assert_eq!(shared.tls.n_kept(), 1);
    write(&other, 2);
    let error = found(&target, &shared).await.expect_err("another root");
    assert!(error.text.starts_with("certificate: "), "{error}");
}

#[tokio::test]
async fn plain_http_behind_an_https_check_is_an_error_for_operators() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accept");
        let _ = stream.read_u8().await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = head(&mut stream).await;
    });
    let check = CheckKind::Https(http(), TlsCheck { verify: false, ..tls() });
    let error = outcome(&target(check, address)).await;
    assert!(error.starts_with("TLS: "), "{error}");
}
