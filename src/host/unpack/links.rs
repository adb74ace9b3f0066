//! The symbolic links of an archive, and where they lead when each passes through others. `MLNX_OFED` 4.9 and 5.0 have
//! relative links among their folders. A link may contain `..`, but must not leave the archive. By its text alone `d/f
//! -> e/../../etc` stays inside; together with the link `d/e -> ..` it does not.

use super::super::cancel::Cancel;
use super::refusal::refused;
use anyhow::Result;
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

/// The most links that are followed in a row, as in Linux (`MAXSYMLINKS`).
const MAX_CHAIN: usize = 40;
/// The most bytes that the links of an archive may have in all; those of a whole kernel tree have about 100 KB.
const MAX_BYTES: usize = 64 << 20;

/// The links by their resolved path.
#[derive(Debug, Default)]
pub(super) struct Links {
    to: HashMap<PathBuf, PathBuf>,
    bytes: usize,
}

impl Links {
    /// Adds a link. Refuses it when it leads out of the archive by way of the links known so far.
    pub(super) fn add(&mut self, cancel: &Cancel, path: &Path, to: &Path) -> Result<()> {
        let out = || refused(&path.display().to_string(), "links outside the archive");
        let mut chain = 0;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut place = self.follow(cancel, Path::new(""), folder, &mut chain)?.ok_or_else(out)?;
        self.follow(cancel, &place, to, &mut chain)?.ok_or_else(out)?;
        place.push(path.file_name().unwrap_or_default());
        self.bytes = self.bytes.saturating_add(place.as_os_str().len()).saturating_add(to.as_os_str().len());
        if self.bytes > MAX_BYTES {
            return Err(refused("the archive", "has more links than any driver"));
        }
        self.to.insert(place, to.to_owned());
        Ok(())
    }

    /// Checks every link again at the end, because a later link may have changed where an earlier one leads.
    pub(super) fn stay_inside(&self, cancel: &Cancel) -> Result<()> {
        for (path, to) in &self.to {
            let folder = path.parent().unwrap_or(Path::new(""));
            if self.follow(cancel, folder, to, &mut 0)?.is_none() {
                return Err(refused(&path.display().to_string(), "links outside the archive"));
            }
        }
        Ok(())
    }

    /// The path to which `to` leads from a folder, links followed; none when it leaves the archive or loops.
    fn follow(&self, cancel: &Cancel, from: &Path, to: &Path, chain: &mut usize) -> Result<Option<PathBuf>> {
        let mut place = from.to_owned();
        for part in to.components() {
            cancel.check()?;
            match part {
                Component::CurDir => {}
                Component::ParentDir => {
                    if !place.pop() {
                        return Ok(None);
                    }
                }
                Component::Normal(name) => {
                    let folder = place.clone();
                    place.push(name);
                    let Some(further) = self.to.get(&place) else { continue };
                    *chain += 1;
                    if *chain > MAX_CHAIN {
                        return Ok(None);
                    }
                    let Some(led) = self.follow(cancel, &folder, further, chain)? else { return Ok(None) };
                    place = led;
                }
                Component::RootDir | Component::Prefix(_) => return Ok(None),
            }
        }
        Ok(Some(place))
    }
}
