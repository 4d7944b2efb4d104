//! Which homeserver a request is from: the one that shows the `hs_token` of its registration.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::Response,
};
use subtle::ConstantTimeEq as _;

use super::error::Refusal;
use crate::{appservice::Appservice, secret::ExposeSecret as _};

/// A homeserver that the bot is an application service of.
#[derive(Debug)]
pub(super) struct Homeserver {
    pub(super) appservice: Appservice,
    /// One transaction at a time: a repeated one waits for the first to be through.
    pub(super) turn: tokio::sync::Mutex<()>,
}

impl Homeserver {
    pub(super) fn new(appservice: &Appservice) -> Self {
        Self { appservice: appservice.clone(), turn: tokio::sync::Mutex::default() }
    }
}

/// Lets a request pass, together with the [`Homeserver`] that it is from.
///
/// A token is looked for in the `Authorization` header alone, where homeservers put it since Matrix
/// 1.4; one in the query, for older services, has to be the same.
///
/// # Errors
///
/// [`Refusal::NoToken`], [`Refusal::WrongToken`].
pub(super) async fn check(
    State(homeservers): State<Arc<[Arc<Homeserver>]>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let token = in_header(&request).ok_or(Refusal::NoToken)?;
    let homeserver = homeserver_of(&homeservers, token).ok_or(Refusal::WrongToken)?.clone();
    if in_query(&request).is_some_and(|other| !is_same(&other, token)) {
        return Err(Refusal::WrongToken);
    }
    request.extensions_mut().insert(homeserver);
    Ok(next.run(request).await)
}

/// Compares with every token, whichever it is, so that the time taken tells nothing.
fn homeserver_of<'a>(
    homeservers: &'a [Arc<Homeserver>],
    token: &str,
) -> Option<&'a Arc<Homeserver>> {
    let is_its =
        |homeserver: &Homeserver| is_same(homeserver.appservice.hs_token().expose_secret(), token);
    homeservers.iter().fold(
        None,
        |found, homeserver| {
            if is_its(homeserver) { Some(homeserver) } else { found }
        },
    )
}

fn is_same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

fn in_header(request: &Request) -> Option<&str> {
    let header = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}

fn in_query(request: &Request) -> Option<String> {
    let query = request.uri().query()?;
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == "access_token")
        .map(|(_, token)| token.into_owned())
}
