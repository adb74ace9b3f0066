//! Who may come in: nobody in particular, a password, a token, and the ways there.

use super::common::registry::Registry;
use super::{Lab, files};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// A login as `docker login` leaves it.
fn login(lab: &Lab, registry: &str, entry: &str) -> String {
    let file = lab.path("auth.json");
    std::fs::write(&file, format!(r#"{{"auths":{{"{registry}":{entry}}}}}"#)).unwrap();
    format!("registry_auth={}", file.display())
}

#[test]
fn a_password_is_taken_from_the_file_of_logins() {
    let (lab, registry) = (Lab::new(), Registry::with_password());
    let place = registry.place("ib:bundle");
    let refused = lab.push(&place, &[]);
    refused.expect(14, "access-denied");
    // htpasswd: me:secret
    let right = login(&lab, &registry.host(), r#"{"auth":"bWU6c2VjcmV0"}"#);
    lab.push(&place, &["--set", &right]).json();
    lab.pull(&place, &lab.path("none"), &[]).expect(14, "access-denied");
    lab.pull(&place, &lab.path("copy"), &["--set", &right]).json();
    assert_eq!(files(&lab.path("copy")), files(&lab.cache()));
    let wrong = login(&lab, &registry.host(), r#"{"username":"me","password":"wr0ng-pass"}"#);
    let refused = lab.pull(&place, &lab.path("other"), &["--set", &wrong]);
    refused.expect(14, "access-denied");
    let all = format!("{refused:?}");
    assert!(all.contains("401 Unauthorized") && all.contains(&registry.host()), "{all}");
    assert!(!all.contains("wr0ng-pass") && !all.contains("d3IwbmctcGFzcw"), "{all}");
}

#[test]
fn docker_s_own_file_and_its_helpers_are_asked() {
    let (lab, registry) = (Lab::new(), Registry::with_password());
    let place = registry.place("ib:bundle");
    let home = lab.path("home");
    std::fs::create_dir_all(home.join(".docker")).unwrap();
    let config =
        format!(r#"{{"auths":{{"{0}":{{}}}},"credHelpers":{{"{0}":"ofedctl-test"}}}}"#, registry.host());
    std::fs::write(home.join(".docker/config.json"), config).unwrap();
    let helper = home.join("docker-credential-ofedctl-test");
    let text = format!(
        "#!/bin/sh\nread -r asked; [ \"$1 $asked\" = \"get {}\" ] && echo '{{\"Username\":\"me\",\"Secret\":\"secret\"}}'\n",
        registry.host()
    );
    std::fs::write(&helper, text).unwrap();
    std::fs::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let cache = lab.cache().display().to_string();
    let mut push = super::program::program(&["cache", "push", &place, "--json", "--cache", &cache]);
    push.env("HOME", &home).env("PATH", format!("{}:/usr/bin:/bin", home.display()));
    let pushed = super::program::finish(push);
    assert_eq!(pushed.json()["pushed"]["sent"], 4, "{pushed:?}");
}

#[test]
fn without_tls_only_this_machine_and_named_hosts_are_reached() {
    let lab = Lab::new();
    // Nobody answers there; without permission it is spoken to in TLS.
    let place = "oci://127.0.0.1.nip.invalid:1/ib:v1";
    let refused = lab.pull(place, &lab.path("copy"), &["--set", "retries=0"]);
    assert!(refused.stderr.contains("https://127.0.0.1.nip.invalid:1/v2/"), "{}", refused.stderr);
    let named = ["--set", "retries=0", "--set", "plain_http=['127.0.0.1.nip.invalid:1']"];
    let allowed = lab.pull(place, &lab.path("copy"), &named);
    assert!(allowed.stderr.contains("http://127.0.0.1.nip.invalid:1/v2/"), "{}", allowed.stderr);
}

/// A token server before a real registry, in the manner of Azure Container Registry: requests need a token that
/// `/oauth2/token` gives for a password or for the refresh token of `az acr login`.
struct Gate {
    port: u16,
    tokens: Arc<Mutex<Vec<String>>>,
}

impl Gate {
    fn before(registry: &Registry) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let tokens: Arc<Mutex<Vec<String>>> = Arc::default();
        let (target, shared) = (registry.host(), Arc::clone(&tokens));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (target, shared) = (target.clone(), Arc::clone(&shared));
                std::thread::spawn(move || answer(&stream, &target, port, &shared));
            }
        });
        Self { port, tokens }
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What was asked of the token server.
    fn asked(&self) -> Vec<String> {
        self.tokens.lock().unwrap().clone()
    }
}

fn answer(stream: &TcpStream, target: &str, port: u16, tokens: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_owned());
    }
    let header = |name: &str| {
        let of = |line: &&String| line.to_ascii_lowercase().starts_with(&format!("{name}:"));
        head.iter().find(of).and_then(|line| line.split_once(": ")).map(|it| it.1.to_owned())
    };
    let length: u64 = header("content-length").and_then(|it| it.parse().ok()).unwrap_or(0);
    let reply = |status: &str, more: &str, body: &str| {
        let length = body.len();
        write!(
            &*stream,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}Connection: close\r\n\r\n{body}"
        )
    };
    let Some(request) = head.first() else { return Ok(()) };
    let is_token = request.contains(" /oauth2/token");
    if is_token {
        let mut form = String::new();
        reader.take(length).read_to_string(&mut form)?;
        let mut tokens = tokens.lock().unwrap();
        tokens.push(format!("{request} {form} {}", header("authorization").unwrap_or_default()));
        let known = form.contains("refresh_token=long-token") || header("authorization").is_some();
        return match known {
            // The first tokens have run out by the time they are used.
            true if tokens.len() == 1 => reply("200 OK", "", r#"{"access_token":"old"}"#),
            true => reply("200 OK", "", r#"{"access_token":"good"}"#),
            false => reply("401 Unauthorized", "", ""),
        };
    }
    if header("authorization").as_deref() != Some("Bearer good") {
        let realm = format!("http://127.0.0.1:{port}/oauth2/token");
        let challenge = format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"gate.example\"\r\n");
        return reply("401 Unauthorized", &challenge, "{}");
    }
    let mut server = TcpStream::connect(target)?;
    let kept = head.iter().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let text = kept.map(String::as_str).collect::<Vec<_>>().join("\r\n");
    write!(server, "{text}\r\nConnection: close\r\n\r\n")?;
    std::io::copy(&mut reader.take(length), &mut server)?;
    std::io::copy(&mut server, &mut &*stream).map(drop)
}

