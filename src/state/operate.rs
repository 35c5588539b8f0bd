//! What an operator's word does to the [`State`]: who is meant, what is no longer probed, which pools follow.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Happening, Override, State, Subject, Wish, listed, overrides::OVERRIDES_MAX, pattern::Pattern};
use crate::{
    config::Members,
    diagnostic::{Diagnostic, Diagnostics},
    health::Target,
};

impl State {
    pub(super) fn set_override(&mut self, pattern: &Pattern, new: Override) -> Result<Vec<Happening>, Diagnostics> {
        let subjects = if new.wish.takes_back() {
            let set = self.overrides.matching(pattern, new.wish);
            // What is gone may be taken back; what was never there is a mistake.
            if set.is_empty() { self.subjects(pattern).map(|_| Vec::new())? } else { set }
        } else {
            self.subjects(pattern)?
        };
        if !new.wish.takes_back() && self.overrides.len() + subjects.len() > OVERRIDES_MAX {
            let error = Diagnostic::bare(format!("more than {} overrides", OVERRIDES_MAX));
            return Err(error.hint("set them on whole pools, or take some back").into());
        }
        for subject in &subjects {
            if new.wish.takes_back() {
                self.overrides.remove(subject, new.wish);
            } else {
                self.overrides.insert(subject, new.clone());
            }
        }
        let happenings = subjects.iter().map(|subject| Happening::OverrideSet(subject.clone(), new.clone())).collect();
        self.overrides_changed(subjects.iter().map(|subject| &*subject.pool));
        Ok(happenings)
    }

    /// Everybody in the configuration whom `pattern` means.
    fn subjects(&self, pattern: &Pattern) -> Result<Vec<Subject>, Diagnostics> {
        let mut subjects = Vec::new();
        for pool in &self.config.pools {
            let Members::Realservers { realservers, .. } = &pool.members else { continue };
            if pattern.matches(&pool.name, None) {
                subjects.push(Subject { pool: pool.name.clone(), realserver: None });
            }
            let meant = realservers.iter().filter(|one| pattern.matches(&pool.name, Some(&one.name)));
            subjects.extend(meant.map(|one| Subject { pool: pool.name.clone(), realserver: Some(one.name.clone()) }));
        }
        if subjects.is_empty() { Err(self.nobody(pattern)) } else { Ok(subjects) }
    }

    /// Why `pattern` means nobody.
    fn nobody(&self, pattern: &Pattern) -> Diagnostics {
        let pools = || self.config.pools.iter();
        if !pattern.is_exact() {
            let what = if pattern.realserver().is_some() { "realserver" } else { "pool of realservers" };
            let names: Vec<&str> = pools().map(|pool| &*pool.name).collect();
            let error = Diagnostic::bare(format!("no {what} is named like `{pattern}`"));
            return error.hint(format!("the pools are {}", listed(&names))).into();
        }
        let Some(pool) = pools().find(|pool| *pool.name == *pattern.pool()) else {
            let names: Vec<&str> = pools().map(|pool| &*pool.name).collect();
            let error = Diagnostic::bare(format!("unknown pool `{}`", pattern.pool()));
            return error.hint(format!("there are {}", listed(&names))).into();
        };
        let error = match pattern.realserver() {
            Some(name) => Diagnostic::bare(format!("pool `{}` has no realserver `{name}`", pool.name)),
            None => Diagnostic::bare(format!("pool `{}` has no realservers of its own", pool.name)),
        };
        match &pool.members {
            Members::Realservers { realservers, .. } => {
                let names: Vec<&str> = realservers.iter().map(|realserver| &*realserver.name).collect();
                error.hint(format!("there are {}", listed(&names)))
            }
            Members::Pools { members, .. } => {
                let names: Vec<&str> =
                    members.iter().filter_map(|&index| self.config.pools.get(index)).map(|pool| &*pool.name).collect();
                error
                    .hint(format!("it is a pool of pools; say {}, or name a realserver of one of them", listed(&names)))
            }
        }
        .into()
    }

    /// After overrides in `pools` came or went: health of what is no longer probed is forgotten, and the pools follow.
    fn overrides_changed<'p>(&mut self, pools: impl Iterator<Item = &'p str>) {
        let pools: BTreeSet<&str> = pools.collect();
        let of_pools = || self.parts.iter().enumerate().filter(|(_, parts)| pools.contains(parts.name()));
        let mut touched: BTreeSet<usize> = of_pools().map(|(index, _)| index).collect();
        let probed: Vec<Target> = of_pools().flat_map(|(_, parts)| parts.probed().map(|(target, _)| target)).collect();
        for target in probed {
            let is_probed = self.is_probed(&target);
            let Some(behind) = self.behind.get_mut(&target) else { continue };
            if is_probed {
                if !self.checked.contains_key(&target) {
                    behind.named = self.now;
                }
            } else if self.checked.remove(&target).is_some() {
                self.freeze.forget(&target);
                touched.extend(behind.realservers.iter().map(|(index, _)| *index));
            }
        }
        self.stale.extend(touched);
    }

    pub(super) fn expire_overrides(&mut self, now: Timestamp) -> Vec<Happening> {
        let ended = self.overrides.ended(now);
        let remove = |(subject, wish): &(Subject, Wish)| {
            Some(Happening::OverrideEnded(subject.clone(), self.overrides.remove(subject, *wish)?))
        };
        let happenings = ended.iter().filter_map(remove).collect();
        self.overrides_changed(ended.iter().map(|(subject, _)| &*subject.pool));
        happenings
    }
}
