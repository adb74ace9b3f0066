//! Lists of mirrors of apt (apt-transport-mirror(1)), where this machine's apt stands in for the target's: it is given one of
//! them, and the next where that one fails.

use super::super::Resolution;
use crate::outcome::Reason;

/// The mirrors of one list, the one that apt was given first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mirrors(pub(super) Vec<String>);

/// The mirrors in a list, the preferred first: one in each line, with its priority behind it.
pub(super) fn listed(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let priority = |line: &&str| {
        let named = line.split_whitespace().find_map(|word| word.strip_prefix("priority:")?.parse().ok());
        named.unwrap_or(u32::MAX)
    };
    let mut lines: Vec<&str> = lines.collect();
    lines.sort_by_key(priority);
    lines.into_iter().filter_map(|line| line.split_whitespace().next()).collect()
}

/// Lists have hundreds of mirrors, and each turn reads all package sources.
const MOST_TURNS: usize = 6;

/// How many turns there are: until every mirror of the longest list had one, within reason.
pub(super) fn turns(lists: &[Mirrors]) -> usize {
    lists.iter().map(|list| list.0.len()).max().unwrap_or(1).min(MOST_TURNS)
}

/// Whether a failure is one of a mirror, so that another may do better.
pub(super) fn is_of_mirror(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NameUnknown
            | Reason::DownloadFailed
            | Reason::ServerBusy
            | Reason::ServerSlow
            | Reason::ServerUntrusted
            | Reason::NotOnServer
            | Reason::AccessDenied
    )
}

/// Names for each package the other mirrors it can be had from.
pub(super) fn add_others(lists: &[Mirrors], resolution: &mut Resolution) {
    for download in &mut resolution.downloads {
        let of = |list: &Mirrors| {
            let (chosen, others) = list.0.split_first()?;
            let rest = download.url.strip_prefix(chosen.trim_end_matches('/'))?.strip_prefix('/')?;
            let others = others.iter().filter(|other| other.starts_with("http"));
            Some(others.map(|other| format!("{}/{rest}", other.trim_end_matches('/'))).collect())
        };
        download.others = lists.iter().find_map(of).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_taken_by_their_priority_and_those_without_one_last() {
        let text = "# ours\nhttp://c/\nhttp://b/\tpriority:2\ttype:index\n\nhttp://a/ priority:1\n";
        assert_eq!(listed(text), ["http://a/", "http://b/", "http://c/"]);
    }
}
