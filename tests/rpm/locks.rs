//! Another package manager at work in the root.

use crate::bake::{prepared, stack};
use crate::common::image;
use crate::common::program;
use crate::common::root::Root;
use crate::common::wait::until;
use crate::packages::Rpm;
use crate::roots::ALMA8;

/// However the test ends, the other transaction ends, too.
struct LetGo<'a>(&'a Root);
impl Drop for LetGo<'_> {
    fn drop(&mut self) {
        self.0.write("var/go", "");
    }
}

#[test]
fn a_transaction_of_another_rpm_is_waited_for_and_named_when_it_takes_too_long() {
    let (root, _repository) = prepared(ALMA8, "etc/yum.repos.d", &stack());
    let cache = root.beside("cache");
    image::stage(&root, &cache).expect(0, "staged");
    let post = "touch /var/in-script; while [ ! -e /var/go ]; do sleep 0.1; done";
    let folder = crate::common::scratch();
    let slow = Rpm { post, ..Rpm::plain("slow", "1", "") }.build(folder.path());
    std::fs::copy(slow, root.path().join("var/slow.rpm")).unwrap();
    std::thread::scope(|scope| {
        let let_go = LetGo(&root);
        let other = scope.spawn(|| root.inside(&["rpm", "--install", "/var/slow.rpm"]));
        until("its script runs", || root.path().join("var/in-script").exists());
        root.write("etc/ofedctl/config.yaml", "driver: inbox\nlock_timeout: 1\n");
        let ran = image::bake(&root, &cache);
        ran.expect(14, "lock-timeout");
        let message = ran.json()["message"].as_str().unwrap().to_owned();
        root.write("etc/ofedctl/config.yaml", "driver: inbox\nlock_timeout: 120\n");
        let waiting = program::start(program::program_without_network(&image::bake_args(&root, &cache)));
        let said = || {
            root.read("var/log/azure/ib-vmext-status").matches("waiting: `/var/lib/rpm/.rpm.lock`").count()
        };
        until("the second bake waits", || said() >= 2);
        drop(let_go);
        let waited = waiting.wait_with_output().unwrap();
        assert!(other.join().unwrap().status.success());
        assert!(message.contains("/var/lib/rpm/.rpm.lock") && message.contains("(rpm)"), "{message}");
        assert!(waited.status.success(), "{}", String::from_utf8_lossy(&waited.stderr));
    });
    image::ask("verify", &root).expect(0, "verified");
}
