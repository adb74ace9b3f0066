//! One file in cloud-init's language, as cloud-init reads it.

use crate::host::Host;
use crate::host::run::Cmd;
use anyhow::Result;
use serde_yaml::Value;

/// What cloud-init knows of the VM that runs, and fills templates with.
const INSTANCE_DATA: &str = "/run/cloud-init/instance-data.json";

/// What a file holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Text {
    /// There is no such file.
    Missing,
    /// Keys and values; those of a template as cloud-init has filled it.
    Yaml(Value),
    /// A template, and no cloud-init at hand that could fill it.
    Template(String),
    /// Something else: an archive of several parts, a script, or broken.
    Other(String),
}

/// Reads a file. A template is given to cloud-init itself, where it runs and knows what VM this is.
pub(super) fn text(host: &Host, path: &str) -> Result<Text> {
    let Some(bytes) = host.root.read(path)? else { return Ok(Text::Missing) };
    // Compressed user data is not one of the forms that are read here.
    let Ok(text) = String::from_utf8(bytes) else { return Ok(Text::Other("it is not text".to_owned())) };
    if is_template(&text) {
        return Ok(match rendered(host, path)? {
            Some(text) => parsed(&text),
            None => Text::Template(text),
        });
    }
    Ok(parsed(&text))
}

/// By its first line (cloudinit/templater.py, `TYPE_MATCHER`).
fn is_template(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default().to_ascii_lowercase();
    let kind = first.strip_prefix("##").and_then(|rest| rest.trim_start().strip_prefix("template:"));
    kind.is_some_and(|kind| kind.trim() == "jinja")
}

fn parsed(text: &str) -> Text {
    match serde_yaml::from_str::<Value>(text) {
        Ok(value) => Text::Yaml(value),
        Err(error) => Text::Other(error.to_string()),
    }
}

fn rendered(host: &Host, path: &str) -> Result<Option<String>> {
    if !host.is_running_system() || !host.root.exists(INSTANCE_DATA) {
        return Ok(None);
    }
    let render = Cmd::new("cloud-init").args(["devel", "render", path]).captured();
    match host.run(&render) {
        Ok(finished) => Ok(Some(finished.stdout).filter(|_| finished.code == 0)),
        Err(error) => {
            host.cancel.check()?;
            host.events.info(format!("cloud-init did not fill the template `{path}`: {error:#}"));
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_known_by_its_first_line() {
        for text in ["## template: jinja\nx: 1", "##template:jinja\r\n", "## Template: Jinja\n"] {
            assert!(is_template(text), "{text}");
        }
        for text in ["# template: jinja\n", "#cloud-config\n## template: jinja\n", "## template: basic\n", ""]
        {
            assert!(!is_template(text), "{text}");
        }
    }
}
