//! Arguments of which completions know what they may be, and the examples that each `--help` ends with.

use crate::catalog::Catalog;
use crate::catalog::coverage::Coverage;
use crate::facts::vm_size_table::{FAMILIES, Fabric};
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::error::Error;
use clap::{Arg, Command};
use clap_complete::Shell;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::sync::LazyLock;

/// A text that may be anything; completions offer these words. What is wrong with another one is said by the setting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words(fn() -> Vec<String>);

impl TypedValueParser for Words {
    type Value = String;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<String, Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        // clap keeps the words for as long as the program runs.
        Some(Box::new((self.0)().into_iter().map(|word| PossibleValue::new(&*String::leak(word)))))
    }
}

/// The VM sizes with an adapter that this program serves.
pub(super) const SIZES: Words = Words(|| {
    let families = FAMILIES.iter().filter(|family| family.fabric == Fabric::SrIov);
    families.flat_map(|family| family.sizes).map(|size| format!("Standard_{size}")).collect()
});

/// The distributions of the built-in catalogue.
pub(super) const DISTROS: Words = Words(|| IN_CATALOGUE.clone());
/// They are asked for once for each argument and shell, and reading a catalogue takes some milliseconds.
static IN_CATALOGUE: LazyLock<Vec<String>> = LazyLock::new(|| {
    let rows = Catalog::embedded().map(|catalog| Coverage::from_catalog(&catalog).rows).unwrap_or_default();
    let names: BTreeSet<String> = rows.iter().map(|row| row.distro.to_string()).collect();
    names.into_iter().collect()
});

/// The adapters.
pub(super) const NICS: Words = Words(|| words(&["cx3-pro", "cx5", "cx6", "cx7", "cx8"]));
/// The drivers.
pub(super) const DRIVERS: Words = Words(|| words(&["auto", "mlnx_ofed", "doca", "inbox"]));
/// What stands in a script of completions for the bundles of a cache, until [`with_bundles`] puts in how to ask for them.
const BUNDLES_MARK: &str = "OFEDCTL_BUNDLES";
/// The bundles of a cache, which only the program that runs can list.
pub(super) const BUNDLES: Words = Words(|| words(&[BUNDLES_MARK]));

/// How each shell asks for the bundles of the cache that its command line names.
const ASK_BASH: &str = r#"
_ofedctl_bundles() {
    local i cache=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        [[ ${COMP_WORDS[i]} == --cache ]] && cache=(--cache "${COMP_WORDS[i + 1]}")
    done
    "${COMP_WORDS[0]}" --quiet cache list --names "${cache[@]}" 2>/dev/null
}
"#;
const ASK_ZSH: &str = r#"
_ofedctl_bundles() {
    local -a cache
    local at=${words[(I)--cache]}
    (( at )) && cache=(--cache "${words[at + 1]}")
    compadd -- ${(f)"$(_call_program bundles ofedctl --quiet cache list --names ${(q)cache} 2>/dev/null)"}
}
"#;
const ASK_FISH: &str = r#"
function __fish_ofedctl_bundles
    set -l words (commandline -opc)
    set -l cache
    if set -l at (contains -i -- --cache $words)
        set cache --cache $words[(math $at + 1)]
    end
    ofedctl --quiet cache list --names $cache 2>/dev/null
end
complete -c ofedctl -n "__fish_seen_subcommand_from cache; and __fish_seen_subcommand_from export" -f -a "(__fish_ofedctl_bundles)"
"#;

/// A script of completions that asks the program for the bundles, where the shell can.
pub(super) fn with_bundles(shell: Shell, script: &str) -> String {
    match shell {
        Shell::Bash => script.replace(BUNDLES_MARK, "$(_ofedctl_bundles)") + ASK_BASH,
        Shell::Zsh => {
            let script = script.replace(&format!("({BUNDLES_MARK})"), "_ofedctl_bundles");
            // The last lines call the function that completes, so what it needs stands before them.
            match script.rfind("\nif [ ") {
                Some(at) => format!("{}{ASK_ZSH}{}", &script[..at], &script[at..]),
                None => script,
            }
        }
        Shell::Fish => {
            let asked = format!("-a \"{BUNDLES_MARK}\\t''\"");
            ASK_FISH.trim_start().to_owned() + &script.replace(&asked, "-a \"(__fish_ofedctl_bundles)\"")
        }
        _ => script.replace(BUNDLES_MARK, ""),
    }
}

