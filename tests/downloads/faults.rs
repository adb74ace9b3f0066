//! Each fault of a server or network, with the expected outcome of the download.

use super::Lab;
use super::common::web::Fault;
use ofedctl::host::cancel::Cancel;
use ofedctl::outcome::Reason;
use std::time::{Duration, Instant};

fn with_header(status: u16, header: &str) -> Fault {
    Fault::StatusWith(status, format!("{header}\r\n"))
}

#[test]
fn what_passes_ends_in_success() {
    for fault in [
        Fault::Status(500),
        Fault::Status(502),
        Fault::Status(503),
        Fault::Status(408),
        with_header(429, "Retry-After: 1"),
        with_header(503, "Retry-After: Thu, 01 Jan 1970 00:00:00 GMT"),
        Fault::CutAfter(100_000),
        Fault::CutAfter(0),
        Fault::ResetAfter(100_000),
        Fault::ResetAfter(0),
        Fault::StallAfter(100_000),
        Fault::StallAfter(0),
        Fault::Drip,
    ] {
        let lab = Lab::new();
        lab.web.fail("driver", fault.clone(), 2);
        let got = lab.fetch();
        assert_eq!(got.map(|blob| blob.size), Ok(lab.bytes.len() as u64), "{fault:?}");
        lab.assert_whole();
        assert_eq!(lab.web.asked().len(), 3, "{fault:?}");
    }
}

#[test]
fn what_stays_ends_in_its_own_reason_with_address_and_status() {
    for (fault, reason, said) in [
        (Fault::Status(401), Reason::AccessDenied, "401 Unauthorized"),
        (Fault::Status(403), Reason::AccessDenied, "403 Forbidden"),
        (Fault::Status(404), Reason::NotOnServer, "404 Not Found"),
        (Fault::Status(410), Reason::NotOnServer, "410 Gone"),
        (Fault::Status(451), Reason::DownloadFailed, "451"),
        (with_header(429, "Retry-After: 0"), Reason::ServerBusy, "429 Too Many Requests"),
        (with_header(503, "Retry-After: 86400"), Reason::ServerBusy, "left alone for 86400 s"),
        (Fault::Status(500), Reason::ServerBusy, "500 Internal Server Error"),
        (Fault::ResetAfter(0), Reason::DownloadFailed, "gave up after 3 tries"),
        (Fault::StallAfter(0), Reason::ServerSlow, "sent nothing for 1 s"),
        (Fault::Drip, Reason::ServerSlow, "sent only"),
        (Fault::CutAfter(0), Reason::DownloadFailed, "gave up after 3 tries"),
        (Fault::Shortened(1000), Reason::DigestMismatch, "1000 bytes where one of 1600000 is wanted"),
        (Fault::Damaged, Reason::DigestMismatch, "expected `sha256:"),
        (Fault::LoginPage, Reason::WebPage, "text/html"),
        (with_header(302, "Location: /driver.tgz"), Reason::RedirectRefused, "in circles"),
        (with_header(302, "Location: http://[oops"), Reason::DownloadFailed, "302"),
    ] {
        let lab = Lab::new();
        lab.web.fail("driver", fault.clone(), usize::MAX);
        let url = lab.url().replace("http://", "http://me:secret@") + "?sig=secret";
        let (found, message) = lab.fetch_from(&url).unwrap_err();
        assert_eq!(found, reason, "{fault:?}: {message}");
        assert!(message.contains(&lab.url()) && message.contains(said), "{fault:?}: {message}");
        let all = lab.said.lock().unwrap().join("\n") + &message;
        assert!(!all.contains("secret"), "{all}");
        lab.assert_nothing_usable();
    }
}

#[test]
fn a_name_that_does_not_resolve_has_its_own_reason() {
    let lab = Lab::new();
    let (reason, message) = lab.fetch_from("http://no-such-host.invalid/driver.tgz").unwrap_err();
    assert_eq!(reason, Reason::NameUnknown, "{message}");
    assert!(message.contains("no-such-host.invalid") && message.contains("3 tries"), "{message}");
}

#[test]
fn nobody_listening_is_tried_again_and_said() {
    let lab = Lab::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (reason, message) = lab.fetch_from(&format!("http://{free}/driver.tgz")).unwrap_err();
    assert_eq!(reason, Reason::DownloadFailed, "{message}");
    assert!(message.contains("refused") && message.contains("3 tries"), "{message}");
}

#[test]
fn an_address_that_is_none_is_said_at_once() {
    for url in ["driver.tgz", "http://", "gopher://host/x"] {
        let (reason, message) = Lab::new().fetch_from(url).unwrap_err();
        assert_eq!(reason, Reason::BadSettings, "{url}: {message}");
    }
}

#[test]
fn a_server_is_left_alone_for_as_long_as_it_asks() {
    let lab = Lab::new();
    lab.web.fail("driver", with_header(429, "Retry-After: 2"), 1);
    let begin = Instant::now();
    lab.fetch().unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[test]
fn progress_forgives_earlier_failures() {
    let lab = Lab::new();
    // More breaks in all than are forgiven in a row.
    lab.web.fail("driver", Fault::CutAfter(150_000), 8);
    lab.fetch().unwrap();
    lab.assert_whole();
    let asked: Vec<_> = lab.web.asked().iter().map(|it| it.header("range").map(str::to_owned)).collect();
    assert_eq!(
        (asked.len(), asked[0].as_deref(), asked[8].as_deref()),
        (9, None, Some("bytes=1200000-1599999"))
    );
}

#[test]
fn the_deadline_ends_even_a_stalled_download() {
    let mut lab = Lab::new();
    lab.settings.stall_timeout = 600;
    lab.cancel = Cancel::never().within(Duration::from_secs(1));
    lab.web.fail("driver", Fault::StallAfter(1000), 1);
    let begin = Instant::now();
    assert_eq!(lab.fetch().unwrap_err().0, Reason::DeadlineExceeded);
    assert!(begin.elapsed() < Duration::from_secs(20));
    lab.assert_nothing_usable();
}
