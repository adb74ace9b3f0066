//! The certificate of a signing key: what a signature says of its signer, and by what firmware knows a key.

use crate::facts::enrolled_keys::fingerprint;
use crate::outcome::{Cause, WithCause};
use anyhow::Result;
use cms::cert::IssuerAndSerialNumber;
use cms::cert::x509::Certificate as X509;
use cms::cert::x509::der::Decode;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::Path;

/// An X.509 certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    parsed: X509,
}

impl Certificate {
    /// Reads a certificate of this machine, in PEM or DER.
    pub fn read(path: &Path) -> Result<Self> {
        let unreadable = || format!("cannot read `{}`", path.display());
        let bytes = std::fs::read(path).with_cause(Cause::FileUnreadable, unreadable)?;
        let pem = || Some(CertificateDer::from_pem_slice(&bytes).ok()?.to_vec());
        let der = if bytes.starts_with(b"-----") || !bytes.starts_with(&[0x30]) { pem() } else { None };
        Self::from_der(der.unwrap_or_else(|| bytes.clone())).ok_or_else(|| {
            let what = format!("`{}` is no X.509 certificate in PEM or DER", path.display());
            Cause::SigningKeyUnusable.error(what)
        })
    }

    /// A certificate from its bytes in DER; none if they are no certificate.
    pub fn from_der(der: Vec<u8>) -> Option<Self> {
        let parsed = X509::from_der(&der).ok()?;
        Some(Self { der, parsed })
    }

    /// Its bytes in DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whom it names (RFC 4514).
    pub fn subject(&self) -> String {
        self.parsed.tbs_certificate.subject.to_string()
    }

    /// The SHA-256 of its bytes in DER, in hexadecimal.
    pub fn sha256(&self) -> String {
        fingerprint(&self.der)
    }

    /// The public key as PKCS #1 has it.
    pub fn public_key(&self) -> &[u8] {
        self.parsed.tbs_certificate.subject_public_key_info.subject_public_key.raw_bytes()
    }

    /// What a signature calls it.
    pub(super) fn name(&self) -> IssuerAndSerialNumber {
        let inside = &self.parsed.tbs_certificate;
        IssuerAndSerialNumber { issuer: inside.issuer.clone(), serial_number: inside.serial_number.clone() }
    }
}
