//! Lines, directives, heredocs, stages.

use super::*;

#[test]
fn directives_stand_at_the_top() {
    let file = read("# Syntax = docker/dockerfile:1 \n#escape=`\n# CHECK=skip=all\nFROM a\nRUN a `\n  b\n");
    assert_eq!(file.directives.syntax.as_deref(), Some("docker/dockerfile:1"));
    assert_eq!((file.directives.escape, file.directives.check.as_deref()), ('`', Some("skip=all")));
    assert_eq!(file.stages[0].instructions[0].text, "RUN a   b");
    for late in ["\n# escape=`\nFROM a", "# note\n# escape=`\nFROM a", "# other=1\n# escape=`\nFROM a"] {
        assert_eq!(read(late).directives.escape, '\\', "{late}");
    }
    assert_eq!(read("\u{feff}# escape=`\nFROM a").directives.escape, '`');
    assert_eq!(refused("# escape=`\n# Escape=`\nFROM a").message, "only one escape parser directive can be used");
    assert_eq!(refused("# escape=x\nFROM a").message, "invalid escape token 'x' does not match ` or \\");
}

#[test]
fn lines_are_joined() {
    let file = read("  from a\r\nRUN one \\\r\n  # no\r\n\r\n  two \\   \r\n three\r\n# end\r\nCMD x");
    let stage = &file.stages[0];
    assert_eq!(stage.from.lines, Lines { first: 1, last: 1 });
    assert_eq!(stage.instructions[0].text, "RUN one   two  three");
    assert_eq!(stage.instructions[0].lines, Lines { first: 2, last: 6 });
    assert_eq!(stage.instructions[1].lines, Lines { first: 8, last: 8 });
    assert_eq!(file.warnings.len(), 1);
    assert_eq!(file.warnings[0].rule, "NoEmptyContinuation");
    // Two escapes are one character, not a continuation.
    assert_eq!(read("FROM a\nRUN a \\\\\nRUN b").stages[0].instructions.len(), 2);
    // The end of the file ends a line.
    assert_eq!(read("FROM a\nRUN a \\").stages[0].instructions[0].text, "RUN a");
    assert_eq!(read("FROM a\nRUN a \\\n").stages[0].instructions[0].text, "RUN a");
}

#[test]
fn heredocs_belong_to_their_lines() {
    let file = read("FROM a\nRUN <<EOF\necho $x\n# kept\n\\\nEOF\nUSER b\n");
    let [run, user] = &file.stages[0].instructions[..] else { panic!() };
    assert_eq!((run.lines, run.text.as_str()), (Lines { first: 2, last: 6 }, "RUN <<EOF"));
    assert_eq!(user.lines, Lines { first: 7, last: 7 });
    let Instruction::Run(run) = &run.value else { panic!() };
    assert_eq!(run.command, Command::Shell("echo $x\n# kept\n\\\n".to_owned()));
    assert_eq!(run.heredocs[0].name, "EOF");

    let Instruction::Run(run) = one("RUN cat <<A 3<<-'B C' > /x\n1\nA\n\t2\n\tB C") else { panic!() };
    assert_eq!(run.command, Command::Shell("cat <<A 3<<-'B C' > /x\n1\nA\n\t2\nB C".to_owned()));
    assert_eq!(run.heredocs, []);

    let Instruction::Copy(copy) = one("COPY <<-one b <<\"two\" /to/\n\t1\n\tone\n$2\ntwo") else { panic!() };
    let inline = |name: &str, expand, chomp, content: &str| {
        FileSource::Inline(Heredoc { name: name.to_owned(), expand, chomp, content: content.to_owned() })
    };
    let sources =
        [inline("one", true, true, "1\n"), FileSource::Path("b".to_owned()), inline("two", false, false, "$2\n")];
    assert_eq!(copy.files.sources, sources);
    assert_eq!(copy.files.destination, "/to/");

    let Instruction::Onbuild(trigger) = one("ONBUILD RUN <<-EOF\n\ta\n\tEOF") else { panic!() };
    assert_eq!(trigger, "RUN <<-EOF\n\ta\nEOF");
    let Instruction::Run(run) = parse_onbuild(&trigger).unwrap().value else { panic!() };
    assert_eq!(run.command, Command::Shell("a\n".to_owned()));
}

#[test]
fn what_is_no_heredoc() {
    for text in [
        "CMD cat <<EOF",
        "RUN cat <<<EOF",
        "RUN cat '<<EOF'",
        "RUN [\"cat\", \"<<EOF\"]",
        "RUN it's <<EOF",
        "RUN a <<",
        "RUN $((1<<2))",
    ] {
        assert_eq!(read(&format!("FROM a\n{text}\nUSER b")).stages[0].instructions.len(), 2, "{text}");
    }
    assert_eq!(refused("FROM a\nRUN <<EOF\nx\n").message, "unterminated heredoc");
    assert_eq!(refused("FROM a\nRUN <<EOF\nx\n").lines, Lines { first: 2, last: 3 });
}

#[test]
fn stages() {
    let file =
        read("ARG V=1 W\nFROM --platform=linux/amd64 a:$V AS Build\nRUN x\nFROM scratch\nCOPY --from=build /x /");
    assert_eq!(file.args[0].value.0[0], ArgItem { name: "V".to_owned(), default: Some("1".to_owned()) });
    assert_eq!(file.args[0].value.0[1], ArgItem { name: "W".to_owned(), default: None });
    let from = &file.stages[0].from.value;
    assert_eq!((from.base.as_str(), from.name.as_deref()), ("a:$V", Some("build")));
    assert_eq!(from.platform.as_deref(), Some("linux/amd64"));
    assert_eq!(file.stages.len(), 2);
}

#[test]
fn comments_may_have_any_encoding() {
    assert_eq!(parse(b"# caf\xe9\nFROM a\n").unwrap().stages.len(), 1);
    let error = parse(b"FROM a\nRUN caf\xe9\n").unwrap_err();
    assert_eq!(
        (error.message.as_str(), error.lines.first, error.column),
        ("dockerfile is not valid UTF-8", 2, Some(7..8))
    );
}
