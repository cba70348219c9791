//! Whether a private key can be used without a person: there, closed to others, not encrypted.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

/// Why a key file cannot be used. Each is one sentence with its remedy.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// There is none.
    #[error(
        "there is no key file {}; make one with ssh-keygen -t ed25519 -N '' -f {} and append its \
         .pub to authorized_keys on every node",
        .0.display(), .0.display()
    )]
    Missing(PathBuf),
    /// This user may not read it, or the disk does not give it.
    #[error("cannot read the key file {}; run medusafs as its owner", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A directory, a pipe, or nothing that holds a key.
    #[error("{} is no private key: {what}", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What it is instead, and what to do.
        what: &'static str,
    },
    /// Others could read it, so it may be known already.
    #[error(
        "the key file {} can be used by others (mode {mode:04o}); close it with chmod 600 {}",
        path.display(), path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It needs a passphrase, which nobody types at night.
    #[error(
        "the key file {} is encrypted, and nobody is there to type its passphrase; take it off with \
         ssh-keygen -p -N '' -f {}, or leave key_file out and use an agent",
        .0.display(), .0.display()
    )]
    Encrypted(PathBuf),
}

/// The most that a key file may have; one of RSA with 16384 bits has 13 kB.
const LARGEST: u64 = 64 << 10;

/// Looks whether a private key can be used without a person, before anything is begun with it.
///
/// # Errors
///
/// Each says in one sentence what is wrong and what to do.
pub fn check_key_file(path: &Path) -> Result<(), KeyFileError> {
    let owned = || path.to_owned();
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => KeyFileError::Missing(owned()),
        _ => KeyFileError::Unreadable { path: owned(), source },
    };
    let no_key = |what| KeyFileError::NoKey { path: owned(), what };
    // Asked before opening, for the open of a pipe would wait for its writer.
    if !path.metadata().map_err(unreadable)?.is_file() {
        return Err(no_key("it is no ordinary file"));
    }
    let file = File::open(path).map_err(unreadable)?;
    let about: Metadata = file.metadata().map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).map_err(unreadable)?;
    let text = String::from_utf8_lossy(&bytes);
    match form(&text) {
        Form::Plain | Form::Encrypted if about.permissions().mode() & 0o077 != 0 => {
            Err(KeyFileError::Open { path: owned(), mode: about.mode() & 0o7777 })
        }
        Form::Plain => Ok(()),
        Form::Encrypted => Err(KeyFileError::Encrypted(owned())),
        Form::Not(what) => Err(no_key(what)),
    }
}

