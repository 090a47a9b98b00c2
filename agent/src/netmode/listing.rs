//! Listings: the one way in which rows are filtered, and printed as table, JSON, YAML, ids or by a template.

mod lines;

use crate::args::Format;
use crate::failure::Failure;
use crate::output::{Output, print, print_lines};
use crate::table::table;
use crate::template::{Piece, Template};
use crate::text::{plain, plain_json};
use clap::Args;
use netmode_model::Code;
use serde::Serialize;
use std::collections::BTreeMap;

/// Flags of commands that list something.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ListArgs {
    /// Only rows that fit, as KEY=VALUE; an unknown key is answered with those that there are
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// Print each row by a template: json, '{{.Name}}\t{{.State}}', '{{json .}}', 'table {{.Name}}'
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
}

impl ListArgs {
    /// Whether nothing was given.
    pub(crate) fn is_empty(&self) -> bool {
        self.filter.is_empty() && self.format.is_none()
    }

    /// Whether a filter of this key was given.
    pub(crate) fn has(&self, keys: &[&str]) -> bool {
        self.filter.iter().any(|f| f.split_once('=').is_some_and(|(key, _)| keys.contains(&key)))
    }
}

/// Where a column is seen; every one is a field for templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// In every table.
    Always,
    /// With `-o wide`.
    Wide,
    /// By a template alone.
    Asked,
}

/// The text of a row in a column.
type Cell<'a, T> = Box<dyn Fn(&T) -> String + 'a>;

/// Whether a row fits the value of a filter.
type Fits<'a, T> = Box<dyn Fn(&T, &str) -> bool + 'a>;

/// A column of a table, and a field of templates.
pub(crate) struct Column<'a, T> {
    name: &'static str,
    heading: Option<&'static str>,
    shown: Shown,
    /// How wide it is where rows are printed as they come.
    width: usize,
    cell: Cell<'a, T>,
}

impl<T> Column<'_, T> {
    fn heading(&self) -> String {
        self.heading.map_or_else(|| self.name.to_ascii_uppercase(), str::to_owned)
    }
}

/// A key of `--filter`.
struct Key<'a, T> {
    /// The key, and its other spellings.
    names: &'static [&'static str],
    /// Whether all values must fit (labels), not one of them.
    every: bool,
    /// Whether a value can be, and what would do.
    check: fn(&str) -> Result<(), String>,
    fits: Fits<'a, T>,
}

/// What a kind of rows has. Made once for each listing.
pub(crate) struct Listing<'a, T> {
    columns: Vec<Column<'a, T>>,
    keys: Vec<Key<'a, T>>,
    id: Cell<'a, T>,
}

