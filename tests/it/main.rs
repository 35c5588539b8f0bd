//! Tests of the whole: through the binary, the library as others see it, and what is written about both.

// `cfg(test)` says to clippy that functions beside the tests themselves may `expect`, too.
#[cfg(test)]
mod docs;
#[cfg(test)]
mod e2e;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tidy;
