//! The form of a module's signature: the module, a detached PKCS #7 signature in DER, its length in a trailer, and a word
//! at the very end (Linux, `include/linux/module_signature.h` and `scripts/sign-file.c`; the same since Linux 4.3).

use super::Certificate;
use anyhow::{Context, Result};
use cms::cert::x509::der::asn1::{ObjectIdentifier, OctetString, SetOfVec};
use cms::cert::x509::der::{Any, Decode, Encode};
use cms::cert::x509::spki::AlgorithmIdentifierOwned;
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{EncapsulatedContentInfo, SignedData, SignerIdentifier, SignerInfo, SignerInfos};
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaEncoding, RsaParameters, UnparsedPublicKey,
};

/// The last bytes of a signed module.
const MAGIC: &[u8] = b"~Module signature appended~\n";
/// The length of `struct module_signature`.
const TRAILER: usize = 12;
/// `PKEY_ID_PKCS7`.
const PKCS7: u8 = 2;

// RFC 5652 and RFC 8017.
const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
// RFC 5754.
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");

/// The digest that is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// The one that a kernel's configuration names (`CONFIG_MODULE_SIG_HASH`): that kernel surely has it built in. SHA-512
    /// where it names none, or one that is too weak, as DKMS takes it.
    pub(super) fn of_config(config: &str) -> Self {
        let named = config.lines().find_map(|line| line.strip_prefix("CONFIG_MODULE_SIG_HASH="));
        match named.map(|name| name.trim_matches('"')) {
            Some("sha256") => Self::Sha256,
            Some("sha384") => Self::Sha384,
            _ => Self::Sha512,
        }
    }

    const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::Sha256 => SHA256,
            Self::Sha384 => SHA384,
            Self::Sha512 => SHA512,
        }
    }

    fn of_oid(oid: ObjectIdentifier) -> Option<Self> {
        [Self::Sha256, Self::Sha384, Self::Sha512].into_iter().find(|hash| hash.oid() == oid)
    }

    pub(super) fn encoding(self) -> &'static dyn RsaEncoding {
        match self {
            Self::Sha256 => &RSA_PKCS1_SHA256,
            Self::Sha384 => &RSA_PKCS1_SHA384,
            Self::Sha512 => &RSA_PKCS1_SHA512,
        }
    }

    const fn verification(self) -> &'static RsaParameters {
        match self {
            Self::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::Sha384 => &RSA_PKCS1_2048_8192_SHA384,
            Self::Sha512 => &RSA_PKCS1_2048_8192_SHA512,
        }
    }
}

/// The module, and its signature in DER, which is empty where it is not PKCS #7. None if there is no signature.
fn split(module: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = module.strip_suffix(MAGIC)?;
    let (rest, trailer) = rest.split_at_checked(rest.len().checked_sub(TRAILER)?)?;
    let &[_, _, kind, signer, key, _, _, _, a, b, c, d] = trailer else { return None };
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
    let all = length.checked_add(usize::from(signer))?.checked_add(usize::from(key))?;
    let (bare, signature) = rest.split_at_checked(rest.len().checked_sub(all)?)?;
    Some((bare, if kind == PKCS7 { signature } else { &[] }))
}

/// The module without any signature. DKMS may have made one with a key of its own.
pub(super) fn without_signatures(module: &[u8]) -> &[u8] {
    let mut bare = module;
    while let Some((rest, _)) = split(bare) {
        bare = rest;
    }
    bare
}

/// The module with a signature.
pub(super) fn append(bare: &[u8], by: &Certificate, hash: Hash, signature: Vec<u8>) -> Result<Vec<u8>> {
    let doing = "cannot write a signature";
    let plain = |oid| AlgorithmIdentifierOwned { oid, parameters: None };
    let signer = SignerInfo {
        version: CmsVersion::V1,
        sid: SignerIdentifier::IssuerAndSerialNumber(by.name()),
        digest_alg: plain(hash.oid()),
        signed_attrs: None,
        signature_algorithm: AlgorithmIdentifierOwned { oid: RSA, parameters: Some(Any::null()) },
        signature: OctetString::new(signature).context(doing)?,
        unsigned_attrs: None,
    };
    let data = SignedData {
        version: CmsVersion::V1,
        digest_algorithms: SetOfVec::from_iter([plain(hash.oid())]).context(doing)?,
        encap_content_info: EncapsulatedContentInfo { econtent_type: DATA, econtent: None },
        certificates: None,
        crls: None,
        signer_infos: SignerInfos(SetOfVec::from_iter([signer]).context(doing)?),
    };
    let content = Any::encode_from(&data).context(doing)?;
    let der = ContentInfo { content_type: SIGNED_DATA, content }.to_der().context(doing)?;
    let length = u32::try_from(der.len()).context(doing)?.to_be_bytes();
    let trailer = [&[0, 0, PKCS7, 0, 0, 0, 0, 0][..], &length].concat();
    Ok([bare, &der, &trailer, MAGIC].concat())
}

/// Whether the last signature of a module, the one that a kernel looks at, was made by the key of a certificate.
pub(super) fn is_signed_by(module: &[u8], certificate: &Certificate) -> bool {
    let Some((bare, der)) = split(module) else { return false };
    let data = || {
        let content = ContentInfo::from_der(der).ok()?;
        content.content.decode_as::<SignedData>().ok()
    };
    let name = SignerIdentifier::IssuerAndSerialNumber(certificate.name());
    let is_right = |signer: &SignerInfo| {
        let hash = Hash::of_oid(signer.digest_alg.oid);
        signer.sid == name
            && signer.signed_attrs.is_none()
            && hash.is_some_and(|hash| {
                let key = UnparsedPublicKey::new(hash.verification(), certificate.public_key());
                key.verify(bare, signer.signature.as_bytes()).is_ok()
            })
    };
    data().is_some_and(|data| data.signer_infos.0.iter().any(is_right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_the_kernels_own() {
        assert_eq!(Hash::of_config("A=y\nCONFIG_MODULE_SIG_HASH=\"sha256\"\n"), Hash::Sha256);
        assert_eq!(Hash::of_config("CONFIG_MODULE_SIG_HASH=\"sha384\"\n"), Hash::Sha384);
        for other in ["", "CONFIG_MODULE_SIG_HASH=\"sha1\"\n", "# CONFIG_MODULE_SIG_HASH is not set\n"] {
            assert_eq!(Hash::of_config(other), Hash::Sha512, "{other}");
        }
    }

    #[test]
    fn signatures_of_both_forms_are_taken_off() {
        // Linux 3.7 to 4.2 put the signer's name and the key's beside the signature.
        let old = [&b"ELF"[..], b"nnkkkSIGN", &[1, 4, 1, 2, 3, 0, 0, 0, 0, 0, 0, 4], MAGIC].concat();
        assert_eq!(without_signatures(&old), b"ELF");
        let both = [&old[..], b"der", &[0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 3], MAGIC].concat();
        assert_eq!(without_signatures(&both), b"ELF");
        for odd in [&b""[..], MAGIC, b"ELF", &[b"ELF", MAGIC].concat()] {
            assert_eq!(without_signatures(odd), odd);
        }
        let too_long = [&b"ELF"[..], &[0, 0, 2, 0, 0, 0, 0, 0, 255, 255, 255, 255], MAGIC].concat();
        assert_eq!(without_signatures(&too_long), too_long);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_can_be_looked_at(bytes: Vec<u8>) {
            let module = [&bytes[..], MAGIC].concat();
            proptest::prop_assert!(without_signatures(&module).len() <= module.len());
        }
    }
}
