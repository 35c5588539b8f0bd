//! Clients that did ask: a query log, one JSON object a line, with `name`, and `type`, `client` and `ecs` if they are known.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::IpNet;
use serde::Deserialize;

use super::{
    Side,
    moves::{Landing, Looked, Tally, client, land},
};
use crate::{
    dns::{
        answer::Kind,
        explain::{Explained, client_of_network, explain_answer},
    },
    name::Name,
    select::Via,
    snapshot::Snapshot,
    types::Family,
    zone::rtype,
};

/// Pairs of pools that are kept apart; each is counted by itself.
const PAIRS_MAX: usize = 10_000;

/// One query of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The name asked for.
    pub name: Name,
    /// The type asked for.
    pub rtype: u16,
    /// Who asked.
    pub client: IpAddr,
    /// For whom.
    pub ecs: Option<IpNet>,
}

/// A line as it is written. What else is on it is left alone.
#[derive(Deserialize)]
struct Line {
    name: String,
    #[serde(rename = "type", default)]
    rtype: Option<String>,
    #[serde(default)]
    client: Option<IpAddr>,
    #[serde(default)]
    ecs: Option<IpNet>,
}

/// Why a line is no query.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// No JSON, or no such object.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// The name is none.
    #[error("`{0}` is not a name")]
    Name(String),
    /// The type is not known.
    #[error("`{0}` is not a record type")]
    Rtype(String),
}

impl Query {
    /// Reads one line of a log.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &[u8]) -> Result<Self, LineError> {
        let line: Line = serde_json::from_slice(line)?;
        let rtype = line.rtype.as_deref().unwrap_or("A");
        Ok(Self {
            rtype: rtype::parse(rtype).ok_or_else(|| LineError::Rtype(rtype.to_owned()))?,
            name: line.name.parse().map_err(|_| LineError::Name(line.name.clone()))?,
            client: line.client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)).to_canonical(),
            ecs: line.ecs,
        })
    }
}

/// Tallies by the pools that names led to, before and after.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    by_pair: BTreeMap<(String, String), Tally>,
}

impl Tallies {
    pub(super) fn into_iter(self) -> impl Iterator<Item = ((String, String), Tally)> {
        self.by_pair.into_iter()
    }
}

/// Answers one query twice.
pub(super) fn tally_query(old: Side<'_>, new: Side<'_>, query: &Query, tallies: &mut Tallies) {
    let via = match query.rtype {
        rtype::A => Via::Dns(Family::V4),
        rtype::AAAA => Via::Dns(Family::V6),
        // Others have no address to move to; their records are compared with the zones.
        _ => return,
    };
    let (address, prefix) = client_of_network(query.client, query.ecs);
    let client = client(address, prefix, via);
    let land = |snapshot: &Snapshot| {
        let answer = explain_answer(snapshot, &query.name, query.rtype, &client);
        let pool = answer.pool.as_ref().and_then(|pool| snapshot.pool(pool.id));
        let pool = pool.map_or(if answer.kind == Kind::Refused { "not served" } else { "no pool" }, |pool| &pool.name);
        (pool.to_owned(), landing(snapshot, &answer, &client))
    };
    let ((old_pool, before), (new_pool, after)) = (land(old.snapshot), land(new.snapshot));
    if tallies.by_pair.len() >= PAIRS_MAX && !tallies.by_pair.contains_key(&(old_pool.clone(), new_pool.clone())) {
        return;
    }
    tallies.by_pair.entry((old_pool, new_pool)).or_default().add(before, after, via, 1.0);
}

fn landing(snapshot: &Snapshot, answer: &Explained, client: &crate::select::Client) -> (Landing, u8) {
    if let Some(pool) = &answer.pool {
        return land(snapshot, pool.id, client, &mut Looked::default());
    }
    let landing = match (answer.kind, answer.addresses.first()) {
        (Kind::ServFail, _) => Landing::Servfail,
        (_, Some(&address)) => Landing::Static(address),
        (_, None) => Landing::Nobody,
    };
    (landing, answer.scope.0)
}
