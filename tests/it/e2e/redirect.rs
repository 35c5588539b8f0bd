//! The redirector as `curl` sees it.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use super::{
    realserver::{Realserver, entries},
    server::{HEAD, Server, Site, ZONE},
    tools::{curl, stdout},
};

/// Response head for a request to the redirector; `target` goes out byte for byte.
#[track_caller]
fn head(server: &Server<'_>, options: &[&str], target: &str) -> String {
    let url = format!("http://{}{target}", server.address("redirect"));
    let fixed = ["--path-as-is", "--globoff", "--dump-header", "-", "--output", "/dev/null"];
    stdout(&curl(fixed.iter().chain(options).chain([&&*url])))
}

fn status(head: &str) -> &str {
    head.split(' ').nth(1).unwrap_or("")
}

/// The value of a header; names are compared as HTTP compares them.
fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut headers = head.lines().filter_map(|line| line.split_once(": "));
    headers.find(|(named, _)| named.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

#[test]
fn path_and_query_are_kept_byte_for_byte() {
    let realserver = [Realserver::start("A")];
    let site = Site::with(&format!("[pools.web]\nrealservers = [{}]\n", entries(&realserver)));
    let server = site.start();
    let host = ["-H", "Host: www.example.org"];
    for target in [
        "/",
        "/a/path?and=query",
        "/a/../b/./c//d?x=/../y&z=%20&%E2%82%AC=%2f&&",
        "//evil.example/%0d%0aSet-Cookie:%20a=b",
        "/?",
        "/{a}[b]?c|d",
    ] {
        let head = head(&server, &host, target);
        assert_eq!(status(&head), "302", "{target}: {head}");
        let expected = format!("http://{}{target}", realserver[0].address);
        assert_eq!(header(&head, "location"), Some(&*expected), "{target}");
        assert_eq!(header(&head, "cache-control"), Some("no-store"), "{head}");
    }
    let url = format!("http://{}/a/path?and=query", server.address("redirect"));
    let followed = stdout(&curl(["-L", "-H", "Host: www.example.org", &url]));
    assert_eq!(followed, "A GET /a/path?and=query\n");
}

#[test]
fn methods_and_hosts_decide_the_status() {
    let config = "[pools.web]\nrealservers = [{ name = \"A\", address = \"192.0.2.1\", url = \"https://a.example.com/base\" }]\n";
    let site = Site::with(config);
    let server = site.start();
    let www = ["-H", "Host: www.example.org"];
    for (options, expected) in [
        (&["-H", "Host: www.example.org"][..], "302"),
        (&["-H", "Host: WWW.Example.org.:8080"], "302"),
        (&["-H", "Host: x.cdn.example.org"], "302"),
        (&["-H", "Host: example.org"], "302"),
        (&["-H", "Host: alias.example.org"], "302"),
        (&["--head", "-H", "Host: www.example.org"], "302"),
        (&["-d", "body", "-H", "Host: www.example.org"], "307"),
        (&["-X", "DELETE", "-H", "Host: www.example.org"], "307"),
        (&["--http2-prior-knowledge", "-H", "Host: www.example.org"], "302"),
        (&["-H", "Host: unknown.example.org"], "421"),
        (&["-H", "Host: static.example.org"], "421"),
        (&["-H", "Host: example.com"], "421"),
        (&[], "421"),
        (&["-H", "Host:"], "400"),
        (&["-H", "Host: www.example.org/x"], "400"),
    ] {
        let head = head(&server, options, "/x?y");
        assert_eq!(status(&head), expected, "{options:?}: {head}");
        let location = if expected.starts_with('3') { Some("https://a.example.com/base/x?y") } else { None };
        assert_eq!(header(&head, "location"), location, "{options:?}: {head}");
    }
    // Which curl does not send.
    let mut twice = TcpStream::connect(server.address("redirect")).expect("connection");
    let request = b"GET / HTTP/1.1\r\nHost: www.example.org\r\nHost: www.example.org\r\nConnection: close\r\n\r\n";
    twice.write_all(request).expect("request");
    let mut response = String::new();
    twice.read_to_string(&mut response).expect("response");
    assert_eq!(status(&response), "400", "{response}");

    site.tell("maint web/A");
    let refused = head(&server, &www, "/");
    assert_eq!(status(&refused), "503", "{refused}");
    assert!(header(&refused, "retry-after").is_some(), "{refused}");
}

#[test]
fn forwarded_for_is_believed_from_trusted_proxies_only() {
    let pools = r#"
[pools.near]
realservers = [{ name = "near", address = "192.0.2.1" }]
[pools.far]
realservers = [{ name = "far", address = "192.0.2.2" }]
[pools.web]
policy = "geo"
[pools.web.geo]
default = ["near"]
[pools.web.nets]
"198.51.100.0/24" = ["far"]
"#;
    let far = ["-H", "Host: www.example.org", "-H", "X-Forwarded-For: 198.51.100.7"];
    let spoofed = ["-H", "Host: www.example.org", "-H", "X-Forwarded-For: 198.51.100.7, 203.0.113.1"];

    let stranger = Site::with(pools);
    let server = stranger.start();
    assert_eq!(header(&head(&server, &far, "/"), "location"), Some("http://192.0.2.1/"));

    let trusted = HEAD.replace("[redirect]", "[redirect]\ntrusted_proxies = [\"127.0.0.0/8\"]");
    let trusted = Site::new(&format!("{trusted}{pools}"), ZONE);
    let server = trusted.start();
    assert_eq!(header(&head(&server, &far, "/"), "location"), Some("http://192.0.2.2/"));
    // The proxy has added the rightmost entry; what stands left of it the client may have made up.
    assert_eq!(header(&head(&server, &spoofed, "/"), "location"), Some("http://192.0.2.1/"));
}
