//! Blocks and their `{{end}}`: the engine's parser takes a missing one for the end of the text.

/// Checks that every block of a template that otherwise parses is closed, and none twice; the
/// error is Go's text.
pub(super) fn check(source: &str) -> Result<(), String> {
    let mut open = 0u32;
    let mut rest = source;
    while let Some((before, action)) = rest.split_once("{{") {
        let body = action.strip_prefix('-').unwrap_or(action).trim_start();
        let word = body.find(|c: char| !c.is_ascii_alphabetic()).map_or(body, |end| &body[..end]);
        match word {
            "if" | "range" | "with" | "define" | "block" => open += 1,
            "end" if open == 0 => {
                let end = source.len() - rest.len() + before.len();
                return Err(format!("template: :{}: unexpected {{{{end}}}}", line(source, end)));
            }
            "end" => open -= 1,
            _ => {}
        }
        rest = after_action(body);
    }
    if open > 0 { Err(format!("template: :{}: unexpected EOF", line(source, source.len()))) } else { Ok(()) }
}

fn line(source: &str, end: usize) -> usize {
    source[..end].matches('\n').count() + 1
}

/// What follows the `}}` of an action, which does not count within comments and quotes.
fn after_action(body: &str) -> &str {
    if let Some(comment) = body.strip_prefix("/*") {
        return comment.split_once("*/").and_then(|(_, rest)| rest.split_once("}}")).map_or("", |(_, rest)| rest);
    }
    let mut quote: Option<char> = None;
    let mut characters = body.char_indices();
    while let Some((at, c)) = characters.next() {
        match quote {
            Some('`') if c == '\\' => {}
            Some(_) if c == '\\' => {
                characters.next();
            }
            Some(open) if c == open => quote = None,
            None if matches!(c, '"' | '\'' | '`') => quote = Some(c),
            None if body[at..].starts_with("}}") => return &body[at + 2..],
            _ => {}
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn blocks_must_close() {
        for balanced in [
            "",
            "plain {{.A}}",
            "{{if .A}}x{{else if .B}}y{{end}}",
            "{{- range .L -}}{{with .}}{{end}}{{- end -}}",
            "{{\"}}{{if\"}}",
            "{{`\\`}}{{/* {{if}} */}}",
            "{{printf \"\\\"}}{{end}}\" }}",
            "{{'\"'}}",
        ] {
            assert_eq!(check(balanced), Ok(()), "{balanced}");
        }
        assert_eq!(check("a\n{{if .A}}"), Err("template: :2: unexpected EOF".into()));
        assert_eq!(check("{{define \"x\"}}{{range .}}{{end}}"), Err("template: :1: unexpected EOF".into()));
        assert_eq!(check("x\n\n{{end}}"), Err("template: :3: unexpected {{end}}".into()));
    }
}
