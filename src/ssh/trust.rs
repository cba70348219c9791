//! `medusafs trust`: what keys a host shows, and writing down that one is its own.
//!
//! Nothing is learned silently: who calls [`record_key`] has shown the fingerprint to a person.

use std::borrow::Cow;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use russh::client::{self, Handler};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKey, PublicKeyOrCertificate};
use tokio::time::timeout;

use super::host_keys::{Fingerprint, HostKeyError};
use super::known_hosts::{KnownLine, Marker, lookup, name_in_file};
use super::login::{cut_short, tcp};
use super::{SshError, SshErrorKind, Stage, Target};

/// A key that a host has shown. That proves nothing: whoever answered may have made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedKey {
    /// What a person compares with the host's own.
    pub fingerprint: Fingerprint,
    key: PublicKey,
}

/// What a key exchange was cut short for.
enum Shown {
    Key(Box<PublicKey>),
    Failed(russh::Error),
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(key) => f.debug_tuple("Key").field(&Fingerprint::of(key)).finish(),
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
        }
    }
}

impl From<russh::Error> for Shown {
    fn from(error: russh::Error) -> Self {
        Self::Failed(error)
    }
}

/// Takes the key, and goes.
struct Looker;

impl Handler for Looker {
    type Error = Shown;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Shown> {
        Err(Shown::Key(Box::new(shown.public_key())))
    }
}

/// Types of keys, each asked for by itself: a server shows only the first that it has.
fn families() -> [Vec<Algorithm>; 5] {
    let ecdsa = |curve| vec![Algorithm::Ecdsa { curve }];
    let rsa = |hash| Algorithm::Rsa { hash: Some(hash) };
    [
        vec![Algorithm::Ed25519],
        ecdsa(EcdsaCurve::NistP256),
        ecdsa(EcdsaCurve::NistP384),
        ecdsa(EcdsaCurve::NistP521),
        vec![rsa(HashAlg::Sha512), rsa(HashAlg::Sha256)],
    ]
}

/// All keys that a host shows, the best first, without logging in.
///
/// # Errors
///
/// Those of a connection; `TimedOut` after the time that the target gives for a login.
pub async fn offered_keys(target: &Target) -> Result<Vec<OfferedKey>, SshError> {
    let stage = Mutex::new(Stage::Resolve);
    let limit = target.patience.login;
    let looked = async {
        let mut found = Vec::new();
        for family in families() {
            found.extend(look(target, family, &stage).await?);
        }
        Ok(found)
    };
    let fail = |kind, message: String| SshError::new(target, *stage.lock(), kind, message);
    let Ok(found) = timeout(limit, Box::pin(looked)).await else {
        let message = format!("no answer within {} s", limit.as_secs());
        return Err(fail(SshErrorKind::TimedOut, message));
    };
    let found: Vec<OfferedKey> = found?;
    if found.is_empty() {
        let message = "it shows no key of a type that is still held safe; update its sshd";
        return Err(fail(SshErrorKind::Refused, message.to_owned()));
    }
    Ok(found)
}

async fn look(
    target: &Target,
    family: Vec<Algorithm>,
    stage: &Mutex<Stage>,
) -> Result<Option<OfferedKey>, SshError> {
    let stream = tcp(target, stage).await?;
    let mut config = client::Config::default();
    config.preferred.key = Cow::Owned(family);
    let error = match client::connect_stream(Arc::new(config), stream, Looker).await {
        Err(Shown::Key(key)) => {
            let fingerprint = Fingerprint::of(&key);
            return Ok(Some(OfferedKey { fingerprint, key: *key }));
        }
        Err(Shown::Failed(russh::Error::NoCommonAlgo { .. })) | Ok(_) => return Ok(None),
        Err(Shown::Failed(error)) => error,
    };
    let fail = |kind, message: String| SshError::new(target, Stage::Connect, kind, message);
    let (kind, message) = if cut_short(&error) {
        (SshErrorKind::Busy, "it cut the connection; try again, and look at MaxStartups".to_owned())
    } else {
        (SshErrorKind::Refused, format!("what listens on port {} is no sshd", target.port))
    };
    Err(fail(kind, message).because(error))
}

/// Whether one of the target's files says already that `key` is the host's own.
pub fn is_recorded(target: &Target, key: &OfferedKey) -> bool {
    lookup(&target.known_hosts, &target.host, target.port)
        .iter()
        .any(|line| line.is_plain() && line.key.key_data() == key.key.key_data())
}

