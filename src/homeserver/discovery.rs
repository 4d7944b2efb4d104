use std::sync::Arc;

use ruma::{
    OwnedServerName, ServerName,
    api::{
        IncomingResponse, SupportedVersions,
        client::discovery::{discover_homeserver, get_supported_versions},
    },
};
use url::Url;

use super::{Failure, Fault, Transport};

/// The longest base URL that a well-known file may name, in bytes.
const LONGEST_URL: usize = 255;

/// A homeserver that was found: where it is and which parts of Matrix it speaks.
#[derive(Clone, Debug)]
pub struct Server(Arc<ServerInfo>);

#[derive(Debug)]
struct ServerInfo {
    base_url: Url,
    versions: SupportedVersions,
}

impl Server {
    /// The base URL of its client-server API.
    pub fn base_url(&self) -> &Url {
        &self.0.base_url
    }

    pub(super) fn versions(&self) -> &SupportedVersions {
        &self.0.versions
    }
}

/// Why the homeserver behind a name was not found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoverError {
    /// Nothing answers. Worth a retry later.
    #[error("{url} cannot be reached: {fault}")]
    Unreachable {
        /// Where it was looked for.
        url: Url,
        /// What went wrong on the way; [`Fault::Tls`] is reported as
        /// [`Tls`](DiscoverError::Tls).
        fault: Fault,
    },

    /// The server's certificate is not trusted, or it does not speak TLS.
    #[error("{url} has no secure connection: {what}")]
    Tls {
        /// Where it was looked for.
        url: Url,
        /// What is wrong.
        what: String,
    },

    /// Something answers, but not as a homeserver does.
    #[error("{url} is not a Matrix homeserver: {what}")]
    NotHomeserver {
        /// Where it was looked for.
        url: Url,
        /// What it answers.
        what: String,
    },

    /// The server name is well-formed for Matrix, but not a host that can be asked.
    #[error("{name} is not the name of a host")]
    NotAHost {
        /// The server name.
        name: OwnedServerName,
    },

    /// The [well-known file] names no usable base URL, and no homeserver is found at the name
    /// itself.
    ///
    /// [well-known file]: https://spec.matrix.org/v1.18/client-server-api/#well-known-uris
    #[error("{url} does not say where the homeserver is: {what}")]
    BadWellKnown {
        /// The well-known file.
        url: Url,
        /// What is wrong with it.
        what: String,
    },

    /// It is elsewhere than before, and the secret that was to be sent was not.
    #[error(
        "{} was at {}, and says that it is at {} now: if that is right, write it under `homeservers`",
        .0.name, .0.from, .0.to
    )]
    Moved(Box<Moved>),
}

/// That a homeserver says it is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The server name.
    pub name: OwnedServerName,
    /// Where secrets for it go.
    pub from: Url,
    /// Where it says that it is.
    pub to: Url,
}

/// What the well-known file says.
#[derive(Debug)]
pub(super) enum WellKnown {
    /// The homeserver is here.
    Found(Url),
    /// There is none: the homeserver is at the name itself.
    Nothing,
    /// It cannot be understood.
    Bad(DiscoverError),
}

impl DiscoverError {
    fn from_failure(url: &Url, failure: Failure) -> Self {
        let url = url.clone();
        match failure {
            Failure::Unreachable { fault: Fault::Tls(what), .. } => Self::Tls { url, what },
            Failure::Unreachable { fault, .. } => Self::Unreachable { url, fault },
            failure => Self::NotHomeserver { url, what: failure.to_string() },
        }
    }
}

/// What it means for a request that was to be sent there.
impl From<DiscoverError> for Failure {
    fn from(error: DiscoverError) -> Self {
        match error {
            DiscoverError::Unreachable { url, fault } => {
                Self::Unreachable { host: url.authority().to_owned(), fault }
            }
            error => Self::Garbage { what: error.to_string() },
        }
    }
}

