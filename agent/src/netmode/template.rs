//! `--format`: Go templates in the simple forms that people use for docker's listings.
//!
//! `{{.Name}}\t{{.State}}`, `{{json .}}`, `{{json .Name}}`, `json`, `table {{.Name}}\t{{.State}}`. Whatever else
//! the language has is refused with a sentence that lists what there is.

use crate::failure::Failure;

/// A way to print each row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Template {
    /// The row as one line of JSON.
    Json,
    /// Pieces, one line a row.
    Lines(Vec<Piece>),
    /// Columns, divided where the pieces have tabs, with headings.
    Table(Vec<Piece>),
    /// The listing's own table.
    Plain,
}

/// A part of a template. Fields are indexes into the names that were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// As it stands.
    Text(String),
    /// `{{.Field}}`.
    Field(usize),
    /// `{{json .Field}}`.
    JsonField(usize),
    /// `{{json .}}`.
    JsonRow,
    /// `{{upper .Field}}`.
    Upper(usize),
    /// `{{lower .Field}}`.
    Lower(usize),
}

impl Template {
    /// Reads a template over these fields; case does not count.
    ///
    /// # Errors
    /// A field or function that there is not, or braces that do not close.
    pub(crate) fn parse(text: &str, fields: &[&str]) -> Result<Self, Failure> {
        match text.trim() {
            "json" => return Ok(Self::Json),
            "table" => return Ok(Self::Plain),
            "" => return Err(bad(text, "it is empty", fields)),
            _ => {}
        }
        // What docker does, too: a shell's single quotes leave these as they are.
        let plain = text.replace("\\t", "\t").replace("\\n", "\n");
        match plain.strip_prefix("table").filter(|rest| rest.starts_with(char::is_whitespace)) {
            Some(rest) => pieces(rest.trim_start(), text, fields).map(Self::Table),
            None => pieces(&plain, text, fields).map(Self::Lines),
        }
    }
}

fn bad(template: &str, why: &str, fields: &[&str]) -> Failure {
    let fields = fields.join(", .");
    Failure::invalid(format!(
        "--format {template:?} is not allowed: {why}; the fields are .{fields}, the functions json, upper and lower, \
         such as '{{{{.{}}}}}' or '{{{{json .}}}}'",
        fields.split(',').next().unwrap_or_default()
    ))
}

fn pieces(mut rest: &str, template: &str, fields: &[&str]) -> Result<Vec<Piece>, Failure> {
    let mut out = Vec::new();
    while let Some(begin) = rest.find("{{") {
        if begin > 0 {
            out.push(Piece::Text(rest[..begin].into()));
        }
        let inside = &rest[begin + 2..];
        let end = inside.find("}}").ok_or_else(|| bad(template, "\"{{\" is not closed by \"}}\"", fields))?;
        out.push(action(inside[..end].trim_matches(['-', ' ']), template, fields)?);
        rest = &inside[end + 2..];
    }
    if !rest.is_empty() {
        out.push(Piece::Text(rest.into()));
    }
    Ok(out)
}

fn action(text: &str, template: &str, fields: &[&str]) -> Result<Piece, Failure> {
    let field = |word: &str| {
        let name = word.strip_prefix('.').filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| bad(template, &format!("{text:?} is no field"), fields))?;
        let place = fields.iter().position(|f| f.eq_ignore_ascii_case(name));
        place.ok_or_else(|| bad(template, &format!("there is no field .{name}"), fields))
    };
    match text.split_whitespace().collect::<Vec<_>>()[..] {
        ["json", "."] => Ok(Piece::JsonRow),
        ["json", word] => field(word).map(Piece::JsonField),
        ["upper", word] => field(word).map(Piece::Upper),
        ["lower", word] => field(word).map(Piece::Lower),
        [word] if word.starts_with('.') => field(word).map(Piece::Field),
        [function, ..] => Err(bad(template, &format!("there is no function {function:?}"), fields)),
        [] => Err(bad(template, "{{}} is empty", fields)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: [&str; 3] = ["ID", "Name", "State"];

    #[test]
    fn the_simple_forms_are_understood() {
        let parse = |text| Template::parse(text, &FIELDS).unwrap();
        assert_eq!(parse("json"), Template::Json);
        assert_eq!(parse("table"), Template::Plain);
        let columns = vec![Piece::Field(1), Piece::Text("\t".into()), Piece::Field(2)];
        assert_eq!(parse(r"{{.Name}}\t{{ .State }}"), Template::Lines(columns.clone()));
        assert_eq!(parse(r"table {{.name}}\t{{.STATE}}"), Template::Table(columns));
        let parts = vec![Piece::JsonRow, Piece::Text(" ".into()), Piece::JsonField(0), Piece::Upper(1)];
        assert_eq!(parse("{{json .}} {{json .ID}}{{- upper .Name -}}"), Template::Lines(parts));
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is() {
        let refused = |text| Template::parse(text, &FIELDS).unwrap_err().message;
        let sentence = refused("{{.Nmae}}");
        assert_eq!(
            sentence,
            "--format \"{{.Nmae}}\" is not allowed: there is no field .Nmae; the fields are .ID, .Name, .State, \
             the functions json, upper and lower, such as '{{.ID}}' or '{{json .}}'"
        );
        assert!(refused("{{range .Name}}").contains("no function \"range\""));
        assert!(refused("{{.Name").contains("is not closed"));
        assert!(refused("{{}}").contains("is empty"));
        assert!(refused("").contains("is empty"));
        assert!(refused("{{.}}").contains("is no field"));
        assert!(refused("{{json Name}}").contains("is no field"));
    }
}
