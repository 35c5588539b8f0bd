//! What outlives a restart, as a JSON file: overrides, and health with its age.
//!
//! A file that cannot be understood is the caller's to set aside; it costs nothing but what was in it.

use std::{collections::HashMap, net::SocketAddr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Override, Overrides, Subject, Wish};
use crate::{
    health::{Checked, Target},
    types::{Admin, Force, Health},
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

/// A file of which something cannot be understood.
#[derive(Debug, Deserialize)]
struct Loose {
    saved: Option<serde_json::Value>,
    #[serde(default)]
    overrides: serde_json::Value,
    #[serde(default)]
    health: serde_json::Value,
}

/// The entries of a list that can be read.
fn readable<T: serde::de::DeserializeOwned>(list: serde_json::Value) -> Vec<T> {
    let serde_json::Value::Array(list) = list else { return Vec::new() };
    list.into_iter().filter_map(|entry| serde_json::from_value(entry).ok()).collect()
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedOverride {
    pool: String,
    /// The whole pool if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    realserver: Option<String>,
    /// One of these two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    admin: Option<Admin>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    force: Option<Force>,
    until: Option<Timestamp>,
    reason: Option<String>,
    by: String,
    since: Timestamp,
}

impl SavedOverride {
    fn wish(&self) -> Option<Wish> {
        match (self.admin, self.force) {
            (Some(admin), None) => Some(Wish::Admin(admin)),
            (None, Some(force)) => Some(Wish::Force(force)),
            _ => None,
        }
    }
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
    pub(super) fn new(overrides: &Overrides, checked: &HashMap<Target, Checked>, now: Timestamp) -> Self {
        let overrides = overrides.iter().map(|(subject, set)| SavedOverride {
            pool: subject.pool.into(),
            realserver: subject.realserver.map(Into::into),
            admin: if let Wish::Admin(admin) = set.wish { Some(admin) } else { None },
            force: if let Wish::Force(force) = set.wish { Some(force) } else { None },
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

    /// Reads the file's text. Where single entries cannot be understood the others count, and it is said what is wrong with the first.
    ///
    /// # Errors
    /// What is wrong with it, in one line, if nothing of it is of use.
    pub fn parse(text: &str) -> Result<(Self, Option<ParseError>), ParseError> {
        // The version comes first: what another one has in the file is not this one's to judge.
        let Versioned { version } = serde_json::from_str(text)?;
        if version != VERSION {
            return Err(ParseError::Version(version));
        }
        let problem = match serde_json::from_str::<Self>(text) {
            Ok(saved) if saved.overrides.iter().all(|saved| saved.wish().is_some()) => return Ok((saved, None)),
            Ok(_) => ParseError::Wish,
            Err(problem) => problem.into(),
        };
        let loose: Loose = serde_json::from_str(text)?;
        let saved = Self {
            version,
            saved: loose.saved.and_then(|saved| serde_json::from_value(saved).ok()).unwrap_or(Timestamp::UNIX_EPOCH),
            overrides: readable(loose.overrides)
                .into_iter()
                .filter(|saved: &SavedOverride| saved.wish().is_some())
                .collect(),
            health: readable(loose.health),
        };
        Ok((saved, Some(problem)))
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

    pub(super) fn into_parts(self) -> (Overrides, HashMap<TargetKey, Checked>) {
        let mut overrides = Overrides::default();
        for saved in self.overrides {
            let Some(wish) = saved.wish().filter(|wish| !wish.takes_back()) else { continue };
            let subject = Subject { pool: saved.pool.into(), realserver: saved.realserver.map(Into::into) };
            let (reason, by) = (saved.reason.map(Into::into), saved.by.into());
            overrides.insert(&subject, Override { wish, until: saved.until, reason, by, since: saved.since });
        }
        let health = self.health.into_iter().map(|saved| {
            let key = TargetKey { check: saved.check.into(), address: saved.address, realserver: saved.realserver };
            (key, Checked::restored(saved.health, saved.since, saved.error.map(Into::into)))
        });
        (overrides, health.collect())
    }
}

/// Why a state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Not JSON, or not of this shape.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// An override that sets neither traffic nor health, or both.
    #[error("an override has neither `admin` nor `force`, or both")]
    Wish,
    /// Of another version of the program.
    #[error("version {0} is not known")]
    Version(u32),
}
