//! Private keys from files, with messages that say what is wrong with one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::{Certificate, PrivateKey, decode_secret_key};
use thiserror::Error;

/// More bytes than any private key file has.
const FILE_LIMIT: usize = 64 << 10;

/// Why a key file is of no use. Nothing of the key is ever in a message.
#[derive(Debug, Error)]
pub(super) enum KeyError {
    #[error("the key file {} cannot be read; look at [ssh] key_file, and at the file's owner and mode", .0.display())]
    Unreadable(PathBuf, #[source] std::io::Error),
    #[error(
        "the key file {} is encrypted, and nobody is there to ask for its passphrase; take one \
         without a passphrase, or load it into an agent (ssh-add) and leave key_file empty",
        .0.display()
    )]
    Encrypted(PathBuf),
    #[error("{} holds a public key; [ssh] key_file wants the private one beside it", .0.display())]
    Public(PathBuf),
    #[error("{} holds a PuTTY key; convert it by `puttygen -O private-openssh`", .0.display())]
    Putty(PathBuf),
    #[error(
        "{} is no private key that can be read: PEM (RSA, EC, PKCS#8) and OpenSSH files are",
        .0.display()
    )]
    Unfit(PathBuf, #[source] Box<russh::keys::Error>),
    #[error("{} is no OpenSSH certificate; [ssh] cert_file wants a *-cert.pub", .0.display())]
    Certificate(PathBuf, #[source] Box<russh::keys::ssh_key::Error>),
}

/// A key, and the certificate for it.
#[derive(Debug)]
pub(super) struct LoadedKey {
    pub(super) key: Arc<PrivateKey>,
    pub(super) certificate: Option<Certificate>,
}

/// Reads a key, and a certificate if there is one to be.
pub(super) async fn load(key: &Path, certificate: Option<&Path>) -> Result<LoadedKey, KeyError> {
    let text = read(key).await?;
    let certificate = match certificate {
        Some(path) => {
            let text = read(path).await?;
            let parsed = Certificate::from_openssh(text.trim());
            Some(parsed.map_err(|error| KeyError::Certificate(path.to_owned(), Box::new(error)))?)
        }
        None => None,
    };
    Ok(LoadedKey { key: Arc::new(parse(key, &text)?), certificate })
}

async fn read(path: &Path) -> Result<String, KeyError> {
    let unreadable = |error| KeyError::Unreadable(path.to_owned(), error);
    let bytes = tokio::fs::read(path).await.map_err(unreadable)?;
    if bytes.len() > FILE_LIMIT {
        return Err(unreadable(std::io::Error::other("it has more than 64 KiB")));
    }
    // Text before the key may be in any encoding; the key itself is ASCII.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn parse(path: &Path, text: &str) -> Result<PrivateKey, KeyError> {
    let path = || path.to_owned();
    if text.contains("PuTTY-User-Key-File") {
        return Err(KeyError::Putty(path()));
    }
    let public = ["ssh-", "ecdsa-", "sk-"].iter().any(|start| text.trim_start().starts_with(start));
    if public || text.contains("BEGIN PUBLIC KEY") {
        return Err(KeyError::Public(path()));
    }
    // PKCS#8 and PEM say so in the text; only then is russh's own error no guide.
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(KeyError::Encrypted(path()));
    }
    decode_secret_key(text, None).map_err(|error| match error {
        russh::keys::Error::KeyIsEncrypted => KeyError::Encrypted(path()),
        other => KeyError::Unfit(path(), Box::new(other)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use test_case::test_case;

    #[expect(clippy::disallowed_methods, reason = "the test makes keys by OpenSSH's own program")]
    fn generate(arguments: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let mut command = Command::new("ssh-keygen");
        let output = command.args(["-q", "-f"]).arg(&path).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        (directory, path)
    }

    #[test_case(&["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", ""]; "PEM RSA, as Medusa wants it")]
    #[test_case(&["-t", "rsa", "-b", "2048", "-m", "PKCS8", "-N", ""]; "PKCS 8 RSA")]
    #[test_case(&["-t", "rsa", "-b", "2048", "-N", ""]; "OpenSSH RSA")]
    #[test_case(&["-t", "ed25519", "-N", ""]; "OpenSSH ed25519")]
    #[test_case(&["-t", "ecdsa", "-N", ""]; "OpenSSH ECDSA")]
    #[test_case(&["-t", "ecdsa", "-m", "PEM", "-N", ""]; "PEM ECDSA")]
    #[tokio::test]
    async fn a_key_without_a_passphrase_is_read(arguments: &[&str]) {
        let (_directory, path) = generate(arguments);
        assert!(load(&path, None).await.is_ok());
    }

    #[test_case(&["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "secret"]; "PEM")]
    #[test_case(&["-t", "rsa", "-b", "2048", "-m", "PKCS8", "-N", "secret"]; "PKCS 8")]
    #[test_case(&["-t", "ed25519", "-N", "secret"]; "OpenSSH")]
    #[test_case(&["-t", "ecdsa", "-m", "PEM", "-N", "secret"]; "PEM ECDSA")]
    #[tokio::test]
    async fn an_encrypted_key_is_refused_as_such(arguments: &[&str]) {
        let (_directory, path) = generate(arguments);
        let error = load(&path, None).await.unwrap_err();
        assert!(matches!(error, KeyError::Encrypted(_)), "{error:?}");
    }

    #[tokio::test]
    async fn what_is_no_private_key_is_called_what_it_is() {
        let (directory, path) = generate(&["-t", "ed25519", "-N", ""]);
        let public = load(&path.with_extension("pub"), None).await.unwrap_err();
        assert!(matches!(public, KeyError::Public(_)), "{public:?}");
        let absent = load(&directory.path().join("none"), None).await.unwrap_err();
        assert!(matches!(absent, KeyError::Unreadable(..)), "{absent:?}");
        let certificate = load(&path, Some(&path.with_extension("pub"))).await.unwrap_err();
        assert!(matches!(certificate, KeyError::Certificate(..)), "{certificate:?}");
        let junk = parse(Path::new("key"), "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n").unwrap_err();
        assert!(matches!(junk, KeyError::Unfit(..)), "{junk:?}");
    }

    #[tokio::test]
    async fn a_pem_key_is_read_with_windows_line_ends_and_text_before_it() {
        let (_directory, path) = generate(&["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", ""]);
        let text = std::fs::read_to_string(&path).unwrap();
        let text = format!("a note\n{text}").replace('\n', "\r\n");
        std::fs::write(&path, text).unwrap();
        assert!(load(&path, None).await.is_ok());
    }
}
