//! Copying holdings from one account to the other: each is read from both right before it is
//! written, and written only where the new account still lacks it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use ruma::{
    MxcUri, OwnedMxcUri, RoomId, UserId,
    events::{GlobalAccountDataEventType, RoomAccountDataEventType, StateEventType},
    push::RuleKind,
    serde::JsonObject,
};
use serde_json::{Value, json};

use super::{
    Copies, Holding, Lack, Profile, PushRules, RoomProfile, Trio, images,
    merge::merge,
    never_copied,
    profile::{self, compare, compare_in_room, compare_names, copied},
    push_rules::PushRule,
};
use crate::{
    homeserver::{Account, Failure},
    migration::{MigrationId, Side, StepResult, journal::Journal, step::StepError},
};

/// What holdings are copied with.
#[derive(Debug)]
pub(crate) struct Transfer<'a> {
    id: MigrationId,
    old: &'a Account,
    new: &'a Account,
    bot: &'a UserId,
    journal: &'a Journal,
    copies: Mutex<Copies>,
    /// Held while a file is copied, so that none is copied twice.
    copying: tokio::sync::Mutex<()>,
    /// How many images of packs may still be copied.
    allowance: Mutex<images::Allowance>,
}

type Done = Result<StepResult, StepError>;

fn on_old(failure: Failure) -> StepError {
    StepError::of(Side::Old, failure)
}

fn on_new(failure: Failure) -> StepError {
    StepError::of(Side::New, failure)
}

impl<'a> Transfer<'a> {
    pub(crate) fn new(
        id: MigrationId,
        (old, new): (&'a Account, &'a Account),
        bot: &'a UserId,
        journal: &'a Journal,
        copies: Copies,
    ) -> Self {
        let (copying, allowance) = Default::default();
        Self { id, old, new, bot, journal, copies: copies.into(), copying, allowance }
    }

    /// Copies one holding; `prefer_old` also where the new account has its own.
    pub(crate) async fn run(&self, holding: &Holding, prefer_old: bool) -> Done {
        match holding {
            // It was not read, and so there is nothing that could be copied.
            Holding::Profile => Ok(StepResult::NotTried),
            Holding::DisplayName => self.display_name(prefer_old).await,
            Holding::Avatar => self.avatar(prefer_old).await,
            Holding::ProfileField(name) => self.profile_field(name, prefer_old).await,
            Holding::RoomProfile(room_id) => self.room_profile(room_id, prefer_old).await,
            Holding::AccountData(event_type) => self.account_data(event_type, prefer_old).await,
            Holding::RoomAccountData { room_id, event_type } => {
                self.room_account_data(room_id, event_type, prefer_old).await
            }
            Holding::PushRules(kind) => self.push_rules(kind, prefer_old).await,
            Holding::PredefinedPushRules => self.predefined_push_rules(prefer_old).await,
        }
    }

