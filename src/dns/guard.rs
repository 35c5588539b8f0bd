//! Who asks, and how much that is worth: the cookie of a query, and the limit on what its sender is sent. Before anything is answered.

use std::{net::IpAddr, time::Duration};

use super::{
    answer::{CLASS_ANY, CLASS_IN},
    query::{Edns, Query, ShownCookie},
};
use crate::{
    protect::{
        Cookies, RateLimit,
        cookie::{ClientCookie, ServerCookie, Worth},
        limit::{Class, Verdict},
    },
    snapshot::Snapshot,
    zone::Found,
};

/// What a query's cookie is worth, for those who count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CookieStatus {
    /// No COOKIE option, or cookies are off.
    #[default]
    None,
    /// The client's part alone: it has not been here before.
    New,
    /// Ours: the sender receives what is sent to its address.
    Good,
    /// Forged, expired, or of another server.
    Bad,
}

impl CookieStatus {
    /// Those that are counted.
    pub const ALL: [CookieStatus; 3] = [Self::New, Self::Good, Self::Bad];

    /// As a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::New => "new",
            Self::Good => "good",
            Self::Bad => "bad",
        }
    }
}

/// A judged cookie, with what the response says in return: a client that knows cookies always gets a full one (RFC 7873 §5.2).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct JudgedCookie {
    pub(super) status: CookieStatus,
    pub(super) reply: Option<(ClientCookie, ServerCookie)>,
}

/// Judges the cookie of a query from `peer`.
pub(super) fn judge_cookie(
    cookies: Option<&Cookies>,
    edns: Option<&Edns>,
    peer: IpAddr,
    now: Duration,
) -> JudgedCookie {
    let (Some(cookies), Some(option)) = (cookies, edns.and_then(|edns| edns.cookie)) else {
        return JudgedCookie::default();
    };
    let (status, fresh) = match option.server {
        ShownCookie::Missing => (CookieStatus::New, None),
        ShownCookie::Foreign => (CookieStatus::Bad, None),
        ShownCookie::Shown(server) => match cookies.secrets.judge(option.client, server, peer, now) {
            Worth::Good => (CookieStatus::Good, Some(server)),
            Worth::Old => (CookieStatus::Good, None),
            Worth::Bad => (CookieStatus::Bad, None),
        },
    };
    let server = fresh.unwrap_or_else(|| cookies.secrets.make(option.client, peer, now));
    JudgedCookie { status, reply: Some((option.client, server)) }
}

/// What may be sent in answer to `query`.
///
/// One look into the zone says which class the answer is of and which name it counts for, before anything is put together: what is dropped
/// costs neither a pool's decision nor an encoding, and takes no turn of a round robin.
pub(super) fn judge_rate(
    limit: &RateLimit,
    snapshot: &Snapshot,
    query: &Query<'_>,
    peer: IpAddr,
    now: Duration,
    random: u64,
) -> Verdict {
    let name = query.qname();
    let suffix = |octets: usize| name.len().checked_sub(octets).and_then(|at| name.get(at..)).unwrap_or_default();
    let served = matches!(query.qclass, CLASS_IN | CLASS_ANY).then(|| snapshot.zones.find(name)).flatten();
    let (class, name) = match served {
        None => (Class::Error, &[][..]),
        Some(served) => match served.zone.find(name) {
            Found::Exact(_) => (Class::Answer, name),
            // Names made up below a wildcard or a DNAME all count for the one that answers for them.
            Found::Wildcard { encloser_octets: octets, .. } | Found::Dname { owner_octets: octets, .. } => {
                (Class::Answer, suffix(octets))
            }
            Found::Cut { owner_octets, .. } => (Class::Referral, suffix(owner_octets)),
            Found::Missing => (Class::NxDomain, served.zone.apex().as_wire()),
        },
    };
    limit.judge(peer, class, name, now, random)
}
