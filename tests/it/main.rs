//! Tests of the whole: through the binary, the library as others see it, and what is written about both.

mod docs;
#[cfg(test)]
mod e2e;
#[cfg(test)]
mod tidy;
