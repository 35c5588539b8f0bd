//! What RFC 8484 says of requests and responses.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hyper::{Method, StatusCode};

use super::*;

fn get(dns: &str) -> Request<Full<Bytes>> {
    Request::get(format!("https://{NAME}/dns-query?{dns}")).body(Full::default()).expect("request")
}

fn header<'r>(response: &'r Response<hyper::body::Incoming>, name: &str) -> &'r str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

#[tokio::test]
async fn rfc8484_4_1_answers_to_get_and_post_are_carried_as_they_are() {
    let mut server = Server::new(Transport::Https);
    let mut sender = server.connect_https().await;
    let expected = expected(Transport::Https);
    for (query, response) in &expected {
        for request in [post(query.clone()), get(&format!("dns={}", URL_SAFE_NO_PAD.encode(query)))] {
            let got = sender.send_request(request).await.expect("response");
            assert_eq!(got.status(), StatusCode::OK, "{query:02x?}");
            assert_eq!(header(&got, "content-type"), "application/dns-message");
            assert_eq!(header(&got, "content-length"), response.len().to_string());
            assert!(body(got).await == response, "{query:02x?}");
        }
    }
    assert_eq!(server.count("fingerpost_dns_queries_total"), 2.0 * expected.len() as f64);
    assert_eq!(server.count("fingerpost_dns_encrypted_protocol_errors_total"), 0.0);
    server.stop().await;
    assert!(sender.send_request(get("dns=")).await.is_err());
}

#[tokio::test]
async fn rfc8484_5_1_response_is_kept_no_longer_than_its_records() {
    let server = Server::new(Transport::Https);
    let mut sender = server.connect_https().await;
    for (words, lifetime) in [
        ("www.example.org A +edns", 60),
        ("alias.example.org A", 50),
        ("sticky.example.org A", 20),
        ("nothing.example.org A", 30),
        ("example.com A", 0),
    ] {
        let got = sender.send_request(post(Asked::new(words).wire)).await.expect("response");
        assert_eq!(header(&got, "cache-control"), format!("private, max-age={lifetime}"), "{words}");
    }
}

#[tokio::test]
async fn request_without_a_query_gets_the_status_that_says_why() {
    let server = Server::new(Transport::Https);
    let mut sender = server.connect_https().await;
    let www = Asked::new("www.example.org A").wire;
    let request = |method: Method, path: &str, media_type: &str, body: Vec<u8>| {
        let request = Request::builder().method(method).uri(format!("https://{NAME}{path}"));
        request.header("content-type", media_type).body(Full::from(body)).expect("request")
    };
    let media_type = "application/dns-message";
    let response = [&[0, 0, 0x84][..], &www[3..]].concat();
    let cases = [
        (request(Method::POST, "/", media_type, www.clone()), 404),
        (request(Method::POST, "/dns-query/", media_type, www.clone()), 404),
        (request(Method::POST, "/dns-query", "application/dns-json", www.clone()), 415),
        (Request::post(format!("https://{NAME}/dns-query")).body(Full::from(www.clone())).expect("request"), 415),
        (request(Method::POST, "/dns-query", media_type, Vec::new()), 400),
        (request(Method::POST, "/dns-query", media_type, vec![0; 11]), 400),
        (request(Method::POST, "/dns-query", media_type, response), 400),
        (request(Method::POST, "/dns-query", media_type, vec![0; 65_536]), 413),
        (request(Method::PUT, "/dns-query", media_type, www.clone()), 405),
        (get(""), 400),
        (get("dns"), 400),
        (get("dns="), 400),
        (get("dns=AAA%3D"), 400),
        (get("dns=AAAAA"), 400),
        (get(&format!("dsn={}", URL_SAFE_NO_PAD.encode(&www))), 400),
    ];
    let n_cases = cases.len();
    for (request, status) in cases {
        let shown = format!("{} {}", request.method(), request.uri());
        let response = sender.send_request(request).await.expect("response");
        assert_eq!(response.status(), status, "{shown}");
        assert_eq!(header(&response, "allow"), if status == 405 { "GET, POST" } else { "" });
    }
    assert_eq!(server.count("fingerpost_dns_encrypted_protocol_errors_total"), n_cases as f64);
    // None of it cost the connection.
    for request in [
        request(Method::POST, "/dns-query?x", "Application/DNS-Message; charset=x", www.clone()),
        get(&format!("a=b&dns={}==", URL_SAFE_NO_PAD.encode(&www))),
    ] {
        assert_eq!(sender.send_request(request).await.expect("response").status(), StatusCode::OK);
    }
}