    fn trio(&self) -> Trio<'_> {
        Trio { old: self.old.user_id(), new: self.new.user_id(), bot: self.bot }
    }

    async fn profiles(&self) -> Result<(Profile, Profile), StepError> {
        let old = self.old.profile(self.old.user_id()).await.map_err(on_old)?;
        let new = self.new.profile(self.new.user_id()).await.map_err(on_new)?;
        Ok((old, new))
    }

    async fn display_name(&self, prefer_old: bool) -> Done {
        let (old, new) = self.profiles().await?;
        let name = profile::display_name(&old, self.old.user_id());
        let lack = compare_names(&old, &new, self.trio());
        self.set_field("displayname", json!(name), lack, prefer_old).await
    }

    async fn avatar(&self, prefer_old: bool) -> Done {
        let (old, new) = self.profiles().await?;
        let Some(uri) = profile::avatar(&old) else { return Ok(StepResult::AlreadySo) };
        let known = copied(uri.clone(), &self.copies());
        let lack = compare(Some(known), profile::avatar(&new));
        if !lack.calls_for_writing(prefer_old) {
            return Ok(StepResult::AlreadySo);
        }
        let copy = self.copy(&uri).await?;
        self.set_field("avatar_url", json!(copy), lack, prefer_old).await
    }

    async fn profile_field(&self, name: &str, prefer_old: bool) -> Done {
        let (old, new) = self.profiles().await?;
        let value = profile::field(&old, name);
        let lack = compare(value, profile::field(&new, name));
        self.set_field(name, json!(value), lack, prefer_old).await
    }

    async fn set_field(&self, name: &str, value: Value, lack: Lack, prefer_old: bool) -> Done {
        if !lack.calls_for_writing(prefer_old) {
            return Ok(StepResult::AlreadySo);
        }
        self.new.set_profile_field(name, value).await.map_err(on_new)?;
        Ok(StepResult::Done)
    }

    /// Sets what the new account is called in one room, by its own member event there. Homeservers
    /// put the profile into it again whenever that changes.
    async fn room_profile(&self, room: &RoomId, prefer_old: bool) -> Done {
        let event_type = StateEventType::RoomMember;
        let (old_user, new_user) = (self.old.user_id(), self.new.user_id());
        let (old_profile, new_profile) = self.profiles().await?;
        let theirs =
            self.old.state(room, event_type.clone(), old_user.as_str()).await.map_err(on_old)?;
        let member =
            self.new.state(room, event_type.clone(), new_user.as_str()).await.map_err(on_new)?;
        let Some(mut member) = member.filter(is_joined) else {
            return Ok(StepResult::NotTried);
        };
        let theirs = RoomProfile::of(theirs.unwrap_or_default()).beside(&old_profile, old_user);
        let ours = RoomProfile::of(member.clone());
        let own = ours.beside(&new_profile, new_user);
        let lack = compare_in_room(&theirs, &ours, &own, &self.copies());
        if !lack.calls_for_writing(prefer_old) {
            return Ok(StepResult::AlreadySo);
        }
        if let Some(name) = theirs.displayname.filter(|_| prefer_old || own.displayname.is_none()) {
            member.insert("displayname".to_owned(), json!(name));
        }
        if let Some(uri) = theirs.avatar_url.filter(|_| prefer_old || own.avatar_url.is_none()) {
            let copy = self.copy(&uri).await?;
            member.insert("avatar_url".to_owned(), json!(copy));
        }
        // These belong to the event by which it came into the room.
        for about_entering in ["reason", "join_authorised_via_users_server", "third_party_invite"] {
            member.remove(about_entering);
        }
        self.new.set_state(room, event_type, new_user.as_str(), &member).await.map_err(on_new)?;
        Ok(StepResult::Done)
    }

    async fn account_data(&self, event_type: &str, prefer_old: bool) -> Done {
        let typed = GlobalAccountDataEventType::from(event_type);
        let old = self.old.account_data(typed.clone()).await.map_err(on_old)?;
        let Some(mut old) = fit_to_copy(event_type, old) else { return Ok(StepResult::AlreadySo) };
        let new = self.new.account_data(typed.clone()).await.map_err(on_new)?.unwrap_or_default();
        let mut own = new.clone();
        let is_pack = images::is_pack(event_type);
        if is_pack {
            let known = self.copies();
            images::replace(&mut old, &known);
            images::replace(&mut own, &known);
        }
        let (mut merged, lack) = merge(event_type, self.trio(), old, own, prefer_old);
        let images_left = if is_pack { self.copy_images(&mut merged).await? } else { 0 };
        let is_to_be_written = lack.calls_for_writing(prefer_old) || (is_pack && merged != new);
        if is_to_be_written {
            self.new.set_account_data(typed, &merged).await.map_err(on_new)?;
        }
        Ok(match (images_left, is_to_be_written) {
            (0, true) => StepResult::Done,
            (0, false) => StepResult::AlreadySo,
            (left, _) => StepResult::ImagesLeft(left),
        })
    }

    /// Copies the images of a pack that are on the old account's server, and has the pack name the
    /// copies. How many stay where they are: one that is gone or too large costs itself only.
    async fn copy_images(&self, pack: &mut JsonObject) -> Result<usize, StepError> {
        let mut left = 0;
        for uri in images::on_server(pack, self.old.user_id().server_name()) {
            if self.allowance().is_used_up() {
                left += 1;
                continue;
            }
            match self.copy(&uri).await {
                Ok(_) => {}
                Err(StepError::Failed(failure)) if is_about_the_file(&failure) => {
                    tracing::info!(%uri, %failure, "an image stays where it is");
                    left += 1;
                }
                Err(error) => return Err(error),
            }
        }
        images::replace(pack, &self.copies());
        Ok(left)
    }

    async fn room_account_data(&self, room: &RoomId, event_type: &str, prefer_old: bool) -> Done {
        let typed = RoomAccountDataEventType::from(event_type);
        let old = self.old.room_account_data(room, typed.clone()).await.map_err(on_old)?;
        let Some(old) = fit_to_copy(event_type, old) else { return Ok(StepResult::AlreadySo) };
        let new = self.new.room_account_data(room, typed.clone()).await.map_err(on_new)?;
        let (merged, lack) =
            merge(event_type, self.trio(), old, new.unwrap_or_default(), prefer_old);
        if !lack.calls_for_writing(prefer_old) {
            return Ok(StepResult::AlreadySo);
        }
        self.new.set_room_account_data(room, typed, &merged).await.map_err(on_new)?;
        Ok(StepResult::Done)
    }

    async fn both_push_rules(&self) -> Result<(PushRules, PushRules), StepError> {
        let old = self.old.push_rules().await.map_err(on_old)?;
        let new = self.new.push_rules().await.map_err(on_new)?;
        let read = |rules: JsonObject| PushRules::read(rules.get("global").unwrap_or(&Value::Null));
        Ok((read(old), read(new)))
    }

    /// Gives the new account the rules of one kind that it lacks. One that its homeserver refuses
    /// costs itself only.
    async fn push_rules(&self, kind: &RuleKind, prefer_old: bool) -> Done {
        let (old, new) = self.both_push_rules().await?;
        let begun = self.journal.rules_begun(self.id).map_err(StepError::Broken)?;
        let missing = new.missing(&old, kind, self.trio(), prefer_old, &begun);
        let (mut result, mut refused) = (StepResult::AlreadySo, HashMap::new());
        for (rule, mut after) in missing {
            // The place of a rule that is not there is that of the rule before it.
            if let Some(before) = after.as_ref().and_then(|after| refused.get(after)) {
                after = Option::clone(before);
            }
            if !rule.enabled {
                self.begin_rule(&rule).await?;
            }
            match self.give_rule(kind, &rule, after.clone()).await {
                Ok(()) if result == StepResult::AlreadySo => result = StepResult::Done,
                Ok(()) => {}
                Err(failure) if failure.is_retryable() => return Err(on_new(failure)),
                Err(failure @ (Failure::TokenGone { .. } | Failure::Deactivated)) => {
                    return Err(on_new(failure));
                }
                Err(failure) => {
                    refused.insert(rule.rule_id, after);
                    result = StepResult::Failed(failure);
                }
            }
        }
        Ok(result)
    }

    async fn give_rule(
        &self,
        kind: &RuleKind,
        rule: &PushRule,
        after: Option<String>,
    ) -> Result<(), Failure> {
        let new_rule = rule.to_new(kind).map_err(unsendable)?;
        self.new.set_push_rule(new_rule, after).await?;
        // A rule that was there keeps its state; a new one is in force.
        self.new.enable_push_rule(kind.clone(), &rule.rule_id, rule.enabled).await
    }

    /// Writes down that a rule is to be given that takes two requests: one that was killed between
    /// them is given in part, and then looks like the new account's own.
    async fn begin_rule(&self, rule: &PushRule) -> Result<(), StepError> {
        self.journal.begin_rule(self.id, &rule.rule_id).await.map_err(StepError::Broken)
    }

    async fn predefined_push_rules(&self, prefer_old: bool) -> Done {
        let (old, new) = self.both_push_rules().await?;
        let mut result = StepResult::AlreadySo;
        let begun = self.journal.rules_begun(self.id).map_err(StepError::Broken)?;
        for (kind, rule) in new.predefined_to_change(&old, prefer_old, &begun) {
            self.begin_rule(&rule).await?;
            let actions = rule.typed_actions().map_err(unsendable).map_err(on_new)?;
            let rule_id = &rule.rule_id;
            self.new.set_push_rule_actions(kind.clone(), rule_id, actions).await.map_err(on_new)?;
            self.new.enable_push_rule(kind, rule_id, rule.enabled).await.map_err(on_new)?;
            result = StepResult::Done;
        }
        Ok(result)
    }

    /// Copies a file to the new account's server, so that it outlives the old one; a file that was
    /// copied before, or is there already, is not copied again.
    async fn copy(&self, uri: &MxcUri) -> Result<OwnedMxcUri, StepError> {
        let is_there =
            uri.server_name().is_ok_and(|server| server == self.new.user_id().server_name());
        if is_there {
            return Ok(uri.to_owned());
        }
        let _turn = self.copying.lock().await;
        if let Some(copy) = self.copies().get(uri) {
            return Ok(copy.clone());
        }
        let file = self.old.download(uri).await.map_err(on_old)?;
        self.allowance().use_up(file.content.len());
        let copy = self.new.upload(file).await.map_err(on_new)?;
        self.journal.record_copy(self.id, uri, &copy).await.map_err(StepError::Broken)?;
        self.copies().insert(uri.to_owned(), copy.clone());
        Ok(copy)
    }

    fn copies(&self) -> MutexGuard<'_, Copies> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn allowance(&self) -> MutexGuard<'_, images::Allowance> {
        self.allowance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The content of a piece of account data, unless it is not to be copied.
fn fit_to_copy(event_type: &str, content: Option<JsonObject>) -> Option<JsonObject> {
    let content = Value::Object(content?);
    match content {
        content if never_copied(event_type, &content) => None,
        Value::Object(content) => Some(content),
        _ => None,
    }
}

/// Whether a file could not be copied for a reason that is its own, and other files can be.
fn is_about_the_file(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Refused { .. }
            | Failure::Garbage { .. }
            | Failure::TooMuch(_)
            | Failure::Unsendable(_)
    )
}

fn is_joined(member: &JsonObject) -> bool {
    member.get("membership").is_some_and(|membership| membership == "join")
}

fn unsendable(error: serde_json::Error) -> Failure {
    Failure::Unsendable(error.to_string())
}
