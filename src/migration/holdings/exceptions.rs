//! What is never copied from one account to another.

use serde_json::Value;

/// Types of account data that are not even read. A `*` at the end stands for anything
/// ([filtering](https://spec.matrix.org/v1.18/client-server-api/#filtering)).
pub(crate) const NEVER_READ: [&str; 16] = [
    // The keys by which an account vouches for its own devices and for other people. They belong
    // to one user ID: under another one they would be worthless, or break what is there.
    "m.cross_signing.*",
    // What secrets are encrypted with, and which key that is. The new account has its own, and
    // would lose its own secrets with another's.
    "m.secret_storage.*",
    // The backup of message keys: its secret, and whether there is one. It is bound to a backup on
    // the old account's server.
    "m.megolm_backup.*",
    "m.key_backup",
    "m.org.matrix.custom.backup_disabled",
    // Dehydrated devices (MSC2697, MSC3814): the key of a device that the new account lacks.
    "m.dehydrated_device*",
    "org.matrix.msc2697*",
    "org.matrix.msc3814*",
    // Where the account proves e-mail addresses and telephone numbers. Handing it on would tell a
    // third party of the new account.
    "m.identity_server",
    // Consent to somebody's terms is given by an account for itself.
    "m.accepted_terms",
    // The pseudonym that statistics know the account by; copied, it would tie the two together.
    "im.vector.analytics",
    // About one device of the old account, by its ID. The new account has other devices.
    "io.element.matrix_client_information.*",
    "m.local_notification_settings.*",
    "org.matrix.msc3890.local_notification_settings.*",
    // Positions in timelines; homeservers refuse them as account data.
    "m.fully_read",
    "m.receipt",
];

/// Types that are copied in ways of their own: through the push rules API, and with the rooms.
const OWN_WAYS: [&str; 3] = ["m.push_rules", "m.direct", "m.tag"];

/// Names that clients and widgets keep credentials under.
const CREDENTIALS: [&str; 7] = [
    "access_token",
    "refresh_token",
    "scalar_token",
    "password",
    "passphrase",
    "private_key",
    "secret",
];

/// Whether a piece of account data is never copied: by its type, or since it holds a secret.
///
/// Anything in [secret storage] has its ciphertext in `encrypted`, whatever its type: without the
/// key it is of no use, and with it it would be another account's secret.
///
/// [secret storage]: https://spec.matrix.org/v1.18/client-server-api/#secret-storage
pub(crate) fn never_copied(event_type: &str, content: &Value) -> bool {
    OWN_WAYS.contains(&event_type)
        || NEVER_READ.iter().any(|excepted| matches(excepted, event_type))
        || content.get("encrypted").is_some_and(Value::is_object)
        || holds_credentials(content)
}

fn matches(excepted: &str, event_type: &str) -> bool {
    match excepted.strip_suffix('*') {
        Some(start) => event_type.starts_with(start),
        None => event_type == excepted,
    }
}

fn holds_credentials(content: &Value) -> bool {
    match content {
        Value::Object(fields) => fields.iter().any(|(name, value)| {
            (CREDENTIALS.contains(&name.as_str()) && value.is_string()) || holds_credentials(value)
        }),
        Value::Array(items) => items.iter().any(holds_credentials),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_and_positions_are_never_copied() {
        for event_type in [
            "m.cross_signing.master",
            "m.cross_signing.self_signing",
            "m.secret_storage.default_key",
            "m.secret_storage.key.abc",
            "m.megolm_backup.v1",
            "m.org.matrix.custom.backup_disabled",
            "org.matrix.msc3814",
            "org.matrix.msc2697.v2.dehydrated_device",
            "m.identity_server",
            "m.accepted_terms",
            "m.fully_read",
            "m.push_rules",
        ] {
            assert!(never_copied(event_type, &json!({})), "{event_type}");
        }
    }

    #[test]
    fn secrets_are_never_copied_whatever_their_type() {
        let stored = json!({ "encrypted": { "key": { "iv": "", "ciphertext": "", "mac": "" } } });
        assert!(never_copied("org.example.unheard_of", &stored));
        let widget = json!({ "widget": { "data": [{ "scalar_token": "abc" }] } });
        assert!(never_copied("m.widgets", &widget));
    }

    #[test]
    fn settings_are_copied() {
        let content = json!({ "encrypted": true, "password": { "show": false } });
        for event_type in ["im.vector.web.settings", "m.ignored_user_list", "m.cross_signings"] {
            assert!(!never_copied(event_type, &content), "{event_type}");
        }
    }
}
