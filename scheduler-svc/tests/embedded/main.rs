//! The embedded store and what can happen to its folder: kills at any moment, torn writes, rot.

mod damage;
#[path = "../../../tests/harness/faulty.rs"]
mod faulty;
mod kill;
mod model;
