//! EDNS options that a response may have beside ECS and NSID: a cookie, the idle time of a connection, what lies behind an error, padding.

use crate::protect::cookie::{ClientCookie, ServerCookie};

/// Option code COOKIE (RFC 7873).
pub(super) const OPTION_COOKIE: u16 = 10;
/// Option code edns-tcp-keepalive (RFC 7828).
pub(super) const OPTION_KEEPALIVE: u16 = 11;
/// Option code Padding (RFC 7830).
pub(super) const OPTION_PADDING: u16 = 12;
/// Option code Extended DNS Error (RFC 8914).
const OPTION_EXTENDED_ERROR: u16 = 15;

/// Octets of an option's code and length.
const HEAD_OCTETS: usize = 4;
const COOKIE_OCTETS: usize = HEAD_OCTETS + 24;
const KEEPALIVE_OCTETS: usize = HEAD_OCTETS + 2;
/// Most octets of the options that must be there.
pub(super) const OPTIONS_OCTETS_MAX: usize = COOKIE_OCTETS + KEEPALIVE_OCTETS;
/// Padded responses have a multiple of this many octets (RFC 8467 §4.1).
const PADDED_OCTETS: usize = 468;

/// What a response says beside its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The client's cookie as it came, and ours for the next query.
    pub cookie: Option<(ClientCookie, ServerCookie)>,
    /// How long the connection may idle, in tenths of a second.
    pub keepalive: Option<u16>,
    /// Left out where there is no room for it.
    pub error: Option<ExtendedError>,
    /// Whether the message is filled up.
    pub is_padded: bool,
}

/// What lies behind a response code (RFC 8914), for people who read `dig`'s output. Programs go by the response code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtendedError {
    /// 20: no zone here has the name.
    NotAuthoritative,
    /// 18: zone transfer is not for everybody, nor is a pool that excludes clients.
    Prohibited,
    /// 0 with a text: nobody in the pool is up. The answer is a guess, or SERVFAIL if the pool prefers that. None of the registered codes is
    /// about this: 3, Stale Answer, is a resolver's about its cache.
    NobodyUp,
}

impl ExtendedError {
    fn code(self) -> u16 {
        match self {
            Self::NobodyUp => 0,
            Self::Prohibited => 18,
            Self::NotAuthoritative => 20,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::NobodyUp => "no realserver is up",
            Self::Prohibited | Self::NotAuthoritative => "",
        }
    }
}

impl Options {
    /// Octets of those that are never left out.
    pub(super) fn n_octets_required(&self) -> usize {
        self.cookie.map_or(0, |_| COOKIE_OCTETS) + self.keepalive.map_or(0, |_| KEEPALIVE_OCTETS)
    }

    /// Writes all of them to the start of `out`, which the message may fill, `n_before` octets of it being written already. Returns how many
    /// octets; `None` if those that are never left out do not fit.
    pub(super) fn write(&self, n_before: usize, out: &mut [u8]) -> Option<usize> {
        let mut rest = Rest { out, at: 0 };
        if let Some((client, server)) = self.cookie {
            rest.put(OPTION_COOKIE, &[&client, &server])?;
        }
        if let Some(idle) = self.keepalive {
            rest.put(OPTION_KEEPALIVE, &[&idle.to_be_bytes()])?;
        }
        if let Some(error) = self.error {
            // What is only nice to know is given up silently.
            let _ = rest.put(OPTION_EXTENDED_ERROR, &[&error.code().to_be_bytes(), error.text().as_bytes()]);
        }
        if self.is_padded {
            let n_octets = n_before + rest.at + HEAD_OCTETS;
            // The message may be of a size that padding would take beyond the limit: then up to the limit.
            let n_padded = n_octets.next_multiple_of(PADDED_OCTETS).min(n_before + rest.out.len());
            if let Some(n_zeros) = n_padded.checked_sub(n_octets) {
                rest.put_head(OPTION_PADDING, n_zeros)?;
                rest.out.get_mut(rest.at..rest.at + n_zeros)?.fill(0);
                rest.at += n_zeros;
            }
        }
        Some(rest.at)
    }
}

/// Room for options, filled up to `at`.
struct Rest<'o> {
    out: &'o mut [u8],
    at: usize,
}

impl Rest<'_> {
    /// Writes an option whose data is `parts`; nothing if there is no room for all of it.
    fn put(&mut self, code: u16, parts: &[&[u8]]) -> Option<()> {
        let n_octets = parts.iter().map(|part| part.len()).sum();
        if self.out.len() < self.at + HEAD_OCTETS + n_octets {
            return None;
        }
        self.put_head(code, n_octets)?;
        for part in parts {
            self.put_octets(part)?;
        }
        Some(())
    }

    fn put_head(&mut self, code: u16, n_octets: usize) -> Option<()> {
        self.put_octets(&code.to_be_bytes())?;
        self.put_octets(&u16::try_from(n_octets).ok()?.to_be_bytes())
    }

    fn put_octets(&mut self, octets: &[u8]) -> Option<()> {
        self.out.get_mut(self.at..self.at + octets.len())?.copy_from_slice(octets);
        self.at += octets.len();
        Some(())
    }
}
