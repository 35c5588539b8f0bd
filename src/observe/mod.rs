//! What is counted, in a form that knows no exporter: each shell keeps its own counters, where they are cheapest, and says what they are
//! when asked. How they are written for Prometheus is `control`'s.

/// One number with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Full name, `fingerpost_…`; counters end in `_total`, units stand in the name.
    pub name: &'static str,
    /// One line for those who read /metrics.
    pub help: &'static str,
    /// Whether it only grows.
    pub kind: Kind,
    /// Label names and values, the same names for every sample of a name.
    pub labels: Vec<(&'static str, String)>,
    /// The number.
    pub value: f64,
}

/// Kind of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 at start.
    Counter,
    /// Goes up and down.
    Gauge,
}

impl Sample {
    /// A counter's current value.
    pub fn counter(name: &'static str, help: &'static str, labels: Vec<(&'static str, String)>, value: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 events")]
        Self { name, help, kind: Kind::Counter, labels, value: value as f64 }
    }

    /// A gauge's current value.
    pub fn gauge(name: &'static str, help: &'static str, labels: Vec<(&'static str, String)>, value: f64) -> Self {
        Self { name, help, kind: Kind::Gauge, labels, value }
    }
}

/// Something that keeps counters.
pub trait Observed: Send + Sync {
    /// Adds everything it counts, samples of one name in one run.
    fn observe(&self, samples: &mut Vec<Sample>);
}
