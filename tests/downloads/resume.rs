//! The next run resumes a broken download.

use super::Lab;
use super::common::web::Fault;
use ofedctl::outcome::Reason;

/// Leaves the first bytes of the file behind, as a run does whose network goes away.
fn broken_off(lab: &Lab, bytes: u64) {
    lab.web.fail("driver", Fault::CutAfter(bytes), 1);
    lab.web.fail("driver", Fault::Status(503), 2);
    assert_eq!(lab.fetch().unwrap_err().0, Reason::ServerBusy);
    assert_eq!(std::fs::metadata(lab.blobs().join(lab.digest.hex() + ".partial")).unwrap().len(), bytes);
    lab.assert_nothing_usable();
}

#[test]
fn the_next_run_fetches_only_the_rest_of_the_same_version() {
    let lab = Lab::new();
    broken_off(&lab, 1_000_000);
    let before = lab.web.sent();
    lab.fetch().unwrap();
    lab.assert_whole();
    let asked = lab.web.asked();
    let last = asked.last().unwrap();
    assert_eq!(last.header("range"), Some("bytes=1000000-1599999"));
    assert!(last.header("if-range").is_some_and(|tag| tag.starts_with('"')), "{last:?}");
    assert_eq!(lab.web.sent() - before, 600_000);
}

#[test]
fn a_file_that_changed_meanwhile_begins_again() {
    let lab = Lab::new();
    let right = lab.bytes.clone();
    // What was there first is of the same length, and wrong.
    std::fs::write(lab.dir.path().join("www/driver.tgz"), vec![1; right.len()]).unwrap();
    lab.web.fail("driver", Fault::CutAfter(1_000_000), 1);
    lab.web.fail("driver", Fault::Status(503), 2);
    lab.fetch().unwrap_err();
    std::fs::write(lab.dir.path().join("www/driver.tgz"), &right).unwrap();
    let before = lab.web.asked().len();
    lab.fetch().unwrap();
    lab.assert_whole();
    // The first answer says that it is another version and is not read; the second brings it.
    assert_eq!(lab.web.asked().len() - before, 2);
}

#[test]
fn damage_in_what_was_kept_costs_a_second_download_and_no_more() {
    let lab = Lab::new();
    broken_off(&lab, 1_000_000);
    let partial = lab.blobs().join(lab.digest.hex() + ".partial");
    let mut bytes = std::fs::read(&partial).unwrap();
    bytes[500] ^= 1;
    std::fs::write(&partial, bytes).unwrap();
    lab.fetch().unwrap();
    lab.assert_whole();
}

#[test]
fn what_was_kept_and_is_too_long_is_dropped() {
    let lab = Lab::new();
    broken_off(&lab, 1_000_000);
    std::fs::write(lab.blobs().join(lab.digest.hex() + ".partial"), vec![0; 2_000_000]).unwrap();
    lab.fetch().unwrap();
    lab.assert_whole();
}

#[test]
fn all_bytes_kept_need_no_network() {
    let lab = Lab::new();
    broken_off(&lab, 1_000_000);
    std::fs::write(lab.blobs().join(lab.digest.hex() + ".partial"), &lab.bytes).unwrap();
    let before = lab.web.asked().len();
    lab.fetch().unwrap();
    lab.assert_whole();
    assert_eq!(lab.web.asked().len(), before);
}

#[test]
fn a_server_without_ranges_is_read_past_what_is_there() {
    let lab = Lab::new();
    broken_off(&lab, 1_000_000);
    lab.web.fail("driver", Fault::NoRanges, usize::MAX);
    lab.fetch().unwrap();
    lab.assert_whole();
}

#[test]
fn the_rest_comes_from_servers_that_give_parts_in_their_own_ways() {
    // anchore/stereoscope pull request 695, xroche/httrack pull request 428, modelscope/modelscope_hub issue 50.
    for (fault, more) in [(Fault::ClosedRanges, 0), (Fault::EarlierBy(4096), 4096), (Fault::PartAsWhole, 0)] {
        let lab = Lab::new();
        lab.web.fail("driver", Fault::CutAfter(1_000_000), 1);
        lab.web.fail("driver", fault.clone(), 1);
        lab.fetch().unwrap_or_else(|error| panic!("{fault:?}: {error:?}"));
        lab.assert_whole();
        let asked = lab.web.asked();
        assert_eq!(asked.last().unwrap().header("range"), Some("bytes=1000000-1599999"), "{fault:?}");
        assert_eq!((asked.len(), lab.web.sent()), (2, 1_600_000 + more), "{fault:?}");
    }
}
