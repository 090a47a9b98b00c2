//! Rows that are printed as they come, each on a line of its own.

use super::{Column, ListArgs, Listing, line};
use crate::args::Format;
use crate::failure::Failure;
use crate::output::{Output, print_on};
use crate::template::Template;
use crate::text::plain;
use serde::Serialize;

/// A listing without an end.
pub(crate) struct Lines<'l, 'a, T> {
    listing: &'l Listing<'a, T>,
    args: &'l ListArgs,
    output: Output,
    template: Template,
    begun: bool,
}

impl<'a, T: Serialize + 'a> Listing<'a, T> {
    /// Prints rows as they come.
    ///
    /// # Errors
    /// A filter or template that cannot be understood.
    pub(crate) fn lines<'l>(&'l self, args: &'l ListArgs, output: Output) -> Result<Lines<'l, 'a, T>, Failure> {
        self.check(args, output)?;
        Ok(Lines { listing: self, args, output, template: self.template(args, output)?, begun: false })
    }
}

impl<'a, T: Serialize + 'a> Lines<'_, 'a, T> {
    /// Prints a row if it fits, and tells whether anybody still reads.
    ///
    /// # Errors
    /// An output that cannot be written.
    pub(crate) fn print(&mut self, row: T) -> Result<bool, Failure> {
        let rows = self.listing.filter(vec![row], self.args)?;
        rows.iter().try_fold(true, |_, row| print_on(&self.text(row)?))
    }

    fn text(&mut self, row: &T) -> Result<String, Failure> {
        if self.output.quiet {
            return Ok(plain(&(self.listing.id)(row)) + "\n");
        }
        match (&self.template, self.output.format) {
            (Template::Lines(pieces) | Template::Table(pieces), _) => self.listing.pieces(pieces, row),
            (Template::Json, _) | (Template::Plain, Format::Json) => Ok(line(row)? + "\n"),
            (Template::Plain, Format::Yaml) => Ok(format!("---\n{}", self.output.text(row)?)),
            (Template::Plain, format) => {
                let wide = format == Format::Wide;
                let heading = if std::mem::replace(&mut self.begun, true) {
                    String::new()
                } else {
                    self.columns(wide, Column::heading)
                };
                Ok(heading + &self.columns(wide, |c| plain(&(c.cell)(row).replace('\n', ", "))))
            }
        }
    }

    fn columns(&self, wide: bool, text: impl Fn(&Column<'a, T>) -> String) -> String {
        let cell = |column: &&Column<'a, T>| format!("{:width$}   ", text(column), width = column.width);
        let line: String = self.listing.seen(wide).iter().map(cell).collect();
        line.trim_end().to_owned() + "\n"
    }
}
