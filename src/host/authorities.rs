//! The certificate authorities that vouch for servers: the system's, and those of the setting `ca_file`.
//!
//! On Debian the system's are in some three hundred files. They are read when the first server has to prove who it is, and
//! once for all connections of a run: a registry or mirror that speaks plain HTTP costs none of them.

use crate::outcome::{Reason, WithReason};
use anyhow::Result;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::{Arc, OnceLock};

/// The system's authorities. Those that cannot be used are left out, as other programs do.
pub(super) fn system() -> &'static [CertificateDer<'static>] {
    static SYSTEM: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    SYSTEM.get_or_init(|| {
        let mut found = rustls_native_certs::load_native_certs().certs;
        found.retain(|certificate| RootCertStore::empty().add(certificate.clone()).is_ok());
        found
    })
}

/// The authorities of the file that the setting `ca_file` names.
pub(super) fn of_file(path: Option<&str>) -> Result<Vec<CertificateDer<'static>>> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let wrong = || format!("cannot use `{path}` as certificate authorities");
    let pem = std::fs::read(path).with_reason(Reason::BadSettings, wrong)?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.with_reason(Reason::BadSettings, wrong)?;
    let mut store = RootCertStore::empty();
    for certificate in &certificates {
        store.add(certificate.clone()).with_reason(Reason::BadSettings, wrong)?;
    }
    Ok(certificates)
}

/// TLS as a client, with the system's authorities and these.
pub(super) fn tls(further: Vec<CertificateDer<'static>>) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier { further, provider: provider.clone(), inner: OnceLock::new() };
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.with_reason(Reason::Internal, || "cannot prepare TLS".to_owned())?;
    // The builder calls it dangerous because a verifier may be wrong; this one hands over to rustls' own.
    Ok(config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

/// rustls' own verifier, made when it is first asked.
#[derive(Debug)]
struct Verifier {
    further: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
    inner: OnceLock<Result<Arc<WebPkiServerVerifier>, Error>>,
}

impl Verifier {
    fn make(&self) -> Result<Arc<WebPkiServerVerifier>, Error> {
        let mut authorities = RootCertStore::empty();
        for certificate in self.further.iter().chain(system()) {
            authorities.add(certificate.clone())?;
        }
        let inner =
            WebPkiServerVerifier::builder_with_provider(Arc::new(authorities), self.provider.clone()).build();
        inner.map_err(|_| Error::General("this machine has no certificate authorities".to_owned()))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let inner = self.inner.get_or_init(|| self.make()).as_ref().map_err(Error::clone)?;
        inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
