use super::*;
use crate::spec::dockerfile::parse;

fn base_env(image: &str) -> Option<Vec<String>> {
    (image == "busybox").then(|| vec!["PATH".to_owned(), "BASE".to_owned()])
}

/// `RULE line: message` of everything found.
fn found(text: &str, check: &str) -> Vec<String> {
    let file = parse(text.as_bytes()).unwrap();
    let ignore = Ignore::parse("hidden\n").unwrap();
    let input = LintInput { options: Options::parse(check).unwrap(), ignore: Some(&ignore), base_env: &base_env };
    let warnings = lint(&file, text.as_bytes(), &input);
    for warning in &warnings {
        assert!(description(warning.rule).is_some() && url(warning.rule).is_some(), "{}", warning.rule);
    }
    warnings.iter().map(|warning| format!("{} {}: {}", warning.rule, warning.lines.first, warning.message)).collect()
}

#[test]
fn every_rule() {
    for (text, expected) in [
        ("FROM busybox AS Build", "StageNameCasing 1: Stage name 'Build' should be lowercase"),
        ("FROM busybox as build", "FromAsCasing 1: 'as' and 'FROM' keywords' casing do not match"),
        ("from busybox AS build", "FromAsCasing 1: 'AS' and 'from' keywords' casing do not match"),
        ("FROM busybox\nRUN a \\\n\n b", "NoEmptyContinuation 2: Empty continuation line"),
        (
            "FROM busybox\nRUN a\nrun b",
            "ConsistentInstructionCasing 3: Command 'run' should match the case of the command majority (uppercase)",
        ),
        (
            "from busybox\nrun a\nRun b",
            "ConsistentInstructionCasing 3: Command 'Run' should match the case of the command majority (lowercase)",
        ),
        (
            "FROM busybox AS a\nFROM busybox AS a",
            "DuplicateStageName 2: Duplicate stage name \"a\", stage names should be unique",
        ),
        (
            "FROM busybox AS context",
            "ReservedStageName 1: Stage name should not use the same name as reserved stage \"context\"",
        ),
        (
            "FROM busybox\nCMD a",
            "JSONArgsRecommended 2: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
        ),
        (
            "FROM busybox\nMAINTAINER me",
            "MaintainerDeprecated 2: Maintainer instruction is deprecated in favor of using label",
        ),
        (
            "ARG VERSION=1\nFROM busybox:$VERSON",
            "UndefinedArgInFrom 2: FROM argument 'VERSON' is not declared (did you mean VERSION?)",
        ),
        (
            "FROM busybox\nWORKDIR a/b",
            "WorkdirRelativePath 2: Relative workdir \"a/b\" can have unexpected results if the base image changes",
        ),
        (
            "FROM busybox\nENV FOO=1\nUSER $FO0",
            "UndefinedVar 3: Usage of undefined variable '$FO0' (did you mean $FOO?)",
        ),
        ("FROM busybox\nCOPY <<EOF /x\n$QQ\nEOF", "UndefinedVar 2: Usage of undefined variable '$QQ'"),
        (
            "FROM busybox\nCMD [\"a\"]\nCMD [\"b\"]",
            "MultipleInstructionsDisallowed 2: Multiple CMD instructions should not be used in the same stage because only the last one will be used",
        ),
        (
            "FROM busybox\nENV A b",
            "LegacyKeyValueFormat 2: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format",
        ),
        (
            "FROM --platform=$TARGETPLATFORM busybox",
            "RedundantTargetPlatform 1: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
        ),
        (
            "FROM busybox\nARG AWS_SECRET_ACCESS_KEY",
            "SecretsUsedInArgOrEnv 2: Do not use ARG or ENV instructions for sensitive data (ARG \"AWS_SECRET_ACCESS_KEY\")",
        ),
        (
            "ARG TAG\nFROM busybox:${TAG}",
            "InvalidDefaultArgInFrom 2: Default value for ARG busybox:${TAG} results in empty or invalid base image name",
        ),
        (
            "FROM --platform=linux/amd64 busybox",
            "FromPlatformFlagConstDisallowed 1: FROM --platform flag should not use constant value \"linux/amd64\"",
        ),
        (
            "FROM busybox\nCOPY hidden/x /",
            "CopyIgnoredFile 2: Attempting to COPY file \"hidden/x\" that is excluded by .dockerignore",
        ),
        (
            "# something\nFROM busybox AS base",
            "InvalidDefinitionDescription 2: Comment for FROM should follow the format: `# base <description>`",
        ),
        (
            "FROM busybox\nEXPOSE 80/TcP",
            "ExposeProtoCasing 2: Defined protocol '80/TcP' in EXPOSE instruction should be lowercase",
        ),
        (
            "FROM busybox\nEXPOSE 127.0.0.1:80:80",
            "ExposeInvalidFormat 2: EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:80:80'",
        ),
    ] {
        assert_eq!(found(text, "experimental=all"), [expected], "{text}");
        let rule = expected.split(' ').next().unwrap();
        assert_eq!(found(text, &format!("experimental=all;skip={rule}, Other")), [""; 0], "{text}");
        assert_eq!(found(text, "skip=all").len(), 0);
    }
}

#[test]
fn what_is_fine() {
    for text in [
        "ARG V=1\nFROM busybox:$V AS a\nARG V\nENV X=$V Y=$BASE P=$PATH:/x\nWORKDIR /a\nWORKDIR b\nCMD [\"x\"]",
        "FROM busybox AS a\nENV A=1\nWORKDIR /x\nSHELL [\"sh\"]\nFROM a\nUSER $A\nWORKDIR y\nCMD z",
        "FROM unknown\nUSER $WHATEVER",
        "FROM --platform=$BUILDPLATFORM busybox AS b\nFROM --platform=linux/arm64 busybox AS cross-arm64",
        "FROM busybox\nENV PUBLIC_KEY=1 KEYBOARD=2 TOKENS=3",
        "# base is the base\nFROM busybox AS base\n# A does\nARG A\n# else\n\nARG B\n# syntax\n#\nARG C",
        "FROM busybox\nRUN echo $X ${Y}\nCMD [\"$Z\"]",
        "FROM scratch\nADD https://hidden/x /\nCOPY --from=busybox hidden /",
    ] {
        assert_eq!(found(text, "experimental=all"), [""; 0], "{text}");
    }
    // These two are asked for.
    assert_eq!(found("# x\nFROM busybox AS b\nCOPY hidden /", ""), [""; 0]);
    assert_eq!(found("# x\nFROM busybox AS b\nCOPY hidden /", "experimental=CopyIgnoredFile").len(), 1);
}

#[test]
fn options() {
    let options = Options::parse(" skip=A, B ;error = true;experimental=all").unwrap();
    assert!(options.error && !options.runs("A") && !options.runs("B") && options.runs("CopyIgnoredFile"));
    assert_eq!(Options::parse("nope").unwrap_err().to_string(), "invalid check option \"nope\"");
    assert_eq!(Options::parse("nope=1").unwrap_err().to_string(), "invalid check option \"nope\"");
    assert!(Options::parse("error=maybe").is_err());
    let warning = |rule| Warning { rule, message: String::new(), lines: Lines::default() };
    let warnings = [warning("B"), warning("A"), warning("B")];
    assert_eq!(violation(&options, &warnings).unwrap(), "lint violation found for rules: A, B");
    assert_eq!(violation(&options, &[]), None);
    assert_eq!(violation(&Options::default(), &warnings), None);
}
