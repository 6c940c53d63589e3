//! Go templates over JSON, with docker's functions, docker's error texts, and limits.
//!
//! The engine is the gotmpl crate; around it, [`data`] turns JSON into its values and remembers
//! what those lose (key order, which maps have free keys), [`rewrite`] turns every field access of
//! the parsed template into a call of ours, so that unknown names are told apart from absent
//! entries and reported with their place, and [`functions`] adds what docker adds.

mod balance;
mod data;
mod functions;
mod rewrite;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gotmpl::parse::Parser;

pub use data::{Data, Names};
pub use functions::Functions;

/// Longest template that is accepted, in bytes.
const MAX_SOURCE: usize = 64 << 10;
/// Most output of one rendering, in bytes.
const MAX_OUTPUT: usize = 16 << 20;
/// Longest string a function may return, in bytes.
const MAX_STRING: usize = 1 << 20;
/// Most blocks entered and functions called in one rendering.
const MAX_STEPS: u32 = 1_000_000;

/// Why a template failed; the texts are Go's, `template: :1: unclosed action`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TemplateError {
    #[error("{0}")]
    Parse(String),
    #[error("{0}")]
    Execute(String),
}

/// A parsed template. Rendering needs nothing but the data: templates reach no file, no
/// environment and no process.
pub struct Template {
    engine: gotmpl::Template,
    state: Shared,
}

/// What our functions share with the rendering they are part of.
struct State {
    sites: Vec<rewrite::Site>,
    data: Data,
    steps: u32,
    failure: Option<String>,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<State>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a step; the error ends the rendering.
    fn step(&self) -> gotmpl::Result<()> {
        let mut state = self.lock();
        state.steps += 1;
        if state.steps <= MAX_STEPS {
            return Ok(());
        }
        state.failure = Some(format!("template: : executing \"\": more than {MAX_STEPS} steps"));
        Err(gotmpl::TemplateError::RangeIterLimit)
    }

    /// Records a complete error text and returns the engine's error that carries it out.
    fn fail(&self, text: String) -> gotmpl::TemplateError {
        self.lock().failure = Some(text);
        gotmpl::TemplateError::Exec(String::new())
    }
}

impl Template {
    /// Parses `source`, with docker's functions for values or for table headers.
    pub fn parse(source: &str, functions: Functions) -> Result<Self, TemplateError> {
        if source.len() > MAX_SOURCE {
            return Err(TemplateError::Parse(format!("template: : longer than {MAX_SOURCE} bytes")));
        }
        let parsed = Parser::new(source, "{{", "}}").and_then(Parser::parse);
        let (main, defines) = parsed.map_err(|error| TemplateError::Parse(parse_error(error)))?;
        balance::check(source).map_err(TemplateError::Parse)?;
        let mut rewriter = rewrite::Rewriter::new(source);
        let main = rewriter.list(main).map_err(TemplateError::Parse)?;
        let mut trees = Vec::new();
        for define in defines {
            trees.push((define.name, rewriter.list(define.body).map_err(TemplateError::Parse)?));
        }
        let state = State { sites: rewriter.sites, data: Data::empty(), steps: 0, failure: None };
        let state = Shared(Arc::new(Mutex::new(state)));
        let mut engine = functions::register(gotmpl::Template::new(""), functions, &state);
        engine = engine.max_range_iters(u64::from(MAX_STEPS)).add_parse_tree(rewrite::MAIN, main);
        for (name, tree) in trees {
            engine = engine.add_parse_tree(&name, tree);
        }
        Ok(Self { engine, state })
    }

    /// Executes the template; nothing is returned of a rendering that fails.
    pub fn render(&self, data: &Data) -> Result<String, TemplateError> {
        {
            let mut state = self.state.lock();
            state.data = data.clone();
            state.steps = 0;
            state.failure = None;
        }
        let mut out = Bounded(String::new());
        let result = self.engine.execute_template_fmt(&mut out, rewrite::MAIN, &data.root);
        let failure = self.state.lock().failure.take();
        match (result, failure) {
            (Ok(()), _) => Ok(out.0),
            (Err(_), Some(text)) => Err(TemplateError::Execute(text)),
            (Err(error), None) => Err(TemplateError::Execute(execute_error(&error))),
        }
    }
}

/// A string that refuses to grow beyond [`MAX_OUTPUT`].
struct Bounded(String);

impl std::fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        if self.0.len() + text.len() > MAX_OUTPUT {
            return Err(std::fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// Go names the line of a syntax error, not the column.
fn parse_error(error: gotmpl::TemplateError) -> String {
    match error {
        gotmpl::TemplateError::Parse { line, message, .. } | gotmpl::TemplateError::Lex { line, message, .. } => {
            format!("template: :{line}: {message}")
        }
        other => format!("template: : {other}"),
    }
}

fn execute_error(error: &gotmpl::TemplateError) -> String {
    let what = match error {
        gotmpl::TemplateError::Exec(text) => text.clone(),
        gotmpl::TemplateError::Write => format!("output longer than {MAX_OUTPUT} bytes"),
        gotmpl::TemplateError::RecursionLimit => "exceeded maximum template depth".to_owned(),
        gotmpl::TemplateError::UndefinedTemplate(name) => format!("template {name:?} not defined"),
        other => other.to_string(),
    };
    format!("template: : executing \"\": {what}")
}

#[cfg(test)]
mod tests;
