//! The parsed template with every field access turned into a call of [`ACCESS`], every function's
//! result passed through [`CHECK`] and a [`STEP`] at the head of every block. The names of these
//! functions cannot be written in a template.

use std::sync::Arc;

use gotmpl::parse::{
    ActionNode, BranchNode, CommandNode, Expr, ListNode, Node, Number, PipeNode, Pos, SmolStr, TemplateNode,
};

use super::functions;

pub(super) const MAIN: &str = "\0main";
pub(super) const ACCESS: &str = "\0access";
pub(super) const CHECK: &str = "\0check";
pub(super) const STEP: &str = "\0step";

/// One field access of the template's source.
pub(super) struct Site {
    pub(super) fields: Vec<Arc<str>>,
    /// `.State.Pid`, as errors quote it.
    pub(super) text: String,
    /// Go's `line:column`: the line from 1, the byte in it from 0.
    pub(super) position: String,
    /// Whether its value is printed, which makes a nil pointer `<nil>`.
    pub(super) printed: bool,
}

pub(super) struct Rewriter<'a> {
    source: &'a str,
    pub(super) sites: Vec<Site>,
}

/// A rewritten piece, or Go's text of a mistake that it finds while parsing.
type Rewritten<T> = Result<T, String>;

impl<'a> Rewriter<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        Self { source, sites: Vec::new() }
    }

    pub(super) fn list(&mut self, list: ListNode) -> Rewritten<ListNode> {
        let pos = list.pos;
        let step = CommandNode { pos, args: vec![call(pos, STEP)] };
        let pipe = PipeNode { pos, decl: vec![SmolStr::new_static("\0")], commands: vec![step], is_assign: false };
        let mut nodes = vec![Node::Action(ActionNode { pos, pipe })];
        for node in list.nodes {
            nodes.push(self.node(node)?);
        }
        Ok(ListNode { pos, nodes })
    }

    fn node(&mut self, node: Node) -> Rewritten<Node> {
        Ok(match node {
            Node::List(list) => Node::List(self.list(list)?),
            Node::Action(action) => Node::Action(self.action(action)?),
            Node::If(branch) => Node::If(self.branch(branch)?),
            Node::Range(branch) => Node::Range(self.branch(branch)?),
            Node::With(branch) => Node::With(self.branch(branch)?),
            Node::Template(TemplateNode { pos, name, pipe }) => {
                Node::Template(TemplateNode { pos, name, pipe: pipe.map(|pipe| self.pipe(pipe)).transpose()? })
            }
            Node::Text(_) | Node::Define(_) | Node::Break(_) | Node::Continue(_) => node,
        })
    }

    fn action(&mut self, action: ActionNode) -> Rewritten<ActionNode> {
        let before = self.sites.len();
        let prints_field = action.pipe.decl.is_empty()
            && matches!(action.pipe.commands.as_slice(), [command] if command.args.len() == 1
                && matches!(command.args[0], Expr::Field(..) | Expr::Variable(..)));
        let pipe = self.pipe(action.pipe)?;
        if prints_field && let Some(site) = self.sites.get_mut(before) {
            site.printed = true;
        }
        Ok(ActionNode { pos: action.pos, pipe })
    }

    fn branch(&mut self, branch: BranchNode) -> Rewritten<BranchNode> {
        Ok(BranchNode {
            pos: branch.pos,
            pipe: self.pipe(branch.pipe)?,
            body: self.list(branch.body)?,
            else_body: branch.else_body.map(|body| self.list(body)).transpose()?,
        })
    }

    fn pipe(&mut self, pipe: PipeNode) -> Rewritten<PipeNode> {
        let mut commands = Vec::with_capacity(pipe.commands.len());
        for command in pipe.commands {
            let is_call = matches!(command.args.first(), Some(Expr::Identifier(..)));
            let pos = command.pos;
            commands.push(self.command(command)?);
            if is_call {
                commands.push(CommandNode { pos, args: vec![call(pos, CHECK)] });
            }
        }
        Ok(PipeNode { commands, ..pipe })
    }

    fn command(&mut self, command: CommandNode) -> Rewritten<CommandNode> {
        let mut args = Vec::with_capacity(command.args.len() + 2);
        for (number, expression) in command.args.into_iter().enumerate() {
            match self.expression(expression)? {
                // In front, an access takes the arguments that follow: `.Label "key"`.
                Expr::Pipe(_, mut pipe) if number == 0 && is_access(&pipe) => args.append(&mut pipe.commands[0].args),
                other => args.push(other),
            }
        }
        Ok(CommandNode { pos: command.pos, args })
    }

    fn expression(&mut self, expression: Expr) -> Rewritten<Expr> {
        Ok(match expression {
            Expr::Field(pos, fields) => {
                let text = format!(".{}", fields.join("."));
                let place = if fields.len() > 1 { pos.offset + 1 + fields[0].len() } else { pos.offset };
                self.access(pos, place, text, fields, Expr::Dot(pos))
            }
            Expr::Variable(pos, name, fields) if !fields.is_empty() => {
                let text = format!("{name}.{}", fields.join("."));
                let place = pos.offset + name.len();
                self.access(pos, place, text, fields, Expr::Variable(pos, name, Vec::new()))
            }
            Expr::Chain(pos, inner, fields) => {
                let (place, text) = self.chain_source(pos, &fields);
                let inner = self.expression(*inner)?;
                self.access(pos, place, text, fields, inner)
            }
            Expr::Pipe(pos, pipe) => Expr::Pipe(pos, self.pipe(pipe)?),
            Expr::Identifier(pos, name) if !functions::is_known(&name) => {
                return Err(format!("template: :{}: function {:?} not defined", pos.line, name.as_str()));
            }
            other => other,
        })
    }

    fn access(&mut self, pos: Pos, place: usize, text: String, fields: Vec<SmolStr>, base: Expr) -> Expr {
        let site = Expr::Number(pos, Number::Int(i64::try_from(self.sites.len()).unwrap_or(i64::MAX)));
        self.sites.push(Site {
            fields: fields.iter().map(|field| Arc::from(field.as_str())).collect(),
            text,
            position: self.position(place),
            printed: false,
        });
        let command = CommandNode { pos, args: vec![call(pos, ACCESS), site, base] };
        Expr::Pipe(pos, PipeNode { pos, decl: Vec::new(), commands: vec![command], is_assign: false })
    }

    /// Where the field after a parenthesis stands, and the source of the whole.
    fn chain_source(&self, pos: Pos, fields: &[SmolStr]) -> (usize, String) {
        let suffix = format!(").{}", fields.join("."));
        let rest = self.source.get(pos.offset..).unwrap_or_default();
        match rest.find(&suffix) {
            Some(at) => (pos.offset + at + 1, rest[..at + suffix.len()].to_owned()),
            None => (pos.offset, format!(".{}", fields.join("."))),
        }
    }

    fn position(&self, offset: usize) -> String {
        let before = self.source.get(..offset).unwrap_or(self.source);
        let line = before.matches('\n').count() + 1;
        let column = before.rfind('\n').map_or(before.len(), |newline| before.len() - newline - 1);
        format!("{line}:{column}")
    }
}

fn call(pos: Pos, name: &'static str) -> Expr {
    Expr::Identifier(pos, SmolStr::new_static(name))
}

fn is_access(pipe: &PipeNode) -> bool {
    matches!(pipe.commands.as_slice(), [CommandNode { args, .. }]
        if matches!(args.first(), Some(Expr::Identifier(_, name)) if name == ACCESS))
}
