//! What an account has for itself: profile, push rules, account data of rooms, files.

use std::collections::BTreeMap;

use ruma::{
    MxcUri, OwnedMxcUri, RoomId, UserId,
    api::client::{
        authenticated_media::get_content,
        config::{get_room_account_data, set_room_account_data},
        media::create_content,
        profile::{get_profile, set_profile_field},
        push::{get_pushrules_all, set_pushrule, set_pushrule_actions, set_pushrule_enabled},
    },
    events::{GlobalAccountDataEventType, RoomAccountDataEventType},
    profile::ProfileFieldValue,
    push::{self, NewPushRule, RuleKind},
    serde::JsonObject,
};
use serde_json::Value;

use super::{Account, Action, Failure, found, parse, profile_fields::SetProfileField, raw};

/// A file in the media repository of a homeserver.
#[derive(Clone, Debug)]
pub struct File {
    /// What is in it.
    pub content: Vec<u8>,
    /// Its MIME type, in the words of whoever uploaded it.
    pub content_type: Option<String>,
}

/// Reading.
impl Account {
    /// The profile of `user`, with every field it has
    /// ([spec](https://spec.matrix.org/v1.18/client-server-api/#get_matrixclientv3profileuserid)).
    /// It has none when the homeserver says that there is no profile.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act).
    pub async fn profile(&self, user: &UserId) -> Result<BTreeMap<String, Value>, Failure> {
        let request = get_profile::v3::Request::new(user.to_owned());
        let profile = found(self.act(Action::Read, request).await)?;
        Ok(profile.into_iter().flatten().collect())
    }

    /// The account's push rules, with every field they have: an object with the key `global`.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act).
    pub async fn push_rules(&self) -> Result<JsonObject, Failure> {
        // Homeservers of Matrix 1.10 and later give them as account data as well (MSC4010). That
        // way no rule is lost that ruma has no type for.
        if let Some(rules) = self.account_data(GlobalAccountDataEventType::PushRules).await? {
            return Ok(rules);
        }
        let answer = self.act(Action::Read, get_pushrules_all::v3::Request::new()).await?;
        let unreadable = |_| Failure::Garbage { what: "these are no push rules".to_owned() };
        let global = serde_json::to_value(answer.global).map_err(unreadable)?;
        Ok(JsonObject::from_iter([("global".to_owned(), global)]))
    }

    /// One piece of the account's account data for a room, with every field it has; `None` when it
    /// was never set.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act).
    pub async fn room_account_data(
        &self,
        room: &RoomId,
        event_type: RoomAccountDataEventType,
    ) -> Result<Option<JsonObject>, Failure> {
        let what = event_type.to_string();
        let (user_id, room) = (self.user_id().to_owned(), room.to_owned());
        let request = get_room_account_data::v3::Request::new(user_id, room, event_type);
        found(self.act(Action::Read, request).await)?
            .map(|answer| parse(answer.account_data.json().get(), &what))
            .transpose()
    }

    /// A file of any homeserver, through the account's own one
    /// ([spec](https://spec.matrix.org/v1.18/client-server-api/#get_matrixclientv1mediadownloadservernamemediaid)).
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act); [`Failure::TooMuch`] for a file of more than ten megabytes;
    /// `M_NOT_FOUND` when the file is gone.
    pub async fn download(&self, uri: &MxcUri) -> Result<File, Failure> {
        let request = get_content::v1::Request::from_uri(uri)
            .map_err(|error| Failure::Unsendable(error.to_string()))?;
        let answer = self.act(Action::Media, request).await?;
        Ok(File { content: answer.file, content_type: answer.content_type })
    }
}

/// Writing. All of it may be sent twice without harm.
impl Account {
    /// Uploads a file to the account's homeserver
    /// ([spec](https://spec.matrix.org/v1.18/client-server-api/#post_matrixmediav3upload)).
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act); `M_TOO_LARGE` when the homeserver takes none of this size.
    pub async fn upload(&self, file: File) -> Result<OwnedMxcUri, Failure> {
        let mut request = create_content::v3::Request::new(file.content);
        request.content_type = file.content_type;
        Ok(self.act(Action::Media, request).await?.content_uri)
    }

    /// Sets one field of the account's profile
    /// ([spec](https://spec.matrix.org/v1.18/client-server-api/#put_matrixclientv3profileuseridkeyname)).
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act); `M_FORBIDDEN` when the homeserver does not allow its users to;
    /// `M_UNRECOGNIZED` when it has no fields other than name and avatar.
    pub async fn set_profile_field(&self, field: &str, value: Value) -> Result<(), Failure> {
        let value = ProfileFieldValue::new(field, value)
            .map_err(|error| Failure::Unsendable(error.to_string()))?;
        let request = set_profile_field::v3::Request::new(self.user_id().to_owned(), value);
        self.act(Action::Profile, SetProfileField(request)).await.map(drop)
    }

    /// Adds a push rule, or replaces it, right after the rule `after`; without one, before all
    /// others of its kind.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act).
    pub async fn set_push_rule(
        &self,
        rule: NewPushRule,
        after: Option<String>,
    ) -> Result<(), Failure> {
        let mut request = set_pushrule::v3::Request::new(rule);
        request.after = after;
        self.act(Action::AccountData, request).await.map(drop)
    }

    /// Puts a push rule in force, or out of it.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act); `M_NOT_FOUND` when there is no such rule.
    pub async fn enable_push_rule(
        &self,
        kind: RuleKind,
        rule_id: &str,
        enabled: bool,
    ) -> Result<(), Failure> {
        let request = set_pushrule_enabled::v3::Request::new(kind, rule_id.to_owned(), enabled);
        self.act(Action::AccountData, request).await.map(drop)
    }

    /// Sets what a push rule does.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act); `M_NOT_FOUND` when there is no such rule.
    pub async fn set_push_rule_actions(
        &self,
        kind: RuleKind,
        rule_id: &str,
        actions: Vec<push::Action>,
    ) -> Result<(), Failure> {
        let request = set_pushrule_actions::v3::Request::new(kind, rule_id.to_owned(), actions);
        self.act(Action::AccountData, request).await.map(drop)
    }

    /// Writes one piece of the account's account data for a room, over what was there.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act).
    pub async fn set_room_account_data(
        &self,
        room: &RoomId,
        event_type: RoomAccountDataEventType,
        content: &JsonObject,
    ) -> Result<(), Failure> {
        let request = set_room_account_data::v3::Request::new_raw(
            self.user_id().to_owned(),
            room.to_owned(),
            event_type,
            raw(content)?,
        );
        self.act(Action::AccountData, request).await.map(drop)
    }
}
