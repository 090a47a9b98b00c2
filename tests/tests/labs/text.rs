//! The commands of a lab's text and what they show. `UPDATE_LABS=1` writes anew what they show.

use netmode_tests::sandbox::repository;
use regex::Regex;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError};

/// A fence of commands (`$ …`, continued by `> …`) and of what they show.
#[derive(Debug, Clone)]
pub struct Block {
    /// Everything between the fences, as it stands in the file.
    body: String,
    pub commands: Vec<String>,
    shown: Vec<String>,
    /// Whether it stands behind the mark of the solution.
    pub solved: bool,
    /// A program without which it is passed by: what stands behind `console`.
    pub needs: String,
}

const FENCE: &str = "```console";
/// Where the learner has done the tasks.
const MARK: &str = "<!-- solve -->";

/// What differs from one run to the next, and what stands for it when two are compared.
static VARYING: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let all = [
        (r"([0-9a-f]{2}:){5}[0-9a-f]{2}", "MAC"),
        (r"fe80::[0-9a-f:]+", "LINK-LOCAL"),
        (r"@if\d+", "@PEER"),
        (r"/proc/\d+", "/proc/PID"),
        (r"\bmembers4_[0-9a-f]{17}\b", "MEMBERS"),
        (r"(ecs-[a-z]+-\d+-[a-z]+)-[0-9a-f]{20}\b", "$1"),
        (r"\bnm-[0-9a-f]{12}\b", "NETNS"),
        (r"\bnm[0-9a-f]{9,11}\b", "LINK"),
        (r"\beni-[0-9a-f]{17}\b", "ENI"),
        (r"\b(subnet|sg|fl)-[0-9a-f]{17}\b", "ID"),
        (r"\b[0-9a-f]{12}([0-9a-f]{20})?\b", "ID"),
        (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME"),
        (r"\b1[78]\d{8}\b", "TIME"),
        (r"\d+(\.\d+)? ?(ms|µs|s)\b", "TIME"),
        (r"\b(3[2-9]\d{3}|[45]\d{4}|60\d{3})\b", "PORT"),
        (r"[ \t]+", " "),
        (r" ?\n", "\n"),
    ];
    all.iter().map(|(pattern, with)| (Regex::new(pattern).unwrap(), *with)).collect()
});

fn file(lab: &str) -> PathBuf {
    repository().join("vagrant/labs").join(lab).join("lab.md")
}

/// The text of a lab.
pub fn read(lab: &str) -> String {
    std::fs::read_to_string(file(lab)).unwrap()
}

/// Its blocks, in order.
pub fn blocks(text: &str) -> Vec<Block> {
    assert!(text.contains(MARK), "the mark {MARK} is missing");
    let (mut blocks, mut at) = (Vec::new(), 0);
    while let Some(head) = text[at..].find(FENCE).map(|n| at + n + FENCE.len()) {
        let start = head + text[head..].find('\n').expect("a fence has lines") + 1;
        let end = start + text[start..].find("```").expect("every fence is closed");
        let needs = text[head..start].trim().to_owned();
        blocks.push(Block { solved: text[..start].contains(MARK), needs, ..block(&text[start..end]) });
        at = end + 3;
    }
    blocks
}

fn block(body: &str) -> Block {
    let mut block = Block { body: body.into(), commands: vec![], shown: vec![], solved: false, needs: String::new() };
    for line in body.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            block.commands.push(command.into());
            block.shown.push(String::new());
        } else if let (Some(more), Some(command)) = (line.strip_prefix("> "), block.commands.last_mut()) {
            command.push_str(&format!("\n{more}"));
        } else {
            let shown = block.shown.last_mut().expect("a block begins with a command");
            shown.push_str(&format!("{line}\n"));
        }
    }
    block
}

/// Whether the commands showed what the text says; writes it there if that is asked for.
pub fn compare(lab: &str, block: &Block, outputs: &[String]) {
    let differ = |n: &usize| normal(&block.shown[*n]) != normal(&outputs[*n]);
    let Some(first) = (0..outputs.len()).find(differ) else { return };
    if std::env::var_os("UPDATE_LABS").is_none() {
        panic!(
            "{lab}: what the text shows has drifted (UPDATE_LABS=1 writes it anew)\n$ {}\n--- the text\n{}--- now\n{}",
            block.commands[first], block.shown[first], outputs[first]
        );
    }
    // The texts of two labs are different files; one lab's blocks come one after the other.
    static WRITING: Mutex<()> = Mutex::new(());
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let new: String = block.commands.iter().zip(outputs).map(|(command, output)| written(command, output)).collect();
    std::fs::write(file(lab), read(lab).replacen(&block.body, &new, 1)).unwrap();
}

fn written(command: &str, output: &str) -> String {
    let output: String = output.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    format!("$ {}\n{output}", command.replace('\n', "\n> "))
}

/// A text with nothing in it that differs from one run to the next.
fn normal(text: &str) -> String {
    VARYING.iter().fold(text.to_owned(), |text, (pattern, with)| pattern.replace_all(&text, *with).into_owned())
}
