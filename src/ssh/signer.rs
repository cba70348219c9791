//! Signs by a key in memory where russh asks an outside signer: its own way of certificates knows
//! only SHA-1 for RSA, which current servers refuse.

use std::future::Future;
use std::sync::Arc;

use russh::keys::agent::AgentIdentity;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::ssh_key::{self, Signature};
use russh::keys::{HashAlg, PrivateKey};

/// A private key.
pub(super) struct KeySigner(pub(super) Arc<PrivateKey>);

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SignError {
    #[error(transparent)]
    Gone(#[from] russh::SendError),
    #[error("the key cannot sign")]
    Key(#[source] ssh_key::Error),
}

impl russh::Signer for KeySigner {
    type Error = SignError;

    fn auth_sign(
        &mut self,
        _key: &AgentIdentity,
        hash: Option<HashAlg>,
        mut to_sign: Vec<u8>,
    ) -> impl Future<Output = Result<Vec<u8>, SignError>> + Send {
        let signed = self.sign(hash, &to_sign);
        async move {
            let blob = signed.map_err(SignError::Key)?;
            let length = u32::try_from(blob.len()).unwrap_or(u32::MAX);
            to_sign.extend(length.to_be_bytes());
            to_sign.extend(blob);
            Ok(to_sign)
        }
    }
}

impl KeySigner {
    fn sign(&self, hash: Option<HashAlg>, data: &[u8]) -> Result<Vec<u8>, ssh_key::Error> {
        let signature: Signature = match self.0.key_data() {
            KeypairData::Rsa(pair) => (pair, hash).try_sign(data)?,
            other => other.try_sign(data)?,
        };
        signature.try_into()
    }
}
