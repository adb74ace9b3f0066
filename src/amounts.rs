//! Numbers as people read them: how many of something, how many bytes, how long.

use std::time::Duration;

/// A number with what it counts, in the singular where it is one: `1 file`, `16 files`, `2 entries`.
pub fn count(number: usize, singular: &str) -> String {
    match singular.strip_suffix('y') {
        _ if number == 1 => format!("1 {singular}"),
        Some(stem) => format!("{number} {stem}ies"),
        None => format!("{number} {singular}s"),
    }
}

/// A number of bytes in the unit that fits: `312 B`, `1.7 MiB`, `380 MiB`.
pub fn size(bytes: u64) -> String {
    let (mut unit, mut units) = ("B", ["KiB", "MiB", "GiB", "TiB"].iter());
    // In tenths, so that a size needs no more than one digit after the point.
    let mut tenths = u128::from(bytes) * 10;
    while tenths >= 10 * 1024 {
        let Some(next) = units.next() else { break };
        unit = next;
        tenths = (tenths + 512) / 1024;
    }
    if unit == "B" || tenths >= 1000 {
        format!("{} {unit}", (tenths + 5) / 10)
    } else {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

/// A length of time: `350ms`, `4.2s`, `3m 20s`.
pub fn time(milliseconds: u64) -> String {
    match milliseconds {
        0..1000 => format!("{milliseconds}ms"),
        1000..60_000 => format!("{}.{}s", milliseconds / 1000, milliseconds % 1000 / 100),
        _ => humantime::format_duration(Duration::from_secs(milliseconds / 1000)).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_told_in_the_singular_and_any_other_number_in_the_plural() {
        let told = [count(0, "file"), count(1, "entry"), count(2, "entry"), count(1, "check")];
        assert_eq!(told, ["0 files", "1 entry", "2 entries", "1 check"]);
    }

    #[test]
    fn sizes_are_told_in_the_unit_that_fits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_820_807, "1.7 MiB"),
            (380 << 20, "380 MiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn times_are_told_as_people_tell_them() {
        for (milliseconds, text) in [(7, "7ms"), (4250, "4.2s"), (200_000, "3m 20s")] {
            assert_eq!(time(milliseconds), text);
        }
    }
}
