//! What operators have set, on realservers and on whole pools: for traffic (drain, maint) and for health (forced up, forced down), each with
//! its owner, reason and end.
//!
//! Kept by name, so that it outlives reloads and restarts; what it does to health and pools is the [`State`](super::State)'s.

use std::{collections::BTreeMap, fmt, sync::Arc};

use jiff::Timestamp;

use super::pattern::Pattern;
use crate::types::{Admin, Force};

/// Overrides at once: more than there can be realservers on one server, and a bound to what the state file holds.
pub(super) const OVERRIDES_MAX: usize = 200_000;

/// What an operator wants of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// For its traffic; `Ready` takes an override back.
    Admin(Admin),
    /// For its health; `Auto` takes an override back.
    Force(Force),
}

impl Wish {
    /// Whether it ends what was set before, and sets nothing itself.
    pub fn takes_back(self) -> bool {
        matches!(self, Self::Admin(Admin::Ready) | Self::Force(Force::Auto))
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admin(admin) => admin.fmt(f),
            Self::Force(force) => force.fmt(f),
        }
    }
}

/// What an operator has set, by whom, why and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// What.
    pub wish: Wish,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
    /// The operator's words.
    pub reason: Option<Arc<str>>,
    /// Who.
    pub by: Box<str>,
    /// When it was set.
    pub since: Timestamp,
}

impl Override {
    /// Reason, owner and end in a few words, for explanations.
    pub fn why(&self) -> String {
        let until = self.until.map_or(String::new(), |until| format!(", until {until:.0}"));
        match &self.reason {
            Some(reason) => format!("{reason} ({}{until})", self.by),
            None => format!("by {}{until}", self.by),
        }
    }
}

/// Whom an override is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// The pool.
    pub pool: Box<str>,
    /// A realserver of it; `None` is every one, also those that a reload adds later.
    pub realserver: Option<Box<str>>,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pool)?;
        self.realserver.as_ref().map_or(Ok(()), |realserver| write!(f, "/{realserver}"))
    }
}

/// What is set on one subject: one override for traffic, one for health.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Slots {
    traffic: Option<Override>,
    health: Option<Override>,
}

impl Slots {
    fn of(&mut self, wish: Wish) -> &mut Option<Override> {
        match wish {
            Wish::Admin(_) => &mut self.traffic,
            Wish::Force(_) => &mut self.health,
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Override> {
        self.traffic.iter().chain(&self.health)
    }

    fn is_empty(&self) -> bool {
        self.traffic.is_none() && self.health.is_none()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OfPool {
    own: Slots,
    realservers: BTreeMap<Box<str>, Slots>,
}

/// Everything that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    pools: BTreeMap<Box<str>, OfPool>,
}

/// What counts for one realserver, of what is set on it and on its pool.
#[derive(Clone, Copy, Debug, Default)]
pub struct Effective<'o> {
    /// For its traffic: the stricter of the two, for who drains a pool means all of it.
    pub traffic: Option<&'o Override>,
    /// For its health: its own before its pool's.
    pub health: Option<&'o Override>,
    /// Whether `traffic` is set on the pool.
    pub is_traffic_of_pool: bool,
}

impl Effective<'_> {
    /// What an operator wants of its traffic.
    pub fn admin(&self) -> Admin {
        self.traffic.map_or(Admin::Ready, admin_of)
    }

    /// What an operator says of its health.
    pub fn force(&self) -> Force {
        match self.health.map(|set| set.wish) {
            Some(Wish::Force(force)) => force,
            _ => Force::Auto,
        }
    }
}

fn admin_of(set: &Override) -> Admin {
    match set.wish {
        Wish::Admin(admin) => admin,
        Wish::Force(_) => Admin::Ready,
    }
}

impl Overrides {
    /// Whether nothing is set at all.
    pub fn is_empty(&self) -> bool {
        self.pools.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Everything that is set, by pool, then by realserver.
    pub fn iter(&self) -> impl Iterator<Item = (Subject, &Override)> {
        self.pools.iter().flat_map(|(pool, of_pool)| {
            let subject =
                |realserver: Option<&Box<str>>| Subject { pool: pool.clone(), realserver: realserver.cloned() };
            let own = of_pool.own.iter().map(move |set| (subject(None), set));
            let of_realservers = of_pool
                .realservers
                .iter()
                .flat_map(move |(name, slots)| slots.iter().map(move |set| (subject(Some(name)), set)));
            own.chain(of_realservers)
        })
    }

    /// What counts for a realserver.
    pub fn effective(&self, pool: &str, realserver: &str) -> Effective<'_> {
        let Some(of_pool) = self.pools.get(pool) else { return Effective::default() };
        let own = of_pool.realservers.get(realserver);
        let own_traffic = own.and_then(|own| own.traffic.as_ref());
        let of_pool_traffic = of_pool.own.traffic.as_ref();
        let strictness = |set: &Override| match admin_of(set) {
            Admin::Ready => 0,
            Admin::Drain => 1,
            Admin::Maint => 2,
        };
        let is_traffic_of_pool = of_pool_traffic.map_or(0, strictness) > own_traffic.map_or(0, strictness);
        Effective {
            traffic: if is_traffic_of_pool { of_pool_traffic } else { own_traffic },
            health: own.and_then(|own| own.health.as_ref()).or(of_pool.own.health.as_ref()),
            is_traffic_of_pool,
        }
    }

    /// Those that `pattern` means on which something of the kind of `wish` is set, whether they still exist or not.
    pub(super) fn matching(&self, pattern: &Pattern, wish: Wish) -> Vec<Subject> {
        let is_kind = |set: &Override| {
            matches!((set.wish, wish), (Wish::Admin(_), Wish::Admin(_)) | (Wish::Force(_), Wish::Force(_)))
        };
        let is_meant = |subject: &Subject| pattern.matches(&subject.pool, subject.realserver.as_deref());
        self.iter().filter(|(subject, set)| is_kind(set) && is_meant(subject)).map(|(subject, _)| subject).collect()
    }

    /// Sets it, in place of what was set there for the same.
    pub(super) fn insert(&mut self, subject: &Subject, set: Override) {
        let of_pool = self.pools.entry(subject.pool.clone()).or_default();
        let slots = match &subject.realserver {
            Some(realserver) => of_pool.realservers.entry(realserver.clone()).or_default(),
            None => &mut of_pool.own,
        };
        let slot = slots.of(set.wish);
        *slot = Some(set);
    }

    /// Takes back what is set there of the kind of `wish`.
    pub(super) fn remove(&mut self, subject: &Subject, wish: Wish) -> Option<Override> {
        let of_pool = self.pools.get_mut(&subject.pool)?;
        let removed = match &subject.realserver {
            None => of_pool.own.of(wish).take(),
            Some(realserver) => {
                let slots = of_pool.realservers.get_mut(realserver)?;
                let removed = slots.of(wish).take();
                if slots.is_empty() {
                    of_pool.realservers.remove(realserver);
                }
                removed
            }
        };
        if of_pool.own.is_empty() && of_pool.realservers.is_empty() {
            self.pools.remove(&subject.pool);
        }
        removed
    }

    /// Those whose time is over.
    pub(super) fn ended(&self, now: Timestamp) -> Vec<(Subject, Wish)> {
        let is_over = |set: &Override| set.until.is_some_and(|until| until <= now);
        self.iter().filter(|(_, set)| is_over(set)).map(|(subject, set)| (subject, set.wish)).collect()
    }
}
