//! What the CNI executable and the agent say to each other.

use super::{Call, CniCode, CniError, Config};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// A call of a plugin. The namespace, where it could be opened, is the first descriptor that comes with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CniRequest {
    /// The plugin: what the executable was called by.
    pub plugin: String,
    /// The call.
    pub call: Call,
    /// Inode number of the caller's own network namespace, which has to be the agent's.
    pub host: u64,
    /// Whether it is only asked: if ADD could be, before somebody else's IPAM plugin gives an address; if what somebody
    /// else's plugin has made is there, at CHECK.
    #[serde(default)]
    pub only_ask: bool,
    /// The configuration as it came.
    pub config: Value,
    /// Who gives it addresses.
    #[serde(default)]
    pub ipam: Ipam,
}

/// Who gives a plugin addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Ipam {
    /// Nobody.
    #[default]
    None,
    /// A plugin of ours, by its name: it is served with the same request.
    Ours(String),
    /// Somebody else's plugin has; what it answered to ADD.
    Given(Value),
}

/// The answer: a result, an error, or neither where the verb answers nothing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CniReply {
    /// Printed as it is.
    pub result: Option<Value>,
    /// Why not.
    pub error: Option<CniError>,
}

impl From<Result<Option<Value>, CniError>> for CniReply {
    fn from(answer: Result<Option<Value>, CniError>) -> Self {
        match answer {
            Ok(result) => Self { result, error: None },
            Err(error) => Self { result: None, error: Some(error) },
        }
    }
}

/// Which attachments of a network are valid; nothing where the runtime does not say (absent is not the same as empty).
/// Each by container and link.
///
/// # Errors
/// A list that cannot be.
pub fn valid(config: &Config) -> Result<Option<BTreeSet<(String, String)>>, CniError> {
    let key = ["cni.dev/valid-attachments", "cni.dev/attachments"].into_iter().find(|key| config.get(key).is_some());
    let Some(key) = key else { return Ok(None) };
    let list = config.keys().list(key)?.iter().map(|valid| {
        let keys = super::Keys::in_value(key, valid)?;
        let (container, link) = (keys.text("containerID")?, keys.text("ifname")?);
        let pair = container.zip(link).map(|(container, link)| (container.to_owned(), link.to_owned()));
        pair.ok_or_else(|| {
            CniError::new(CniCode::InvalidConfig, format!("{key} {valid}: containerID and ifname are expected"))
        })
    });
    list.collect::<Result<_, _>>().map(Some)
}
