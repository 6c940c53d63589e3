"""Validates OCI runtime Specs, one JSON document a line on stdin or one a file named as argument."""

import json
import pathlib
import sys

import jsonschema
import referencing
import referencing.jsonschema

SCHEMAS = pathlib.Path(__file__).parent / "data" / "runtime-spec-schema"


def load(name):
    contents = json.loads((SCHEMAS / name).read_text())
    return referencing.jsonschema.DRAFT4.create_resource(contents)


def documents():
    if len(sys.argv) > 1:
        return [(path, pathlib.Path(path).read_text()) for path in sys.argv[1:]]
    return [(f"line {number}", line) for number, line in enumerate(sys.stdin, 1) if line.strip()]


def main():
    registry = referencing.Registry(retrieve=load)
    schema = load("config-schema.json").contents
    validator = jsonschema.Draft4Validator(schema, registry=registry)
    checked = failures = 0
    for name, text in documents():
        checked += 1
        for error in validator.iter_errors(json.loads(text)):
            failures += 1
            print(f"{name}: {'/'.join(map(str, error.absolute_path))}: {error.message}", file=sys.stderr)
    print(f"{checked} Specs, {failures} errors")
    return 1 if failures or not checked else 0


sys.exit(main())
