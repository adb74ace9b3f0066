//! `execute_command`: how a template has a command run as root, in the form of Packer's own shell provisioner.
//!
//! There a script lies in a file of the guest, and `{{ .Path }}` is that file; `{{ .Vars }}` are variables before it.
//! Here it is the same. `{{ .Command }}` is the file, too: it can be run, and its name is a word that means the same
//! with quotes around it and without.

/// A way to run a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExecuteCommand(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Text that is taken as it is.
    Text(String),
    /// The script.
    Script,
    /// Variables of the script, of which there are none.
    Vars,
    /// The file that holds the variables instead, which then holds none.
    VarsFile,
}

/// What stands in a template for the script.
const SCRIPTS: [&str; 2] = ["{{ .Command }}", "{{ .Path }}"];

impl ExecuteCommand {
    /// Reads a template; the error says what is not understood.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, action)) = rest.split_once("{{") {
            let (action, after) =
                action.split_once("}}").ok_or_else(|| "has a `{{` that nothing closes".to_owned())?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(match action.trim() {
                ".Command" | ".Path" => Part::Script,
                ".Vars" => Part::Vars,
                ".EnvVarFile" => Part::VarsFile,
                other => {
                    return Err(format!(
                        "has `{{{{ {other} }}}}` in it, which means nothing here; `{{{{ .Command }}}}`, \
                         `{{{{ .Path }}}}` and `{{{{ .Vars }}}}` do, and variables of a template are written in HCL2"
                    ));
                }
            });
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        if parts.contains(&Part::Script) {
            return Ok(Self(parts));
        }
        Err(format!("has neither `{}` nor `{}` in it", SCRIPTS[0], SCRIPTS[1]))
    }

    /// The command that runs a script, whose path is one word of shell as it is.
    pub(super) fn around(&self, path: &str) -> String {
        let written = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Script => path.to_owned(),
            Part::Vars => String::new(),
            Part::VarsFile => "/dev/null".to_owned(),
        };
        self.0.iter().map(written).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_that_templates_write_become_commands() {
        for (template, command) in [
            ("sudo -n sh -c {{ .Command }}", "sudo -n sh -c /t/step"),
            ("sudo sh -c '{{ .Command }}'", "sudo sh -c '/t/step'"),
            ("echo pw | sudo -S sh -c {{.Command}}", "echo pw | sudo -S sh -c /t/step"),
            ("chmod +x {{ .Path }}; {{ .Vars }} {{ .Path }}", "chmod +x /t/step;  /t/step"),
            (
                "echo 'pass' | {{ .Vars }} sudo -E -S sh '{{ .Path }}'",
                "echo 'pass' |  sudo -E -S sh '/t/step'",
            ),
            (". {{ .EnvVarFile }}; sudo bash -eux '{{ .Path }}'", ". /dev/null; sudo bash -eux '/t/step'"),
        ] {
            assert_eq!(ExecuteCommand::parse(template).unwrap().around("/t/step"), command);
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (template, says) in [
            ("sudo sh", "has neither `{{ .Command }}` nor `{{ .Path }}` in it"),
            ("{{ .Vars }} sudo sh", "has neither"),
            ("sudo {{ .Command", "has a `{{` that nothing closes"),
            ("echo {{user `pw`}} | sudo -S {{ .Path }}", "has `{{ user `pw` }}` in it"),
            ("{{ .Cmd }}", "has `{{ .Cmd }}` in it"),
        ] {
            let error = ExecuteCommand::parse(template).unwrap_err();
            assert!(error.starts_with(says), "{error}");
        }
    }
}