impl<'a, T: Serialize + 'a> Listing<'a, T> {
    /// A listing whose rows have this id, for `-q`.
    pub(crate) fn new(id: impl Fn(&T) -> String + 'a) -> Self {
        Self { columns: Vec::new(), keys: Vec::new(), id: Box::new(id) }
    }

    /// Adds a column; its heading is the name in capitals. A cell may have several lines.
    pub(crate) fn column(mut self, name: &'static str, shown: Shown, cell: impl Fn(&T) -> String + 'a) -> Self {
        self.columns.push(Column { name, heading: None, shown, width: 0, cell: Box::new(cell) });
        self
    }

    /// Gives the column that was added last another heading than its name.
    pub(crate) fn headed(mut self, heading: &'static str) -> Self {
        if let Some(column) = self.columns.last_mut() {
            column.heading = Some(heading);
        }
        self
    }

    /// Gives the column that was added last a width, for [`Self::lines`].
    pub(crate) fn sized(mut self, width: usize) -> Self {
        if let Some(column) = self.columns.last_mut() {
            column.width = width;
        }
        self
    }

    /// Adds a key of `--filter` and its other spellings; given twice, one of the values must fit.
    pub(crate) fn key(self, names: &'static [&'static str], fits: impl Fn(&T, &str) -> bool + 'a) -> Self {
        self.checked_key(names, |_| Ok(()), fits)
    }

    /// As [`Self::key`], with values that are refused where they can never fit.
    pub(crate) fn checked_key(
        mut self,
        names: &'static [&'static str],
        check: fn(&str) -> Result<(), String>,
        fits: impl Fn(&T, &str) -> bool + 'a,
    ) -> Self {
        self.keys.push(Key { names, every: false, check, fits: Box::new(fits) });
        self
    }

    /// Adds the field `Labels`, and the key `label`, `KEY` or `KEY=VALUE`; given twice, both must fit.
    pub(crate) fn labels(mut self, of: fn(&T) -> &BTreeMap<String, String>) -> Self {
        let fits = move |row: &T, wanted: &str| match wanted.split_once('=') {
            Some((key, value)) => of(row).get(key).is_some_and(|has| has == value),
            None => of(row).contains_key(wanted),
        };
        self.keys.push(Key { names: &["label"], every: true, check: |_| Ok(()), fits: Box::new(fits) });
        let text = move |row: &T| of(row).iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",");
        self.column("Labels", Shown::Asked, text)
    }

    /// The rows that fit every filter.
    ///
    /// # Errors
    /// A filter that is not KEY=VALUE, a key that there is not, or a value that can never fit.
    pub(crate) fn filter(&self, mut rows: Vec<T>, args: &ListArgs) -> Result<Vec<T>, Failure> {
        let mut wanted: Vec<(&Key<'a, T>, Vec<&str>)> = Vec::new();
        for text in &args.filter {
            let (key, value) = self.understood(text)?;
            match wanted.iter_mut().find(|(known, _)| std::ptr::eq(*known, key)) {
                Some((_, values)) => values.push(value),
                None => wanted.push((key, vec![value])),
            }
        }
        let fits = |row: &T, key: &Key<'a, T>, values: &[&str]| match key.every {
            true => values.iter().all(|value| (key.fits)(row, value)),
            false => values.iter().any(|value| (key.fits)(row, value)),
        };
        rows.retain(|row| wanted.iter().all(|(key, values)| fits(row, key, values)));
        Ok(rows)
    }

    fn understood<'t>(&self, text: &'t str) -> Result<(&Key<'a, T>, &'t str), Failure> {
        let refused = |why: String| Failure::invalid(format!("--filter {text:?} is not allowed: {why}"));
        let keys = || self.keys.iter().map(|k| k.names.join(" or ")).collect::<Vec<_>>().join(", ");
        let (name, value) =
            text.split_once('=').ok_or_else(|| refused(format!("write KEY=VALUE; the keys are {}", keys())))?;
        let key = self.keys.iter().find(|k| k.names.contains(&name));
        let key = key.ok_or_else(|| refused(format!("there is no key {name:?}; the keys are {}", keys())))?;
        (key.check)(value).map_err(refused)?;
        Ok((key, value))
    }

    /// Refuses filters and templates that cannot be understood, before anybody is asked for rows.
    ///
    /// # Errors
    /// The first of them.
    pub(crate) fn check(&self, args: &ListArgs, output: Output) -> Result<(), Failure> {
        self.template(args, output)?;
        args.filter.iter().try_for_each(|text| self.understood(text).map(drop))
    }

    /// Filters the rows and prints them.
    ///
    /// # Errors
    /// A filter or template that cannot be understood, or an output that cannot be written.
    pub(crate) fn print(&self, rows: Vec<T>, args: &ListArgs, output: Output) -> Result<(), Failure> {
        let template = self.template(args, output)?;
        let rows = self.filter(rows, args)?;
        if output.quiet {
            let mut ids: Vec<String> = rows.iter().map(|row| plain(&(self.id)(row))).collect();
            ids.dedup();
            return print_lines(ids);
        }
        match (template, output.format) {
            (Template::Json, _) => rows.iter().try_for_each(|row| print(&(line(row)? + "\n"))),
            (Template::Lines(pieces), _) => rows.iter().try_for_each(|row| print(&self.pieces(&pieces, row)?)),
            (Template::Table(pieces), _) => self.columns_by(&pieces, &rows),
            (Template::Plain, Format::Json | Format::Yaml) => output.data(&rows),
            (Template::Plain, format) => print(&self.table(&rows, format == Format::Wide)),
        }
    }

    fn template(&self, args: &ListArgs, output: Output) -> Result<Template, Failure> {
        let Some(text) = &args.format else { return Ok(Template::Plain) };
        for (flag, given) in [("-o", output.chosen), ("-q", output.quiet)] {
            if given {
                return Err(Failure::new(
                    Code::Conflict,
                    format!("--format and {flag} exclude each other; leave one of them out"),
                ));
            }
        }
        Template::parse(text, &self.columns.iter().map(|c| c.name).collect::<Vec<_>>())
    }

    fn seen(&self, wide: bool) -> Vec<&Column<'a, T>> {
        let seen = |c: &&Column<'a, T>| c.shown == Shown::Always || (wide && c.shown == Shown::Wide);
        self.columns.iter().filter(seen).collect()
    }

    fn table(&self, rows: &[T], wide: bool) -> String {
        let columns = self.seen(wide);
        let headings: Vec<String> = columns.iter().map(|c| c.heading()).collect();
        let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
        let lines = |row: &T| {
            let cells = columns.iter().map(|c| (c.cell)(row));
            // Several lines in a cell are for those who asked for much.
            cells.map(|cell| if wide { cell } else { cell.replace('\n', ", ") }).collect()
        };
        table(&headings, &rows.iter().map(lines).collect::<Vec<_>>())
    }

    fn pieces(&self, pieces: &[Piece], row: &T) -> Result<String, Failure> {
        let texts = pieces.iter().map(|piece| self.piece(piece, row)).collect::<Result<Vec<_>, _>>()?;
        Ok(texts.concat() + "\n")
    }

    fn piece(&self, piece: &Piece, row: &T) -> Result<String, Failure> {
        let cell =
            |n: usize| self.columns.get(n).map(|c| plain(&(c.cell)(row).replace('\n', ", "))).unwrap_or_default();
        Ok(match piece {
            Piece::Text(text) => text.clone(),
            Piece::Field(n) => cell(*n),
            Piece::Upper(n) => cell(*n).to_uppercase(),
            Piece::Lower(n) => cell(*n).to_lowercase(),
            Piece::JsonField(n) => line(&cell(*n))?,
            Piece::JsonRow => line(row)?,
        })
    }

    /// `table {{.Name}}\t{{.State}}`: a tab begins the next column, a heading is the field's name.
    fn columns_by(&self, pieces: &[Piece], rows: &[T]) -> Result<(), Failure> {
        let heading = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::JsonRow => "JSON".into(),
            Piece::Field(n) | Piece::JsonField(n) | Piece::Upper(n) | Piece::Lower(n) => {
                self.columns.get(*n).map(Column::heading).unwrap_or_default()
            }
        };
        let divide = |text: String| text.trim_end_matches('\n').split('\t').map(str::to_owned).collect::<Vec<_>>();
        let headings = divide(pieces.iter().map(heading).collect());
        let cells = |row: &T| {
            let texts = pieces.iter().map(|piece| self.piece(piece, row)).collect::<Result<Vec<_>, _>>()?;
            Ok(divide(texts.concat()))
        };
        let rows = rows.iter().map(cells).collect::<Result<Vec<_>, Failure>>()?;
        print(&table(&headings.iter().map(String::as_str).collect::<Vec<_>>(), &rows))
    }
}

