//! Any octets as a query: reading them ends, never panics, and what was read is what stands there.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use fingerpost::{
    dns::{
        header::HEADER_OCTETS,
        query::{Query, Rejection},
    },
    name::Name,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|wire: &[u8]| {
    match Query::parse(wire) {
        Ok(query) => {
            assert!(wire[HEADER_OCTETS..].starts_with(query.question));
            assert!(query.qname().eq_ignore_ascii_case(query.qname_as_sent()));
            let name = Name::from_wire(query.qname()).expect("a name");
            let (address, prefix) = query.client(Ipv4Addr::LOCALHOST.into());
            assert!(prefix <= if address.is_ipv4() { 32 } else { 128 });
            if let Some(ecs) = query.edns.and_then(|edns| edns.ecs) {
                let is_v4 = matches!(ecs.address, IpAddr::V4(_));
                assert_eq!(is_v4, ecs.family == fingerpost::types::Family::V4);
            }
            let again = Query::from_question(query.question).expect("the same question");
            assert_eq!((again.qname(), again.qtype, again.qclass), (name.as_wire(), query.qtype, query.qclass));
            // What others cannot read either would be no query.
            hickory_proto::op::Message::from_vec(&wire[..HEADER_OCTETS]).ok();
        }
        Err(Rejection::Reply { question, .. }) => assert!(wire[HEADER_OCTETS..].starts_with(question)),
        Err(Rejection::Drop(_)) => {}
    }
});
