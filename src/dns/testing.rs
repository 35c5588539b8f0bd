//! What the tests of DNS share: zones and a configuration become a [`Snapshot`], a line of text becomes a query, and the response, taken
//! apart by another parser than ours has a writer, becomes lines of text again.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use hickory_proto::{
    op::Message,
    rr::{RData, Record, RecordType, rdata::opt::EdnsOption},
    serialize::binary::BinDecodable,
};
use jiff::Timestamp;

use super::{
    encode::{MESSAGE_OCTETS_MAX, Transport},
    respond::{Step, respond},
};
use crate::{
    config,
    geo::Geo,
    name::Name,
    protect::{Cookies, Protection, RateLimit, Secrets, cookie::Secret},
    snapshot::Snapshot,
    state::{Event, State, saved::Saved},
    zone::{Zone, rtype},
};

/// When every test asks.
pub(super) const NOW: Duration = Duration::from_secs(1_559_734_385);

/// Pools of every kind that DNS treats differently.
pub(super) const CONFIG: &str = r#"
version = 1
[dns]
listen = ["127.0.0.1:5300"]
zones = "zones"
nsid = "here"
version = "fingerpost"
[checks.open]
type = "tcp"
port = 80
[pools.web]
policy = "wrr"
check = "open"
realservers = [
  { name = "a", address = "192.0.2.1", weight = 4 },
  { name = "b", address = ["192.0.2.2", "2001:db8::2"], weight = 3 },
  { name = "c", address = "192.0.2.3", weight = 2 },
]
[pools.four]
policy = "wrr"
check = "open"
answers = "all"
realservers = [{ name = "a", address = "192.0.2.1" }]
[pools.many]
policy = "wrr"
check = "open"
answers = 2
realservers = [
  { name = "a", address = "192.0.2.1" },
  { name = "b", address = "192.0.2.2" },
  { name = "c", address = "192.0.2.3" },
]
[pools.sticky]
policy = "source-hash"
check = "open"
realservers = [
  { name = "a", address = "192.0.2.1" },
  { name = "b", address = "192.0.2.2" },
]
[pools.near]
policy = "geo"
members = ["four", "many"]
[pools.near.geo]
default = ["four"]
[pools.near.nets]
"198.51.100.0/24" = ["many"]
"203.0.113.0/24" = []
"#;

/// A configuration and zones as they would be served. Each zone's text starts with `$ORIGIN`.
pub(super) fn snapshot(config: &str, zones: &[&str]) -> Arc<Snapshot> {
    state(config, zones).snapshot().expect("snapshot")
}

/// The same with every realserver down.
pub(super) fn snapshot_all_down(config: &str, zones: &[&str]) -> Arc<Snapshot> {
    let mut state = state(config, zones);
    for target in state.targets() {
        state.apply(Event::Probed(target, Err("refused".into())), Timestamp::UNIX_EPOCH).expect("probe");
    }
    state.snapshot().expect("snapshot")
}

fn state(config: &str, zones: &[&str]) -> State {
    let (config, _) = config::parse(Path::new("fingerpost.toml"), config.to_owned()).expect("configuration");
    let now = Timestamp::UNIX_EPOCH;
    let protection = protection(&config.dns);
    let mut state = State::new(Arc::new(config), Arc::new(Geo::empty()), Saved::default(), now);
    state.apply(Event::Protected(Arc::new(protection)), now).expect("protection");
    for text in zones {
        let origin = text.split_whitespace().nth(1).expect("$ORIGIN");
        let path = format!("{}zone", if origin == "." { "root." } else { origin });
        let (zone, _) = Zone::from_text(Path::new(&path), text).unwrap_or_else(|errors| panic!("{errors}"));
        state.apply(Event::ZoneLoaded(Arc::new(zone)), now).unwrap_or_else(|errors| panic!("{errors}"));
    }
    state
}

/// As configured, with the secret of RFC 9018's examples.
fn protection(dns: &config::Dns) -> Protection {
    let secret = Secret(0xe5e9_73e5_a6b2_a43f_48e7_dc84_9e37_bfcf_u128.to_be_bytes());
    let cookies =
        |cookies: &config::Cookies| Cookies { secrets: Secrets::new(secret, None), are_required: cookies.are_required };
    let limit = |settings: &config::RateLimit| Arc::new(RateLimit::new(settings.clone(), [7; 16]));
    Protection {
        cookies: dns.cookies.as_ref().map(cookies),
        rate_limit: dns.rate_limit.as_ref().map(limit),
        sealer: None,
    }
}

/// A query in words: name, type, and what dig has flags for.
///
/// `+edns` or `+bufsize=N`, `+do`, `+nsid`, `+subnet=ADDRESS/SOURCE`, `+cookie` or `+cookie=HEX`, `+keepalive`, `+padding=N`,
/// `+ednsopt=CODE:HEX`, `+version=N`, `+ednsflags=N`, `+opcode=N`, `+cd`, `+ad`, `+z`, `+nord`, `+ch`, `+hs`, `+any-class`, `+tcp`, `+tls`,
/// `+https`, `+quic`, `+from=ADDRESS`.
pub(super) struct Asked {
    pub(super) wire: Vec<u8>,
    pub(super) transport: Transport,
    pub(super) peer: SocketAddr,
}