/// A value as one line of JSON.
fn line<T: Serialize>(value: &T) -> Result<String, Failure> {
    let bad = |error| Failure::new(Code::State, format!("cannot write the answer: {error}"));
    serde_json::to_string(value).map(|json| plain_json(&json)).map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize)]
    struct Word(&'static str, BTreeMap<String, String>);

    /// Labelled with its first letter, and `end=` its last.
    fn word(text: &'static str) -> Word {
        let (first, last) = (text[..1].to_string(), text[text.len() - 1..].to_string());
        Word(text, [(first, String::new()), ("end".into(), last)].into())
    }

    fn words<'a>() -> Listing<'a, Word> {
        let odd = |value: &str| if value == "never" { Err("choose a length".to_string()) } else { Ok(()) };
        Listing::new(|w: &Word| w.0.into())
            .column("Word", Shown::Always, |w| w.0.into())
            .column("Length", Shown::Wide, |w| w.0.len().to_string())
            .key(&["name"], |w, value| w.0.contains(value))
            .checked_key(&["length", "len"], odd, |w, value| w.0.len().to_string() == value)
            .labels(|w| &w.1)
    }

    fn filtered(filters: &[&str]) -> Result<Vec<&'static str>, String> {
        let args = ListArgs { filter: filters.iter().map(|f| (*f).to_string()).collect(), format: None };
        let fit = words().filter(["web", "web-2", "db"].map(word).into(), &args);
        fit.map(|words| words.iter().map(|w| w.0).collect()).map_err(|e| e.message)
    }

    #[test]
    fn values_of_one_key_are_alternatives_and_keys_narrow() {
        assert_eq!(filtered(&[]).unwrap().len(), 3);
        assert_eq!(filtered(&["name=web"]).unwrap(), ["web", "web-2"]);
        assert_eq!(filtered(&["name=web-", "name=db"]).unwrap(), ["web-2", "db"]);
        assert_eq!(filtered(&["len=3", "length=2"]).unwrap(), ["web", "db"]);
        assert_eq!(filtered(&["name=web", "length=3"]).unwrap(), ["web"]);
        assert_eq!(filtered(&["label=w", "label=end=2"]).unwrap(), ["web-2"]);
    }

    #[test]
    fn a_filter_that_cannot_be_is_told_with_the_keys() {
        let keys = "the keys are name, length or len, label";
        assert_eq!(
            filtered(&["name"]).unwrap_err(),
            format!("--filter \"name\" is not allowed: write KEY=VALUE; {keys}")
        );
        assert_eq!(
            filtered(&["nmae=x"]).unwrap_err(),
            format!("--filter \"nmae=x\" is not allowed: there is no key \"nmae\"; {keys}")
        );
        assert!(filtered(&["len=never"]).unwrap_err().ends_with("choose a length"));
    }

    #[test]
    fn wide_columns_are_shown_when_asked_for() {
        assert_eq!(words().table(&[word("web")], false), "WORD\nweb\n");
        assert_eq!(words().table(&[word("web")], true), "WORD   LENGTH\nweb    3\n");
    }
}
