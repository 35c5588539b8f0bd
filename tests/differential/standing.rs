//! Where a name stands in a zone, found the slow and plain way: so that it can be said what a query is about.

use std::collections::{BTreeMap, BTreeSet};

use crate::{name::Name, zones::Zone};

/// A zone's names in lower case.
pub struct Names {
    apex: Name,
    /// Types of records, by owner.
    types: BTreeMap<Name, BTreeSet<&'static str>>,
    /// Owners, and the names above them.
    existing: BTreeSet<Name>,
}

/// Where a name stands.
#[derive(Debug, PartialEq, Eq)]
pub enum Standing {
    /// At the name itself.
    Exact,
    /// There are only names below it.
    EmptyNonTerminal,
    /// At or below the delegation of this owner.
    Cut(Name),
    /// Below the DNAME of this owner.
    BelowDname(Name),
    /// At the wildcard of this owner, which stands for it.
    Wildcard(Name),
    /// Nowhere.
    Missing,
}

impl Names {
    /// The names of a zone.
    pub fn of(zone: &Zone) -> Self {
        let mut types: BTreeMap<Name, BTreeSet<&'static str>> = BTreeMap::new();
        let mut existing = BTreeSet::new();
        for (owner, rtype) in zone.rrsets.keys() {
            let owner = owner.folded();
            types.entry(owner.clone()).or_default().insert(rtype);
            let mut name = owner;
            while name.is_within(&zone.apex) && existing.insert(name.clone()) {
                name = name.parent();
            }
        }
        Self { apex: zone.apex.clone(), types, existing }
    }

    /// The zone's own name.
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// Whether this name, in lower case, has records or others below it.
    pub fn exists(&self, name: &Name) -> bool {
        self.existing.contains(name)
    }

    /// Whether there are records of this owner, in lower case, and type.
    pub fn has(&self, owner: &Name, rtype: &str) -> bool {
        self.types.get(owner).is_some_and(|types| types.contains(rtype))
    }

    /// Whether there are records of this owner, in lower case.
    pub fn has_records(&self, owner: &Name) -> bool {
        self.types.contains_key(owner)
    }

    /// Where `name`, which is in lower case and at or below the apex, stands.
    pub fn standing(&self, name: &Name) -> Standing {
        let mut ancestors: Vec<Name> = vec![name.clone()];
        while let Some(last) = ancestors.last().filter(|last| **last != self.apex) {
            ancestors.push(last.parent());
        }
        ancestors.reverse();
        for ancestor in &ancestors {
            if *ancestor != self.apex && self.has(ancestor, "NS") {
                return Standing::Cut(ancestor.clone());
            }
            if ancestor != name && self.has(ancestor, "DNAME") {
                return Standing::BelowDname(ancestor.clone());
            }
        }
        match (self.types.contains_key(name), self.existing.contains(name)) {
            (true, _) => return Standing::Exact,
            (false, true) => return Standing::EmptyNonTerminal,
            _ => {}
        }
        let encloser = ancestors.iter().rev().find(|ancestor| self.existing.contains(ancestor)).unwrap_or(&self.apex);
        let wildcard = encloser.child(b"*");
        if self.existing.contains(&wildcard) { Standing::Wildcard(wildcard) } else { Standing::Missing }
    }

    /// Whether a wildcard farther up would stand for `name` if its closest encloser did not exist (RFC 4592 §4.1).
    pub fn is_kept_from_wildcard(&self, name: &Name) -> bool {
        let mut ancestor = name.parent();
        let mut is_beyond_encloser = false;
        while ancestor.is_within(&self.apex) && !ancestor.0.is_empty() {
            if is_beyond_encloser && self.existing.contains(&ancestor.child(b"*")) {
                return true;
            }
            is_beyond_encloser |= self.existing.contains(&ancestor);
            ancestor = ancestor.parent();
        }
        false
    }
}
