//! Setting any field of a profile, also on homeservers that say in words of their own that they
//! allow that.

use std::borrow::Cow;

use ruma::{
    api::{
        FeatureFlag, MatrixVersion, Metadata, OutgoingRequest, SupportedVersions,
        auth_scheme::SendAccessToken, client::profile::set_profile_field::v3::Request,
        error::IntoHttpError,
    },
    exports::{bytes::BufMut, http},
};

/// What Synapse 1.163 says instead of Matrix 1.16, which has fields beyond name and avatar under
/// the same path (MSC4133).
const HAS_STABLE_FIELDS: &str = "uk.tcpip.msc4133.stable";

/// ruma's request, for which a homeserver with [`HAS_STABLE_FIELDS`] counts as one of Matrix 1.16.
#[derive(Clone, Debug)]
pub(super) struct SetProfileField(pub(super) Request);

impl Metadata for SetProfileField {
    const METHOD: http::Method = Request::METHOD;
    const RATE_LIMITED: bool = Request::RATE_LIMITED;
    type Authentication = <Request as Metadata>::Authentication;
    type PathBuilder = <Request as Metadata>::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = Request::PATH_BUILDER;
}

impl OutgoingRequest for SetProfileField {
    type EndpointError = <Request as OutgoingRequest>::EndpointError;
    type IncomingResponse = <Request as OutgoingRequest>::IncomingResponse;

    fn try_into_http_request<T: Default + BufMut + AsRef<[u8]>>(
        self,
        base_url: &str,
        token: SendAccessToken<'_>,
        versions: Cow<'_, SupportedVersions>,
    ) -> Result<http::Request<T>, IntoHttpError> {
        let mut versions = versions.into_owned();
        if versions.features.contains(&FeatureFlag::from(HAS_STABLE_FIELDS)) {
            versions.versions.insert(MatrixVersion::V1_16);
        }
        self.0.try_into_http_request(base_url, token, Cow::Owned(versions))
    }
}
