//! Who trusts whom: hosts as OpenSSH trusts them, and every way in that an sshd has for a user.

use std::fs;

use medusafs::model::SystemClock;
use medusafs::ssh::{Connection, Identity, Remote, SshError, SshErrorKind, Stage};

use crate::support::sshd::{Agent, Sshd, hash, key_pair, open, refused, run, succeed};

/// What known_hosts may hold, and whether the host is then trusted: by us as by OpenSSH.
const KNOWN_HOSTS: &[(&str, &str)] = &[
    ("plain", "[127.0.0.1]:PORT ED25519\n"),
    ("only rsa", "[127.0.0.1]:PORT RSA\n"),
    ("only ecdsa", "[127.0.0.1]:PORT ECDSA\n"),
    ("all three", "[127.0.0.1]:PORT RSA\n[127.0.0.1]:PORT ECDSA\n[127.0.0.1]:PORT ED25519\n"),
    ("nothing", ""),
    ("another host", "[127.0.0.2]:PORT ED25519\n"),
    ("another port", "[127.0.0.1]:1 ED25519\n"),
    ("without the port", "127.0.0.1 ED25519\n"),
    ("without the port, another key", "127.0.0.1 OTHER\n"),
    ("list", "node1,[127.0.0.1]:PORT,x ED25519\n"),
    ("star", "[127.0.0.*]:PORT ED25519\n"),
    ("star for all", "* ED25519\n"),
    ("negated", "*,![127.0.0.1]:PORT ED25519\n"),
    ("question mark", "[127.0.0.?]:PORT ED25519\n"),
    ("tabs and blanks", "  [127.0.0.1]:PORT \t ED25519\n"),
    ("windows line ends", "# x\r\n[127.0.0.1]:PORT ED25519 me\r\n"),
    ("no line end", "[127.0.0.1]:PORT ED25519"),
    ("comment out", "#[127.0.0.1]:PORT ED25519\n"),
    ("another key", "[127.0.0.1]:PORT OTHER\n"),
    ("old and new", "[127.0.0.1]:PORT OTHER\n[127.0.0.1]:PORT ED25519\n"),
    ("new and old", "[127.0.0.1]:PORT ED25519\n[127.0.0.1]:PORT OTHER\n"),
    ("junk before", "[127.0.0.1]:PORT ssh-ed25519 AAAA\n\u{1}\n[127.0.0.1]:PORT ED25519\n"),
    ("revoked", "@revoked * ED25519\n[127.0.0.1]:PORT ED25519\n"),
    ("revoked alone", "@revoked [127.0.0.1]:PORT ED25519\n"),
    ("another revoked", "@revoked * OTHER\n[127.0.0.1]:PORT ED25519\n"),
    ("unknown marker", "@odd [127.0.0.1]:PORT ED25519\n"),
    ("an authority that is no host key", "@cert-authority [127.0.0.1]:PORT ED25519\n"),
    ("plain, and an authority", "@cert-authority * OTHER\n[127.0.0.1]:PORT ED25519\n"),
];

fn trusted(opened: &Result<Connection, SshError>, case: &str) -> bool {
    match opened {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(
                (error.kind, error.stage),
                (SshErrorKind::HostKey, Stage::HostKey),
                "{case}"
            );
            assert!(error.host_key().is_some(), "{case}");
            false
        }
    }
}

#[tokio::test]
async fn a_host_is_trusted_exactly_where_openssh_trusts_it() {
    let sshd = Sshd::start_with("", |directory| {
        key_pair(&directory.join("other"), &["-t", "ed25519"]);
    });
    let other = sshd.public_key("other");
    let (mut yes, mut no) = (0, 0);
    for (case, text) in KNOWN_HOSTS {
        // Each case costs a login of ours and one of OpenSSH's, so not every one is hashed too.
        let ways: &[bool] = if text.starts_with("[127.0.0.1]") { &[false, true] } else { &[false] };
        for hashed in ways.iter().copied() {
            let file = sshd.known_hosts(&text.replace("OTHER", &other));
            if hashed && !hash(&file) {
                continue;
            }
            let opened = Connection::open(sshd.target_with(&file), &SystemClock).await;
            let (ours, theirs) = (trusted(&opened, case), sshd.openssh_trusts(&file));
            assert_eq!(ours, theirs, "{case}, hashed: {hashed}");
            if ours { yes += 1 } else { no += 1 }
        }
    }
    assert!(yes > 10 && no > 10, "the table has become one-sided: {yes}, {no}");
}

/// An sshd whose ed25519 key is signed by `ca` for these names and times.
fn certified(names: &str, validity: &str) -> Sshd {
    Sshd::start_with("HostCertificate HERE/host_ed25519-cert.pub", |directory| {
        let at = |name: &str| directory.join(name).to_str().unwrap().to_owned();
        key_pair(&directory.join("ca"), &["-t", "ed25519"]);
        let sign = ["-q", "-s", &at("ca"), "-I", "node", "-h", "-n", names, "-V", validity];
        succeed("ssh-keygen", &[&sign[..], &[&at("host_ed25519.pub")]].concat());
    })
}

