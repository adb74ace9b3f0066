//! The entry point for Packer: this program is a Packer plugin with one provisioner, `ofed`, which installs the driver
//! on the machine that Packer builds, through Packer's own communicator. `protocol` implements the plugin protocol,
//! `service` answers Packer's calls, `provision` does the work, and `guest` runs commands on the machine.

mod attributes;
mod bake;
mod collect;
mod configs;
mod decode;
mod describe;
mod elf;
mod execute_command;
mod guest;
mod protocol;
mod provision;
mod root_access;
mod service;
mod setup;
mod shell;
mod staging;
mod ui;
mod upload;
mod wanted;
mod wording;

pub use attributes::markdown_list;
pub use setup::{Installed, SOURCE, setup};

use crate::host::{cancel::Cancel, variable};
use crate::outcome::ExitCode;
use protocol::{COOKIE, Dialect};
use std::ffi::OsString;
use std::io::Write;

/// Does what Packer asks, if it is Packer that called: `describe`, `start provisioner NAME`, or, before 1.7, nothing
/// at all but a variable. `args` begins with the program's name.
pub fn called(args: &[OsString]) -> Option<ExitCode> {
    let rest = args.get(1..).unwrap_or_default();
    let verb = rest.first().and_then(|verb| verb.to_str());
    let by_packer = variable(COOKIE.0).is_some_and(|cookie| cookie == COOKIE.1);
    let done = match verb {
        Some("describe") if rest.len() == 1 => print_description(),
        Some("start") | None if by_packer => serve(rest),
        Some("start") => Err("this is how Packer starts a plugin; see `ofedctl packer --help`".to_owned()),
        _ => return None,
    };
    Some(match done {
        Ok(()) => ExitCode::Success,
        Err(what) => {
            // Packer puts this into its log, and passes standard output over.
            let _ = writeln!(std::io::stderr().lock(), "ofedctl: {what}");
            ExitCode::Usage
        }
    })
}

fn print_description() -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(describe::description().as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| format!("cannot write: {error}"))
}

fn serve(args: &[OsString]) -> Result<(), String> {
    let dialect = Dialect::parse(args)?;
    // A Ctrl-C reaches every process of the terminal; Packer decides what ends when.
    let _deaf = Cancel::on_signals().map_err(|error| format!("{error:#}"))?;
    protocol::serve(dialect, |broker| service::handler(dialect, broker))
        .map_err(|error| format!("the connection to Packer failed: {error}"))
}

/// Reads what Packer sends, for the fuzz targets.
#[cfg(any(debug_assertions, feature = "fuzzing"))]
pub fn read_wire(bytes: &[u8]) {
    protocol::read_wire(bytes);
}
