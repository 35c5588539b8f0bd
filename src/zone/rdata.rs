//! Record data: from the words of an entry to wire form, ready to be copied into a message.
//!
//! Three ways. Types whose rdata is a row of plain fields are read by a table ([`fields`]); the other types that the `domain` crate knows are
//! read by it, through [`Words`]; and every type, known or not, may be written as octets (RFC 3597 §5). Names are never compressed and keep
//! their letters as written.

use domain::{
    base::{
        Name,
        iana::Rtype,
        name::ParsedName,
        rdata::{ComposeRecordData, ParseRecordData},
        scan::ScannerError,
    },
    dep::octseq::Parser,
    rdata::ZoneRecordData,
    utils::base16,
};

use super::{
    fields, rtype,
    words::{WordError, Words},
};

/// Longest rdata: its length is 16 bits on the wire.
const RDATA_OCTETS_MAX: usize = 65_535;

/// Reads the rdata of `rtype` from the rest of an entry and appends it to `wire`. On an error `words` tells the place, and what was appended
/// is of no use.
pub(super) fn read(words: &mut Words<'_>, rtype: u16, wire: &mut Vec<u8>) -> Result<(), WordError> {
    let start = wire.len();
    if words.take_unknown_marker() {
        read_octets(words, rtype, wire)?;
    } else if let Some(fields) = fields::of(rtype) {
        fields::read(words, fields, wire)?;
    } else {
        read_known(words, rtype, wire)?;
    }
    if !words.is_at_end() {
        words.next_token()?;
        return Err(WordError::trailing_tokens());
    }
    if wire.len() - start > RDATA_OCTETS_MAX {
        return Err("record data is longer than 65,535 octets".into());
    }
    Ok(())
}

fn read_known(words: &mut Words<'_>, rtype: u16, wire: &mut Vec<u8>) -> Result<(), WordError> {
    let before = words.clone();
    let read = ZoneRecordData::<Vec<u8>, Name<Vec<u8>>>::scan(Rtype::from_int(rtype), words);
    // The crate has no list to ask, but a type that it does not know it refuses before it reads a word.
    if read.is_err() && words.is_at(&before) && !words.is_at_end() {
        let name = rtype::show(rtype);
        return Err(WordError(
            format!("how {name} is written is not known here; write it as `TYPE{rtype} \\# LENGTH HEX`").into(),
        ));
    }
    // Writing to a Vec cannot fail.
    read?.compose_rdata(wire).map_err(|_| WordError::short_buf())
}

/// Reads `LENGTH HEX...` (RFC 3597 §5). For a type that is known here the octets must be what that type says (§4).
fn read_octets(words: &mut Words<'_>, rtype: u16, wire: &mut Vec<u8>) -> Result<(), WordError> {
    let length = words.number(65_535)? as usize;
    let hex = if words.is_at_end() { String::new() } else { words.rest_joined()? };
    let octets: Vec<u8> =
        base16::decode(&hex).map_err(|_| WordError("expected an even number of hexadecimal digits".into()))?;
    if octets.len() != length {
        return Err(WordError(format!("says {length} octets but holds {}", octets.len()).into()));
    }
    let mut parser = Parser::from_ref(&octets[..]);
    type Parsed<'o> = ZoneRecordData<&'o [u8], ParsedName<&'o [u8]>>;
    let parsed = Parsed::parse_rdata(Rtype::from_int(rtype), &mut parser).ok().flatten();
    let mut rewritten = Vec::with_capacity(length);
    let is_sound = parsed.is_some_and(|rdata| rdata.compose_rdata(&mut rewritten).is_ok() && rewritten == octets);
    if !is_sound {
        return Err(WordError(format!("these octets are no {} record", rtype::show(rtype)).into()));
    }
    wire.extend_from_slice(&octets);
    Ok(())
}
