//! A DNS query over UDP, and a look at the response: code and addresses.
//!
//! Only as much of a message is read as that takes (RFC 1035 §4.1). A truncated response is looked at as far as it goes.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{net::UdpSocket, time::timeout};

use super::Problem;
use crate::config::{DnsCheck, Rcode, RecordType};

/// Octets of a message over UDP without EDNS; more is cut off by whoever sends it.
const MESSAGE_OCTETS_MAX: usize = 4096;
const HEADER_OCTETS: usize = 12;
/// Class IN.
const IN: u16 = 1;

pub(super) async fn probe(address: SocketAddr, check: &DnsCheck, patience: Duration) -> Result<(), Problem> {
    let local: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    // Only what comes from there is received then, and a closed port is told by ICMP.
    socket.connect(address).await?;
    let query = query(fastrand::u16(..), check);
    let mut message = vec![0; MESSAGE_OCTETS_MAX];
    // A datagram may be lost without anybody being down: it is sent a second time when half of the time is over.
    for wait in [patience / 2, patience] {
        socket.send(&query).await.map_err(Problem::Connect)?;
        let response = async {
            loop {
                let length = socket.recv(&mut message).await.map_err(Problem::Connect)?;
                if let Some(response) = parse(message.get(..length).unwrap_or_default(), &query) {
                    return Ok::<_, Problem>(response);
                }
            }
        };
        if let Ok(response) = timeout(wait, response).await {
            return judge(&response?, check);
        }
    }
    Err(Problem::Unexpected("no response".to_owned()))
}

/// What matters of a response.
#[derive(Debug, PartialEq, Eq)]
struct Response {
    rcode: u16,
    addresses: Vec<IpAddr>,
}

fn judge(response: &Response, check: &DnsCheck) -> Result<(), Problem> {
    if response.rcode != check.expect_rcode.number() {
        let known = Rcode::ALL.iter().find(|(_, rcode)| rcode.number() == response.rcode);
        let found = known.map_or_else(|| response.rcode.to_string(), |(word, _)| (*word).to_owned());
        return Err(Problem::Unexpected(format!("{found}, expected {}", check.expect_rcode)));
    }
    let is_expected = |address: &IpAddr| check.expect_address.contains(address);
    if check.expect_address.is_empty() || response.addresses.iter().any(is_expected) {
        return Ok(());
    }
    let list = |addresses: &[IpAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let found = if response.addresses.is_empty() { "no address".to_owned() } else { list(&response.addresses) };
    Err(Problem::Unexpected(format!("{found}, expected {}", list(&check.expect_address))))
}

/// A query with recursion desired: who is authoritative does not care, and who is not needs it.
fn query(id: u16, check: &DnsCheck) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER_OCTETS + 260);
    for number in [id, 0x0100, 1, 0, 0, 0] {
        message.extend_from_slice(&number.to_be_bytes());
    }
    message.extend_from_slice(check.name.as_wire());
    message.extend_from_slice(&check.rtype.number().to_be_bytes());
    message.extend_from_slice(&IN.to_be_bytes());
    message
}

/// Reads a response to `query`; `None` if it is none, or is broken before its answers.
fn parse(message: &[u8], query: &[u8]) -> Option<Response> {
    let number = |at: usize| Some(u16::from_be_bytes(*message.get(at..)?.first_chunk()?));
    let flags = number(2)?;
    let is_response = flags & 0x8000 != 0 && message.get(..2) == query.get(..2);
    let question = query.get(HEADER_OCTETS..)?;
    let (echoed, mut rest) = message.get(HEADER_OCTETS..)?.split_at_checked(question.len())?;
    // Broken queries are answered without their question, but this one is not broken.
    if !is_response || number(4)? != 1 || !echoed.eq_ignore_ascii_case(question) {
        return None;
    }
    let mut addresses = Vec::new();
    for _ in 0..number(6)? {
        let Some((address, after)) = take_record(rest) else { break };
        addresses.extend(address);
        rest = after;
    }
    Some(Response { rcode: flags & 0x000f, addresses })
}

/// The address in the record that `message` starts with, if it is one of an address; and what follows.
fn take_record(message: &[u8]) -> Option<(Option<IpAddr>, &[u8])> {
    let rest = skip_name(message)?;
    let (fixed, rest) = rest.split_first_chunk::<10>()?;
    let [rtype_high, rtype_low, class_high, class_low, _, _, _, _, length_high, length_low] = *fixed;
    let (rdata, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([length_high, length_low])))?;
    let rtype = u16::from_be_bytes([rtype_high, rtype_low]);
    let address = if u16::from_be_bytes([class_high, class_low]) != IN {
        None
    } else if rtype == RecordType::A.number() {
        <[u8; 4]>::try_from(rdata).ok().map(IpAddr::from)
    } else if rtype == RecordType::Aaaa.number() {
        <[u8; 16]>::try_from(rdata).ok().map(IpAddr::from)
    } else {
        None
    };
    Some((address, rest))
}