/// Whether a person may be asked about the keys that a host offers: not if another key is on record
/// for it, or one of them is revoked. Whoever answers in its place offers just such keys.
///
/// # Errors
///
/// [`HostKeyError::Changed`] or [`HostKeyError::Revoked`], with the line that says so.
pub fn refuse_changed(target: &Target, offered: &[OfferedKey]) -> Result<(), Box<HostKeyError>> {
    let lines = lookup(&target.known_hosts, &target.host, target.port);
    let is = |line: &KnownLine, key: &OfferedKey| line.key.key_data() == key.key.key_data();
    let host = name_in_file(&target.host, target.port);
    for key in offered {
        let revoked = lines.iter().find(|line| line.marker == Marker::Revoked && is(line, key));
        if let Some(line) = revoked {
            return Err(Box::new(HostKeyError::Revoked {
                host,
                file: line.file.clone(),
                line: line.number,
                offered: key.fingerprint.clone(),
            }));
        }
    }
    let plain = || lines.iter().filter(|line| line.is_plain());
    let is_known = |key: &&OfferedKey| plain().any(|line| is(line, key));
    let same_type =
        |key: &OfferedKey| plain().find(|line| line.key.algorithm() == key.key.algorithm());
    let mut unknown = offered.iter().filter(|key| !is_known(key));
    let of_a_type = unknown.clone().find_map(|key| Some((same_type(key)?, key)));
    let of_none = || {
        if offered.iter().any(|key| is_known(&key)) {
            return None;
        }
        Some((plain().next()?, unknown.next()?))
    };
    match of_a_type.or_else(of_none) {
        None => Ok(()),
        Some((line, key)) => Err(Box::new(HostKeyError::Changed {
            host,
            file: line.file.clone(),
            line: line.number,
            recorded: Fingerprint::of(&line.key),
            offered: key.fingerprint.clone(),
        })),
    }
}

/// Writes to a known_hosts file that `key` is the host's own. False if it says so already.
///
/// The file and its directory are made if they are absent, for the owner alone. A line that has
/// another key for the host stays, and goes on being trusted: who replaces a key deletes it.
///
/// # Errors
///
/// `Failed`, with the file's name.
pub fn record_key(file: &Path, target: &Target, key: &OfferedKey) -> Result<bool, SshError> {
    let known = lookup(&[file.to_owned()], &target.host, target.port);
    let same = |line: &KnownLine| line.key.key_data() == key.key.key_data();
    if known.iter().any(|line| same(line) && line.is_plain()) {
        return Ok(false);
    }
    append(file, target, key).map(|()| true).map_err(|error| {
        let message = format!("the key cannot be written to {}", file.display());
        SshError::new(target, Stage::HostKey, SshErrorKind::Failed, message).because(error)
    })
}

fn append(file: &Path, target: &Target, key: &OfferedKey) -> io::Result<()> {
    if let Some(directory) = file.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let mut options = OpenOptions::new();
    let mut opened = options.read(true).append(true).create(true).mode(0o600).open(file)?;
    let mut line = "";
    if opened.metadata()?.len() > 0 {
        let mut last = [0];
        opened.seek(SeekFrom::End(-1))?;
        opened.read_exact(&mut last)?;
        if last != *b"\n" {
            line = "\n";
        }
    }
    let text =
        PublicKey::new(key.key.key_data().clone(), "").to_openssh().map_err(io::Error::other)?;
    let name = name_in_file(&target.host, target.port);
    let line = format!("{line}{name} {}\n", text.trim_end());
    // One write, so that two of us do not mix their lines.
    opened.write_all(line.as_bytes())?;
    opened.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::{Identity, Patience};
    use std::os::unix::fs::PermissionsExt;

    fn target(port: u16) -> Target {
        Target {
            host: "Node1".to_owned(),
            port,
            user: "root".to_owned(),
            identity: Identity::Agent { socket: None },
            known_hosts: Vec::new(),
            login_shell: false,
            patience: Patience::default(),
        }
    }

    fn key() -> OfferedKey {
        let key: PublicKey =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMSu6Qp/Un0YSBpg+N5tFMbfrKo8MPzD9bOWmhYURVE7 x"
                .parse()
                .unwrap();
        OfferedKey { fingerprint: Fingerprint::of(&key), key }
    }

    #[test]
    fn a_recorded_key_is_found_again_and_recorded_once() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("new/known_hosts");
        assert!(record_key(&file, &target(2222), &key()).unwrap());
        assert!(!record_key(&file, &target(2222), &key()).unwrap());
        assert!(record_key(&file, &target(22), &key()).unwrap());
        let text = fs::read_to_string(&file).unwrap();
        let names: Vec<_> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(names, ["[node1]:2222", "node1"]);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn nobody_is_asked_about_a_key_where_another_or_a_revoked_one_is_on_record() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("known_hosts");
        let mut target = target(22);
        target.known_hosts = vec![file.clone()];
        let judged = |text: &str| {
            fs::write(&file, text).unwrap();
            refuse_changed(&target, &[key()]).map_err(|refusal| refusal.to_string())
        };
        let same = key().key.to_openssh().unwrap();
        let other =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIBXmK5Pa5FjJ7C6l8eoHLiPxeRuPCFcyzMqjFhfRhuR";
        assert_eq!(judged(""), Ok(()));
        assert_eq!(judged(&format!("node2 {other}\n")), Ok(()));
        assert_eq!(judged(&format!("node1 {same}\n")), Ok(()));
        let said = judged(&format!("# old\nnode1 {other}\n")).unwrap_err();
        assert!(said.contains("has changed") && said.contains("known_hosts:2"), "{said}");
        let said = judged(&format!("@revoked * {same}\n")).unwrap_err();
        assert!(said.contains("is revoked"), "{said}");
    }

    #[test]
    fn a_last_line_without_an_end_is_not_spoilt() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("known_hosts");
        fs::write(&file, "# mine").unwrap();
        record_key(&file, &target(22), &key()).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("# mine\nnode1 ssh-ed25519 AAAA"), "{text}");
    }
}
