//! Finds the packages of the distribution that `mlnxofedinstall` reports as missing. Its message ends with the command
//! to run, or that failed: `yum install tcl tk`, `zypper install kernel-source`, `apt-get install -y -o X::Y=z tcl tk`.

const COMPLAINT: &str = "required packages for installing";
const MANAGERS: [&str; 6] = ["yum", "dnf", "tdnf", "microdnf", "zypper", "apt-get"];

/// The listed package names; none if the output has no such message. Lines may have been joined by ` | `.
pub(super) fn named(said: &str) -> Vec<String> {
    let Some((_, complaint)) = said.split_once(COMPLAINT) else { return Vec::new() };
    let mut names: Vec<String> = Vec::new();
    for line in complaint.lines().flat_map(|line| line.split(" | ")) {
        let mut words = line.split_whitespace().skip_while(|word| !MANAGERS.contains(word)).skip(1);
        if words.next() != Some("install") {
            continue;
        }
        for name in words.filter(|word| is_name(word)) {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }
    names
}

/// Whether a word is a package name and not an option or its value: a name begins with a letter or a digit (Debian
/// policy 5.6.1; rpm's `%{NAME}`), and capabilities of rpm packages may have brackets.
fn is_name(word: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "+-._:()".contains(c);
    word.starts_with(|c: char| c.is_ascii_alphanumeric()) && word.chars().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_packages_are_those_of_the_command_it_prints() {
        let table = [
            (
                "Error: One or more required packages for installing MLNX_OFED_LINUX are missing.\n\
                 Please install the missing packages using your Linux distribution Package Management tool.\n\
                 Run:\nyum install tcl tk perl(Pod::Html) kernel-devel-4.18.0-553.el8_10\n",
                "tcl tk perl(Pod::Html) kernel-devel-4.18.0-553.el8_10",
            ),
            (
                "Error: One or more required packages for installing OFED-internal are missing. | Please install the \
                 missing packages. | Run: | zypper install kernel-source | Failed to build MLNX_OFED_LINUX for 5.3",
                "kernel-source",
            ),
            (
                "One or more required packages for installing MLNX_OFED_LINUX are missing.\nAttempting to install the \
                 following missing packages:\nquilt m4\nFailed command: apt-get install -y -o \
                 Dpkg::Options::='--force-confdef' -o Dpkg::Options::='--force-confold' quilt m4\nSee /t/general.log",
                "quilt m4",
            ),
            ("Run: yum install tcl", ""),
            ("required packages for installing nothing", ""),
        ];
        for (said, wanted) in table {
            assert_eq!(named(said).join(" "), wanted, "{said}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_words_make_an_option_of_a_name(words in "( |\n|required packages for installing|yum install|-[a-z]|[ -~é]){0,60}") {
            proptest::prop_assert!(named(&words).iter().all(|name| !name.starts_with('-')));
        }
    }
}
