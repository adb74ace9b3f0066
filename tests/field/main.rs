//! Problems that users have reported with images of all kinds, reproduced in small tests.
//!
//! Each test names the public report or the real file that it is shaped after.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../rpm/packages.rs"]
#[allow(dead_code, reason = "the tests of rpm use the rest")]
mod packages;
#[path = "../rpm/roots.rs"]
#[allow(dead_code, reason = "the tests of rpm use the rest")]
mod roots;
#[path = "../rpm/tdnf_program.rs"]
#[allow(dead_code, reason = "the tests of rpm use the rest")]
mod tdnf_program;

mod agents;
mod archives;
mod around;
mod beside_driver;
mod broken_state;
mod expired;
mod first_boot;
mod full_disks;
mod interrupted;
mod killed;
mod managers;
mod releases;
mod remedies;
mod removal;
mod renderers;
mod score;
mod score_doca;
mod score_provoked;
mod score_rows;
mod sizes;
mod source_sets;
mod sources_apt;
mod sources_inside;
mod sources_rpm;
mod sources_tdnf;
mod surroundings;
mod terminal;
mod updates;
mod vendors;
