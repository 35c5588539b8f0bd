//! A server that is only thought of: configuration, databases and zones read from their files, everybody up, nothing bound, probed or saved.
//! For `explain --offline` and for `plan`.

use std::{path::Path, sync::Arc};

use jiff::Timestamp;

use crate::{
    config::{self, Config, LoadError},
    diagnostic::Diagnostics,
    geo::Geo,
    snapshot::Snapshot,
    state::{Event, Override, State, Wish, pattern::Pattern, saved::Saved},
    types::Force,
    zone::{Zone, directory},
};

/// See the module.
#[derive(Debug)]
pub struct Offline {
    state: State,
    snapshot: Arc<Snapshot>,
    now: Timestamp,
}

impl Offline {
    /// Reads everything that the configuration at `path` names; of `known`, the zones of another one, those in the same folder are not read
    /// again. Warnings come beside it. Zones that are copied from other servers are not there.
    ///
    /// # Errors
    /// Everything that is wrong with any of the files.
    pub fn load(path: &Path, known: Option<&Self>) -> Result<(Self, Diagnostics), LoadError> {
        let now = Timestamp::now();
        let (config, mut findings) = config::load(path)?;
        let same = |one: &Path, other: &Path| {
            one == other || one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
        };
        let are_databases_known = |known: &&Self| {
            let databases = &known.state.config().geo_databases;
            databases.len() == config.geo_databases.len()
                && databases.iter().zip(&config.geo_databases).all(|(one, other)| same(one, other))
        };
        let geo = match known.filter(are_databases_known) {
            Some(known) => known.snapshot.geo.clone(),
            None => Arc::new(Geo::load(&config.geo_databases).map_err(LoadError::Invalid)?),
        };
        let zones: Vec<Arc<Zone>> = match &config.dns.zones {
            None => Vec::new(),
            Some(folder) => match known
                .filter(|known| known.state.config().dns.zones.as_ref().is_some_and(|other| same(folder, other)))
            {
                Some(known) => known.state.zones().map(|(zone, _)| zone.clone()).collect(),
                None => {
                    let (zones, found) = directory::load_all(folder);
                    findings.extend(found);
                    zones
                }
            },
        };
        let mut state = State::new(Arc::new(config), geo, Saved::default(), now);
        for zone in zones {
            if let Err(unknown) = state.apply(Event::ZoneLoaded(zone), now) {
                findings.extend(unknown);
            }
        }
        if findings.has_errors() {
            return Err(LoadError::Invalid(findings));
        }
        for target in state.targets() {
            // A probe that ended well can be refused by nobody.
            drop(state.apply(Event::Probed(target, Ok(())), now));
        }
        let snapshot = state.snapshot().ok_or_else(|| LoadError::Invalid(Diagnostics::default()))?;
        Ok((Self { state, snapshot, now }, findings))
    }

    /// Makes it as if somebody were down, drained and so on; `by` is shown as who said so.
    ///
    /// # Errors
    /// There is nobody whom the pattern means.
    pub fn suppose(&mut self, pattern: Pattern, wish: Wish, by: &str) -> Result<(), Diagnostics> {
        let reason = (!wish.takes_back()).then(|| "what if".into());
        let set = Override { wish, until: None, reason, by: by.into(), since: self.now };
        self.state.apply(Event::OperatorSet(pattern, set), self.now)?;
        if let Some(snapshot) = self.state.snapshot() {
            self.snapshot = snapshot;
        }
        Ok(())
    }

    /// [`suppose`](Self::suppose) that it is down.
    ///
    /// # Errors
    /// There is nobody whom the pattern means.
    pub fn suppose_down(&mut self, pattern: Pattern) -> Result<(), Diagnostics> {
        self.suppose(pattern, Wish::Force(Force::Down), "--down")
    }

    /// What would be answered from.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<Config> {
        self.state.config()
    }
}
