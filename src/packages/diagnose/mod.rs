//! Interprets the output of package managers, of the vendor's installer and of programs that they call: finds the
//! reason code, and the line that shows it. Every phrase is tied to the program that prints it and to the beginning of
//! its line ([`table`]). Other output, such as that of a package's script, is ignored.

mod table;

use crate::host::Host;
use crate::host::run::Finished;
use crate::outcome::Reason;
use crate::outcome::shown::without_colours;
use crate::target::Distro;
use anyhow::Result;
use std::borrow::Cow;
use table::{Meaning, ROWS};

/// If a program fails and less free space than this is left, the full disk is taken for the cause.
const LITTLE_SPACE: u64 = 16 << 20;

/// A program whose messages are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// apt-get.
    Apt,
    /// dpkg and dpkg-deb.
    Dpkg,
    /// dnf and its library.
    Dnf,
    /// yum 3.
    Yum,
    /// tdnf.
    Tdnf,
    /// zypper.
    Zypper,
    /// rpm and its library, which all of these call.
    Rpm,
    /// `mlnxofedinstall` and what it calls of its own.
    Installer,
    /// DKMS, the compiler that it runs, and kmod.
    Builder,
    /// Any program that reports a system error: its name, a colon, and the C library's message.
    System,
    /// The same, of a disk that is read-only or broken: heard only of a tool that itself writes to the root, because scripts
    /// of packages run where much is read-only on purpose, and often say so.
    Disk,
}

/// The program that printed an output, and its task.
#[derive(Debug, Clone, Copy)]
pub enum Doing {
    /// Asking which packages are to be fetched; from the package sources of the target.
    Resolving(Speaker),
    /// Installing from the local repository, and from nothing else.
    Installing(Speaker),
    /// Running the vendor's installer, or building its modules.
    Vendors,
    /// Running a tool that writes to the root's own disks, and knows nothing of packages.
    Writing,
}

impl Doing {
    fn hears(self, speaker: Speaker) -> bool {
        use Speaker::{Apt, Disk, Dnf, Dpkg, Rpm, System, Tdnf, Yum};
        match self {
            Self::Vendors => speaker != Disk,
            Self::Writing => [System, Disk].contains(&speaker),
            Self::Resolving(manager) | Self::Installing(manager) => {
                let below = if manager == Apt { Dpkg } else { Rpm };
                // `yum` is a link to dnf in Enterprise Linux 8, and to tdnf in Azure Linux, which has dnf as well.
                let namesakes = [Dnf, Yum, Tdnf];
                let is_namesake = namesakes.contains(&manager) && namesakes.contains(&speaker);
                is_namesake || [manager, below, System].contains(&speaker)
            }
        }
    }

    const fn reason(self, meaning: Meaning) -> Reason {
        match (meaning, self) {
            (Meaning::Is(reason), _) => reason,
            (Meaning::NoHeaders | Meaning::NoPackage | Meaning::Unmet, Self::Installing(_)) => {
                Reason::CacheMissing
            }
            (Meaning::NoHeaders, _) => Reason::HeadersMissing,
            (Meaning::NoPackage | Meaning::Unmet, Self::Resolving(_)) => Reason::ResolveFailed,
            (Meaning::NoPackage, Self::Vendors | Self::Writing) => Reason::PrerequisitesMissing,
            (Meaning::Unmet, Self::Vendors | Self::Writing) => Reason::PackageConflict,
        }
    }
}

/// What an output means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// The reason.
    pub reason: Reason,
    /// The line that says it.
    pub line: String,
}

/// Finds the cause in an output. In the table, causes come before their consequences, so the first row that matches any
/// line counts.
pub fn diagnose(output: &str, doing: Doing) -> Option<Diagnosis> {
    let output = without_colours(output);
    let lines: Vec<&str> = output.lines().flat_map(|line| line.split(" | ")).map(beginning).collect();
    ROWS.iter().filter(|row| doing.hears(row.from)).find_map(|row| {
        // Of several matching lines the most informative is used: in a row, patterns with an address come first.
        let line =
            row.begins.iter().find_map(|begin| lines.iter().find(|line| is_of(row.from, begin, line)))?;
        Some(Diagnosis { reason: doing.reason(row.means), line: (*line).to_owned() })
    })
}

/// The reason in an output; `otherwise` if it has no known phrase.
pub fn reason_of(output: &str, doing: Doing, otherwise: Reason) -> Reason {
    diagnose(output, doing).map_or(otherwise, |diagnosis| diagnosis.reason)
}

/// The same, of a program that works on a root: whose last words may be missing because there was no room for them.
pub fn reason_on(host: &Host, output: &str, doing: Doing, otherwise: Reason) -> Result<Reason> {
    let is_vague = matches!(otherwise, Reason::PackageManager | Reason::InstallerFailed);
    match diagnose(output, doing) {
        Some(diagnosis) => Ok(diagnosis.reason),
        None if is_vague && host.root.free_bytes()? < LITTLE_SPACE => Ok(Reason::NoSpace),
        None => Ok(otherwise),
    }
}