/// What follows a name that may end in a pointer.
fn skip_name(message: &[u8]) -> Option<&[u8]> {
    let mut rest = message;
    loop {
        let (&length, after) = rest.split_first()?;
        match length {
            0 => return Some(after),
            0xc0.. => return after.get(1..),
            _ => rest = after.get(usize::from(length)..)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::{Message, MessageType, OpCode, ResponseCode},
        rr::{Name, RData, Record},
    };
    use proptest::prelude::*;

    use super::{
        super::testing::{impatient, outcome, target},
        *,
    };
    use crate::config::CheckKind;

    fn check(keys: &str) -> DnsCheck {
        let toml = format!("version = 1\n[checks.c]\ntype = \"dns\"\n{keys}\n");
        let (config, _) = crate::config::parse("test.toml".as_ref(), toml).expect("a valid check");
        match &config.checks[0].kind {
            CheckKind::Dns(dns) => dns.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// A nameserver that answers every query after `n_lost` with this code and these addresses; before each answer comes one of somebody else.
    async fn nameserver(n_lost: usize, rcode: ResponseCode, addresses: &'static [&'static str]) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        let address = socket.local_addr().expect("address");
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            let mut n_queries = 0;
            while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
                n_queries += 1;
                if n_queries <= n_lost {
                    continue;
                }
                let query = Message::from_vec(&buffer[..length]).expect("a query");
                let question = query.queries.first().expect("a question").clone();
                let mut response = Message::new(query.id, MessageType::Response, OpCode::Query);
                response.metadata.response_code = rcode;
                response.add_query(question.clone());
                let alias = Name::from_ascii("alias.example.org.").expect("name");
                response.add_answer(Record::from_rdata(
                    question.name().clone(),
                    60,
                    RData::CNAME(hickory_proto::rr::rdata::CNAME(alias.clone())),
                ));
                for address in addresses {
                    let data = match address.parse().expect("address") {
                        IpAddr::V4(v4) => RData::A(v4.into()),
                        IpAddr::V6(v6) => RData::AAAA(v6.into()),
                    };
                    response.add_answer(Record::from_rdata(alias.clone(), 60, data));
                }
                let wire = response.to_vec().expect("a message");
                let mut forged = wire.clone();
                forged[0] ^= 0xff;
                let _ = socket.send_to(&forged, peer).await;
                let _ = socket.send_to(&wire, peer).await;
            }
        });
        address
    }

    async fn ask(address: SocketAddr, keys: &str) -> String {
        outcome(&target(CheckKind::Dns(check(keys)), address)).await
    }

    #[tokio::test]
    async fn response_code_and_addresses_must_be_as_expected() {
        let address = nameserver(0, ResponseCode::NoError, &["192.0.2.1", "192.0.2.2"]).await;
        for (keys, expected) in [
            ("query = \"www.example.org\"", "ok"),
            ("query = \"www.example.org A\"\nexpect_address = [\"192.0.2.2\", \"192.0.2.9\"]", "ok"),
            (
                "query = \"www.example.org A\"\nexpect_address = [\"192.0.2.9\"]",
                "192.0.2.1, 192.0.2.2, expected 192.0.2.9",
            ),
            ("query = \"example.org SOA\"\nexpect_rcode = \"NXDOMAIN\"", "NOERROR, expected NXDOMAIN"),
        ] {
            assert_eq!(ask(address, keys).await, expected, "{keys}");
        }
        let address = nameserver(0, ResponseCode::ServFail, &[]).await;
        assert_eq!(ask(address, "query = \"www.example.org\"").await, "SERVFAIL, expected NOERROR");
        assert_eq!(ask(address, "query = \"www.example.org\"\nexpect_rcode = \"SERVFAIL\"").await, "ok");
        let address = nameserver(0, ResponseCode::NoError, &["2001:db8::1"]).await;
        assert_eq!(ask(address, "query = \"example.org AAAA\"\nexpect_address = [\"2001:db8::1\"]").await, "ok");
        let keys = "query = \"example.org AAAA\"\nexpect_address = [\"2001:db8::2\"]";
        assert_eq!(ask(address, keys).await, "2001:db8::1, expected 2001:db8::2");
    }

    #[tokio::test]
    async fn lost_query_is_sent_once_more_and_silence_is_a_failure() {
        let kind = CheckKind::Dns(check("query = \"www.example.org\""));
        let address = nameserver(1, ResponseCode::NoError, &[]).await;
        assert_eq!(outcome(&impatient(target(kind.clone(), address))).await, "ok");
        let address = nameserver(9, ResponseCode::NoError, &[]).await;
        assert_eq!(outcome(&impatient(target(kind.clone(), address))).await, "timed out after 300ms");
        let closed = UdpSocket::bind("127.0.0.1:0").await.expect("bind").local_addr().expect("address");
        assert_eq!(outcome(&target(kind, closed)).await, "connection refused");
    }

    #[test]
    fn query_is_what_another_program_reads() {
        let check = check("query = \"www.example.org. AAAA\"");
        let message = Message::from_vec(&query(4711, &check)).expect("a message");
        assert_eq!((message.id, message.queries.len()), (4711, 1));
        assert_eq!(message.queries[0].to_string(), "www.example.org. IN AAAA");
    }

    proptest! {
        #[test]
        fn messages_from_the_network_never_panic(
            mut message in prop::collection::vec(any::<u8>(), 0..200), is_response in any::<bool>()
        ) {
            let query = query(1, &check("query = \"example.org\""));
            if is_response {
                let tail = message.clone();
                message = [&query[..], &tail].concat();
                message[2] |= 0x80;
                message[7] = 9;
            }
            let parsed = parse(&message, &query);
            prop_assert!(!is_response || parsed.is_some());
        }
    }
}