enum Form {
    Plain,
    Encrypted,
    Not(&'static str),
}

fn form(text: &str) -> Form {
    let Some(head) = text.lines().map(str::trim).find(|line| !line.is_empty()) else {
        return Form::Not("it is empty");
    };
    if head.starts_with("PuTTY-User-Key-File") {
        return Form::Not("it is a key of PuTTY; change it with puttygen -O private-openssh");
    }
    if head.starts_with("ssh-") || head.starts_with("ecdsa-") || head.contains("PUBLIC KEY") {
        return Form::Not("it is the public half; name the file without .pub");
    }
    if head.contains("BEGIN CERTIFICATE") {
        return Form::Not("it is a certificate; name the key that belongs to it");
    }
    match head {
        "-----BEGIN ENCRYPTED PRIVATE KEY-----" => Form::Encrypted,
        "-----BEGIN OPENSSH PRIVATE KEY-----" => openssh(text),
        // RFC 1421, as openssl writes it: `Proc-Type: 4,ENCRYPTED`.
        _ if head.starts_with("-----BEGIN ") && head.ends_with("PRIVATE KEY-----") => {
            let encrypted =
                |line: &str| line.starts_with("Proc-Type:") && line.contains("ENCRYPTED");
            if text.lines().any(encrypted) { Form::Encrypted } else { Form::Plain }
        }
        _ => Form::Not("it begins with no -----BEGIN … PRIVATE KEY-----"),
    }
}

/// OpenSSH's own form: a magic, then the name of the cipher as a string with its length before it
/// (PROTOCOL.key of OpenSSH); `none` is not encrypted.
fn openssh(text: &str) -> Form {
    const MAGIC: &[u8] = b"openssh-key-v1\0";
    const NONE: &[u8] = b"\0\0\0\x04none";
    const BROKEN: Form = Form::Not("it is cut off or garbled; copy it again");
    let body =
        text.lines().map(str::trim).skip_while(|line| !line.starts_with("-----BEGIN ")).skip(1);
    let encoded: String = body.take_while(|line| !line.starts_with("-----END ")).collect();
    if !text.contains("-----END OPENSSH PRIVATE KEY-----") {
        return BROKEN;
    }
    let Ok(decoded) = STANDARD.decode(encoded) else { return BROKEN };
    match decoded.strip_prefix(MAGIC) {
        None => BROKEN,
        Some(rest) if rest.starts_with(NONE) => Form::Plain,
        Some(_) => Form::Encrypted,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use test_case::test_case;

    use super::*;

    fn check(text: &str, mode: u32) -> Result<(), String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("id");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        check_key_file(&path).map_err(|error| {
            error.to_string().replace(path.to_str().unwrap(), "ID").replace("  ", " ")
        })
    }

    /// A file of OpenSSH's form as far as its cipher.
    fn openssh_with(cipher: &str) -> String {
        let mut bytes = b"openssh-key-v1\0\0\0\0".to_vec();
        bytes.push(u8::try_from(cipher.len()).unwrap());
        bytes.extend(cipher.as_bytes());
        bytes.extend([0; 60]);
        let body = STANDARD.encode(bytes);
        let (one, other) = body.split_at(70);
        format!(
            "-----BEGIN OPENSSH PRIVATE KEY-----\n{one}\n{other}\n-----END OPENSSH PRIVATE KEY-----\n"
        )
    }

    const PEM: &str = "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n";

    #[test]
    fn a_key_that_is_plain_and_closed_to_others_is_good() {
        assert_eq!(check(PEM, 0o600), Ok(()));
        assert_eq!(check(&openssh_with("none"), 0o400), Ok(()));
        assert_eq!(check(&PEM.replace("RSA ", ""), 0o600), Ok(()));
        assert_eq!(check(&PEM.replace('\n', "\r\n"), 0o600), Ok(()));
    }

    #[test_case(0o640; "the group reads")]
    #[test_case(0o604; "everyone reads")]
    #[test_case(0o620; "the group writes")]
    fn a_key_that_others_can_use_is_refused_with_the_chmod(mode: u32) {
        let said = check(PEM, mode).unwrap_err();
        assert_eq!(
            said,
            format!(
                "the key file ID can be used by others (mode {mode:04o}); close it with chmod 600 ID"
            )
        );
    }

    #[test_case(&openssh_with("aes256-ctr"); "of openssh")]
    #[test_case("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"; "pkcs 8")]
    #[test_case("-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: x\n"; "pem")]
    fn a_key_with_a_passphrase_is_refused_with_the_way_out(text: &str) {
        let said = check(text, 0o600).unwrap_err();
        assert!(said.contains("is encrypted") && said.contains("ssh-keygen -p"), "{said}");
    }

    #[test_case("", "empty"; "an empty file")]
    #[test_case("ssh-ed25519 AAAA root@host\n", "public half"; "the public half")]
    #[test_case("PuTTY-User-Key-File-3: ssh-ed25519\n", "puttygen"; "a key of putty")]
    #[test_case("-----BEGIN CERTIFICATE-----\n", "certificate"; "a certificate")]
    #[test_case("hello\n", "begins with no"; "any text")]
    #[test_case("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", "cut off"; "a half file")]
    fn what_is_no_private_key_is_told_for_what_it_is(text: &str, says: &str) {
        let said = check(text, 0o600).unwrap_err();
        assert!(said.starts_with("ID is no private key: ") && said.contains(says), "{said}");
    }

    #[test]
    fn a_key_that_is_not_there_is_told_with_how_to_make_one() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("id");
        let said = check_key_file(&missing).unwrap_err().to_string();
        assert!(said.contains("there is no key file") && said.contains("ssh-keygen"), "{said}");
        let said = check_key_file(directory.path()).unwrap_err().to_string();
        assert!(said.contains("no ordinary file"), "{said}");
    }
}
