//! A whole file: stages and what stands before them.

use super::ast::{Arg, Dockerfile, Instruction, Lines, Located, ParseError, Stage};
use super::instruction::{self, Statement};
use super::lines::{self, Line, Scanned, refusal};

/// How many instructions a file may have.
const INSTRUCTIONS_MAX: usize = 100_000;

/// How many stages a file may have.
const STAGES_MAX: usize = 10_000;

/// Reads a Dockerfile. What is valid but should be said otherwise is found by [`super::lint`].
pub fn parse(bytes: &[u8]) -> Result<Dockerfile, ParseError> {
    let Scanned { directives, lines, warnings } = lines::scan(bytes)?;
    if lines.is_empty() {
        return Err(refusal("file with no instructions", Lines { first: 1, last: 1 }, None));
    }
    if let Some(line) = lines.get(INSTRUCTIONS_MAX) {
        return Err(refusal(format!("more than {INSTRUCTIONS_MAX} instructions"), line.lines, None));
    }
    let escape = directives.escape;
    let mut file = Dockerfile { directives, args: Vec::new(), stages: Vec::new(), warnings };
    for line in &lines {
        if file.stages.len() > STAGES_MAX {
            return Err(refusal(format!("more than {STAGES_MAX} stages"), line.lines, None));
        }
        match (statement(line, escape)?, file.stages.last_mut()) {
            (Statement::From(from), _) => {
                file.stages.push(Stage { from: located(line, from), instructions: Vec::new() });
            }
            (Statement::Other(instruction), Some(stage)) => stage.instructions.push(located(line, instruction)),
            (Statement::Other(Instruction::Arg(arg)), None) => file.args.push(located::<Arg>(line, arg)),
            (Statement::Other(_), None) => {
                return Err(refusal("no build stage in current context", line.lines, None));
            }
        }
    }
    Ok(file)
}

/// Reads a trigger of ONBUILD, as an image's configuration has it.
pub fn parse_onbuild(trigger: &str) -> Result<Located<Instruction>, ParseError> {
    let scanned = lines::scan(trigger.as_bytes())?;
    let [line] = &scanned.lines[..] else {
        let message = format!("onbuild trigger should be a single expression: {trigger}");
        return Err(refusal(message, Lines { first: 1, last: 1 }, None));
    };
    match statement(line, scanned.directives.escape)? {
        Statement::Other(instruction @ (Instruction::Onbuild(_) | Instruction::Maintainer(_))) => {
            let name = if matches!(instruction, Instruction::Onbuild(_)) { "ONBUILD" } else { "MAINTAINER" };
            Err(refusal(format!("{name} isn't allowed as an ONBUILD trigger"), line.lines, None))
        }
        Statement::Other(instruction) => Ok(located(line, instruction)),
        Statement::From(_) => Err(refusal("FROM isn't allowed as an ONBUILD trigger", line.lines, None)),
    }
}

/// Reads one line by itself; None for a FROM.
pub(in crate::spec) fn parse_line(line: &Line) -> Result<Option<Instruction>, ParseError> {
    Ok(match statement(line, '\\')? {
        Statement::Other(instruction) => Some(instruction),
        Statement::From(_) => None,
    })
}

fn statement(line: &Line, escape: char) -> Result<Statement, ParseError> {
    instruction::parse(line, escape).map_err(|message| {
        let column = column(line, &message);
        refusal(message, line.lines, column)
    })
}

/// Where in the line the message's subject stands: a flag, an unknown instruction. Only where the
/// instruction is on one line.
fn column(line: &Line, message: &str) -> Option<std::ops::Range<usize>> {
    let subject = message.split_once(": ").map(|(_, subject)| subject.split(" (did you").next().unwrap_or(subject))?;
    let subject = subject.split(',').next().unwrap_or(subject).trim_matches('"');
    let known = ["unknown instruction", "unknown flag", "duplicate flag", "missing a value", "invalid name for build"];
    if subject.is_empty()
        || line.lines.first != line.lines.last
        || !known.iter().any(|known| message.starts_with(known))
    {
        return None;
    }
    let at = if message.starts_with("duplicate flag") { line.text.rfind(subject) } else { line.text.find(subject) }?;
    let at = line.indent + at;
    Some(at..at + subject.len())
}

fn located<T>(line: &Line, value: T) -> Located<T> {
    Located { lines: line.lines, text: line.text.clone(), value }
}
