//! Any text as a master file: reading it ends and never panics; of a zone that loads every name is found, every record is sound, and every
//! answer is well formed.

#![no_main]

use std::path::Path;

use domain::{
    base::{ParsedName, Rtype, rdata::ParseAnyRecordData as _},
    dep::octseq::Parser,
    rdata::AllRecordData,
};
use fingerpost::{
    dns::{Step, Transport, respond},
    zone::{Found, Zone, rtype},
};
use fingerpost_fuzz::{NOW, ZONE_PATH, check_response, snapshot_of};
use libfuzzer_sys::fuzz_target;

/// Names of a zone that are looked at.
const NAMES_MAX: usize = 64;

fuzz_target!(|text: &str| {
    let (zone, warnings) = match Zone::from_text(Path::new(ZONE_PATH), text) {
        Ok(loaded) => loaded,
        Err(errors) => {
            assert!(errors.has_errors());
            errors.to_string();
            return;
        }
    };
    assert!(!warnings.has_errors());
    warnings.to_string();
    assert!(zone.n_names() <= zone.n_records());
    assert_eq!(zone.soa().len(), 1);

    let mut questions = Vec::new();
    for (name, node) in zone.iter().take(NAMES_MAX) {
        assert!(name.is_within(zone.apex()));
        assert!(zone.node(name.as_wire()).is_some());
        match zone.find(name.as_wire()) {
            Found::Exact(found) => assert_eq!(found.rrsets().count(), node.rrsets().count()),
            Found::Cut { owner_octets, .. } => assert!(owner_octets <= name.as_wire().len()),
            Found::Dname { owner_octets, .. } => assert!(owner_octets < name.as_wire().len()),
            Found::Wildcard { .. } | Found::Missing => panic!("{name} is there and is not found"),
        }
        for rrset in node.rrsets() {
            assert!(rrset.len() > 0);
            assert_eq!(rrset.rdatas().count(), rrset.len());
            for rdata in rrset.rdatas() {
                check_rdata(rrset.rtype, rdata);
            }
            questions.push((name.as_wire().to_vec(), rrset.rtype));
        }
        questions.push((name.as_wire().to_vec(), rtype::A));
        if let Some(below) = below(name.as_wire()) {
            questions.push((below, rtype::AAAA));
        }
    }

    let Some(snapshot) = snapshot_of(zone) else { return };
    let mut out = vec![0xff; 65_535];
    for (qname, qtype) in questions {
        let mut wire = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        wire.extend(qname);
        wire.extend(qtype.to_be_bytes());
        wire.extend([0, 1, 0, 0, 41, 4, 208, 0, 0, 128, 0, 0, 0]);
        for (transport, octets_max) in [(Transport::Udp, 1232), (Transport::Tcp, 65_535)] {
            let peer = ([127, 0, 0, 1], 53).into();
            match respond(&snapshot, &wire, peer, transport, NOW, 0, &mut out) {
                Step::Send { n_octets, .. } => check_response(&wire, &out[..n_octets], octets_max),
                Step::Drop(reason) => panic!("no answer: {reason:?}"),
            }
        }
    }
});

/// The name `x` right below this one.
fn below(name: &[u8]) -> Option<Vec<u8>> {
    (name.len() <= 253).then(|| [b"\x01x", name].concat())
}

/// Data in the zone must be what its type says, whichever way it was written.
fn check_rdata(rtype: u16, rdata: &[u8]) {
    let mut parser = Parser::from_ref(rdata);
    let record = AllRecordData::<&[u8], ParsedName<&[u8]>>::parse_any_rdata(Rtype::from_int(rtype), &mut parser);
    assert!(record.is_ok(), "type {rtype}: {rdata:02x?}");
}
