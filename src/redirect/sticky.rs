//! Keeps a browser at its realserver by a cookie: `fingerpost=EXPIRY.REALSERVER.SEAL`.
//!
//! The cookie names no address: REALSERVER is a hash of the realserver's name and its pool's. SEAL proves that we have set it, for this pool
//! and until EXPIRY, in seconds since 1970. What is forged, expired, or names somebody who takes no new traffic counts as no cookie. RFC 6265.

use std::{hash::Hasher as _, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use siphasher::sip::SipHasher24;
use smallvec::SmallVec;

use crate::{
    protect::seal::Sealer,
    select::{Client, Ranked, excludes},
    snapshot::{Members, Pool, Snapshot},
    types::{POOL_DEPTH_MAX, PoolId, RealserverId},
};

const NAME: &str = "fingerpost";
/// Cookies of this name that are looked at: a browser sends one.
const COOKIES_MAX: usize = 4;
/// What is sealed starts with this, so that it is mistaken for nothing else that the same secret may seal.
const PURPOSE: &str = "fingerpost sticky 1";
/// First key of the hash of a realserver's name.
const KEY_REALSERVER: u64 = 0x0073_7469_636b_7921;

/// Whom a cookie keeps a client at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept<'s> {
    pub(super) chosen: Ranked<'s>,
    /// Whether the cookie is old enough to be set anew.
    pub(super) is_old: bool,
}

/// The pool in whose name cookies are made for a client that was sent to `chosen`, and how long they hold: the pool that was asked for, else
/// the one that has the realserver.
pub(super) fn sticky_pool<'s>(
    snapshot: &'s Snapshot,
    asked: PoolId,
    chosen: PoolId,
    client: &Client,
) -> Option<(PoolId, &'s Pool, Duration)> {
    let candidates = [asked, chosen].into_iter().filter_map(|id| Some((id, snapshot.pool(id)?)));
    let mut sticky = candidates.filter(|(_, pool)| !excludes(pool, client));
    sticky.find_map(|(id, pool)| Some((id, pool, pool.sticky?)))
}

/// Whether there is a cookie that may be ours among the values of `Cookie` headers.
pub(super) fn is_shown(cookies: &[&[u8]]) -> bool {
    values(cookies).next().is_some()
}

/// The values of the cookies of our name.
fn values<'r>(cookies: &[&'r [u8]]) -> impl Iterator<Item = &'r str> {
    let texts = cookies.iter().filter_map(|line| std::str::from_utf8(line).ok()).flat_map(|line| line.split(';'));
    texts.filter_map(|text| text.trim().strip_prefix(NAME)?.strip_prefix('='))
}

/// Whom one of the `cookies`, values of `Cookie` headers, keeps the client at in `pool`.
pub(super) fn keep<'s>(
    snapshot: &'s Snapshot,
    (id, pool, holds): (PoolId, &'s Pool, Duration),
    client: &Client,
    cookies: &[&[u8]],
    now: Duration,
) -> Option<Kept<'s>> {
    let sealer = snapshot.protection.sealer.as_ref()?;
    values(cookies).take(COOKIES_MAX).find_map(|value| {
        let (body, seal) = value.rsplit_once('.')?;
        let (expiry, realserver) = body.split_once('.')?;
        let (expiry, realserver) = (expiry.parse::<u64>().ok()?, u64::from_str_radix(realserver, 16).ok()?);
        let left = Duration::from_secs(expiry).checked_sub(now).filter(|left| !left.is_zero())?;
        let seal = URL_SAFE_NO_PAD.decode(seal).ok()?;
        // One that holds longer than it would now was made under another configuration, or under a clock gone wrong.
        if left > holds + Duration::from_secs(1) || !sealer.is_sealed(sealed_text(&pool.name, body).as_bytes(), &seal) {
            return None;
        }
        let chosen = find(snapshot, id, client, realserver)?;
        Some(Kept { chosen, is_old: left < holds / 2 })
    })
}

/// Value of the `Set-Cookie` that keeps a client at `chosen`.
pub(super) fn set_cookie(
    sealer: &Sealer,
    snapshot: &Snapshot,
    (_, pool, holds): (PoolId, &Pool, Duration),
    chosen: &Ranked<'_>,
    is_https: bool,
    now: Duration,
) -> Option<String> {
    let expiry = (now + holds).as_secs();
    let realserver = realserver_hash(&snapshot.pool(chosen.pool)?.name, &chosen.realserver.name);
    let body = format!("{expiry}.{realserver:016x}");
    let seal = URL_SAFE_NO_PAD.encode(sealer.seal(sealed_text(&pool.name, &body).as_bytes()));
    let secure = if is_https { "; Secure" } else { "" };
    let max_age = holds.as_secs();
    Some(format!("{NAME}={body}.{seal}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Lax{secure}"))
}

fn sealed_text(pool: &str, body: &str) -> String {
    format!("{PURPOSE}\n{pool}\n{body}")
}

fn realserver_hash(pool: &str, realserver: &str) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(KEY_REALSERVER, 0);
    hasher.write(pool.as_bytes());
    hasher.write(b"/");
    hasher.write(realserver.as_bytes());
    hasher.finish()
}

/// The realserver of this hash in `pool` or a pool that it leads to, if it takes new traffic of this client.
fn find<'s>(snapshot: &'s Snapshot, asked: PoolId, client: &Client, realserver: u64) -> Option<Ranked<'s>> {
    let mut to_visit: SmallVec<[(PoolId, usize); 16]> = SmallVec::from_slice(&[(asked, 0)]);
    let mut visited: SmallVec<[PoolId; 16]> = SmallVec::new();
    while let Some((id, depth)) = to_visit.pop() {
        let Some(pool) = snapshot.pool(id).filter(|_| depth < POOL_DEPTH_MAX && !visited.contains(&id)) else {
            continue;
        };
        visited.push(id);
        if excludes(pool, client) {
            continue;
        }
        let below = |members: &mut dyn Iterator<Item = PoolId>| members.map(|member| (member, depth + 1)).collect();
        let members: Vec<(PoolId, usize)> = match &pool.members {
            Members::Failover(members) => below(&mut members.iter().copied()),
            Members::Geo(geo) => below(&mut geo.lists.iter().flat_map(|list| list.pools.iter().copied())),
            Members::Nearest(nearest) => below(&mut nearest.pools.iter().map(|(member, _)| *member)),
            Members::Realservers(realservers) => {
                // What a pool above passes over has too few left to keep anybody.
                let is_failed = depth > 0 && realservers.is_failed;
                let is_meant = |(_, candidate): &(RealserverId, &crate::snapshot::Realserver)| {
                    candidate.is_eligible(None) && realserver_hash(&pool.name, &candidate.name) == realserver
                };
                let found =
                    (0..=u16::MAX).map(RealserverId).zip(&realservers.all).filter(|_| !is_failed).find(is_meant);
                match found {
                    Some((id_there, realserver)) => {
                        return Some(Ranked { pool: id, id: id_there, realserver, tier: 0 });
                    }
                    None => Vec::new(),
                }
            }
        };
        to_visit.extend(members);
    }
    None
}
