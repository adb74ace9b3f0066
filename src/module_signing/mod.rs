//! Signatures of kernel modules. A kernel under Secure Boot loads only modules that a key signed which it knows, so
//! modules that are built here are signed with the user's own key. This program makes the signature itself: no program
//! of a root ever reads the key.

mod appended;
mod certificate;
mod files;

pub use certificate::Certificate;
pub use files::{Signing, sign, unsigned};

use crate::host::fs::Root;
use crate::host::owner::{owners, read_owned};
use crate::outcome::{Cause, Reason};
use crate::settings::Settings;
use anyhow::Result;
use appended::Hash;
use ring::rand::SystemRandom;
use ring::rsa::KeyPair;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A key with its certificate.
pub struct Signer {
    key: KeyPair,
    certificate: Certificate,
    path: PathBuf,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What the settings say of signing.
#[derive(Debug)]
pub enum Named {
    /// Nothing.
    Nothing,
    /// The certificate alone: modules must be signed by its key, which is elsewhere.
    Certificate(Box<Certificate>),
    /// The key as well.
    Signer(Box<Signer>),
}

/// Reads what the settings name, and checks that it can sign. `root` is the root that is worked on, where there is one:
/// the key must not lie in an image.
pub fn named(settings: &Settings, root: Option<&Root>) -> Result<Named> {
    let (key, certificate) = (&settings.module_signing_key, &settings.module_signing_cert);
    let Some(certificate) = certificate else {
        return match key {
            None => Ok(Named::Nothing),
            Some(_) => Err(Reason::BadSettings
                .error("`module_signing_key` needs `module_signing_cert`, the certificate of that key")),
        };
    };
    let certificate = Certificate::read(Path::new(certificate))?;
    let Some(key) = key else { return Ok(Named::Certificate(Box::new(certificate))) };
    let path = Path::new(key);
    let pair = read_key(path, settings, root)?;
    if pair.public().as_ref() != certificate.public_key() {
        let what = format!(
            "the certificate of {} in `module_signing_cert` is not that of the key `{key}`",
            certificate.subject()
        );
        return Err(Cause::SigningKeyUnusable.error(what));
    }
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    Ok(Named::Signer(Box::new(Signer { key: pair, certificate, path })))
}

impl Named {
    /// The certificate, if one is named.
    pub fn certificate(&self) -> Option<&Certificate> {
        match self {
            Self::Nothing => None,
            Self::Certificate(certificate) => Some(certificate),
            Self::Signer(signer) => Some(&signer.certificate),
        }
    }

    /// The key, if it is here.
    pub fn signer(&self) -> Option<&Signer> {
        match self {
            Self::Signer(signer) => Some(signer),
            Self::Nothing | Self::Certificate(_) => None,
        }
    }
}

impl Signer {
    /// The certificate of the key.
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Where the key is on this machine.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The module with this key's signature in place of any other.
    fn signed(&self, module: &[u8], hash: Hash) -> Result<Vec<u8>> {
        let bare = appended::without_signatures(module);
        let mut signature = vec![0; self.key.public().modulus_len()];
        // The error of the library tells nothing.
        self.key
            .sign(hash.encoding(), &SystemRandom::new(), bare, &mut signature)
            .map_err(|_| Cause::SigningKeyUnusable.error("the key cannot sign"))?;
        appended::append(bare, &self.certificate, hash, signature)
    }
}

/// Reads a private key that only its owner can read.
fn read_key(path: &Path, settings: &Settings, root: Option<&Root>) -> Result<KeyPair> {
    let name = path.display();
    let pem = read_owned(path, owners(settings)?)?;
    let unusable = |what: &str| Cause::SigningKeyUnusable.error(format!("the key `{name}` {what}"));
    let is_open = |metadata: &Metadata| metadata.permissions().mode() & 0o077 != 0;
    if std::fs::metadata(path).as_ref().is_ok_and(is_open) {
        return Err(unusable("can be read by others than its owner: `chmod 600` it"));
    }
    if root.is_some_and(|root| !root.is_slash() && lies_in(path, root)) {
        return Err(unusable("lies in the image: keep it outside, or everybody who gets the image has it"));
    }
    if pem.contains("-----BEGIN ENCRYPTED ") || pem.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(unusable(
            "is encrypted: give one that `openssl rsa` has decrypted, in a folder in memory",
        ));
    }
    // The parsers' messages could quote the key, so they are left out.
    let wrong = || unusable("is not an RSA private key of 2048 to 4096 bits in PEM");
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| wrong())?;
    let pair = match &der {
        PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()),
        _ => return Err(wrong()),
    };
    pair.map_err(|_| wrong())
}

/// Whether a file is below a root, also by another name of a folder.
fn lies_in(path: &Path, root: &Root) -> bool {
    let is_root = |folder: &Path| {
        let same = |one: &Metadata, two: &Metadata| (one.dev(), one.ino()) == (two.dev(), two.ino());
        let pair = std::fs::metadata(folder).ok().zip(std::fs::metadata(root.path()).ok());
        pair.is_some_and(|(one, two)| same(&one, &two))
    };
    path.canonicalize().is_ok_and(|path| path.ancestors().any(is_root))
}
