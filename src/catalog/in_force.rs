//! Which catalogue is in force: the one that the settings name, else the later of two: the one that `catalog update`
//! brought to this machine, and the one that this program was built with. A catalogue is knowledge of the program and not of
//! a root, so it is this machine's also where another root is worked on, as the program is.

use super::{Catalog, EMBEDDED, EMBEDDED_NAME};
use crate::host::owner::{owners, read_owned};
use crate::settings::Settings;
use anyhow::Result;
use std::borrow::Cow;
use std::path::Path;

/// The catalogue that `catalog update` brought.
pub const UPDATED: &str = "/var/lib/ofedctl/catalog.yaml";
/// What the first line of such a file begins with; the address follows.
const FROM: &str = "# From ";

impl Catalog {
    /// The text of the catalogue in force, and its name.
    pub fn text(settings: &Settings) -> Result<(&str, Cow<'static, str>)> {
        if let Some(file) = &settings.catalog {
            return Ok((file, Cow::Owned(read_owned(Path::new(file), owners(settings)?)?)));
        }
        Ok(match later(Path::new(UPDATED), settings)? {
            Some(text) => (UPDATED, Cow::Owned(text)),
            None => (EMBEDDED_NAME, Cow::Borrowed(EMBEDDED.as_str())),
        })
    }
}

/// A file's text, if there is such a file and it was issued after the built-in catalogue: a newer program may know more
/// than a catalogue that was brought to an older one.
fn later(file: &Path, settings: &Settings) -> Result<Option<String>> {
    if !file.exists() {
        return Ok(None);
    }
    let text = read_owned(file, owners(settings)?)?;
    Ok((issued(&text) > issued(&EMBEDDED)).then_some(text))
}

/// The day a catalogue was issued, found without the cost of parsing the whole text at each boot.
pub fn issued(text: &str) -> Option<&str> {
    let day = text.lines().find_map(|line| line.strip_prefix("issued:"))?;
    let day = day.split('#').next().unwrap_or(day);
    Some(day.trim().trim_matches(['"', '\'']))
}

/// Whether a text is a day, `2026-11-26`. Such texts sort by time.
pub(super) fn is_day(text: &str) -> bool {
    text.len() == 10 && humantime::parse_rfc3339(&format!("{text}T00:00:00Z")).is_ok()
}

/// A catalogue's text with the address it came from.
pub fn with_origin(text: &str, address: &str) -> String {
    format!("{FROM}{address}\n{text}")
}

/// The address that a catalogue came from, if it was brought from one.
pub fn origin(text: &str) -> Option<&str> {
    text.lines().next()?.strip_prefix(FROM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_catalogue_that_was_issued_later_takes_the_place_of_the_built_in_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("catalog.yaml");
        let settings = Settings::default();
        assert_eq!(later(&file, &settings).unwrap(), None);
        for (day, is_taken) in [("2026-01-02", false), ("'9999-12-31' # far away", true)] {
            let text = format!("schema_version: 1\nissued: {day}\nlines: {{}}\n");
            std::fs::write(&file, &text).unwrap();
            assert_eq!(later(&file, &settings).unwrap(), is_taken.then_some(text), "{day}");
        }
        std::fs::write(&file, "schema_version: 1\nlines: {}\n").unwrap();
        assert_eq!(later(&file, &settings).unwrap(), None);
    }

    #[test]
    fn the_built_in_catalogue_has_a_day() {
        assert!(issued(&EMBEDDED).is_some_and(is_day));
        assert!(!is_day("2026-13-01") && !is_day("tomorrow") && !is_day("2026-1-1"));
    }

    #[test]
    fn the_address_of_an_update_is_kept_with_it() {
        let text = with_origin("schema_version: 1\n", "oci://registry.example/catalog:1");
        assert_eq!(origin(&text), Some("oci://registry.example/catalog:1"));
        assert_eq!(origin(&EMBEDDED), None);
    }
}
