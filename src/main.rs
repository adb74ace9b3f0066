//! The `ofedctl` program: runs one command line and exits with one of the documented codes, whatever happens.

use ofedctl::doors::packer;
use ofedctl::host::sandbox;
use ofedctl::outcome::{ExitCode, Outcome, Reason};
use ofedctl::{cli, status};
use std::ffi::OsString;
use std::io::Write;
use std::panic::catch_unwind;

fn main() -> std::process::ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = inner_process(&args) {
        return code;
    }
    let run = || packer::called(&args).unwrap_or_else(|| cli::main(args.clone()));
    let code = catch_unwind(run).unwrap_or_else(|_| {
        // The panic's own message is on standard error already.
        complain(&status::verdict(&Outcome::new(Reason::Internal, "a bug in ofedctl")));
        ExitCode::Failed
    });
    code.into()
}

/// The processes between a run and the program it starts inside a root; their code is the program's.
fn inner_process(args: &[OsString]) -> Option<std::process::ExitCode> {
    let verb = args.get(1)?.to_str()?;
    let rest: Vec<String> = args.iter().skip(2).map(|arg| arg.to_string_lossy().into_owned()).collect();
    let ended = match verb {
        sandbox::ENTER => sandbox::enter(&rest),
        sandbox::BECOME => sandbox::become_program(&rest),
        _ => return None,
    };
    let code = ended.unwrap_or_else(|error| {
        complain(&format!("{error:#}"));
        ExitCode::Failed.number()
    });
    Some(code.into())
}

fn complain(what: &str) {
    let _ = writeln!(std::io::stderr().lock(), "ofedctl: {what}");
}
