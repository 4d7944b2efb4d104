//! What an answer repeats of the secrets in the request.
//!
//! A homeserver, or a proxy before it, may quote a request in its refusal: a token that it does not
//! know, or a body that it cannot read. Such words go into logs, into chats and into the store, where
//! no secret is ever to be. So they are looked for in one place, right where answers come in.

use reqwest::header::{self, HeaderMap};
use ruma::{api::error::ErrorCode, exports::http};
use serde_json::{Value, json};

use super::failure::{is_known, visible};
use crate::secret::{ExposeSecret as _, Secret};

/// What is said in place of words that repeat a secret.
const LEFT_OUT: &str = "its words are left out, since they repeat a password or token";
/// Where bodies have a secret, in `POST /login` and wherever a request is authenticated anew
/// ([spec](https://spec.matrix.org/v1.18/client-server-api/#user-interactive-authentication-api)).
const FIELDS: [&str; 8] = [
    "password",
    "new_password",
    "token",
    "access_token",
    "refresh_token",
    "client_secret",
    "code",
    "code_verifier",
];
/// The largest body in which secrets are looked for, in bytes. Passwords are in small ones.
const LARGEST_BODY: usize = 64 << 10;
/// The largest refusal that is looked through, in bytes; of a larger one nothing is kept.
const LARGEST_REFUSAL: usize = 64 << 10;

/// The secrets in one request.
#[derive(Debug)]
pub(super) struct Secrets(Vec<Secret>);

impl Secrets {
    /// Finds them in the request itself, so that no caller has to say what is secret.
    pub(super) fn in_request(request: &http::Request<Vec<u8>>) -> Self {
        let mut found = Vec::new();
        let authorization = request.headers().get(header::AUTHORIZATION);
        if let Some(value) = authorization.and_then(|value| value.to_str().ok()) {
            // With its scheme (`Bearer`) or without.
            found.push(value.split_once(' ').map_or(value, |(_, token)| token).into());
        }
        let body = Some(request.body()).filter(|body| body.len() <= LARGEST_BODY);
        if let Some(body) = body.and_then(|body| serde_json::from_slice(body).ok()) {
            secret_fields(&body, &mut found);
        }
        let mut forms: Vec<_> = found.iter().flat_map(forms).collect();
        forms.retain(|form| !form.expose_secret().is_empty());
        Self(forms)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Leaves out of a refusal what repeats a secret. What is no refusal stays as it is: it is what
    /// was asked for, and nobody's words.
    pub(super) fn leave_out_of(&self, answer: &mut http::Response<Vec<u8>>) {
        if answer.status().is_success() || self.0.is_empty() {
            return;
        }
        self.leave_out_of_headers(answer.headers_mut());
        let body = answer.body_mut();
        if body.len() > LARGEST_REFUSAL {
            body.clear();
            return;
        }
        match serde_json::from_slice::<Value>(body) {
            Ok(mut value) => {
                if self.leave_out_of_value(&mut value) {
                    *body = value.to_string().into_bytes();
                }
            }
            Err(_) if self.are_in(&String::from_utf8_lossy(body)) => body.clear(),
            Err(_) => {}
        }
    }

    fn leave_out_of_headers(&self, headers: &mut HeaderMap) {
        let repeating = headers
            .iter()
            .filter(|(_, value)| self.are_in(&String::from_utf8_lossy(value.as_bytes())));
        let repeating: Vec<_> = repeating.map(|(name, _)| name.clone()).collect();
        repeating.iter().for_each(|name| drop(headers.remove(name)));
    }

    /// Whether anything was left out.
    fn leave_out_of_value(&self, value: &mut Value) -> bool {
        match value {
            Value::String(text) if self.are_in(text) => {
                *text = LEFT_OUT.to_owned();
                true
            }
            Value::Number(number) if self.are_in(&number.to_string()) => {
                *value = Value::Null;
                true
            }
            Value::Array(values) => {
                let mut changed = false;
                for value in values {
                    changed |= self.leave_out_of_value(value);
                }
                changed
            }
            Value::Object(fields) => {
                if fields.keys().any(|key| self.are_in(key)) {
                    *value = json!({ "errcode": "M_UNKNOWN", "error": LEFT_OUT });
                    return true;
                }
                let mut changed = false;
                for (key, value) in fields {
                    // One of the specification's says nothing, even with a password that is in it.
                    let is_plain = key == "errcode"
                        && value.as_str().is_some_and(|code| is_known(&ErrorCode::from(code)));
                    changed |= !is_plain && self.leave_out_of_value(value);
                }
                changed
            }
            _ => false,
        }
    }

    /// Also where letters that nobody sees part a secret.
    fn are_in(&self, text: &str) -> bool {
        let seen = visible(text);
        self.0
            .iter()
            .map(|secret| secret.expose_secret())
            .any(|secret| text.contains(secret) || seen.contains(secret))
    }
}

fn secret_fields(value: &Value, found: &mut Vec<Secret>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| secret_fields(value, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if FIELDS.contains(&key.as_str()) => {
                        found.push(text.as_str().into());
                    }
                    other => secret_fields(other, found),
                }
            }
        }
        _ => {}
    }
}

/// A secret as it is, and as it is written in JSON and in URLs: who quotes a request may quote it so.
fn forms(secret: &Secret) -> [Secret; 4] {
    let plain = secret.expose_secret();
    let json = Value::from(plain).to_string();
    let json = json.get(1..json.len() - 1).unwrap_or_default();
    let form: String = url::form_urlencoded::byte_serialize(plain.as_bytes()).collect();
    let uri = form.replace('+', "%20");
    [plain.into(), json.into(), form.into(), uri.into()]
}
