//! `[dns.encrypted]`.

use super::{check, findings, print, read};
use std::path::Path;

/// A file with this `[dns.encrypted]`.
fn with(lines: &str) -> String {
    format!("version = 1\n[dns]\nlisten = [\"192.0.2.1:53\"]\n[dns.encrypted]\n{lines}\n")
}

const FILES: &str = "certificate = \"ns1.pem\"\nkey = \"/keys/ns1.key\"";

#[test]
fn encrypted_dns_reads_and_prints_as_the_same() {
    let text = with(&format!(
        "tls = [\"192.0.2.1:853\"]\nhttps = [\"192.0.2.1:443\"]\nquic = [\"192.0.2.1:853\", \"[::]:853\"]\n{FILES}"
    ));
    assert_eq!(findings(&text), "");
    let config = read(&text);
    let encrypted = config.dns.encrypted.as_ref().expect("encrypted");
    assert_eq!((encrypted.tls.len(), encrypted.https.len(), encrypted.quic.len()), (1, 1, 2));
    assert_eq!((&*encrypted.certificate, &*encrypted.key), (Path::new("ns1.pem"), Path::new("/keys/ns1.key")));
    assert_eq!(read(&print(&config)), config);
    let without = read("version = 1\n[dns]\n");
    assert_eq!((without.dns.encrypted.is_none(), print(&without).contains("encrypted")), (true, false));
}

#[test]
fn certificate_and_key_are_both_required() {
    check(
        &with("tls = [\"192.0.2.1:853\"]"),
        r#"
error: `certificate` is missing in `[dns.encrypted]`
 --> fingerpost.toml:4:1
  |
4 | [dns.encrypted]
  | ^^^^^^^^^^^^^^^
hint: such as `certificate = "ns1.pem"`

error: `key` is missing in `[dns.encrypted]`
 --> fingerpost.toml:4:1
  |
4 | [dns.encrypted]
  | ^^^^^^^^^^^^^^^
hint: such as `key = "ns1.key"`
"#,
    );
}

#[test]
fn addresses_overlap_by_protocol() {
    check(
        &with(&format!(
            "quic = [\"0.0.0.0:53\"]\ntls = [\"192.0.2.1:53\", \"192.0.2.1:443\"]\nhttps = [\"0.0.0.0:443\"]\n{FILES}"
        )),
        r#"
error: `0.0.0.0:53` overlaps with `192.0.2.1:53` of line 3
 --> fingerpost.toml:5:9
  |
5 | quic = ["0.0.0.0:53"]
  |         ^^^^^^^^^^^^
hint: an address and port can be bound once, and `0.0.0.0` or `[::]` takes all of its family

error: `192.0.2.1:53` is bound twice, here and in line 3
 --> fingerpost.toml:6:8
  |
6 | tls = ["192.0.2.1:53", "192.0.2.1:443"]
  |        ^^^^^^^^^^^^^^
hint: an address and port can be bound once, and `0.0.0.0` or `[::]` takes all of its family

error: `0.0.0.0:443` overlaps with `192.0.2.1:443` of line 6
 --> fingerpost.toml:7:10
  |
7 | https = ["0.0.0.0:443"]
  |          ^^^^^^^^^^^^^
hint: an address and port can be bound once, and `0.0.0.0` or `[::]` takes all of its family
"#,
    );
}

#[test]
fn table_without_an_address_is_a_warning() {
    check(
        &with(FILES),
        r#"
warning: `[dns.encrypted]` has no address, so nothing is encrypted
 --> fingerpost.toml:4:1
  |
4 | [dns.encrypted]
  | ^^^^^^^^^^^^^^^
hint: such as `tls = ["0.0.0.0:853", "[::]:853"]`
"#,
    );
}
