//! A task definition is read so that nothing of it is dropped silently: what is not honoured is either mapped, with a
//! line that says so, or refused until somebody says that it may be ignored.

use super::TaskDefinition;
use serde_json::{Map, Value};

/// What became of a definition's text.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// What is honoured.
    pub definition: TaskDefinition,
    /// What was mapped or left out, a line each.
    pub notes: Vec<String>,
}

/// Why a definition cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadDefinition {
    /// It is something else.
    #[error("a task definition is an object of JSON, as \"aws ecs register-task-definition\" takes it")]
    NoObject,
    /// The application would behave differently.
    #[error(
        "{field}: {why}; the application would behave differently. Take it out, or accept that with --ignore {name}"
    )]
    Unsupported {
        /// Where it stands.
        field: String,
        /// Its name, for `--ignore`.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// A field that ECS does not have, or a value of the wrong kind.
    #[error("the task definition cannot be used: {0}")]
    Shape(String),
}

/// What describe-task-definition adds to what was registered.
const SILENT: [&str; 7] = [
    "taskDefinitionArn",
    "status",
    "requiresAttributes",
    "compatibilities",
    "registeredAt",
    "deregisteredAt",
    "registeredBy",
];

/// Fields that mean something else here, with what.
const MAPPED: [(&str, &str); 9] = [
    ("taskRoleArn", "there are no AWS credentials here: give the task its own, as variables or files"),
    ("executionRoleArn", "not needed: images are fetched with the stored logins, logs are kept on this machine"),
    ("repositoryCredentials", "images are fetched with the logins that \"netmode login\" has stored"),
    ("runtimePlatform", "containers run on this machine's own platform"),
    ("tags", "nothing here has tags; use dockerLabels"),
    ("enableFaultInjection", "no faults are injected"),
    ("versionConsistency", "each container's image is the one that is here when it is made"),
    ("appProtocol", "for Service Connect, which is not there"),
    ("placementConstraints", "this machine is the only container instance"),
];

/// Fields without which the application would behave differently, with why.
const UNSUPPORTED: [(&str, &str); 15] = [
    ("environmentFiles", "files in S3 cannot be read here"),
    ("efsVolumeConfiguration", "there is no EFS here"),
    ("fsxWindowsFileServerVolumeConfiguration", "there is no FSx here"),
    ("configuredAtLaunch", "there is no EBS here"),
    ("resourceRequirements", "GPUs and accelerators are not given to containers"),
    ("inferenceAccelerators", "there are no accelerators here"),
    ("firelensConfiguration", "there is no log router"),
    ("credentialSpecs", "there is no Active Directory here"),
    ("proxyConfiguration", "there is no App Mesh here"),
    ("ephemeralStorage", "the size of a writable layer is not limited"),
    ("devices", "devices of the host are not given to containers"),
    ("sharedMemorySize", "the size of /dev/shm is the default"),
    ("maxSwap", "swap is not limited"),
    ("swappiness", "swap is not tuned"),
    ("secretOptions", "log drivers with secrets are not there"),
];

/// Reads a definition, or what `describe-task-definition` answers around one. `ignored` are names of fields that may be
/// left out wherever they stand.
///
/// # Errors
/// See [`BadDefinition`].
pub fn read(value: Value, ignored: &[String]) -> Result<Reading, BadDefinition> {
    let Value::Object(mut top) = value else { return Err(BadDefinition::NoObject) };
    if let Some(Value::Object(inner)) = top.remove("taskDefinition") {
        top = inner;
    }
    let mut notes = Vec::new();
    sift(&mut top, "", ignored, &mut notes)?;
    let definition = serde_json::from_value(Value::Object(top)).map_err(|e| BadDefinition::Shape(e.to_string()))?;
    notes.sort();
    notes.dedup();
    Ok(Reading { definition, notes })
}

/// Whether a value says nothing: describe-task-definition has many of these.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        _ => false,
    }
}

/// Keys that people choose, below which no field is looked for.
const FREE: [&str; 4] = ["dockerLabels", "options", "labels", "driverOpts"];

