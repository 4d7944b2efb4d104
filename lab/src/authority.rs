//! A certificate authority that the homeservers of one lab trust.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    KeyUsagePurpose,
};

#[derive(Debug)]
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    certificate: PathBuf,
}

/// The files that a homeserver serves TLS with.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    /// Makes an authority and writes its certificate into `folder`.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named("Tern lab");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let certificate = folder.join("authority.pem");
        fs::write(&certificate, issuer.pem())?;
        Ok(Self { issuer, certificate })
    }

    /// The authority's own certificate, for a list of trusted ones.
    pub(crate) fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// Writes a certificate for this machine's loopback names, and its key, into `folder`.
    pub(crate) fn issue(&self, folder: &Path) -> Result<Certificate> {
        let key = KeyPair::generate()?;
        let mut params =
            CertificateParams::new(["localhost", "127.0.0.1", "::1"].map(String::from))?;
        params.distinguished_name = named("localhost");
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let files = Certificate { chain: folder.join("tls.pem"), key: folder.join("tls.key") };
        fs::write(&files.chain, certificate.pem())?;
        fs::write(&files.key, key.serialize_pem())?;
        Ok(files)
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
