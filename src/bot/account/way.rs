//! How the bot gets into its own account where an application service covers it.

use matrix_sdk::ruma::{DeviceId, UserId, api::error::ErrorCode};

use crate::{
    bot::BotError,
    config::Config,
    homeserver::{Failure, OwnUser, Transport},
    secret::Secret,
};

/// What people see in the bot's list of devices.
pub(super) const DEVICE_NAME: &str = "Tern";
/// The device that is made to see whether one can be made.
const TRIED: &str = "TERNCHECK";

/// How the bot's requests are shown to be its own.
#[derive(Debug)]
pub(super) enum Way {
    /// With an access token of its device.
    Token(Secret),
    /// With the `as_token`, naming the device.
    Service(Box<OwnUser>),
}

/// The way in for an account that an application service covers. Encryption needs a device:
/// homeservers of today let an application service make it, others let it log in.
pub(super) async fn way_of(
    own_user: Option<OwnUser>,
    user_id: &UserId,
    device_id: &DeviceId,
) -> Result<Way, BotError> {
    let user_id = user_id.to_owned();
    let refused = |failure: Failure| match failure.code() {
        Some(ErrorCode::AppserviceLoginUnsupported) => {
            BotError::NoServiceLogin { user_id: user_id.clone() }
        }
        _ => BotError::ServiceLogin { user_id: user_id.clone(), source: failure },
    };
    let Some(own_user) = own_user else { return Err(BotError::NoServiceLogin { user_id }) };
    own_user.register().await.map_err(refused)?;
    if !own_user.may_sync().await.map_err(refused)? {
        return Err(BotError::NoSync { user_id });
    }
    if own_user.make_device(device_id, DEVICE_NAME).await.map_err(refused)? {
        return Ok(Way::Service(Box::new(own_user)));
    }
    let login = own_user.log_in(device_id, DEVICE_NAME).await.map_err(refused)?;
    Ok(Way::Token(login.token))
}

/// Whether the bot could be an account that an application service covers: makes a device as it
/// would, and removes it again. Makes the account, if it is not there.
///
/// # Errors
///
/// Why the bot could not run.
pub async fn try_service(config: &Config, transport: &Transport) -> Result<(), BotError> {
    let user_id = &config.bot.user_id;
    let way = way_of(OwnUser::of(config, transport), user_id, TRIED.into()).await?;
    let removed = match way {
        Way::Service(own_user) => own_user.delete_device(TRIED.into()).await,
        Way::Token(token) => match transport.discover_for_service(user_id.server_name()).await {
            Ok(server) => transport.log_out(&server, &token).await,
            Err(error) => Err(error.into()),
        },
    };
    if let Err(failure) = removed {
        tracing::warn!(%failure, device = TRIED, "the device that was tried out is not removed");
    }
    Ok(())
}
