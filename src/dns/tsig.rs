//! TSIG: messages signed with a secret that two servers share (RFC 8945).
//!
//! A [`Session`] is one exchange: the request, then one response or, for a zone transfer, many, each signed over the one before. Pure: the time
//! is an argument, in seconds since 1970. Made by hand on `ring`'s HMAC, because the responses are octets already and are streamed; the
//! implementations in libraries want message builders of their own.

use std::sync::Arc;

use ring::hmac;

use super::wire::{Malformed, Section, expand_name, open};
use crate::{
    config::{Algorithm, TsigKey},
    name::Name,
};

/// Record type TSIG.
const TSIG: u16 = 250;
/// Class ANY, which TSIG records have.
const ANY: u16 = 255;
/// How far two clocks may be apart, in seconds (RFC 8945 §10).
const FUDGE: u16 = 300;
/// Octets of a TSIG record beside its owner, its algorithm's name, its MAC and its other data.
const FIXED_OCTETS: usize = 10 + 16;
/// Messages in a row that the other side of a transfer may leave unsigned (RFC 8945 §5.3.1).
const UNSIGNED_MAX: usize = 99;

/// What is wrong with a signature, by its number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::enum_variant_names, reason = "as the RFC calls them")]
pub(super) enum TsigError {
    /// The secrets differ, or somebody has changed the message.
    #[error("BADSIG")]
    BadSig = 16,
    /// The key, or its algorithm, is not known.
    #[error("BADKEY")]
    BadKey = 17,
    /// The clocks differ.
    #[error("BADTIME")]
    BadTime = 18,
    /// The MAC is shorter than what is accepted here, which is all of it.
    #[error("BADTRUNC")]
    BadTrunc = 22,
}

impl TsigError {
    /// All of them.
    pub(super) const ALL: [TsigError; 4] = [Self::BadSig, Self::BadKey, Self::BadTime, Self::BadTrunc];

    /// As a metric's label.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::BadSig => "badsig",
            Self::BadKey => "badkey",
            Self::BadTime => "badtime",
            Self::BadTrunc => "badtrunc",
        }
    }
}

/// What a request's signature comes to.
#[derive(Debug)]
pub(super) enum Checked {
    /// There is none.
    Unsigned,
    /// FORMERR: it is in the wrong place, or no TSIG record at all.
    Malformed,
    /// NOTAUTH, with this in the response.
    Refused(Refusal),
    /// It is good: the session goes on with the response, and this is the request without it.
    Signed(Session, Vec<u8>),
}

/// What the response to a bad signature says about it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) error: TsigError,
    name: Vec<u8>,
    algorithm: Vec<u8>,
    time: u64,
    fudge: u16,
    /// There where the other side can check a signature: its secret is ours.
    session: Option<Session>,
}

/// One signed exchange.
#[derive(Clone, Debug)]
pub(super) struct Session {
    key: Arc<TsigKey>,
    hmac: hmac::Key,
    /// The MAC before; empty before the request.
    mac: Vec<u8>,
    stage: Stage,
    /// Messages since `mac` that were not signed.
    unsigned: Vec<u8>,
    n_unsigned: usize,
}

/// Which message of a session comes next: the third and later ones are signed more briefly (RFC 8945 §5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Request,
    First,
    Later,
}

/// The fields of a TSIG record that are signed beside the message.
struct Fields<'f> {
    time: u64,
    fudge: u16,
    error: u16,
    other: &'f [u8],
}

/// A TSIG record as it came.
struct Record<'m> {
    /// Where it starts: what is before is signed.
    start: usize,
    name: Vec<u8>,
    algorithm: Vec<u8>,
    fields: Fields<'m>,
    mac: &'m [u8],
    original_id: [u8; 2],
}

