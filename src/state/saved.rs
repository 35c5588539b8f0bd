//! What outlives a restart, as a JSON file: overrides, and health with its age.
//!
//! A file that cannot be understood is the caller's to set aside; it costs nothing but what was in it.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Override, RealserverName};
use crate::{
    health::{Checked, Target},
    types::{Admin, Health},
};

/// Version of the file's format.
const VERSION: u32 = 1;

/// The content of the state file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    version: u32,
    saved: Timestamp,
    overrides: Vec<SavedOverride>,
    health: Vec<SavedHealth>,
}

#[derive(Debug, Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedOverride {
    pool: String,
    realserver: String,
    admin: Admin,
    until: Option<Timestamp>,
    reason: Option<String>,
    by: String,
    since: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedHealth {
    check: String,
    address: SocketAddr,
    /// `POOL/REALSERVER`, where that tells targets apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    realserver: Option<String>,
    health: Health,
    since: Option<Timestamp>,
    error: Option<String>,
}

/// What a target is found again by: its check's name and its address. Numbers of a check may have changed meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TargetKey {
    check: Box<str>,
    address: SocketAddr,
    realserver: Option<String>,
}

impl TargetKey {
    pub(super) fn new(target: &Target) -> Self {
        let realserver = target.realserver.as_ref().map(ToString::to_string);
        Self { check: target.check.name.clone(), address: target.address, realserver }
    }
}

impl Default for Saved {
    fn default() -> Self {
        Self { version: VERSION, saved: Timestamp::UNIX_EPOCH, overrides: Vec::new(), health: Vec::new() }
    }
}

impl Saved {
    pub(super) fn new(
        overrides: &BTreeMap<RealserverName, Override>,
        checked: &HashMap<Target, Checked>,
        now: Timestamp,
    ) -> Self {
        let overrides = overrides.iter().map(|(name, set)| SavedOverride {
            pool: name.pool.to_string(),
            realserver: name.realserver.to_string(),
            admin: set.admin,
            until: set.until,
            reason: set.reason.as_deref().map(str::to_owned),
            by: set.by.to_string(),
            since: set.since,
        });
        let mut health: Vec<SavedHealth> = checked
            .iter()
            .map(|(target, checked)| SavedHealth {
                check: target.check.name.to_string(),
                address: target.address,
                realserver: target.realserver.as_ref().map(ToString::to_string),
                health: checked.health,
                since: checked.since,
                error: checked.last_error.as_deref().map(str::to_owned),
            })
            .collect();
        let order = |a: &SavedHealth, b: &SavedHealth| {
            (&a.check, a.address, &a.realserver).cmp(&(&b.check, b.address, &b.realserver))
        };
        health.sort_by(order);
        Self { version: VERSION, saved: now, overrides: overrides.collect(), health }
    }

    /// Reads the file's text.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        // The version comes first: what another one has in the file is not this one's to judge.
        let Versioned { version } = serde_json::from_str(text)?;
        if version == VERSION { Ok(serde_json::from_str(text)?) } else { Err(ParseError::Version(version)) }
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// When it was saved.
    pub fn saved_at(&self) -> Timestamp {
        self.saved
    }

    /// How many overrides, and how many targets with their health.
    pub fn counts(&self) -> (usize, usize) {
        (self.overrides.len(), self.health.len())
    }

    pub(super) fn into_parts(self) -> (BTreeMap<RealserverName, Override>, HashMap<TargetKey, Checked>) {
        let overrides = self.overrides.into_iter().map(|saved| {
            let name = RealserverName { pool: saved.pool.into(), realserver: saved.realserver.into() };
            let (reason, by) = (saved.reason.map(Into::into), saved.by.into());
            (name, Override { admin: saved.admin, until: saved.until, reason, by, since: saved.since })
        });
        let health = self.health.into_iter().map(|saved| {
            let key = TargetKey { check: saved.check.into(), address: saved.address, realserver: saved.realserver };
            (key, Checked::restored(saved.health, saved.since, saved.error.map(Into::into)))
        });
        (overrides.collect(), health.collect())
    }
}

/// Why a state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Not JSON, or not of this shape.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// Of another version of the program.
    #[error("version {0} is not known")]
    Version(u32),
}
