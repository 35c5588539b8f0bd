//! Fingerpost.
pub mod diagnostic;
pub mod name;
pub mod types;
pub mod zone;