/// Checks the signature of a request, by the key of `keys` that it names.
pub(super) fn check(wire: &[u8], keys: &[Arc<TsigKey>], now: u64) -> Checked {
    let record = match find(wire) {
        Ok(Some(record)) => record,
        Ok(None) => return Checked::Unsigned,
        Err(Malformed) => return Checked::Malformed,
    };
    let refuse = |error, session| {
        let Fields { time, fudge, .. } = record.fields;
        let (name, algorithm) = (record.name.clone(), record.algorithm.clone());
        Checked::Refused(Refusal { error, name, algorithm, time, fudge, session })
    };
    let key = keys.iter().find(|key| key.name.as_wire() == record.name && wire_name(key.algorithm) == record.algorithm);
    let Some(key) = key else { return refuse(TsigError::BadKey, None) };
    let mut session = Session::new(key.clone());
    let Some(request) = without_tsig(wire, &record) else { return Checked::Malformed };
    match session.verify(&request, &record, now) {
        Ok(()) => {}
        Err(Some(error @ (TsigError::BadSig | TsigError::BadKey))) => return refuse(error, None),
        Err(Some(error)) => return refuse(error, Some(session)),
        Err(None) => return Checked::Malformed,
    }
    // The response has the id that the request came with, whatever it was when it was signed.
    let mut request = request;
    if let (Some(id), Some(sent)) = (request.get_mut(..2), wire.get(..2)) {
        id.copy_from_slice(sent);
    }
    Checked::Signed(session, request)
}

/// Why a response cannot be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ResponseError {
    #[error("its signature cannot be read")]
    Malformed,
    #[error("it is not signed")]
    Unsigned,
    #[error("it is signed with another key")]
    OtherKey,
    #[error("its signature is bad: {0}")]
    Bad(TsigError),
    #[error("the other side refuses our signature: TSIG error {0}")]
    Refused(u16),
}

impl Session {
    fn new(key: Arc<TsigKey>) -> Self {
        let algorithm = match key.algorithm {
            Algorithm::HmacSha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Algorithm::HmacSha256 => hmac::HMAC_SHA256,
            Algorithm::HmacSha384 => hmac::HMAC_SHA384,
            Algorithm::HmacSha512 => hmac::HMAC_SHA512,
        };
        let hmac = hmac::Key::new(algorithm, &key.secret);
        Self { key, hmac, mac: Vec::new(), stage: Stage::Request, unsigned: Vec::new(), n_unsigned: 0 }
    }

    /// Signs a request of ours, and waits for the response.
    pub(super) fn request(key: Arc<TsigKey>, message: &mut Vec<u8>, now: u64) -> Self {
        let mut session = Self::new(key);
        session.sign(message, now);
        session
    }

    /// The name of the key.
    pub(super) fn key_name(&self) -> &Name {
        &self.key.name
    }

    /// Octets that [`sign`](Self::sign) adds.
    pub(super) fn octets(&self) -> usize {
        let mac_octets = self.hmac.algorithm().digest_algorithm().output_len();
        self.key.name.as_wire().len() + wire_name(self.key.algorithm).len() + FIXED_OCTETS + mac_octets
    }

    /// Appends the signature of the next message.
    pub(super) fn sign(&mut self, message: &mut Vec<u8>, now: u64) {
        let fields = Fields { time: now, fudge: FUDGE, error: 0, other: &[] };
        self.sign_with(message, &fields);
    }

    fn sign_with(&mut self, message: &mut Vec<u8>, fields: &Fields<'_>) {
        let signed = self.signed_octets(message, fields);
        self.mac = hmac::sign(&self.hmac, &signed).as_ref().to_vec();
        self.stage = self.stage.next();
        append(message, self.key.name.as_wire(), &wire_name(self.key.algorithm), fields, &self.mac);
    }

    /// Checks the next response. Returns it without its signature; or `None` where it has none and needs none yet.
    pub(super) fn check(&mut self, wire: &[u8], now: u64) -> Result<Option<Vec<u8>>, ResponseError> {
        let Some(record) = find(wire).map_err(|Malformed| ResponseError::Malformed)? else {
            if self.stage == Stage::First || self.n_unsigned >= UNSIGNED_MAX {
                return Err(ResponseError::Unsigned);
            }
            self.unsigned.extend_from_slice(wire);
            self.n_unsigned += 1;
            return Ok(None);
        };
        if record.name != self.key.name.as_wire() || record.algorithm != wire_name(self.key.algorithm) {
            return Err(ResponseError::OtherKey);
        }
        if record.fields.error != 0 && record.fields.error != TsigError::BadTime as u16 {
            return Err(ResponseError::Refused(record.fields.error));
        }
        let message = without_tsig(wire, &record).ok_or(ResponseError::Malformed)?;
        match self.verify(&message, &record, now) {
            Ok(()) if record.fields.error != 0 => Err(ResponseError::Refused(record.fields.error)),
            Ok(()) => Ok(Some(message)),
            Err(Some(error)) => Err(ResponseError::Bad(error)),
            Err(None) => Err(ResponseError::Malformed),
        }
    }

