//! Fingerpost.
pub mod config;
pub mod diagnostic;
pub mod geo;
pub mod name;
pub mod types;