impl Transport {
    /// Finds the homeserver of `name`: first where the configuration says, then through
    /// `/.well-known/matrix/client`, then at the name itself ([server discovery]). Remembers what
    /// it found for an hour.
    ///
    /// [server discovery]: https://spec.matrix.org/v1.18/client-server-api/#server-discovery
    ///
    /// # Errors
    ///
    /// Where it was looked for, and what was found there instead.
    pub async fn discover(&self, name: &ServerName) -> Result<Server, DiscoverError> {
        if let Some(server) = self.remembered(name) {
            return Ok(server);
        }
        let server = match self.configured(name) {
            Some(base_url) => self.server_at(base_url).await?,
            None => self.look_for(name).await?,
        };
        self.remember(name, &server);
        Ok(server)
    }

    /// The homeserver whose client-server API is at `base_url`.
    ///
    /// # Errors
    ///
    /// What is there instead.
    pub async fn server_at(&self, base_url: &Url) -> Result<Server, DiscoverError> {
        let not_homeserver =
            |what: String| DiscoverError::NotHomeserver { url: base_url.clone(), what };
        let url = below(base_url, "/_matrix/client/versions");
        let answer = self
            .get(&url)
            .await
            .map_err(|failure| DiscoverError::from_failure(base_url, failure))?;
        if !answer.status().is_success() {
            return Err(not_homeserver(format!("{url} answers with {}", answer.status())));
        }
        let versions = get_supported_versions::Response::try_from_http_response(answer)
            .map_err(|_| not_homeserver(format!("{url} does not answer as Matrix does")))?
            .as_supported_versions();
        if versions.versions.is_empty() {
            return Err(not_homeserver("it speaks no version of Matrix that Tern knows".into()));
        }
        Ok(Server(Arc::new(ServerInfo { base_url: base_url.clone(), versions })))
    }

    async fn look_for(&self, name: &ServerName) -> Result<Server, DiscoverError> {
        // The well-known file is asked for without the server name's port.
        let origin = https(name, name.host())?;
        let itself = https(name, name.as_str())?;
        match self.well_known(&origin).await {
            WellKnown::Found(base_url) => self.server_at(&base_url).await,
            WellKnown::Nothing => self.server_at(&itself).await,
            // Many a site answers every path with its front page, so that alone is no error.
            WellKnown::Bad(error) => self.server_at(&itself).await.map_err(|_| error),
        }
    }

    pub(super) async fn well_known(&self, origin: &Url) -> WellKnown {
        let url = below(origin, "/.well-known/matrix/client");
        let bad = |what: &str| {
            WellKnown::Bad(DiscoverError::BadWellKnown { url: url.clone(), what: what.to_owned() })
        };
        let answer = match self.get_following_redirects(&url).await {
            Ok(answer) if answer.status().is_success() => answer,
            Ok(_) | Err(Failure::Unreachable { .. }) => return WellKnown::Nothing,
            Err(failure) => return bad(&failure.to_string()),
        };
        let Ok(answer) = discover_homeserver::Response::try_from_http_response(answer) else {
            return bad("it is not what Matrix asks for");
        };
        match answer.homeserver.base_url.parse::<Url>() {
            Ok(url) if is_base_url(&url) => WellKnown::Found(url),
            _ => bad("m.homeserver.base_url is not an https address"),
        }
    }
}

/// Whether a stranger may say that a homeserver is there: over https, since tokens are sent there, and
/// with nothing in it but the place, since it is shown to people.
fn is_base_url(url: &Url) -> bool {
    url.scheme() == "https"
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.as_str().len() <= LONGEST_URL
}

fn https(name: &ServerName, host: &str) -> Result<Url, DiscoverError> {
    format!("https://{host}").parse().map_err(|_| DiscoverError::NotAHost { name: name.to_owned() })
}

/// `path` below a base URL, which may have a path of its own.
fn below(base_url: &Url, path: &str) -> Url {
    let mut url = base_url.clone();
    url.set_path(&format!("{}{path}", base_url.path().trim_end_matches('/')));
    url
}
