//! Being let in: with one key from a file, or those of an agent.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::MethodSet;
use russh::client::AuthResult;
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg};
use tokio::net::UnixStream;

use super::keys::{self, LoadedKey};
use super::login::{Connected, Session};
use super::signer::KeySigner;
use super::{Identity, SshError, SshErrorKind, Stage, Target};

/// What we have to show, read before anybody is bothered.
pub(super) enum Credentials {
    File { path: PathBuf, key: Box<LoadedKey> },
    Agent { agent: AgentClient<UnixStream>, identities: Vec<AgentIdentity> },
}

/// Reads the key file, or asks the agent what it holds.
pub(super) async fn credentials(target: &Target) -> Result<Credentials, SshError> {
    let unfit = |message: String| {
        SshError::new(target, Stage::Authenticate, SshErrorKind::Identity, message)
    };
    match &target.identity {
        Identity::File { key: path, certificate } => {
            let key = keys::load(path, certificate.as_deref())
                .await
                .map_err(|error| unfit("our key is unfit".to_owned()).because(error))?;
            Ok(Credentials::File { path: path.clone(), key: Box::new(key) })
        }
        Identity::Agent { socket: None } => Err(unfit(
            "there is no key: set [ssh] key_file, or run with an agent (SSH_AUTH_SOCK)".to_owned(),
        )),
        Identity::Agent { socket: Some(socket) } => agent(socket, unfit).await,
    }
}

async fn agent(socket: &Path, unfit: impl Fn(String) -> SshError) -> Result<Credentials, SshError> {
    let silent = |error: russh::keys::Error| {
        let message = format!(
            "the agent at {} does not answer; start one, or set [ssh] key_file",
            socket.display()
        );
        unfit(message).because(error)
    };
    let mut agent = AgentClient::connect_uds(socket).await.map_err(silent)?;
    let identities = agent.request_identities().await.map_err(silent)?;
    if identities.is_empty() {
        return Err(unfit(format!(
            "the agent at {} holds no key; load one (ssh-add), or set [ssh] key_file",
            socket.display()
        )));
    }
    Ok(Credentials::Agent { agent, identities })
}

/// Logs in. A session on which this failed or was dropped is good for nothing: throw it away.
pub(super) async fn authenticate(
    connected: &mut Connected,
    target: &Target,
    credentials: &mut Credentials,
) -> Result<(), SshError> {
    let session = &mut connected.session;
    let (result, shown) = match credentials {
        Credentials::File { path, key } => {
            let shown = format!("the key {}", path.display());
            (by_file(session, &target.user, key).await, shown)
        }
        Credentials::Agent { agent, identities } => {
            let shown = match identities.len() {
                1 => "the agent's key".to_owned(),
                count => format!("the agent's {count} keys"),
            };
            (by_agent(session, &target.user, agent, identities).await, shown)
        }
    };
    let refused = |kind, message: String| SshError::new(target, Stage::Authenticate, kind, message);
    let hung_up = session.is_closed();
    let why = connected.why.lock().clone();
    match (result, why) {
        (Ok(AuthResult::Success), _) => Ok(()),
        // The reason comes only by the hang-up, whatever the call says.
        (_, Some(why)) if hung_up => Err(refused(
            SshErrorKind::Denied,
            format!("{why}; if that is for too many keys, set [ssh] key_file, or empty the agent"),
        )),
        (Ok(AuthResult::Failure { partial_success: true, remaining_methods }), _) => Err(refused(
            SshErrorKind::Denied,
            format!(
                "{shown} was taken, but it also wants {}, which medusafs has not; exempt {} by a \
                 Match block in sshd_config",
                methods(&remaining_methods),
                target.user
            ),
        )),
        (Ok(AuthResult::Failure { remaining_methods, .. }), _) => Err(refused(
            SshErrorKind::Denied,
            format!(
                "{shown} was refused (it takes {}); put the public half into authorized_keys of \
                 {} there, and look at the owner and mode of that file",
                methods(&remaining_methods),
                target.user
            ),
        )),
        (Err(Failure::Signer(error)), _) => {
            let message = format!("nothing could be signed by {shown}");
            Err(refused(SshErrorKind::Identity, message).because(error))
        }
        (Err(Failure::Ssh(error)), _) => {
            let message = "the connection broke".to_owned();
            Err(refused(SshErrorKind::Lost, message).because(error))
        }
    }
}

enum Failure {
    Ssh(russh::Error),
    Signer(Box<dyn Error + Send + Sync>),
}

fn methods(methods: &MethodSet) -> String {
    let names: Vec<&'static str> = methods.iter().map(Into::into).collect();
    if names.is_empty() { "nothing more".to_owned() } else { names.join(", ") }
}

/// Hashes to sign with. RSA without one means SHA-1, which current servers refuse; what a server
/// claims to take is not always what it takes, so both are tried.
fn hashes(algorithm: &Algorithm) -> &'static [Option<HashAlg>] {
    match algorithm {
        Algorithm::Rsa { .. } => &[Some(HashAlg::Sha512), Some(HashAlg::Sha256)],
        _ => &[None],
    }
}

async fn by_file(
    session: &mut Session,
    user: &str,
    loaded: &LoadedKey,
) -> Result<AuthResult, Failure> {
    let mut result = nothing_tried();
    let mut signer = KeySigner(Arc::clone(&loaded.key));
    if let Some(certificate) = &loaded.certificate {
        for hash in hashes(&loaded.key.algorithm()) {
            let certificate = certificate.clone();
            let tried =
                session.authenticate_certificate_with(user, certificate, *hash, &mut signer).await;
            result = tried.map_err(|error| Failure::Signer(error.into()))?;
            if settled(&result) || session.is_closed() {
                return Ok(result);
            }
        }
    }
    for hash in hashes(&loaded.key.algorithm()) {
        let key = PrivateKeyWithHashAlg::new(Arc::clone(&loaded.key), *hash);
        result = session.authenticate_publickey(user, key).await.map_err(Failure::Ssh)?;
        if settled(&result) || session.is_closed() {
            break;
        }
    }
    Ok(result)
}

async fn by_agent(
    session: &mut Session,
    user: &str,
    agent: &mut AgentClient<UnixStream>,
    identities: &[AgentIdentity],
) -> Result<AuthResult, Failure> {
    let mut result = nothing_tried();
    for identity in identities {
        for hash in hashes(&identity.public_key().algorithm()) {
            let tried = match identity {
                AgentIdentity::PublicKey { key, .. } => {
                    session.authenticate_publickey_with(user, key.clone(), *hash, agent).await
                }
                AgentIdentity::Certificate { certificate, .. } => {
                    let certificate = certificate.clone();
                    session.authenticate_certificate_with(user, certificate, *hash, agent).await
                }
            };
            result = tried.map_err(|error| Failure::Signer(error.into()))?;
            if settled(&result) || session.is_closed() {
                return Ok(result);
            }
        }
    }
    Ok(result)
}

fn settled(result: &AuthResult) -> bool {
    !matches!(result, AuthResult::Failure { partial_success: false, .. })
}

fn nothing_tried() -> AuthResult {
    AuthResult::Failure { remaining_methods: MethodSet::empty(), partial_success: false }
}