fn sift(
    object: &mut Map<String, Value>,
    place: &str,
    ignored: &[String],
    notes: &mut Vec<String>,
) -> Result<(), BadDefinition> {
    let keys: Vec<String> = object.keys().cloned().collect();
    for key in keys {
        let field = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
        if ignored.iter().any(|i| *i == key || *i == field) {
            object.remove(&key);
            notes.push(format!("{field}: ignored, as asked for"));
            continue;
        }
        let empty = object.get(&key).is_none_or(is_empty);
        let of = |table: &[(&str, &'static str)]| table.iter().find(|(name, _)| *name == key).map(|(_, why)| *why);
        match (of(&MAPPED), of(&UNSUPPORTED)) {
            (Some(what), _) => {
                object.remove(&key);
                if !empty {
                    notes.push(format!("{field}: {what}"));
                }
            }
            (_, Some(why)) if !empty => return Err(BadDefinition::Unsupported { field, name: key, why }),
            _ if empty || SILENT.contains(&key.as_str()) => _ = object.remove(&key),
            _ if FREE.contains(&key.as_str()) => {}
            _ => descend(object.get_mut(&key), &field, ignored, notes)?,
        }
    }
    Ok(())
}

fn descend(
    value: Option<&mut Value>,
    field: &str,
    ignored: &[String],
    notes: &mut Vec<String>,
) -> Result<(), BadDefinition> {
    match value {
        Some(Value::Object(inner)) => sift(inner, field, ignored, notes),
        Some(Value::Array(all)) => {
            for (n, value) in all.iter_mut().enumerate() {
                let Value::Object(inner) = value else { continue };
                let name = inner.get("name").and_then(Value::as_str).map_or_else(|| n.to_string(), str::to_owned);
                sift(inner, &format!("{field}[{name}]"), ignored, notes)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn minimal(extra: Value) -> Value {
        let mut definition = json!({"family": "a", "containerDefinitions": [{"name": "web", "image": "x"}]});
        for (key, value) in extra.as_object().unwrap() {
            definition[key] = value.clone();
        }
        definition
    }

    #[test]
    fn what_has_no_effect_is_said() {
        let value = json!({
            "family": "f", "status": "ACTIVE", "tags": [{"key": "a", "value": "b"}], "placementConstraints": [],
            "containerDefinitions": [{"name": "a", "portMappings": [{"containerPort": 80, "appProtocol": "http"}]}],
        });
        let notes = read(value, &[]).unwrap().notes;
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes.iter().any(|n| n.starts_with("tags: ")) && notes.iter().any(|n| n.contains("appProtocol: ")));
    }

    #[test]
    fn what_describe_answers_is_read_as_what_register_takes() {
        let inner = minimal(json!({
            "taskDefinitionArn": "arn:…", "status": "ACTIVE", "revision": 7, "requiresAttributes": [{"name": "x"}],
            "cpu": "256", "memory": "0.5 GB", "environmentFiles": [], "volumes": [], "taskRoleArn": "arn:role",
        }));
        let read = read(json!({"taskDefinition": inner, "tags": []}), &[]).unwrap();
        assert_eq!(
            (read.definition.revision, read.definition.cpu, read.definition.memory),
            (Some(7), Some(256), Some(512))
        );
        assert_eq!(read.notes.len(), 1, "{:?}", read.notes);
        assert!(read.notes[0].starts_with("taskRoleArn: there are no AWS credentials"));
    }

    #[test]
    fn nothing_is_dropped_silently() {
        let text = |extra| read(minimal(extra), &[]).unwrap_err().to_string();
        let efs = json!({"volumes": [{"name": "data", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]});
        assert!(text(efs.clone()).starts_with("volumes[data].efsVolumeConfiguration: there is no EFS here"));
        assert!(text(efs.clone()).ends_with("--ignore efsVolumeConfiguration"));
        assert!(text(json!({"bogus": 1})).contains("unknown field `bogus`"));
        let read = read(minimal(efs), &["efsVolumeConfiguration".into()]).unwrap();
        assert_eq!(read.notes, ["volumes[data].efsVolumeConfiguration: ignored, as asked for"]);
        assert!(super::read(json!([1]), &[]).is_err());
    }
}
