//! What a check expects of what a program answered.

use serde::Deserialize;
use serde_json::Value;

/// All of it must hold.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expect {
    /// The exit status, 0 where none is given.
    #[serde(default)]
    status: Status,
    /// Standard output has each of these somewhere.
    #[serde(default)]
    has: Vec<String>,
    /// Standard output has none of these.
    #[serde(default)]
    lacks: Vec<String>,
    /// Standard output is JSON of which this holds.
    #[serde(default)]
    json: Vec<Fact>,
}

/// An exit status.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Status {
    Is(i32),
    /// `"failure"`: any but 0.
    Word(Word),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Failure,
    Any,
}

impl Default for Status {
    fn default() -> Self {
        Self::Is(0)
    }
}

/// Something about the values at a JSON pointer, in which `*` is every element.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fact {
    at: String,
    /// One of them is this.
    is: Option<Value>,
    /// None of them is this.
    not: Option<Value>,
    /// There are so many different ones.
    count: Option<usize>,
}

/// What a program answered.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Expect {
    /// What is otherwise, in a few words.
    pub(crate) fn differs(&self, answer: &Answer) -> Option<String> {
        let right = match self.status {
            Status::Is(status) => status == answer.status,
            Status::Word(Word::Failure) => answer.status != 0,
            Status::Word(Word::Any) => true,
        };
        if !right {
            let said = answer.stderr.lines().last().unwrap_or("").trim();
            return Some(format!("exit status {}{}{said}", answer.status, if said.is_empty() { "" } else { ": " }));
        }
        if let Some(text) = self.has.iter().find(|text| !answer.stdout.contains(*text)) {
            return Some(format!("{text:?} is not in what it prints"));
        }
        if let Some(text) = self.lacks.iter().find(|text| answer.stdout.contains(*text)) {
            return Some(format!("{text:?} is in what it prints"));
        }
        if self.json.is_empty() {
            return None;
        }
        // `ip -j` prints nothing at all where it has nothing to show.
        let text = if answer.stdout.trim().is_empty() { "[]" } else { &answer.stdout };
        match serde_json::from_str(text) {
            Ok(json) => self.json.iter().find_map(|fact| fact.differs(&json)),
            Err(error) => Some(format!("what it prints is no JSON: {error}")),
        }
    }
}

impl Fact {
    fn differs(&self, json: &Value) -> Option<String> {
        let values = values_at(json, &self.at);
        if let Some(is) = self.is.as_ref().filter(|is| !values.contains(is)) {
            return Some(format!("{} is {}, not {is}", self.at, shown(&values)));
        }
        if let Some(not) = self.not.as_ref().filter(|not| values.contains(not)) {
            return Some(format!("{} is {not}", self.at));
        }
        let mut different: Vec<String> = values.iter().map(ToString::to_string).collect();
        different.sort_unstable();
        different.dedup();
        let count = self.count.filter(|count| *count != different.len())?;
        Some(format!("{} has {} values, not {count}", self.at, different.len()))
    }
}

/// The values at a pointer, in which `*` is every element of an array or object.
pub(crate) fn values_at<'a>(json: &'a Value, pointer: &str) -> Vec<&'a Value> {
    let mut values = vec![json];
    for key in pointer.split('/').skip(1) {
        values = values.into_iter().flat_map(|value| children(value, key)).collect();
    }
    values
}

fn children<'a>(value: &'a Value, key: &str) -> Vec<&'a Value> {
    match (value, key) {
        (Value::Array(all), "*") => all.iter().collect(),
        (Value::Object(all), "*") => all.values().collect(),
        (Value::Array(all), _) => key.parse().ok().and_then(|n: usize| all.get(n)).into_iter().collect(),
        (Value::Object(all), _) => all.get(key).into_iter().collect(),
        _ => vec![],
    }
}

fn shown(values: &[&Value]) -> String {
    match values {
        [] => "not there".into(),
        [one] => one.to_string(),
        many => many.iter().take(6).map(ToString::to_string).collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differs(expect: &str, status: i32, stdout: &str) -> Option<String> {
        let expect: Expect = toml::from_str(expect).unwrap();
        expect.differs(&Answer { status, stdout: stdout.into(), stderr: "no route".into() })
    }

    #[test]
    fn status_and_text() {
        assert_eq!(differs("", 0, ""), None);
        assert_eq!(differs("", 7, "").unwrap(), "exit status 7: no route");
        assert_eq!(differs("status = \"failure\"", 7, ""), None);
        assert!(differs("status = \"failure\"", 0, "").is_some());
        assert_eq!(differs("has = [\"b\"]\nlacks = [\"d\"]", 0, "abc"), None);
        assert!(differs("has = [\"d\"]", 0, "abc").is_some());
        assert!(differs("lacks = [\"b\"]", 0, "abc").is_some());
    }

    #[test]
    fn pointers_with_stars() {
        let json = r#"[{"ifname":"lo","addr_info":[{"local":"127.0.0.1"}]},{"ifname":"eth0","mtu":1500}]"#;
        assert_eq!(differs("json = [{ at = '/*/ifname', is = 'eth0' }]", 0, json), None);
        assert_eq!(differs("json = [{ at = '/*/addr_info/*/local', is = '127.0.0.1', count = 1 }]", 0, json), None);
        assert_eq!(differs("json = [{ at = '/1/mtu', is = 1500 }]", 0, json), None);
        assert_eq!(differs("json = [{ at = '/*/mtu', is = 9000 }]", 0, json).unwrap(), "/*/mtu is 1500, not 9000");
        assert!(differs("json = [{ at = '/*/ifname', not = 'lo' }]", 0, json).is_some());
        assert!(differs("json = [{ at = '/*/ifname', count = 1 }]", 0, json).is_some());
        assert_eq!(differs("json = [{ at = '/*/ifname', count = 0 }]", 0, ""), None);
    }
}