/// The levels of trust.
pub(super) const TRUST: Words = Words(|| words(&["digest", "signed", "first-use"]));

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Examples of the commands, by their words.
const EXAMPLES: [(&str, &str); 34] = [
    ("detect", "detect --root /mnt/image"),
    ("plan", "plan --distro ubuntu22.04 --vm-size Standard_HB120rs_v3"),
    ("stage", "stage --root /mnt/image --vm-size Standard_HB120rs_v3 --cache C"),
    ("bake", "bake --root /mnt/image --vm-size Standard_HB120rs_v3 --offline"),
    ("install", "install --offline"),
    ("verify", "verify --traffic"),
    ("status", "status --json --exit-code"),
    ("report", "report --root /mnt/image --out report.html"),
    ("support-bundle", "support-bundle --out help.tar.gz"),
    ("uninstall", "uninstall --root /mnt/image"),
    ("generalize", "generalize --root /mnt/image"),
    ("cache list", "cache list --cache /srv/ofed-cache"),
    ("cache verify", "cache verify --cache /srv/ofed-cache"),
    ("cache export", "cache export --out bundles.tar"),
    ("cache import", "cache import bundles.tar"),
    ("cache push", "cache push oci://registry.example/ofed:hbv3"),
    ("cache pull", "cache pull oci://registry.example/ofed:hbv3"),
    ("cache sign", "cache sign --key release.pem"),
    ("cache gc", "cache gc --damaged"),
    ("cloud-init run", "cloud-init run"),
    ("cloud-init setup", "cloud-init setup --root /mnt/image"),
    ("catalog list", "catalog list"),
    ("catalog check", "catalog check catalog.yaml"),
    ("catalog import", "catalog import resources.json --out catalog.yaml"),
    ("catalog update", "catalog update oci://registry.example/catalog:1"),
    ("catalog push", "catalog push catalog.yaml oci://registry.example/catalog:1"),
    ("catalog diff", "catalog diff catalog.yaml"),
    ("packer setup", "packer setup"),
    ("extension package", "extension package --out InfiniBandDriverLinux-1.0.0.0.zip"),
    ("extension enable", "extension enable"),
    ("settings", "settings --root /mnt/image --set offline=true"),
    ("explain", "explain schema receipt"),
    ("completions", "completions bash"),
    ("man", "man cache list"),
];

/// The command line with an example at the end of each help. What has none are the handler's commands, which the VM agent
/// calls.
pub(super) fn with_examples(mut program: Command) -> Command {
    for (place, line) in EXAMPLES {
        let text = format!("Example:\n  ofedctl {line}");
        program = match place.split_once(' ') {
            None => program.mut_subcommand(place, |command| command.after_help(text)),
            Some((above, place)) => program.mut_subcommand(above, |command| {
                command.mut_subcommand(place, |command| command.after_help(text))
            }),
        };
    }
    program
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command_line::Cli;
    use clap::CommandFactory;

    #[test]
    fn each_shell_asks_for_bundles_in_its_own_way() {
        let zsh = with_bundles(Shell::Zsh, &format!("x ({BUNDLES_MARK})\nif [ y"));
        assert!(zsh.starts_with("x _ofedctl_bundles") && zsh.ends_with("\nif [ y"), "{zsh}");
        let fish = with_bundles(Shell::Fish, &format!("-a \"{BUNDLES_MARK}\\t''\""));
        assert!(fish.ends_with("-a \"(__fish_ofedctl_bundles)\""), "{fish}");
        assert_eq!(with_bundles(Shell::Elvish, BUNDLES_MARK), "");
    }

    #[test]
    fn every_example_is_a_command_line_that_is_understood() {
        for (place, line) in EXAMPLES {
            assert!(line.starts_with(place), "{line}");
            let words = std::iter::once("ofedctl").chain(line.split(' '));
            with_examples(Cli::command()).try_get_matches_from(words).unwrap();
        }
    }

    #[test]
    fn every_command_that_people_call_has_an_example() {
        let program = with_examples(Cli::command());
        for command in program.get_subcommands() {
            let verbs: Vec<_> = command.get_subcommands().collect();
            let all = if verbs.is_empty() { vec![command] } else { verbs };
            for command in all.into_iter().filter(|_| command.get_name() != "extension") {
                assert!(command.get_after_help().is_some(), "{}", command.get_name());
            }
        }
    }

    #[test]
    fn completions_know_sizes_distributions_and_drivers() {
        let mut script = Vec::new();
        clap_complete::generate(clap_complete::Shell::Bash, &mut Cli::command(), "ofedctl", &mut script);
        let script = String::from_utf8(script).unwrap();
        for word in ["Standard_HB120rs_v3", "ubuntu22.04", "mlnx_ofed", "cx3-pro", "first-use"] {
            assert!(script.contains(word), "{word}");
        }
        assert!(!script.contains("Standard_A8"), "a size that no driver serves");
    }
}
