//! What the targets share: zones and pools of every kind to answer from, and what must be true of every response.
//!
//! Each target reads `src/bin/NAME.rs`; a finding becomes a unit test beside the code that it was found in.

use std::{path::Path, sync::Arc, time::Duration};

use domain::{
    base::{Message, ParsedName, Rtype},
    rdata::AllRecordData,
};
use fingerpost::{
    config,
    dns::{Transport, header::HEADER_OCTETS, query::Query},
    geo::Geo,
    snapshot::Snapshot,
    state::{Event, State, saved::Saved},
    zone::Zone,
};
use jiff::Timestamp;

/// When every query comes, since 1970.
pub const NOW: Duration = Duration::from_secs(1_800_000_000);
/// The file that zones are said to be read from: what they include is not there.
pub const ZONE_PATH: &str = "/nonexistent/example.org.zone";

/// Every kind of name and pool, among them pools that are down.
pub fn rich_snapshot() -> Arc<Snapshot> {
    let mut state = state(include_str!("../fixture/fingerpost.toml"));
    for (path, text) in [
        (ZONE_PATH, include_str!("../fixture/example.org.zone")),
        ("/nonexistent/sub.example.org.zone", include_str!("../fixture/sub.example.org.zone")),
    ] {
        let (zone, _) = Zone::from_text(Path::new(path), text).unwrap_or_else(|errors| panic!("{errors}"));
        add(&mut state, zone);
    }
    for target in state.targets() {
        let outcome = Err("refused".into());
        state.apply(Event::Probed(target, outcome), Timestamp::UNIX_EPOCH).expect("a probe");
    }
    state.snapshot().expect("a snapshot")
}

/// A snapshot of one zone, whose pools are made up.
pub fn snapshot_of(zone: Zone) -> Option<Arc<Snapshot>> {
    let mut text = "version = 1\n[dns]\nlisten = [\"127.0.0.1:5300\"]\nzones = \"zones\"\n".to_owned();
    for pool in zone.pools() {
        text.push_str(&format!(
            "[pools.{:?}]\nrealservers = [{{ name = \"a\", address = [\"192.0.2.1\", \"2001:db8::1\"] }}]\n",
            pool.name
        ));
    }
    // Names that no pool can have leave the zone waiting.
    let (config, _) = config::parse(Path::new("fingerpost.toml"), text).ok()?;
    let mut state = State::new(Arc::new(config), Arc::new(Geo::empty()), Saved::default(), Timestamp::UNIX_EPOCH);
    add(&mut state, zone);
    state.snapshot()
}

fn state(config: &str) -> State {
    let (config, _) =
        config::parse(Path::new("fingerpost.toml"), config.to_owned()).unwrap_or_else(|errors| panic!("{errors}"));
    State::new(Arc::new(config), Arc::new(Geo::empty()), Saved::default(), Timestamp::UNIX_EPOCH)
}

fn add(state: &mut State, zone: Zone) {
    state.apply(Event::ZoneLoaded(Arc::new(zone)), Timestamp::UNIX_EPOCH).unwrap_or_else(|errors| panic!("{errors}"));
}

/// How long a response to `wire` may be: RFC 1035 §4.2.1, RFC 6891 §6.2.3, and 1232 octets of our own.
pub fn response_octets_max(wire: &[u8], transport: Transport) -> usize {
    if transport == Transport::Tcp {
        return 65_535;
    }
    match Query::parse(wire).map(|query| query.edns) {
        Ok(Some(edns)) => usize::from(edns.udp_octets_max).clamp(512, 1232),
        Ok(None) => 512,
        Err(_) => 1232,
    }
}

/// Panics unless `response` is a well-formed response to `query` of at most `octets_max` octets.
pub fn check_response(query: &[u8], response: &[u8], octets_max: usize) {
    assert!(response.len() <= octets_max, "{} octets, {octets_max} are allowed", response.len());
    assert_eq!(response[..2], query[..2], "the id");
    assert_eq!(response[2] & 0xf9, query[2] & 0x79 | 0x80, "QR, opcode and RD");
    assert_eq!(response[3] & 0xf0, 0, "RA, Z, AD and CD");

    let message = Message::from_octets(response).expect("a header");
    let counts = message.header_counts();
    assert!(counts.qdcount() <= 1);
    let mut questions = message.question();
    questions.by_ref().for_each(|question| assert!(question.is_ok(), "{question:?}"));
    let question = &response[HEADER_OCTETS..questions.pos()];
    assert!(question.is_empty() || query[HEADER_OCTETS..].starts_with(question), "the question as it came");
    if let Ok(query) = Query::parse(query) {
        assert_eq!(question, query.question);
        assert_eq!(message.opt().is_some(), query.edns.is_some(), "OPT if and only if there was one");
    }

    let mut section = Some(questions.next_section().expect("an answer section"));
    let mut end = question.len() + HEADER_OCTETS;
    let mut is_known_to_hickory = true;
    while let Some(mut records) = section {
        for record in records.by_ref() {
            let record = record.expect("a record");
            record.to_any_record::<AllRecordData<&[u8], ParsedName<&[u8]>>>().expect("its data");
            // It takes no data at all for an UPDATE's, but APL and unknown types may be empty (RFC 3123 §4, RFC 3597 §5).
            is_known_to_hickory &= record.rdlen() > 0 || record.rtype() == Rtype::OPT;
        }
        end = records.pos();
        section = records.next_section().expect("a section");
    }
    assert_eq!(end, response.len(), "nothing after the last record");
    if !is_known_to_hickory {
        return;
    }

    let parsed = hickory_proto::op::Message::from_vec(response).expect("a message");
    let n_parsed = [parsed.answers.len(), parsed.authorities.len(), parsed.additionals.len()];
    let n_opt = usize::from(parsed.edns.is_some());
    let n_counted = [counts.ancount(), counts.nscount(), counts.arcount()].map(usize::from);
    assert_eq!([n_parsed[0], n_parsed[1], n_parsed[2] + n_opt], n_counted);
}
