//! Columns.

use crate::text::plain;

/// Lays rows out under their headings: columns as wide as their widest cell, three blanks between.
/// A cell of several lines makes a row of several lines.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let heading = headings.iter().map(|h| vec![h.to_string()]).collect();
    let lines = |row: &Vec<String>| row.iter().map(|cell| cell.lines().map(plain).collect()).collect();
    let rows: Vec<Vec<Vec<String>>> = std::iter::once(heading).chain(rows.iter().map(lines)).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.flatten().map(|line| line.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        for line in 0..row.iter().map(Vec::len).max().unwrap_or(0).max(1) {
            let cells = row.iter().zip(&widths).map(|(cell, width)| {
                let text = cell.get(line).map_or("", String::as_str);
                format!("{text:width$}   ")
            });
            out.push_str(cells.collect::<String>().trim_end());
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            vec!["a".into(), "one\ntwo".into(), "x".into()],
            vec!["long-name".into(), String::new(), "y\x1b[0m".into()],
        ];
        assert_eq!(
            table(&["NAME", "P", "Q"], &rows),
            "NAME        P     Q\n\
             a           one   x\n            two\n\
             long-name         y[0m\n"
        );
    }
}
