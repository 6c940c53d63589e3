//! docker's table layout: cells end with a tab, neighbouring lines that have a cell in the same
//! place form a column, the last cell of a line belongs to none and is never padded.

use super::human;

/// Narrowest column, padding included, and the padding itself, in display cells.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub minimum: usize,
    pub padding: usize,
}

impl Layout {
    /// Of the list commands.
    pub const LIST: Self = Self { minimum: 10, padding: 3 };
    /// Of `version`.
    pub const VERSION: Self = Self { minimum: 20, padding: 1 };
}

/// Aligns tab-separated lines. The result ends with a newline exactly when the text does.
pub fn align(text: &str, layout: Layout) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let widths = column_widths(&lines, layout);
    let mut out = String::with_capacity(text.len() * 2);
    for (number, (cells, widths)) in lines.iter().zip(&widths).enumerate() {
        if number > 0 {
            out.push('\n');
        }
        for (column, cell) in cells.iter().enumerate() {
            out.push_str(cell);
            if let Some(width) = widths.get(column) {
                out.extend(std::iter::repeat_n(' ', width.saturating_sub(human::width(cell))));
            }
        }
    }
    out
}

/// For each line the widths of its columns: the widest cell among the adjoining lines that have
/// this column too.
fn column_widths(lines: &[Vec<&str>], layout: Layout) -> Vec<Vec<usize>> {
    let columns = |line: &Vec<&str>| line.len() - 1;
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|line| vec![0; columns(line)]).collect();
    for column in 0..lines.iter().map(columns).max().unwrap_or(0) {
        let mut start = 0;
        while start < lines.len() {
            let block = lines[start..].iter().take_while(|line| columns(line) > column).count();
            let end = start + block;
            let cells = lines[start..end].iter().map(|line| human::width(line[column]) + layout.padding);
            let width = cells.max().unwrap_or(0).max(layout.minimum);
            widths[start..end].iter_mut().for_each(|line| line[column] = width);
            start = end.max(start + 1);
        }
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn columns_as_docker_prints_them() {
        let text = "CONTAINER ID\tIMAGE\tNAMES\n0123456789ab\tbusybox:1.29\tweb\nfedcba987654\ta\t漢字\n";
        assert_eq!(
            align(text, Layout::LIST),
            "CONTAINER ID   IMAGE          NAMES\n\
             0123456789ab   busybox:1.29   web\n\
             fedcba987654   a              漢字\n"
        );
        assert_eq!(align("A\tB\n漢字漢字\tx\n", Layout::LIST), "A          B\n漢字漢字   x\n");
        assert_eq!(align("ID\tNAME\n", Layout::LIST), "ID        NAME\n");
        assert_eq!(align("one\n", Layout::LIST), "one\n");
        assert_eq!(align("", Layout::LIST), "");
    }

    #[test]
    fn a_line_without_a_cell_ends_the_column() {
        assert_eq!(
            align("a\tb\nalone\nlonger than ten\tc\n", Layout::LIST),
            "a         b\nalone\nlonger than ten   c\n"
        );
    }

    #[test]
    fn version_layout() {
        assert_eq!(align(" Version:\t1\n", Layout::VERSION), " Version:           1\n");
    }

    proptest! {
        #[test]
        fn cells_of_a_column_begin_together(
            rows in prop::collection::vec(prop::collection::vec("[a-z漢 ]{0,18}", 3), 1..8)
        ) {
            let text: String = rows.iter().map(|row| row.join("\t|") + "\n").collect();
            let aligned = align(&text, Layout::LIST);
            let starts: Vec<Vec<usize>> = aligned
                .lines()
                .map(|line| line.match_indices('|').map(|(at, _)| human::width(&line[..at])).collect())
                .collect();
            prop_assert!(starts.windows(2).all(|pair| pair[0] == pair[1]), "{}", aligned);
            prop_assert!(starts[0][0] >= 10);
            for (line, row) in aligned.lines().zip(&rows) {
                prop_assert!(line.ends_with(row[2].as_str()), "the last column is padded: {:?}", line);
            }
        }
    }
}
