//! Whether a host is the one that we know: the verdict, and in which order to ask for its keys.

use std::fmt;
use std::path::PathBuf;

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey, PublicKeyOrCertificate};
use thiserror::Error;

use super::known_hosts::{KnownLine, Marker};
use crate::model::UnixSeconds;

/// A key as people compare it: its type and the SHA-256 of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// `ssh-ed25519`, `ssh-rsa`, …
    pub algorithm: String,
    /// `SHA256:…`, as `ssh-keygen -lf` prints it.
    pub sha256: String,
}

/// Why a host's key is not trusted. Nothing was sent to it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HostKeyError {
    /// No known_hosts file has a key for it.
    #[error(
        "no known_hosts file has a key of {host}, which shows {offered}; compare that with \
         `ssh-keygen -lf` of the key on the host itself, then run `medusafs trust {host}`"
    )]
    Unknown {
        /// As known_hosts would name it.
        host: String,
        /// What it showed.
        offered: Fingerprint,
    },
    /// Another key is on record: the host was set up anew, or it is another one.
    #[error(
        "the key of {host} has changed: {}:{line} has {recorded}, it shows {offered}; if it was \
         set up anew, compare with `ssh-keygen -lf` of the key on the host itself, delete that \
         line and run `medusafs trust {host}`", .file.display()
    )]
    Changed {
        /// As known_hosts names it.
        host: String,
        /// Where the other key is on record.
        file: PathBuf,
        /// The line there, from 1.
        line: usize,
        /// What is on record.
        recorded: Fingerprint,
        /// What it showed.
        offered: Fingerprint,
    },
    /// The key, or the authority that signed it, is marked as lost to others.
    #[error(
        "the key {offered} of {host} is revoked by {}:{line}; give the host new keys", .file.display()
    )]
    Revoked {
        /// As known_hosts names it.
        host: String,
        /// Where it is revoked.
        file: PathBuf,
        /// The line there, from 1.
        line: usize,
        /// What it showed.
        offered: Fingerprint,
    },
    /// A known authority signed it, but not for this host, or not for now.
    #[error("the certificate that {host} shows is not good: {why}; have it signed anew")]
    Certificate {
        /// As known_hosts names it.
        host: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Fingerprint {
    pub(super) fn of(key: &PublicKey) -> Self {
        Self {
            algorithm: key.algorithm().to_string(),
            sha256: key.fingerprint(HashAlg::Sha256).to_string(),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm, self.sha256)
    }
}

/// Whom a verdict is about.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    /// The name that certificates are made for.
    pub(super) host: String,
    /// The name in known_hosts: with the port if it is not 22.
    pub(super) name: String,
}

/// Whether `offered` may be trusted by what known_hosts has of the host.
pub(super) fn judge(
    lines: &[KnownLine],
    subject: &Subject,
    now: UnixSeconds,
    offered: &PublicKeyOrCertificate,
) -> Result<(), Box<HostKeyError>> {
    let refused = |refusal| Err(Box::new(refusal));
    let key = offered.public_key();
    let certificate = offered.certificate();
    let host = || subject.name.clone();
    let signed_by = |line: &KnownLine| {
        certificate.is_some_and(|signed| line.key.key_data() == signed.signature_key())
    };
    let is_it = |line: &KnownLine| line.key.key_data() == key.key_data();

    let mut revoked = lines.iter().filter(|line| line.marker == Marker::Revoked);
    if let Some(line) = revoked.find(|line| is_it(line) || signed_by(line)) {
        return refused(HostKeyError::Revoked {
            host: host(),
            file: line.file.clone(),
            line: line.number,
            offered: Fingerprint::of(&key),
        });
    }
    let authorities = || lines.iter().filter(|line| line.marker == Marker::CertAuthority);
    if let Some(certificate) = certificate.filter(|_| authorities().any(signed_by)) {
        let authorities: Vec<_> =
            authorities().map(|line| line.key.fingerprint(HashAlg::Sha256)).collect();
        return judge_certificate(certificate, &authorities, &subject.host, now)
            .or_else(|why| refused(HostKeyError::Certificate { host: host(), why }));
    }
    let plain = || lines.iter().filter(|line| line.marker == Marker::Plain);
    if plain().any(is_it) {
        return Ok(());
    }
    let mut others = plain().filter(|line| !line.without_port);
    let other = others.clone().find(|line| line.key.algorithm() == key.algorithm());
    match other.or_else(|| others.next()) {
        Some(line) => refused(HostKeyError::Changed {
            host: host(),
            file: line.file.clone(),
            line: line.number,
            recorded: Fingerprint::of(&line.key),
            offered: Fingerprint::of(&key),
        }),
        None => refused(HostKeyError::Unknown { host: host(), offered: Fingerprint::of(&key) }),
    }
}