impl Asked {
    pub(super) fn new(words: &str) -> Self {
        let mut words = words.split_whitespace();
        let qname = words.next().expect("name");
        let qtype = rtype::parse(words.next().expect("type")).expect("type");
        let (mut class, mut edns, mut transport) = (1u16, None, Transport::Udp);
        let (mut options, mut version, mut edns_flags) = (Vec::new(), 0, 0u16);
        let mut flags = 0x0100u16;
        let mut peer: IpAddr = [127, 0, 0, 1].into();
        for word in words {
            let (flag, value) = word.split_once('=').unwrap_or((word, ""));
            match flag {
                "+edns" => edns = edns.or(Some(1232)),
                "+bufsize" => edns = Some(value.parse().expect("size")),
                "+do" => edns_flags |= 0x8000,
                "+ednsflags" => edns_flags |= value.parse::<u16>().expect("flags"),
                "+version" => version = value.parse().expect("version"),
                "+opcode" => flags |= value.parse::<u16>().expect("opcode") << 11,
                "+cd" => flags |= 0x10,
                "+ad" => flags |= 0x20,
                "+z" => flags |= 0x40,
                "+nord" => flags &= !0x0100,
                "+nsid" => options.extend([0, 3, 0, 0]),
                "+subnet" => options.extend(subnet(value)),
                "+cookie" if value.is_empty() => options.extend(option(10, &hex(CLIENT_COOKIE))),
                "+cookie" => options.extend(option(10, &hex(value))),
                "+keepalive" => options.extend(option(11, b"")),
                "+padding" => options.extend(option(12, &vec![0; value.parse().expect("length")])),
                "+ednsopt" => {
                    let (code, data) = value.split_once(':').expect("code:data");
                    options.extend(option(code.parse().expect("code"), &hex(data)));
                }
                "+ch" => class = 3,
                "+hs" => class = 4,
                "+any-class" => class = 255,
                "+tcp" => transport = Transport::Tcp,
                "+tls" => transport = Transport::Tls,
                "+https" => transport = Transport::Https,
                "+quic" => transport = Transport::Quic,
                "+from" => peer = value.parse().expect("address"),
                _ => panic!("unknown flag {word}"),
            }
        }
        if edns_flags != 0 || version != 0 || !options.is_empty() {
            edns = edns.or(Some(1232));
        }
        let mut wire = message(&[(qname, qtype, class)]);
        wire[2..4].copy_from_slice(&flags.to_be_bytes());
        if let Some(size) = edns {
            let [flags0, flags1] = edns_flags.to_be_bytes();
            add_opt(&mut wire, size, [0, version, flags0, flags1], &options);
        }
        Self { wire, transport, peer: (peer, 5353).into() }
    }
}

/// A query's header, RD set, and the questions.
pub(super) fn message(questions: &[(&str, u16, u16)]) -> Vec<u8> {
    let [count0, count1] = length_octets(questions.len());
    let mut wire = vec![0x12, 0x34, 0x01, 0x00, count0, count1, 0, 0, 0, 0, 0, 0];
    for (qname, qtype, class) in questions {
        // Our names fold case, a question does not.
        let folded: Name = qname.parse().expect("name");
        let mut octets = folded.as_wire().to_vec();
        let letters = qname.bytes().filter(u8::is_ascii_alphabetic);
        for (octet, letter) in octets.iter_mut().filter(|octet| octet.is_ascii_alphabetic()).zip(letters) {
            *octet = letter;
        }
        wire.extend(octets);
        wire.extend(qtype.to_be_bytes());
        wire.extend(class.to_be_bytes());
    }
    wire
}

/// Appends an OPT record and counts it. `ttl` is extended rcode, version and flags.
pub(super) fn add_opt(wire: &mut Vec<u8>, size: u16, ttl: [u8; 4], options: &[u8]) {
    wire.extend([0, 0, 41]);
    wire.extend(size.to_be_bytes());
    wire.extend(ttl);
    wire.extend(length_octets(options.len()));
    wire.extend(options);
    wire[11] += 1;
}

/// A length as it stands in a message.
pub(super) fn length_octets(length: usize) -> [u8; 2] {
    u16::try_from(length).expect("16 bits").to_be_bytes()
}

/// What `+cookie` sends.
const CLIENT_COOKIE: &str = "2464c4abcf10c957";

/// An EDNS option with code and length.
pub(super) fn option(code: u16, data: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], &length_octets(data.len()), data].concat()
}

/// The octets that hexadecimal digits stand for.
pub(super) fn hex(digits: &str) -> Vec<u8> {
    let octet = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
    (0..digits.len()).step_by(2).map(octet).collect()
}

