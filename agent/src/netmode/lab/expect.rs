//! What a check expects of what a program answered, and what it says where that is otherwise.

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
    /// What is said where the status is another one, `{}` being the answer; without it the program's own words.
    says: Option<String>,
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
    /// Each of these is among them.
    #[serde(default)]
    all: Vec<Value>,
    /// None of them is this.
    not: Option<Value>,
    /// There are so many different ones.
    count: Option<usize>,
    /// What is said where it does not hold; `{}` are the values, `{n}` how many, `{missing}` those of `all` that lack.
    says: String,
    /// What is said instead where there is no value.
    none: Option<String>,
}

/// What a program answered.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Characters of an answer that are shown.
const SHOWN: usize = 100;

impl Answer {
    /// Why it failed, in its own words.
    pub(crate) fn complaint(&self) -> String {
        let last = |text: &str| text.lines().rev().find(|line| !line.trim().is_empty()).map(cut);
        let said = last(&self.stderr).or_else(|| last(&self.stdout));
        said.map_or_else(
            || format!("exit status {}", self.status),
            |line| line.strip_prefix("netmode: ").unwrap_or(&line).to_owned(),
        )
    }

    /// Its first line.
    fn first(&self) -> String {
        self.stdout.lines().find(|line| !line.trim().is_empty()).map_or_else(|| "nothing".into(), cut)
    }
}

fn cut(line: &str) -> String {
    let line = line.trim().replace('\t', " ");
    if line.chars().count() > SHOWN { line.chars().take(SHOWN).collect::<String>() + "…" } else { line }
}

impl Expect {
    /// What is otherwise, in a few words.
    pub(crate) fn differs(&self, answer: &Answer) -> Option<String> {
        let said = self.other_status(answer).or_else(|| self.other_text(answer));
        if said.is_some() || self.json.is_empty() {
            return said;
        }
        // `ip -j` prints nothing at all where it has nothing to show.
        let text = if answer.stdout.trim().is_empty() { "[]" } else { &answer.stdout };
        match serde_json::from_str(text) {
            Ok(json) => self.json.iter().find_map(|fact| fact.differs(&json)),
            Err(error) => Some(format!("{:?} is no JSON: {error}", answer.first())),
        }
    }

    fn other_status(&self, answer: &Answer) -> Option<String> {
        let (right, wants_success) = match self.status {
            Status::Is(status) => (status == answer.status, status == 0),
            Status::Word(Word::Failure) => (answer.status != 0, false),
            Status::Word(Word::Any) => (true, true),
        };
        if right {
            return None;
        }
        let is_answer = answer.status == 0 && !wants_success;
        let shown = if is_answer { answer.first() } else { answer.complaint() };
        Some(match &self.says {
            Some(says) => says.replace("{}", &shown),
            None if is_answer => format!("it got an answer and should not: {shown:?}"),
            None => shown,
        })
    }

    fn other_text(&self, answer: &Answer) -> Option<String> {
        if let Some(text) = self.has.iter().find(|text| !answer.stdout.contains(*text)) {
            return Some(match answer.stdout.lines().count() {
                0 => format!("got nothing, wanted {text:?}"),
                1 => format!("got {:?}, wanted {text:?}", answer.first()),
                many => format!("none of {many} lines has {text:?}"),
            });
        }
        let unwanted = |line: &&str| self.lacks.iter().any(|text| line.contains(text.as_str()));
        let line = answer.stdout.lines().find(unwanted)?;
        Some(format!("{:?} should not be there", cut(line)))
    }
}

impl Fact {
    fn differs(&self, json: &Value) -> Option<String> {
        let mut values: Vec<&Value> = Vec::new();
        for value in values_at(json, &self.at) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        let missing: Vec<&Value> = self.all.iter().filter(|value| !values.contains(value)).collect();
        let right = self.is.as_ref().is_none_or(|is| values.contains(&is))
            && self.not.as_ref().is_none_or(|not| !values.contains(&not))
            && self.count.is_none_or(|count| count == values.len());
        if right && missing.is_empty() {
            return None;
        }
        let says = self.none.as_ref().filter(|_| values.is_empty()).unwrap_or(&self.says);
        let missing = says.replace("{missing}", &shown(&missing));
        Some(missing.replace("{n}", &values.len().to_string()).replace("{}", &shown(&values)))
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

/// A value as people write it.
pub(crate) fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}

fn shown(values: &[&Value]) -> String {
    let words: Vec<String> = values.iter().take(10).map(|value| word(value)).collect();
    match words.split_last() {
        None => "nothing".into(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differs(expect: &str, status: i32, stdout: &str) -> Option<String> {
        let expect: Expect = toml::from_str(expect).unwrap();
        expect.differs(&Answer { status, stdout: stdout.into(), stderr: "warning\nnetmode: no route\n".into() })
    }

    #[test]
    fn status_and_text() {
        assert_eq!(differs("", 0, ""), None);
        assert_eq!(differs("", 7, "").unwrap(), "no route");
        assert_eq!(differs("status = \"failure\"", 7, ""), None);
        let answered = differs("status = 28", 0, "hello from db: you\n").unwrap();
        assert_eq!(answered, "it got an answer and should not: \"hello from db: you\"");
        assert_eq!(differs("status = 28", 7, "").unwrap(), "no route");
        assert_eq!(differs("has = [\"b\"]\nlacks = [\"d\"]", 0, "abc"), None);
        assert_eq!(differs("has = [\"d\"]", 0, "abc").unwrap(), "got \"abc\", wanted \"d\"");
        assert_eq!(differs("has = [\"d\"]", 0, "a\nb\n").unwrap(), "none of 2 lines has \"d\"");
        assert_eq!(differs("lacks = [\"b\"]", 0, "a\nb c\n").unwrap(), "\"b c\" should not be there");
        assert_eq!(differs("says = \"web: {}\"", 1, "").unwrap(), "web: no route");
    }

    #[test]
    fn pointers_with_stars() {
        let json = r#"[{"ifname":"lo","addr_info":[{"local":"127.0.0.1"}]},{"ifname":"eth0","mtu":1500}]"#;
        let fact = |fact: &str| differs(&format!("json = [{{ {fact}, says = '{{}}, {{n}}, {{missing}}' }}]"), 0, json);
        assert_eq!(fact("at = '/*/ifname', is = 'eth0'"), None);
        assert_eq!(fact("at = '/*/addr_info/*/local', is = '127.0.0.1', count = 1"), None);
        assert_eq!(fact("at = '/1/mtu', is = 1500"), None);
        assert_eq!(fact("at = '/*/mtu', is = 9000").unwrap(), "1500, 1, nothing");
        assert_eq!(fact("at = '/*/ifname', not = 'lo'").unwrap(), "lo and eth0, 2, nothing");
        assert_eq!(fact("at = '/*/ifname', count = 1").unwrap(), "lo and eth0, 2, nothing");
        assert_eq!(fact("at = '/*/ifname', all = ['lo', 'eth0']"), None);
        assert_eq!(fact("at = '/*/ifname', all = ['lo', 'eth1']").unwrap(), "lo and eth0, 2, eth1");
        assert_eq!(fact("at = '/*/speed', is = 1, none = 'no speed'").unwrap(), "no speed");
    }
}
