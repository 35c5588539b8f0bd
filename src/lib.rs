//! Fingerpost.
pub mod config;
pub mod diagnostic;
pub mod geo;
pub mod health;
pub mod name;
pub mod types;
pub mod zone;