fn subnet(text: &str) -> Vec<u8> {
    let (address, source) = text.split_once('/').expect("prefix");
    let source: u8 = source.parse().expect("prefix");
    let (family, octets) = match address.parse().expect("address") {
        IpAddr::V4(v4) => (1, v4.octets().to_vec()),
        IpAddr::V6(v6) => (2, v6.octets().to_vec()),
    };
    let octets = &octets[..usize::from(source.div_ceil(8))];
    let [length0, length1] = length_octets(4 + octets.len());
    let mut option = vec![0, 8, length0, length1, 0, family, source, 0];
    option.extend(octets);
    option
}

/// What is sent in return, if anything.
pub(super) fn exchange(snapshot: &Snapshot, asked: &Asked) -> Option<Vec<u8>> {
    let mut out = vec![0; MESSAGE_OCTETS_MAX];
    match respond(snapshot, &asked.wire, asked.peer, asked.transport, NOW, 0, &mut out) {
        Step::Send { n_octets, .. } => Some(out[..n_octets].to_vec()),
        Step::Drop(_) => None,
    }
}

/// The response to the query in `words`, as text.
pub(super) fn ask(snapshot: &Snapshot, words: &str) -> String {
    show(&exchange(snapshot, &Asked::new(words)).expect("response"))
}

/// A response as lines: rcode and flags, then each record after the name of its section, then EDNS.
pub(super) fn show(wire: &[u8]) -> String {
    let message = Message::from_vec(wire).unwrap_or_else(|error| panic!("{error}: {wire:02x?}"));
    let flags = &message.metadata;
    let mut text = rcode(u16::from(flags.response_code));
    for (flag, name) in [
        (flags.authoritative, " aa"),
        (flags.truncation, " tc"),
        (flags.recursion_available, " ra"),
        (flags.authentic_data, " ad"),
        (flags.checking_disabled, " cd"),
    ] {
        text.push_str(if flag { name } else { "" });
    }
    for (section, records) in
        [("answer", &message.answers), ("authority", &message.authorities), ("additional", &message.additionals)]
    {
        for record in records {
            write!(text, "\n{section}: {}", show_record(record)).expect("text");
        }
    }
    if let Some(edns) = &message.edns {
        let is_do = if edns.flags().dnssec_ok { " do" } else { "" };
        write!(text, "\nedns: {} {}{is_do}", edns.version(), edns.max_payload()).expect("text");
        for (_, option) in edns.options().as_ref() {
            match option {
                EdnsOption::Subnet(subnet) => {
                    let (address, source, scope) = (subnet.addr(), subnet.source_prefix(), subnet.scope_prefix());
                    write!(text, "\nsubnet: {address}/{source}/{scope}").expect("text");
                }
                EdnsOption::NSID(nsid) => {
                    write!(text, "\nnsid: {}", String::from_utf8_lossy(nsid.as_ref())).expect("text");
                }
                EdnsOption::Unknown(code, data) => show_option(&mut text, *code, data),
                _ => panic!("unexpected option"),
            }
        }
    }
    text
}

fn show_option(text: &mut String, code: u16, data: &[u8]) {
    match (code, data) {
        (10, _) => {
            let digits: String = data.iter().map(|octet| format!("{octet:02x}")).collect();
            write!(text, "\ncookie: {digits}")
        }
        (11, &[high, low]) => write!(text, "\nkeepalive: {}", u16::from_be_bytes([high, low])),
        (12, _) if data.iter().all(|&octet| octet == 0) => write!(text, "\npadding: {}", data.len()),
        (15, &[high, low, ref rest @ ..]) => {
            let (code, because) = (u16::from_be_bytes([high, low]), String::from_utf8_lossy(rest));
            write!(text, "\n{}", format!("error: {code} {because}").trim_end())
        }
        _ => panic!("unexpected option {code}"),
    }
    .expect("text");
}

fn rcode(number: u16) -> String {
    match number {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        6 => "YXDOMAIN",
        9 => "NOTAUTH",
        16 => "BADVERS",
        23 => "BADCOOKIE",
        _ => panic!("rcode {number}"),
    }
    .to_owned()
}

fn show_record(record: &Record) -> String {
    let data = match &record.data {
        RData::Unknown { code: RecordType::DNAME, rdata } => {
            hickory_proto::rr::Name::from_bytes(&rdata.anything).expect("name").to_string()
        }
        RData::Unknown { rdata, .. } => rdata.anything.iter().map(|octet| format!("{octet:02x}")).collect(),
        known => known.to_string(),
    };
    format!("{} {} {} {data}", record.name, record.ttl, record.record_type()).trim_end().to_owned()
}

/// Asks one zone, with [`CONFIG`]'s pools, and compares the response; leading blanks of `expected`'s lines do not count.
pub(super) fn check(zone: &str, words: &str, expected: &str) {
    check_zones(&[zone], words, expected);
}

/// The same with several zones.
pub(super) fn check_zones(zones: &[&str], words: &str, expected: &str) {
    let expected: Vec<_> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(ask(&snapshot(CONFIG, zones), words), expected.join("\n"), "{words}");
}
