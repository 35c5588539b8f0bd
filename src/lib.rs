//! Fingerpost.
pub mod config;
pub mod control;
pub mod diagnostic;
pub mod dns;
pub mod geo;
pub mod health;
pub mod l4;
pub mod name;
pub mod observe;
pub mod redirect;
pub mod select;
pub mod shutdown;
pub mod snapshot;
pub mod state;
pub mod types;
pub mod zone;
