//! Environment variables that override keys of the file.

use std::path::Path;

use serde::Deserialize as _;
use serde_yaml::{Mapping, Value};

use super::{ConfigError, File};

const PREFIX: &str = "TERN_";

/// Reads the file again, with every override that `environment` has for it.
pub(super) fn apply(
    path: &Path,
    text: &str,
    mut file: File,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<File, ConfigError> {
    let mut tree: Option<Value> = None;
    for (variable, value) in environment {
        let Some(keys) = variable.strip_prefix(PREFIX) else { continue };
        let keys: Vec<_> = keys.split("__").map(str::to_lowercase).collect();
        let before = match tree.take() {
            Some(tree) => tree,
            None => super::file::tree(path, text)?,
        };
        let (changed, read) = with(&before, &keys, value)
            .map_err(|what| ConfigError::Override { variable: variable.clone(), what })?;
        tree = Some(changed);
        file = read;
    }
    Ok(file)
}

/// The value as a string if the key takes one, so that a password may be `0123` or `true`; as YAML
/// otherwise, for a list.
fn with(tree: &Value, keys: &[String], value: String) -> Result<(Value, File), String> {
    let try_value = |value: Value| {
        let tree = set(tree.clone(), keys, value)?;
        let file = File::deserialize(tree.clone()).map_err(|error| error.to_string())?;
        Ok((tree, file))
    };
    let list = serde_yaml::from_str::<Value>(&value).ok().filter(Value::is_sequence);
    try_value(Value::String(value)).or_else(|error| list.map_or(Err(error), try_value))
}

fn set(tree: Value, keys: &[String], value: Value) -> Result<Value, String> {
    let Some((key, rest)) = keys.split_first() else { return Ok(value) };
    let mut mapping = match tree {
        Value::Mapping(mapping) => mapping,
        Value::Null => Mapping::new(),
        _ => return Err(format!("there is nothing under this key that {key:?} could be")),
    };
    let below = mapping.remove(key.as_str()).unwrap_or_default();
    mapping.insert(Value::from(key.as_str()), set(below, rest, value)?);
    Ok(Value::Mapping(mapping))
}
