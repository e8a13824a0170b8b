//! The oracle against itself: finite differences, identities, and what it refuses.

mod finite_difference;
mod identities;
mod interventions;
mod model;
mod ops;
mod ops_attention;
mod random;
mod trace;