#[tokio::test]
async fn a_host_certificate_is_judged_as_openssh_judges_it() {
    for (names, validity, good) in [
        ("127.0.0.1", "-1h:+1h", true),
        ("127.0.0.9,127.0.0.1", "-1h:+1h", true),
        ("127.0.0.*", "-1h:+1h", false),
        ("127.0.0.9", "-1h:+1h", false),
        ("127.0.0.1", "-2h:-1h", false),
    ] {
        let sshd = certified(names, validity);
        let ca = sshd.public_key("ca");
        let file = sshd.known_hosts(&format!("@cert-authority [127.0.0.1]:PORT {ca}\n"));
        let opened = Connection::open(sshd.target_with(&file), &SystemClock).await;
        let ours = trusted(&opened, names);
        assert_eq!((ours, sshd.openssh_trusts(&file)), (good, good), "{names} {validity}");
        let text = format!("@cert-authority [127.0.0.1]:PORT {ca}\n@revoked * {ca}\n");
        let file = sshd.known_hosts(&text);
        let opened = Connection::open(sshd.target_with(&file), &SystemClock).await;
        assert!(!trusted(&opened, "revoked authority") && !sshd.openssh_trusts(&file));
    }
}

#[tokio::test]
async fn a_changed_key_is_refused_with_both_fingerprints_the_line_and_the_remedy() {
    let sshd = Sshd::start("");
    let mut target = sshd.target();
    let file = sshd.known_hosts("# mine\n[127.0.0.1]:PORT ED25519\n");
    key_pair(&sshd.path("other"), &["-t", "ed25519"]);
    let other = sshd.public_key("other");
    let text = fs::read_to_string(&file).unwrap().replace(&sshd.public_key("host_ed25519"), &other);
    fs::write(&file, text).unwrap();
    target.known_hosts = vec![file.clone()];
    let error = refused(target).await;
    let shown = error.host_key().unwrap().to_string();
    for key in ["other.pub", "host_ed25519.pub"] {
        let listed = succeed("ssh-keygen", &["-lf", sshd.path(key).to_str().unwrap()]);
        let listed = String::from_utf8(listed.stdout).unwrap();
        let fingerprint = listed.split(' ').nth(1).unwrap();
        assert!(shown.contains(fingerprint), "{shown} lacks {fingerprint}");
    }
    assert!(shown.contains(&format!("{}:2", file.display())), "{shown}");
    let remedy = format!("medusafs trust [127.0.0.1]:{}", sshd.port());
    assert!(shown.contains(&remedy), "{shown}");
}

#[tokio::test]
async fn trusting_shows_every_key_of_the_host_and_one_of_them_is_enough() {
    let sshd = Sshd::start("");
    let file = sshd.path("new/known_hosts");
    let target = sshd.target_with(&file);
    assert_eq!(refused(target.clone()).await.kind, SshErrorKind::HostKey);
    let offered = medusafs::ssh::offered_keys(&target).await.unwrap();
    let types: Vec<_> = offered.iter().map(|key| key.fingerprint.algorithm.as_str()).collect();
    assert_eq!(types, ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"]);
    for key in &offered {
        drop(fs::remove_file(&file));
        assert!(medusafs::ssh::record_key(&file, &target, key).unwrap());
        open(target.clone()).await.close().await;
        assert!(sshd.openssh_trusts(&file), "{}", key.fingerprint);
    }
}

#[tokio::test]
async fn a_key_that_the_host_does_not_know_is_refused_with_the_remedy() {
    let sshd = Sshd::start("");
    key_pair(&sshd.path("stranger"), &["-t", "ed25519"]);
    let mut target = sshd.target();
    target.identity = Identity::File { key: sshd.path("stranger"), certificate: None };
    let error = refused(target).await;
    assert_eq!((error.kind, error.stage), (SshErrorKind::Denied, Stage::Authenticate));
    assert!(error.message.contains("stranger") && error.message.contains("authorized_keys"));
    let mut target = sshd.target();
    target.identity = Identity::File { key: sshd.path("absent"), certificate: None };
    assert_eq!(refused(target).await.kind, SshErrorKind::Identity);
}

#[tokio::test]
async fn an_rsa_key_is_taken_whichever_hash_the_host_insists_on() {
    for algorithm in ["rsa-sha2-256", "rsa-sha2-512"] {
        let sshd = Sshd::start(&format!("PubkeyAcceptedAlgorithms {algorithm}"));
        open(sshd.target()).await.close().await;
    }
}

#[tokio::test]
async fn without_a_key_file_the_agent_s_keys_are_tried() {
    let sshd = Sshd::start("");
    let socket = sshd.path("agent.sock");
    let mut target = sshd.target();
    target.identity = Identity::Agent { socket: Some(socket.clone()) };
    let error = refused(target.clone()).await;
    assert_eq!(error.kind, SshErrorKind::Identity, "no agent yet: {error}");
    let _agent = Agent::start(&socket, &sshd.path("user_key"));
    let output = run(&open(target).await, &["echo", "in"]).await.unwrap();
    assert_eq!(output.stdout, b"in\n");
}

#[tokio::test]
async fn a_user_s_certificate_lets_in_where_the_key_alone_does_not() {
    let ca = tempfile::tempdir().unwrap();
    let at = |name: &str| ca.path().join(name).to_str().unwrap().to_owned();
    key_pair(&ca.path().join("ca"), &["-t", "ed25519"]);
    key_pair(&ca.path().join("mine"), &["-t", "rsa", "-b", "2048", "-m", "PEM"]);
    let sshd = Sshd::start(&format!("TrustedUserCAKeys {}", at("ca.pub")));
    let mut target = sshd.target();
    succeed(
        "ssh-keygen",
        &["-q", "-s", &at("ca"), "-I", "me", "-n", &target.user, &at("mine.pub")],
    );
    let key = ca.path().join("mine");
    target.identity = Identity::File { key: key.clone(), certificate: None };
    assert_eq!(refused(target.clone()).await.kind, SshErrorKind::Denied);
    target.identity = Identity::File { key, certificate: Some(at("mine-cert.pub").into()) };
    open(target).await.close().await;
}