/// What a program of a package manager returned that changed a root otherwise than by installing; its failure with the
/// reason that its words or the disk tell.
pub fn require_success(host: &Host, finished: Finished, speaker: Speaker, doing: &str) -> Result<Finished> {
    if finished.code == 0 {
        return Ok(finished);
    }
    let heard = Doing::Installing(speaker);
    let reason = reason_on(host, &finished.output, heard, Reason::PackageManager)?;
    Err(finished.error(reason, doing))
}

/// The error of a program that was to read package sources: one line that says what failed first, and what to do about it where
/// there is a known one.
pub fn told(
    host: &Host,
    finished: &Finished,
    diagnosis: Option<Diagnosis>,
    doing: &str,
    distro: &Distro,
    program: &str,
) -> anyhow::Error {
    let Some(Diagnosis { reason, line }) = diagnosis else {
        return finished.error(Reason::ResolveFailed, doing);
    };
    host.events.info(format!("{doing}: all that was said: {}", finished.tail));
    let way_out = way_out(reason, &line, distro).map(|way| format!("; {way}")).unwrap_or_default();
    reason.error(format!("{doing}: {program} said: {line}{way_out}"))
}

/// Advice for a failure whose cause is that the package sources of an old release have moved.
fn way_out(reason: Reason, line: &str, distro: &Distro) -> Option<String> {
    let is_gone = matches!(reason, Reason::NameUnknown | Reason::NotOnServer | Reason::DownloadFailed);
    let major = distro.version.split('.').next().unwrap_or_default();
    let is_centos = distro.id == "centos" && matches!(major, "6" | "7" | "8");
    if is_gone && (is_centos || line.contains("mirrorlist.centos.org") || line.contains("mirror.centos.org"))
    {
        return Some(format!(
            "the mirrors of CentOS {major} are gone: its packages lie in https://vault.centos.org now; name that in the \
             target's package sources, or give sources that do with --sources"
        ));
    }
    if reason == Reason::NotOnServer && distro.id == "debian" {
        return Some(
            "an old release's packages lie in http://archive.debian.org/debian: name that in the target's package \
             sources, or give sources that do with --sources"
                .to_owned(),
        );
    }
    if reason == Reason::NotOnServer && distro.id == "ubuntu" {
        return Some(
            "an old release's packages lie in http://old-releases.ubuntu.com/ubuntu: name that in the target's \
             package sources, or give sources that do with --sources"
                .to_owned(),
        );
    }
    (reason == Reason::ResolveFailed && line.contains("is not valid yet"))
        .then(|| "check this machine's clock".to_owned())
}

/// A line without what stands before its words: blanks, and the kernel's time.
fn beginning(line: &str) -> &str {
    let line = line.trim();
    let time = line.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    let is_time = |text: &str| text.trim().bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    time.filter(|(time, _)| is_time(time)).map_or(line, |(_, rest)| rest)
}

fn is_of(speaker: Speaker, pattern: &str, line: &str) -> bool {
    if speaker != Speaker::Apt {
        return begins(line, pattern);
    }
    // The severity that apt prints depends on its task, and since version 2.9 it prints `Error:` instead of `E:`.
    let grades = ["E: ", "W: ", "Error: ", "Warning: "];
    let rest = grades.iter().find_map(|grade| line.strip_prefix(grade));
    let line = rest.map_or(Cow::Borrowed(line), |rest| Cow::Owned(format!("E: {rest}")));
    begins(&line, pattern)
}