#[test]
fn a_token_is_fetched_with_a_password_and_renewed_when_it_has_run_out() {
    let (lab, registry) = (Lab::new(), Registry::open());
    let gate = Gate::before(&registry);
    let place = format!("oci://{}/ib:bundle", gate.host());
    lab.pull(&place, &lab.path("none"), &[]).expect(14, "access-denied");
    // The user that Azure's documentation gives for tokens of `az acr login --expose-token`.
    let entry = r#"{"username":"00000000-0000-0000-0000-000000000000","password":"secret"}"#;
    let login = login(&lab, &gate.host(), entry);
    let pushed = lab.push(&place, &["--mount-from", "other/ib", "--set", &login]).json()["pushed"].clone();
    assert_eq!(pushed["sent"], 4, "{pushed}");
    let asked = gate.asked().join("\n");
    assert!(asked.contains("service=gate.example"), "{asked}");
    assert!(
        asked.contains("scope=repository%3Aib%3Apull%2Cpush&scope=repository%3Aother%2Fib%3Apull"),
        "{asked}"
    );
    lab.pull(&place, &lab.path("copy"), &["--set", &login]).json();
    assert_eq!(files(&lab.path("copy")), files(&lab.cache()));
}

#[test]
fn the_refresh_token_of_az_acr_login_is_exchanged() {
    let (lab, registry) = (Lab::new(), Registry::open());
    lab.push(&registry.place("ib:bundle"), &[]).json();
    let gate = Gate::before(&registry);
    let login = login(&lab, &gate.host(), r#"{"auth":"MDAwOg==","identitytoken":"long-token"}"#);
    let pulled = lab.pull(&format!("oci://{}/ib:bundle", gate.host()), &lab.path("copy"), &["--set", &login]);
    pulled.json();
    let asked = gate.asked();
    assert!(asked.len() >= 2 && asked.iter().all(|it| it.starts_with("POST ")), "one had run out: {asked:?}");
    assert!(
        asked[0].contains("grant_type=refresh_token") && asked[0].contains("scope=repository%3Aib%3Apull")
    );
    assert!(!pulled.stderr.contains("long-token"));
    assert!(Path::new(&lab.path("copy")).exists());
}

/// `podman login` writes to `$XDG_RUNTIME_DIR/containers/auth.json` or where `REGISTRY_AUTH_FILE` says, and a login may
/// be for a part of a registry (containers/podman-py 553; containers-auth.json(5)).
#[test]
fn logins_of_podman_are_found_where_it_leaves_them() {
    let (lab, registry) = (Lab::new(), Registry::with_password());
    let place = registry.place("team/ib:bundle");
    let write = |name: &str, of: &str, auth: &str| {
        let file = lab.path(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, format!(r#"{{"auths":{{"{of}":{{"auth":"{auth}"}}}}}}"#)).unwrap();
        file
    };
    let cache = lab.cache().display().to_string();
    let push = |variables: &[(&str, &Path)]| {
        let mut push = super::program::program(&["cache", "push", &place, "--json", "--cache", &cache]);
        push.env("HOME", lab.path("home")).envs(variables.iter().copied());
        super::program::finish(push)
    };
    let nobody = push(&[]);
    nobody.expect(14, "access-denied");
    // me:secret, for the team's part alone; what Docker has for all of the registry is wrong.
    write("run/containers/auth.json", &format!("{}/team", registry.host()), "bWU6c2VjcmV0");
    write("home/.docker/config.json", &registry.host(), "bWU6d3Jvbmc=");
    push(&[]).expect(14, "access-denied");
    push(&[("XDG_RUNTIME_DIR", &lab.path("run"))]).json();
    let named = write("elsewhere.json", &registry.host(), "bWU6c2VjcmV0");
    push(&[("REGISTRY_AUTH_FILE", &named)]).json();
    let refused = push(&[("REGISTRY_AUTH_FILE", &lab.path("none")), ("XDG_RUNTIME_DIR", &lab.path("run"))]);
    refused.expect(14, "access-denied");
}
