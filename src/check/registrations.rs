//! What can be wrong between the bot and a homeserver that it is an application service of.

use std::net::SocketAddr;

use ruma::api::error::ErrorCode;
use tern::{
    appservice::Appservice,
    bot::try_service,
    config::{Config, Entrance},
    homeserver::{Failure, Server, Transport},
};

use super::reach;

/// Something that was found out about a registration.
pub(super) type Finding = Result<String, String>;

/// Checks one registration.
pub(super) async fn check(
    transport: &Transport,
    appservice: &Appservice,
    config: &Config,
) -> Vec<Finding> {
    let mut findings = vec![covers(appservice)];
    if appservice.is_rate_limited() {
        findings.push(Err(
            "rate_limited is not false in the registration, so that those who move \
                           wait for the homeserver's limits, often for hours"
                .to_owned(),
        ));
    }
    let server = match reach(transport, appservice.server()).await {
        Ok(server) => server,
        Err(wrong) => {
            findings.push(Err(wrong));
            return findings;
        }
    };
    let known = is_known(transport, &server, appservice).await;
    let is_known = known.is_ok();
    findings.push(known);
    if is_known {
        findings.push(is_reached(transport, &server, appservice, config.web.listen).await);
        let own = appservice.server();
        if matches!(&config.bot.entrance, Entrance::Appservice(server) if server == own) {
            findings.push(lets_in(transport, config).await);
        }
    }
    findings
}

/// Whether the bot could be an account of the registration.
async fn lets_in(transport: &Transport, config: &Config) -> Finding {
    match try_service(config, transport).await {
        Ok(()) => Ok(format!("{} can have a device, as encryption needs", config.bot.user_id)),
        Err(error) => Err(format!("{:#}", anyhow::Error::from(error))),
    }
}

fn covers(appservice: &Appservice) -> Finding {
    let (server, namespace) = (appservice.server(), appservice.namespace());
    if namespace.is_empty() {
        Err("namespaces.users in the registration is empty, so that it covers no account".into())
    } else if appservice.is_for_elsewhere() {
        let patterns = namespace.join(", ");
        Err(format!(
            "namespaces.users in the registration covers no account of {server}: {patterns}"
        ))
    } else {
        Ok(format!("the registration covers {}", namespace.join(", ")))
    }
}

/// Whether the homeserver has this registration.
async fn is_known(transport: &Transport, server: &Server, appservice: &Appservice) -> Finding {
    let (url, sender) = (server.base_url(), appservice.sender());
    match transport.service_whoami(server, appservice.as_token()).await {
        Ok(own) if own == sender => Ok(format!("{url} knows it as {sender}")),
        Ok(other) => Err(format!(
            "{url} takes its as_token for that of {other}, and not of {sender}: sender_localpart \
             is not the same on both sides"
        )),
        Err(Failure::TokenGone { .. }) => Err(format!(
            "{url} does not know its as_token: the homeserver has no such registration, or another \
             version of it, or was not restarted since"
        )),
        Err(failure) => Err(format!("{url} does not say whom it takes Tern for: {failure}")),
    }
}

/// Whether the homeserver reaches the bot, in its own words.
async fn is_reached(
    transport: &Transport,
    server: &Server,
    appservice: &Appservice,
    listen: SocketAddr,
) -> Finding {
    let homeserver = server.base_url();
    let Some(url) = appservice.url() else {
        return Err("the registration has no url, so that the homeserver cannot reach Tern".into());
    };
    let failure = match transport.ping_service(server, appservice.as_token(), appservice.id()).await
    {
        Ok(duration) => {
            let took = duration.as_millis();
            return Ok(format!("{homeserver} reaches Tern at {url} in {took} ms"));
        }
        Err(failure) => failure,
    };
    let (code, message) = match &failure {
        Failure::Refused { code, message, .. } => (Some(code), message.as_str()),
        Failure::Faulty { code, message, .. } => (code.as_ref(), message.as_str()),
        _ => (None, ""),
    };
    match code {
        Some(ErrorCode::ConnectionFailed | ErrorCode::ConnectionTimeout) => Err(format!(
            "{homeserver} cannot reach Tern at {url}, the url in the registration; Tern listens on \
             {listen} (web.listen). The homeserver says: {message}"
        )),
        Some(ErrorCode::BadStatus) if message.contains("403") => Err(format!(
            "{homeserver} shows another hs_token than the one in the registration: it has another \
             version of it, or was not restarted since"
        )),
        Some(ErrorCode::BadStatus) => Err(format!(
            "{homeserver} reaches something else than Tern at {url}, the url in the registration; \
             Tern listens on {listen} (web.listen). The homeserver says: {message}"
        )),
        Some(ErrorCode::UrlNotSet) => Err(format!(
            "{homeserver} has a registration without url, so that it cannot reach Tern"
        )),
        Some(ErrorCode::Forbidden) => Err(format!(
            "{homeserver} calls it otherwise than {:?}, the id in the registration",
            appservice.id()
        )),
        // Not every homeserver has this.
        Some(ErrorCode::Unrecognized) => {
            Ok(format!("{homeserver} cannot say whether it reaches Tern at {url}; see its log"))
        }
        _ => Err(format!("{homeserver} does not say whether it reaches Tern at {url}: {failure}")),
    }
}