    /// Whether everything so far was covered by a signature: a transfer must not end otherwise.
    pub(super) fn is_complete(&self) -> bool {
        self.n_unsigned == 0
    }

    /// Checks a MAC, then the time (RFC 8945 §5.2.2, §5.2.3). `None` is a malformed record.
    fn verify(&mut self, message: &[u8], record: &Record<'_>, now: u64) -> Result<(), Option<TsigError>> {
        let full = self.hmac.algorithm().digest_algorithm().output_len();
        if record.mac.len() > full || record.mac.len() < full.div_ceil(2).max(10) && !record.mac.is_empty() {
            return Err(None);
        }
        if record.mac.is_empty() {
            return Err(Some(TsigError::BadSig));
        }
        let signed = self.signed_octets(message, &record.fields);
        if record.mac.len() < full {
            // Truncated ones are never accepted; who has the right secret is told so under it.
            let is_start = hmac::sign(&self.hmac, &signed).as_ref().starts_with(record.mac);
            self.mac = record.mac.to_vec();
            self.stage = self.stage.next();
            return Err(Some(if is_start { TsigError::BadTrunc } else { TsigError::BadSig }));
        }
        hmac::verify(&self.hmac, &signed, record.mac).map_err(|_| Some(TsigError::BadSig))?;
        self.mac = record.mac.to_vec();
        self.stage = self.stage.next();
        self.unsigned.clear();
        self.n_unsigned = 0;
        if now.abs_diff(record.fields.time) > u64::from(record.fields.fudge) {
            return Err(Some(TsigError::BadTime));
        }
        Ok(())
    }

    /// What the MAC of the next message is made of (RFC 8945 §4.3).
    fn signed_octets(&self, message: &[u8], fields: &Fields<'_>) -> Vec<u8> {
        let mut octets = Vec::with_capacity(self.mac.len() + self.unsigned.len() + message.len() + 600);
        if self.stage != Stage::Request {
            octets.extend(length_octets(&self.mac));
            octets.extend(&self.mac);
        }
        octets.extend(&self.unsigned);
        octets.extend(message);
        if self.stage == Stage::Later {
            octets.extend(time_octets(fields.time));
            octets.extend(fields.fudge.to_be_bytes());
            return octets;
        }
        octets.extend(self.key.name.as_wire());
        octets.extend(ANY.to_be_bytes());
        octets.extend([0; 4]);
        octets.extend(wire_name(self.key.algorithm));
        octets.extend(time_octets(fields.time));
        octets.extend(fields.fudge.to_be_bytes());
        octets.extend(fields.error.to_be_bytes());
        octets.extend(length_octets(fields.other));
        octets.extend(fields.other);
        octets
    }
}

impl Refusal {
    /// Appends what is wrong to the response, signed where the other side can check that (RFC 8945 §5.3.2).
    pub(super) fn append(&self, response: &mut Vec<u8>, now: u64) {
        let other = time_octets(now);
        let fields = Fields {
            time: self.time,
            fudge: self.fudge,
            error: self.error as u16,
            other: if self.error == TsigError::BadTime { &other } else { &[] },
        };
        match &self.session {
            Some(session) => session.clone().sign_with(response, &fields),
            None => append(response, &self.name, &self.algorithm, &fields, &[]),
        }
    }
}

impl Stage {
    fn next(self) -> Self {
        match self {
            Self::Request => Self::First,
            Self::First | Self::Later => Self::Later,
        }
    }
}

