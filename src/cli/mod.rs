//! The command line: parses it, calls the pipeline, and prints the outcome as text or JSON.

mod answer;
mod args;
mod cache;
mod catalog;
mod cloud_init;
mod columns;
mod command_line;
mod commands;
mod detect;
mod documents;
mod explain;
mod extension;
mod packer;
mod progress;
mod report;
mod settings;
mod status;
mod support_bundle;
mod terminal;
mod words;

use crate::host::cancel::Cancel;
use crate::outcome::{ExitCode, Outcome, Reason};
use crate::remedies::Situation;
use crate::settings::nearest_of;
use crate::status::verdict;
use answer::{Answer, Call, outcome_json};
use anyhow::Result;
use clap::{CommandFactory, FromArgMatches};
use command_line::{Cli, Command};
use documents::{schema_name, with_envelope};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::ffi::OsString;
use std::io;

/// Runs one command line and returns the code to exit with. Prints everything there is to print.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    // What could not be parsed cannot say whether JSON is wanted; the words themselves can.
    let wants_json = args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--json");
    let parsed = words::with_examples(Cli::command()).try_get_matches_from(args);
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return not_a_command(&error, wants_json),
    };
    let answer = Cancel::on_signals().map(|cancel| {
        let call = Call { quiet: cli.quiet, cancel: &cancel, situation: RefCell::default() };
        dispatch(&cli, &call).unwrap_or_else(|error| failed(&error, &call.situation.borrow()))
    });
    let answer = answer.unwrap_or_else(|error| failed(&error, &Situation::default()));
    let printed = if cli.json {
        let schema = schema_name(&cli.command, &answer);
        print_json(answer.json, schema, &answer.outcome)
    } else if cli.command.prints_document() {
        terminal::document(&answer.text)
    } else {
        terminal::result(&answer.text)
    };
    let outcome = match printed {
        Ok(()) => answer.outcome,
        Err(error) => Outcome::from(&anyhow::Error::from(error).context("cannot write the result")),
    };
    if !outcome.is_success() {
        terminal::say_failure(&verdict(&outcome));
    }
    outcome.exit_code()
}

/// A failure as an answer, with the remedy that fits the situation.
fn failed(error: &anyhow::Error, situation: &Situation) -> Answer {
    let outcome = situation.outcome(error);
    let json = outcome_json(&outcome);
    Answer { outcome, text: String::new(), json }
}

fn print_json(document: Value, schema: &str, outcome: &Outcome) -> io::Result<()> {
    terminal::json(&format!("{:#}\n", with_envelope(document, schema, outcome)))
}

fn dispatch(cli: &Cli, call: &Call) -> Result<Answer> {
    match &cli.command {
        Command::Detect(args) => detect::detect(call, args),
        Command::Plan(args) => commands::plan(call, args),
        Command::Stage(args) => commands::stage(call, args),
        Command::Bake(args) => commands::bake(call, args),
        Command::Install(args) => commands::install(call, args),
        Command::Verify(args) => commands::verify(call, args),
        Command::Status(args) => status::status(call, args),
        Command::Report(args) => report::report(call, args),
        Command::SupportBundle(args) => support_bundle::support_bundle(call, args),
        Command::Uninstall(args) => commands::uninstall(call, args),
        Command::Generalize(args) => commands::generalize(call, args),
        Command::Cache(args) => cache::cache(call, args),
        Command::Catalog(args) => catalog::catalog(call, args),
        Command::CloudInit(args) => cloud_init::cloud_init(call, args),
        Command::Packer(args) => packer::packer(args),
        Command::Extension(args) => extension::extension(call, args),
        Command::Settings(args) => settings::settings(call, args),
        Command::Explain { what, name } => {
            let (text, json) = explain::explain(what.as_deref(), name.as_deref())?;
            Ok(Answer::listed(text, json))
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "ofedctl", &mut script);
            Ok(printed(words::with_bundles(*shell, &String::from_utf8_lossy(&script))))
        }
        Command::Man { command } => Ok(printed(String::from_utf8_lossy(&manual_page(command)?).into_owned())),
    }
}

fn printed(text: String) -> Answer {
    let json = json!({"schema_version": 1, "text": &text});
    Answer::listed(text, json)
}

/// The manual page of the program, or of the command that the words lead to.
fn manual_page(words: &[String]) -> Result<Vec<u8>> {
    let mut program = words::with_examples(Cli::command());
    // Gives the commands below it the names that they are called by.
    program.build();
    let mut command = &program;
    for word in words {
        let found = command.find_subcommand(word);
        command = found.ok_or_else(|| {
            let near = nearest_of(word, command.get_subcommands().map(clap::Command::get_name));
            let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            Reason::Usage.error(format!("there is no command `ofedctl {}`{hint}", words.join(" ")))
        })?;
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    Ok(page)
}

/// clap's refusal as one line, as JSON too where that is wanted, or the help that was asked for.
fn not_a_command(error: &clap::Error, wants_json: bool) -> ExitCode {
    use clap::error::ErrorKind;
    let text = error.to_string();
    // The exit code, and where something is wrong a line on standard error, say the same where this cannot be written.
    let as_json = |document: Value, schema: &str, outcome: &Outcome| {
        let _ = print_json(document, schema, outcome);
    };
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        if wants_json {
            let document = json!({"schema_version": 1, "text": text});
            as_json(document, "envelope", &Outcome::new(Reason::Listed, ""));
        } else {
            let _ = terminal::result(&text);
        }
        return ExitCode::Success;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        if wants_json {
            let outcome = Outcome::new(Reason::Usage, "a command, or a part of it, is missing");
            as_json(outcome_json(&outcome), "outcome", &outcome);
        }
        terminal::say(&text);
        return ExitCode::Usage;
    }
    let outcome = Outcome::new(Reason::Usage, refusal(&text));
    if wants_json {
        as_json(outcome_json(&outcome), "outcome", &outcome);
    }
    terminal::say_failure(&verdict(&outcome));
    ExitCode::Usage
}

/// What clap says against a command line, in one line, with the words that it finds similar as a question.
fn refusal(text: &str) -> String {
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    let (tips, said): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with("tip: "));
    let said = said.join(" ");
    let said = said.strip_prefix("error: ").unwrap_or(&said);
    let similar = tips.iter().filter(|tip| tip.contains("similar"));
    // clap puts the most similar word last.
    let words =
        similar.flat_map(|tip| tip.split('\'').skip(1).step_by(2).collect::<Vec<_>>().into_iter().rev());
    let words: Vec<String> = words.map(|word| format!("`{word}`")).collect();
    match words.as_slice() {
        [] => said.to_owned(),
        words => format!("{said}; did you mean {}?", words.join(" or ")),
    }
}
