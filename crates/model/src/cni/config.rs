//! The configuration of a call: one plugin's part of a network, as the runtime sends it.

use super::call::word;
use super::{CniCode, CniError, CniResult, Keys, Version};
use serde_json::{Map, Value};

/// What every plugin needs of it, and all of it as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The version that it is of, and that the answer has to be of.
    pub version: Version,
    /// The network.
    pub name: String,
    /// All keys, those that nobody knows as well.
    pub keys: Map<String, Value>,
}

/// A key of an object without regard to case, as Go's decoder matches: go-cni sends `HostPort` where the convention says
/// `hostPort`. The very spelling counts first.
pub fn field<'v>(object: &'v Map<String, Value>, key: &str) -> Option<&'v Value> {
    let alike = || object.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value);
    object.get(key).or_else(alike).filter(|value| !value.is_null())
}

impl Config {
    /// The version of a text, where it can be seen: an error about the text should be of it.
    pub fn version_of(text: &[u8]) -> Option<Version> {
        let value = serde_json::from_slice::<Value>(text).ok()?;
        Version::of(field(value.as_object()?, "cniVersion").map_or(Some(""), Value::as_str)?).ok()
    }

    /// Reads a configuration.
    ///
    /// # Errors
    /// [`CniCode::Decode`] where it is no JSON object, [`CniCode::Version`], and [`CniCode::InvalidConfig`] for a name that
    /// is missing or cannot be.
    pub fn read(text: &[u8]) -> Result<Self, CniError> {
        let bad = |why: String| CniError::new(CniCode::Decode, format!("the network configuration {why}"));
        if text.iter().all(u8::is_ascii_whitespace) {
            return Err(bad("is empty: it is expected on standard input".into()));
        }
        let value = serde_json::from_slice::<Value>(text).map_err(|e| bad(format!("is no JSON: {e}")))?;
        Self::of(value)
    }

    /// Of a JSON value.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn of(value: Value) -> Result<Self, CniError> {
        let bad = |why: String| CniError::new(CniCode::Decode, format!("the network configuration {why}"));
        let Value::Object(keys) = value else { return Err(bad("is no JSON object".into())) };
        let string = |key: &str| match field(&keys, key) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(bad(format!("has a {key} that is no string"))),
        };
        let (version, name) = (Version::of(&string("cniVersion")?)?, string("name")?);
        if let Err(why) = word(&name) {
            let shown: String = name.chars().take(64).collect();
            let text = if name.is_empty() { "missing network name".into() } else { format!("name {shown:?} {why}") };
            return Err(CniError::new(CniCode::InvalidConfig, text));
        }
        Ok(Self { version, name, keys })
    }

    /// All keys, matched without regard to case.
    pub fn keys(&self) -> Keys<'_> {
        Keys::of(&self.keys)
    }

    /// What plugins before this one answered, or ADD in the end.
    ///
    /// # Errors
    /// It is no result.
    pub fn previous(&self) -> Result<Option<CniResult>, CniError> {
        self.get("prevResult").map(|value| CniResult::read("prevResult", value)).transpose()
    }

    /// A key, without regard to case.
    pub fn get(&self, key: &str) -> Option<&Value> {
        field(&self.keys, key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> CniCode {
        Config::read(text.as_bytes()).unwrap_err().code
    }

    #[test]
    fn what_is_no_configuration_is_told_by_its_code() {
        for text in ["", " \n", "{", "[]", "7", "\u{0}", r#"{"name":7}"#, r#"{"cniVersion":1}"#] {
            assert_eq!(code(text), CniCode::Decode, "{text:?}");
        }
        for text in [r#"{"cniVersion":"9.9.9","name":"n"}"#, r#"{"cniVersion":"abc"}"#, r#"{"cniVersion":"0.5.0"}"#] {
            assert_eq!(code(text), CniCode::Version, "{text}");
        }
        for text in ["{}", r#"{"name":""}"#, r#"{"name":"a b/c"}"#, r#"{"name":"../x"}"#] {
            assert_eq!(code(text), CniCode::InvalidConfig, "{text}");
        }
    }

    #[test]
    fn no_version_is_the_first_and_unknown_keys_are_kept() {
        let config = Config::read(br#"{"NAME":"n1","zzz":1,"prevResult":null,"capabilities":{"x":true}}"#).unwrap();
        assert_eq!((config.version, config.name.as_str()), (Version::V010, "n1"));
        assert!(config.get("Zzz").is_some() && config.get("prevResult").is_none());
        assert_eq!(Config::read(br#"{"cniVersion":"","name":"n"}"#).unwrap().version, Version::V010);
        assert_eq!(Config::read(br#"{"cniVersion":"1.1.0","name":"n"}"#).unwrap().version, Version::V110);
    }

    #[test]
    fn the_very_spelling_of_a_key_counts_first() {
        let object = serde_json::from_str::<Value>(r#"{"HostPort":1,"hostPort":2}"#).unwrap();
        assert_eq!(field(object.as_object().unwrap(), "hostPort"), Some(&Value::from(2)));
        assert_eq!(field(object.as_object().unwrap(), "HOSTPORT"), Some(&Value::from(1)));
    }
}