fn judge_certificate(
    certificate: &Certificate,
    authorities: &[russh::keys::ssh_key::Fingerprint],
    host: &str,
    now: UnixSeconds,
) -> Result<(), String> {
    if certificate.cert_type() != CertType::Host {
        return Err("it is a user's, not a host's".to_owned());
    }
    let now =
        u64::try_from(now.0).map_err(|_negative| "the clock stands before 1970".to_owned())?;
    // Signature, authority, critical options and validity.
    certificate.validate_at(now, authorities).map_err(|error| error.to_string())?;
    // Patterns are none here, as in OpenSSH's client. One without names is good for every host to
    // OpenSSH 9.2, and for none to us.
    let principals = certificate.valid_principals();
    if !principals.iter().any(|name| name.eq_ignore_ascii_case(host)) {
        return Err(format!("it is made for {}, not for {host}", principals.join(", ")));
    }
    Ok(())
}

/// Host key types to ask for, best first.
pub(super) struct Order {
    pub(super) keys: Vec<Algorithm>,
    /// Empty unless an authority is known for the host: we could not judge a certificate.
    pub(super) certificates: Vec<Algorithm>,
}

/// The types on record first: a server with three keys shows the first one that is asked for, and
/// would be a stranger if that is not the one on record. SHA-1 signatures are never asked for.
pub(super) fn order(lines: &[KnownLine]) -> Order {
    let all: Vec<Algorithm> = russh::Preferred::DEFAULT
        .key
        .iter()
        .filter(|algorithm| **algorithm != Algorithm::Rsa { hash: None })
        .cloned()
        .collect();
    let on_record = |algorithm: &Algorithm| {
        lines.iter().filter(|line| line.marker == Marker::Plain).any(|line| {
            let known = line.key.algorithm();
            known == *algorithm
                || matches!((known, algorithm), (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }))
        })
    };
    let (mut keys, rest): (Vec<_>, Vec<_>) = all.iter().cloned().partition(on_record);
    keys.extend(rest);
    let signed = lines.iter().any(|line| line.marker == Marker::CertAuthority);
    Order { keys, certificates: if signed { all } else { Vec::new() } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use russh::keys::PrivateKey;
    use russh::keys::ssh_key::certificate::Builder;
    use russh::keys::ssh_key::private::Ed25519Keypair;

    fn ed25519(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    fn rsa() -> PublicKey {
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDB4rAr8r9rgs8UyIHmVHxkvMeDdGhIMZ/+l25BQ5sxvVYrVs5p\
         0PVWiNcAJkGqCWMPLLHKDbVThPJfiyaM1EQIxoZ7cQTJ1FSYeKNTrm3K5x9/uXUzTe7OnFy/LFVMdE2NhC/6cvz1\
         6MnvhFFbLNu3UzNsO1+vRI2MT4lJtZ3TUw=="
            .parse()
            .unwrap()
    }

    fn line(number: usize, marker: Marker, key: &PublicKey) -> KnownLine {
        KnownLine { file: "kh".into(), number, marker, without_port: false, key: key.clone() }
    }

    fn verdict(
        lines: &[KnownLine],
        offered: impl Into<PublicKeyOrCertificate>,
    ) -> Result<(), Box<HostKeyError>> {
        let subject = Subject { host: "node1".to_owned(), name: "node1".to_owned() };
        judge(lines, &subject, UnixSeconds(1_000_000), &offered.into())
    }

    fn signed(
        by: &PrivateKey,
        kind: CertType,
        principal: Option<&str>,
        until: u64,
    ) -> PublicKeyOrCertificate {
        let host = ed25519(9);
        let mut builder =
            Builder::new(vec![0; 16], host.public_key().key_data().clone(), 0, until).unwrap();
        builder.cert_type(kind).unwrap();
        match principal {
            Some(name) => builder.valid_principal(name).unwrap(),
            None => builder.all_principals_valid().unwrap(),
        };
        builder.sign(by).unwrap().into()
    }

    #[test]
    fn a_key_on_record_is_trusted_also_beside_an_older_one() {
        let (old, new) = (ed25519(1).public_key().clone(), ed25519(2).public_key().clone());
        let lines = [line(1, Marker::Plain, &old), line(2, Marker::Plain, &new)];
        assert_eq!(verdict(&lines, old), Ok(()));
        assert_eq!(verdict(&lines, new), Ok(()));
    }

    #[test]
    fn another_key_than_the_one_on_record_is_refused_with_both_fingerprints() {
        let (old, new) = (ed25519(1).public_key().clone(), ed25519(2).public_key().clone());
        let lines = [line(3, Marker::Plain, &rsa()), line(7, Marker::Plain, &old)];
        let refusal = verdict(&lines, new.clone()).unwrap_err();
        let HostKeyError::Changed { line, recorded, offered, .. } = refusal.as_ref() else {
            panic!("{refusal:?}")
        };
        assert_eq!((*line, recorded, offered), (7, &Fingerprint::of(&old), &Fingerprint::of(&new)));
        let text = refusal.to_string();
        assert!(text.contains("kh:7") && text.contains("medusafs trust node1"), "{text}");
        assert!(text.contains(&recorded.sha256) && text.contains(&offered.sha256), "{text}");
    }

    #[test]
    fn a_host_that_nobody_knows_is_refused_with_its_fingerprint() {
        let key = ed25519(1).public_key().clone();
        let refusal = verdict(&[], key.clone()).unwrap_err();
        let host = "node1".to_owned();
        assert_eq!(*refusal, HostKeyError::Unknown { host, offered: Fingerprint::of(&key) });
    }

    #[test]
    fn a_revoked_key_is_refused_though_it_is_on_record() {
        let key = ed25519(1).public_key().clone();
        let lines = [line(1, Marker::Plain, &key), line(2, Marker::Revoked, &key)];
        let refusal = verdict(&lines, key).unwrap_err();
        assert!(matches!(*refusal, HostKeyError::Revoked { line: 2, .. }), "{refusal:?}");
    }

    #[test]
    fn a_line_without_the_port_vouches_but_does_not_accuse() {
        let (known, other) = (ed25519(1).public_key().clone(), ed25519(2).public_key().clone());
        let mut bare = line(1, Marker::Plain, &known);
        bare.without_port = true;
        let lines = [bare];
        assert_eq!(verdict(&lines, known), Ok(()));
        assert!(matches!(*verdict(&lines, other).unwrap_err(), HostKeyError::Unknown { .. }));
    }

    #[test]
    fn a_certificate_of_a_known_authority_is_trusted_for_its_host_and_time_only() {
        let (authority, other) = (ed25519(5), ed25519(6));
        let lines = [line(1, Marker::CertAuthority, authority.public_key())];
        let good = signed(&authority, CertType::Host, Some("NODE1"), 2_000_000);
        assert_eq!(verdict(&lines, good), Ok(()));
        for bad in [
            signed(&authority, CertType::User, Some("node1"), 2_000_000),
            signed(&authority, CertType::Host, Some("node?"), 2_000_000),
            signed(&authority, CertType::Host, None, 2_000_000),
            signed(&authority, CertType::Host, Some("node1"), 999_999),
        ] {
            let refusal = verdict(&lines, bad).unwrap_err();
            assert!(matches!(*refusal, HostKeyError::Certificate { .. }), "{refusal:?}");
        }
        let stranger = signed(&other, CertType::Host, Some("node1"), 2_000_000);
        assert!(matches!(*verdict(&lines, stranger).unwrap_err(), HostKeyError::Unknown { .. }));
        let lost = line(2, Marker::Revoked, authority.public_key());
        let good = signed(&authority, CertType::Host, Some("node1"), 2_000_000);
        let refusal = verdict(&[lines[0].clone(), lost], good).unwrap_err();
        assert!(matches!(*refusal, HostKeyError::Revoked { line: 2, .. }), "{refusal:?}");
    }

    #[test]
    fn an_authority_s_own_key_vouches_for_no_host() {
        let authority = ed25519(5).public_key().clone();
        let lines = [line(1, Marker::CertAuthority, &authority)];
        assert!(matches!(*verdict(&lines, authority).unwrap_err(), HostKeyError::Unknown { .. }));
    }

    #[test]
    fn types_on_record_are_asked_for_first_and_sha1_never() {
        let order_of = |lines: &[KnownLine]| order(lines).keys;
        assert_eq!(order_of(&[])[0], Algorithm::Ed25519);
        let with_rsa = order_of(&[line(1, Marker::Plain, &rsa())]);
        assert_eq!(with_rsa[0], Algorithm::Rsa { hash: Some(HashAlg::Sha512) });
        assert!(!with_rsa.contains(&Algorithm::Rsa { hash: None }));
        assert_eq!(with_rsa.len(), 6);
        assert!(order(&[line(1, Marker::Plain, &rsa())]).certificates.is_empty());
        assert!(!order(&[line(1, Marker::CertAuthority, &rsa())]).certificates.is_empty());
    }
}
