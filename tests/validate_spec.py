"""Validates OCI runtime Specs, one JSON document a line on stdin or one a file named as argument."""

import json
import pathlib
import sys

import jsonschema

try:
    import referencing
    import referencing.jsonschema
except ImportError:
    # jsonschema before 4.18, as in Debian 12, resolves references by itself.
    referencing = None

SCHEMAS = pathlib.Path(__file__).parent / "data" / "runtime-spec-schema"


def load(name):
    return json.loads((SCHEMAS / name).read_text())


def make_validator():
    schema = load("config-schema.json")
    if referencing is None:
        resolver = jsonschema.RefResolver(SCHEMAS.resolve().as_uri() + "/", schema)
        return jsonschema.Draft4Validator(schema, resolver=resolver)
    registry = referencing.Registry(retrieve=lambda name: referencing.jsonschema.DRAFT4.create_resource(load(name)))
    return jsonschema.Draft4Validator(schema, registry=registry)


def documents():
    if len(sys.argv) > 1:
        return [(path, pathlib.Path(path).read_text()) for path in sys.argv[1:]]
    return [(f"line {number}", line) for number, line in enumerate(sys.stdin, 1) if line.strip()]


def main():
    validator = make_validator()
    checked = failures = 0
    for name, text in documents():
        checked += 1
        for error in validator.iter_errors(json.loads(text)):
            failures += 1
            print(f"{name}: {'/'.join(map(str, error.absolute_path))}: {error.message}", file=sys.stderr)
    print(f"{checked} Specs, {failures} errors")
    return 1 if failures or not checked else 0


sys.exit(main())
