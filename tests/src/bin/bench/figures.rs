//! Percentiles, and the report as Markdown.

use crate::{Outcome, Size};
use std::fmt;
use std::time::Duration;

/// Figures of one kind, sorted.
#[derive(Debug, Clone)]
pub(crate) struct Figures(Vec<f64>);

impl Figures {
    /// Milliseconds.
    pub(crate) fn millis(times: impl IntoIterator<Item = Duration>) -> Self {
        times.into_iter().map(|t| t.as_secs_f64() * 1e3).collect()
    }

    /// The figure that a fraction of all does not exceed; NaN of nothing.
    pub(crate) fn quantile(&self, fraction: f64) -> f64 {
        let last = self.0.len().saturating_sub(1) as f64;
        self.0.get((last * fraction).ceil() as usize).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    pub(crate) fn p99(&self) -> f64 {
        self.quantile(0.99)
    }

    /// Median and 99th percentile.
    pub(crate) fn pair(&self) -> String {
        format!("{} / {}", short(self.median()), short(self.p99()))
    }
}

impl FromIterator<f64> for Figures {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Self {
        let mut all: Vec<f64> = figures.into_iter().collect();
        all.sort_by(f64::total_cmp);
        Self(all)
    }
}

/// Three significant digits.
pub(crate) fn short(figure: f64) -> String {
    match figure.abs() {
        f if !f.is_finite() => "–".into(),
        f if f >= 1000.0 => format!("{:.0}", figure),
        f if f >= 100.0 => format!("{figure:.0}"),
        f if f >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

/// Whether a figure is as good as it should be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    fn met(self, figure: f64) -> bool {
        match self {
            Self::AtMost(most) => figure <= most,
            Self::AtLeast(least) => figure >= least,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "≤ {most}"),
            Self::AtLeast(least) => write!(f, "≥ {least}"),
        }
    }
}

struct Row {
    what: String,
    unit: &'static str,
    figure: f64,
    target: Option<Target>,
}

struct Table {
    title: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// What was found.
pub(crate) struct Report {
    machine: String,
    rows: Vec<Row>,
    tables: Vec<Table>,
    notes: Vec<String>,
}

impl Report {
    pub(crate) fn begin(size: &Size) -> Outcome<Self> {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let cpus = std::thread::available_parallelism()?;
        let info = std::fs::read_to_string("/proc/cpuinfo")?;
        let model =
            info.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or("").trim_start_matches([' ', '\t', ':']);
        let memory = std::fs::read_to_string("/proc/meminfo")?;
        let kib: u64 = memory.split_whitespace().nth(1).unwrap_or("0").parse()?;
        let machine = format!(
            "{cpus} CPUs ({model}), {} GiB, Linux {}; {} endpoints, {} containers, {} mappings.",
            kib.div_ceil(1 << 20),
            kernel.trim(),
            size.endpoints,
            size.containers,
            size.mappings,
        );
        Ok(Self { machine, rows: Vec::new(), tables: Vec::new(), notes: Vec::new() })
    }

    /// A figure that has a target.
    pub(crate) fn aim(&mut self, what: impl Into<String>, figure: f64, unit: &'static str, target: Target) {
        self.add(what.into(), figure, unit, Some(target));
    }

    /// A figure for information.
    pub(crate) fn tell(&mut self, what: impl Into<String>, figure: f64, unit: &'static str) {
        self.add(what.into(), figure, unit, None);
    }

    fn add(&mut self, what: String, figure: f64, unit: &'static str, target: Option<Target>) {
        let missed = target.is_some_and(|t| !t.met(figure));
        let target_text = target.map(|t| format!(" (target {t})")).unwrap_or_default();
        eprintln!("  {what}: {} {unit}{target_text}{}", short(figure), if missed { "  MISSED" } else { "" });
        self.rows.push(Row { what, unit, figure, target });
    }

    pub(crate) fn table(&mut self, title: impl Into<String>, head: &[&str], rows: Vec<Vec<String>>) {
        let title = title.into();
        eprintln!("  {title}");
        rows.iter().for_each(|row| eprintln!("    {}", row.join(" | ")));
        self.tables.push(Table { title, head: head.iter().map(|h| (*h).into()).collect(), rows });
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.machine)?;
        if !self.rows.is_empty() {
            writeln!(f, "## netmode against its targets\n\n| what | measured | target | |\n|---|--:|--:|---|")?;
        }
        for row in &self.rows {
            let target = row.target.map(|t| format!("{t} {}", row.unit)).unwrap_or_default();
            let verdict = match row.target {
                Some(t) if t.met(row.figure) => "met",
                Some(_) => "**missed**",
                None => "",
            };
            writeln!(f, "| {} | {} {} | {} | {verdict} |", row.what, short(row.figure), row.unit, target.trim_end())?;
        }
        for table in &self.tables {
            writeln!(f, "\n## {}\n\n| {} |", table.title, table.head.join(" | "))?;
            writeln!(f, "|---{}|", "|--:".repeat(table.head.len() - 1))?;
            table.rows.iter().try_for_each(|row| writeln!(f, "| {} |", row.join(" | ")))?;
        }
        if !self.notes.is_empty() {
            writeln!(f, "\n## Notes\n")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "- {note}"))
    }
}

/// Load average of the last minute, of the whole machine.
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("?").to_owned()
}
