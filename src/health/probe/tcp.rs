//! A connection that opens, and maybe a word each way.

use std::future::Future;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Problem, Stream};
use crate::config::Talk;

/// Octets that are heard at most until what is expected must have been among them.
const HEARD_OCTETS_MAX: usize = 64 << 10;
/// Octets of what was heard that an error shows.
const SHOWN_OCTETS_MAX: usize = 60;

pub(super) async fn probe(
    connecting: impl Future<Output = Result<Box<dyn Stream>, Problem>>,
    talk: &Talk,
) -> Result<(), Problem> {
    let mut stream = connecting.await?;
    if !talk.send.0.is_empty() {
        stream.write_all(&talk.send.0).await?;
        stream.flush().await?;
    }
    let Some(expect) = &talk.expect else { return Ok(()) };
    let mut heard = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let n_read = stream.read(&mut buffer).await?;
        let fresh = buffer.get(..n_read).unwrap_or_default();
        // An expression may be anchored at the end, and a text may come in pieces: all of it is looked at each time, and that is bounded.
        heard.extend(fresh.iter().take(HEARD_OCTETS_MAX - heard.len()));
        if expect.is_in(&heard) {
            return Ok(());
        }
        if n_read == 0 || heard.len() >= HEARD_OCTETS_MAX {
            return Err(Problem::Unexpected(format!("heard {}, expected `{expect}`", shown(&heard))));
        }
    }
}

/// The first of what was heard, fit to be shown.
pub(super) fn shown(heard: &[u8]) -> String {
    if heard.is_empty() {
        return "nothing".to_owned();
    }
    let text = heard.get(..SHOWN_OCTETS_MAX).unwrap_or(heard).escape_ascii().to_string();
    let more = if heard.len() > SHOWN_OCTETS_MAX { "…" } else { "" };
    format!("`{text}`{more}")
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpStream};

    use super::{
        super::testing::{Https, impatient, listen, outcome, serve, target},
        *,
    };
    use crate::config::{CheckKind, TlsCheck};

    /// What a tcp check with these keys says and expects.
    fn talk(keys: &str) -> Talk {
        let toml = format!("version = 1\n[checks.c]\ntype = \"tcp\"\n{keys}\n");
        let (config, _) = crate::config::parse("test.toml".as_ref(), toml).expect("a valid check");
        match &config.checks[0].kind {
            CheckKind::Tcp(talk, _) => talk.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn kind(keys: &str) -> CheckKind {
        CheckKind::Tcp(talk(keys), None)
    }

    #[tokio::test]
    async fn tcp_check_wants_a_connection_and_nothing_else_unless_told() {
        let (listener, address) = listen().await;
        assert_eq!(outcome(&target(kind(""), address)).await, "ok");
        drop(listener);
        assert_eq!(outcome(&target(kind(""), address)).await, "connection refused");
    }

    #[tokio::test]
    async fn what_is_expected_must_be_heard_whatever_pieces_it_comes_in() {
        let address = serve(|mut stream: TcpStream| async move {
            let _ = stream.write_all(b"220 ready\r\n").await;
            let mut buffer = [0; 100];
            while let Ok(n_read @ 1..) = stream.read(&mut buffer).await {
                let (first, second) = buffer[..n_read].split_at(n_read / 2);
                let _ = stream.write_all(first).await;
                tokio::task::yield_now().await;
                let _ = stream.write_all(second).await;
            }
        })
        .await;
        for keys in [
            "expect = '220 '",
            "expect = '/^220 .*\\r\\n$/'",
            "send = 'PING\\r\\n'\nexpect = 'PING\\r\\n'",
            "send = '\\x00\\xff\\\\'\nexpect = '\\x00\\xff\\\\'",
        ] {
            assert_eq!(outcome(&target(kind(keys), address)).await, "ok", "{keys}");
        }
        let unheard = impatient(target(kind("send = 'x'\nexpect = 'PONG'"), address));
        assert_eq!(outcome(&unheard).await, "timed out after 300ms");
    }

    #[tokio::test]
    async fn other_words_silence_and_endless_talk_are_failures() {
        let says = async |text: &'static str| {
            serve(move |mut stream: TcpStream| async move { drop(stream.write_all(text.as_bytes()).await) }).await
        };
        let kind = kind("expect = '220'");
        let address = says("500 no\r\n").await;
        assert_eq!(outcome(&target(kind.clone(), address)).await, "heard `500 no\\r\\n`, expected `220`");
        let address = says("").await;
        assert_eq!(outcome(&target(kind.clone(), address)).await, "heard nothing, expected `220`");
        let endless = |mut stream: TcpStream| async move { while stream.write_all(&[b'y'; 1000]).await.is_ok() {} };
        let error = outcome(&target(kind, serve(endless).await)).await;
        assert_eq!(error, format!("heard `{}`…, expected `220`", "y".repeat(60)));
    }

    #[tokio::test]
    async fn tcp_check_talks_over_tls_too() {
        let https = Https::start().await;
        let tls = TlsCheck { sni: Some("www.example.org".into()), ca: Some(https.ca()), ..TlsCheck::default() };
        let talk = talk("send = 'GET / HTTP/1.1\\r\\n\\r\\n'\nexpect = '200 OK'");
        assert_eq!(outcome(&target(CheckKind::Tcp(talk, Some(tls)), https.address)).await, "ok");
        let untrusting = CheckKind::Tcp(Talk::default(), Some(TlsCheck::default()));
        let error = outcome(&target(untrusting, https.address)).await;
        assert!(error.starts_with("certificate: "), "{error}");
    }
}