/// Whether a line begins with a pattern: `*` stands for anything, `@` at its beginning for one word.
fn begins(line: &str, pattern: &str) -> bool {
    let word = pattern.strip_prefix('@');
    let mut pieces = word.unwrap_or(pattern).split('*');
    let first = pieces.next().unwrap_or_default();
    let rest = match word {
        None => line.strip_prefix(first),
        Some(_) => line
            .split_once(first)
            .filter(|(word, _)| !word.is_empty() && !word.contains(char::is_whitespace))
            .map(|(_, rest)| rest),
    };
    let Some(mut rest) = rest else { return false };
    for piece in pieces {
        let Some((_, after)) = rest.split_once(piece) else { return false };
        rest = after;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Speaker; 11] = [
        Speaker::Apt,
        Speaker::Dpkg,
        Speaker::Dnf,
        Speaker::Yum,
        Speaker::Tdnf,
        Speaker::Zypper,
        Speaker::Rpm,
        Speaker::Installer,
        Speaker::Builder,
        Speaker::System,
        Speaker::Disk,
    ];

    #[test]
    fn every_row_is_found_by_the_line_it_was_taken_from() {
        for row in ROWS {
            let doing = if row.from == Speaker::Disk { Doing::Writing } else { Doing::Vendors };
            let found = diagnose(row.line, doing);
            let wanted = Doing::Vendors.reason(row.means);
            assert_eq!(found.map(|found| found.reason), Some(wanted), "{}", row.line);
        }
        for speaker in ALL {
            assert!(ROWS.iter().any(|row| row.from == speaker), "no row of {speaker:?}");
        }
    }

    #[test]
    fn every_beginning_is_anchored_to_the_line() {
        for row in ROWS {
            for begin in row.begins {
                assert!(!begin.starts_with('*') && !begin.is_empty(), "{begin}");
                let in_the_middle = format!("in the middle {}", row.line);
                assert!(!begins(&in_the_middle, begin), "{begin} is found in the middle of a line");
            }
        }
    }

    #[test]
    fn what_a_scriptlet_prints_is_not_taken_for_the_managers_words() {
        let tail = "openibd: device not available | warning: %post(mlnx-ofa_kernel-5.8-1.x86_64) scriptlet failed, \
            exit status 1 | Error in POSTIN scriptlet in rpm package mlnx-ofa_kernel";
        assert_eq!(diagnose(tail, Doing::Installing(Speaker::Dnf)), None);
        // Another manager's words are no better.
        assert_eq!(diagnose("E: Unable to locate package x", Doing::Installing(Speaker::Dnf)), None);
    }

    #[test]
    fn what_a_tool_says_of_the_disk_counts_more_than_what_it_was_doing_and_a_script_is_not_asked() {
        let of = |said: &str, doing| {
            reason_of(&format!("first\n{said}\nE: it failed with 1.\n"), doing, Reason::Internal)
        };
        for (line, reason) in [
            ("zstd: error 70 : Write error : cannot write block : No space left on device ", Reason::NoSpace),
            ("cp: error writing '/boot/x': Disk quota exceeded", Reason::NoSpace),
            ("cp: cannot create 'a': Read-only file system", Reason::ReadOnly),
            ("sh: 1: cannot create /x: I/O error (Input/output error).", Reason::DiskError),
        ] {
            assert_eq!(of(line, Doing::Writing), reason, "{line}");
        }
        assert_eq!(of("No space left on device is what others would say", Doing::Writing), Reason::Internal);
        // A package's script in the sandbox, where the kernel's settings are read-only.
        let script = "sysctl: setting key \"kernel.pid_max\", ignoring: Read-only file system";
        for doing in [Doing::Vendors, Doing::Installing(Speaker::Apt), Doing::Resolving(Speaker::Dnf)] {
            assert_eq!(of(script, doing), Reason::Internal, "{doing:?}");
        }
    }

    #[test]
    fn colours_and_the_kernels_time_do_not_hide_the_words() {
        // xcat-core, issue 3701.
        let coloured =
            "\u{1b}[31mError: The current MLNX_OFED_LINUX is intended for rhel7.5alternate\u{1b}[0m";
        assert_eq!(reason_of(coloured, Doing::Vendors, Reason::InstallerFailed), Reason::WrongPackage);
        let timed = "[   12.345678] Loading of module with unavailable key is rejected";
        assert_eq!(reason_of(timed, Doing::Vendors, Reason::InstallerFailed), Reason::SecureBoot);
    }

    #[test]
    fn the_cause_counts_and_not_what_follows_from_it() {
        let table = [
            (
                Doing::Resolving(Speaker::Apt),
                "E: Unable to locate package rdma-core | W: Failed to fetch http://deb.debian.org/debian/dists/\
                 bookworm/InRelease  Temporary failure resolving 'deb.debian.org'",
                Reason::NameUnknown,
            ),
            (
                Doing::Vendors,
                "Error: One or more required packages for installing OFED-internal are missing. | Run: | zypper \
                 install kernel-source | Failed to build MLNX_OFED_LINUX for 5.3.18-150300.38.53-azure",
                Reason::PrerequisitesMissing,
            ),
            (
                Doing::Installing(Speaker::Apt),
                "rdma-core : Depends: libnl-3-200 but it is not installable\nE: Unable to correct problems, you have \
                 held broken packages.",
                Reason::CacheMissing,
            ),
        ];
        for (doing, output, reason) in table {
            assert_eq!(reason_of(output, doing, Reason::Internal), reason, "{output}");
        }
    }

    #[test]
    fn a_missing_package_is_missed_by_whoever_was_to_bring_it() {
        let said = "E: Unable to locate package linux-headers-6.1.0-1-amd64";
        let of = |doing| reason_of(said, doing, Reason::Internal);
        assert_eq!(of(Doing::Installing(Speaker::Apt)), Reason::CacheMissing);
        assert_eq!(of(Doing::Resolving(Speaker::Apt)), Reason::HeadersMissing);
        assert_eq!(
            reason_of("E: Unable to locate package x", Doing::Vendors, Reason::Internal),
            Reason::PrerequisitesMissing
        );
    }

    proptest::proptest! {
        #[test]
        fn any_output_can_be_read(output in "(E: |\\[|\u{1b}|\r|Error: |: |[ -~é\n]){0,80}") {
            let _ = diagnose(&output, Doing::Vendors);
        }
    }
}