/// The TSIG record of a message. It is the last one of all, and the only one (RFC 8945 §5.2).
fn find(wire: &[u8]) -> Result<Option<Record<'_>>, Malformed> {
    let mut records = open(wire)?.records;
    let Some(found) = records.by_ref().find(|record| !matches!(record, Ok(record) if record.rtype != TSIG)) else {
        return Ok(None);
    };
    let found = found?;
    if found.section != Section::Additional || found.class != ANY || records.next().is_some() {
        return Err(Malformed);
    }
    if found.rdata_at + found.rdata.len() != wire.len() {
        return Err(Malformed);
    }
    let (name, _) = expand_name(wire, found.start)?;
    let (algorithm, fields_at) = expand_name(wire, found.rdata_at)?;
    let fields = wire.get(fields_at..).ok_or(Malformed)?;
    let (&[t0, t1, t2, t3, t4, t5, fudge0, fudge1, length0, length1], rest) =
        fields.split_first_chunk::<10>().ok_or(Malformed)?;
    let mac_octets = usize::from(u16::from_be_bytes([length0, length1]));
    let (mac, rest) = rest.split_at_checked(mac_octets).ok_or(Malformed)?;
    let (&[id0, id1, error0, error1, length0, length1], other) = rest.split_first_chunk::<6>().ok_or(Malformed)?;
    if other.len() != usize::from(u16::from_be_bytes([length0, length1])) {
        return Err(Malformed);
    }
    Ok(Some(Record {
        start: found.start,
        name: name.to_ascii_lowercase(),
        algorithm: algorithm.to_ascii_lowercase(),
        fields: Fields {
            time: u64::from_be_bytes([0, 0, t0, t1, t2, t3, t4, t5]),
            fudge: u16::from_be_bytes([fudge0, fudge1]),
            error: u16::from_be_bytes([error0, error1]),
            other,
        },
        mac,
        original_id: [id0, id1],
    }))
}

/// The message as it was before it was signed: without the record, and with the id it had (RFC 8945 §4.3.2).
fn without_tsig(wire: &[u8], record: &Record<'_>) -> Option<Vec<u8>> {
    let mut message = wire.get(..record.start)?.to_vec();
    message.get_mut(..2)?.copy_from_slice(&record.original_id);
    let count = message.get_mut(10..12)?.first_chunk_mut::<2>()?;
    *count = u16::from_be_bytes(*count).checked_sub(1)?.to_be_bytes();
    Some(message)
}

/// Appends a TSIG record and counts it.
fn append(message: &mut Vec<u8>, name: &[u8], algorithm: &[u8], fields: &Fields<'_>, mac: &[u8]) {
    let original_id = message.first_chunk::<2>().copied().unwrap_or_default();
    message.extend(name);
    message.extend(TSIG.to_be_bytes());
    message.extend(ANY.to_be_bytes());
    message.extend([0; 4]);
    let n_octets = algorithm.len() + 16 + mac.len() + fields.other.len();
    message.extend(u16::try_from(n_octets).unwrap_or(u16::MAX).to_be_bytes());
    message.extend(algorithm);
    message.extend(time_octets(fields.time));
    message.extend(fields.fudge.to_be_bytes());
    message.extend(length_octets(mac));
    message.extend(mac);
    message.extend(original_id);
    message.extend(fields.error.to_be_bytes());
    message.extend(length_octets(fields.other));
    message.extend(fields.other);
    if let Some(count) = message.get_mut(10..12).and_then(<[u8]>::first_chunk_mut::<2>) {
        *count = u16::from_be_bytes(*count).saturating_add(1).to_be_bytes();
    }
}

fn time_octets(seconds: u64) -> [u8; 6] {
    let [_, _, rest @ ..] = seconds.to_be_bytes();
    rest
}

fn length_octets(octets: &[u8]) -> [u8; 2] {
    u16::try_from(octets.len()).unwrap_or(u16::MAX).to_be_bytes()
}

/// The algorithm's name as it is on the wire: one label.
fn wire_name(algorithm: Algorithm) -> Vec<u8> {
    let label = algorithm.as_str().as_bytes();
    let mut wire = vec![u8::try_from(label.len()).unwrap_or_default()];
    wire.extend(label);
    wire.push(0);
    wire
}
