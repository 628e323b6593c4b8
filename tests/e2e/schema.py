"""A validator for the part of JSON Schema that docs/schemas/ uses, so that the tests need nothing outside Python's library.

Known: type, properties, required, additionalProperties, patternProperties, items, prefixItems, enum, const, minimum, maximum,
exclusiveMinimum, minItems, maxItems, minLength, pattern, anyOf, $ref to "#/$defs/NAME". A keyword it does not know is a fault of the
schema: silence would be a check that never runs.
"""
import re

ANNOTATIONS = {"$schema", "$id", "$defs", "title", "description", "default", "examples", "$comment"}

TYPES = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "integer": lambda v: (isinstance(v, int) and not isinstance(v, bool)) or (isinstance(v, float) and v.is_integer()),
}


def validate(value, schema, root=None, path="$"):
    """The faults of `value`, each a sentence that starts with where it is; empty when it is valid."""
    root = schema if root is None else root
    if schema is True:
        return []
    if schema is False:
        return [f"{path}: nothing is allowed here"]
    if "$ref" in schema:
        return validate(value, resolve(schema["$ref"], root), root, path)
    faults = []
    for keyword, argument in schema.items():
        if keyword in ANNOTATIONS:
            continue
        check = CHECKS.get(keyword)
        if check is None:
            faults.append(f"{path}: the schema uses '{keyword}', which this validator does not know")
        else:
            faults += check(value, argument, schema, root, path)
    return faults


def resolve(reference, root):
    target = root
    if not reference.startswith("#/"):
        raise ValueError(f"only references inside a schema are known, not '{reference}'")
    for part in reference[2:].split("/"):
        target = target[part]
    return target


def same(a, b):
    """Equality as JSON means it: true is not 1."""
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def check_type(value, argument, schema, root, path):
    names = argument if isinstance(argument, list) else [argument]
    if any(TYPES[name](value) for name in names):
        return []
    return [f"{path}: {type(value).__name__} where {' or '.join(names)} is expected"]


def check_properties(value, argument, schema, root, path):
    if not isinstance(value, dict):
        return []
    return [fault for name, sub in argument.items() if name in value for fault in validate(value[name], sub, root, f"{path}.{name}")]


def check_pattern_properties(value, argument, schema, root, path):
    if not isinstance(value, dict):
        return []
    return [fault for name, item in value.items() for regex, sub in argument.items() if re.search(regex, name)
            for fault in validate(item, sub, root, f"{path}.{name}")]


def check_additional(value, argument, schema, root, path):
    if not isinstance(value, dict):
        return []
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    extra = [name for name in value if name not in known and not any(re.search(regex, name) for regex in patterns)]
    if argument is False:
        return [f"{path}: unknown member '{name}'" for name in extra]
    return [fault for name in extra for fault in validate(value[name], argument, root, f"{path}.{name}")]


def check_required(value, argument, schema, root, path):
    return [f"{path}: no '{name}'" for name in argument if name not in value] if isinstance(value, dict) else []


def check_items(value, argument, schema, root, path):
    if not isinstance(value, list):
        return []
    first = len(schema.get("prefixItems", []))
    return [fault for i, item in enumerate(value[first:], first) for fault in validate(item, argument, root, f"{path}[{i}]")]


def check_prefix_items(value, argument, schema, root, path):
    if not isinstance(value, list):
        return []
    return [fault for i, (item, sub) in enumerate(zip(value, argument)) for fault in validate(item, sub, root, f"{path}[{i}]")]


def check_any_of(value, argument, schema, root, path):
    if any(not validate(value, sub, root, path) for sub in argument):
        return []
    return [f"{path}: none of the {len(argument)} alternatives fits"]


def check_enum(value, argument, schema, root, path):
    return [] if any(same(value, item) for item in argument) else [f"{path}: {value!r} is none of {argument}"]


def check_const(value, argument, schema, root, path):
    return [] if same(value, argument) else [f"{path}: {value!r} is not {argument!r}"]


def bound(holds, word):
    def check(value, argument, schema, root, path):
        return [f"{path}: {value} is not {word} {argument}"] if TYPES["number"](value) and not holds(value, argument) else []
    return check


def length(kind, holds, word):
    def check(value, argument, schema, root, path):
        return [f"{path}: length {len(value)} is not {word} {argument}"] if TYPES[kind](value) and not holds(len(value), argument) else []
    return check


def check_pattern(value, argument, schema, root, path):
    return [f"{path}: {value!r} does not match '{argument}'"] if isinstance(value, str) and not re.search(argument, value) else []


CHECKS = {
    "type": check_type, "properties": check_properties, "patternProperties": check_pattern_properties,
    "additionalProperties": check_additional, "required": check_required, "items": check_items, "prefixItems": check_prefix_items,
    "anyOf": check_any_of, "enum": check_enum, "const": check_const, "pattern": check_pattern,
    "minimum": bound(lambda v, a: v >= a, "at least"), "maximum": bound(lambda v, a: v <= a, "at most"),
    "exclusiveMinimum": bound(lambda v, a: v > a, "above"),
    "minItems": length("array", lambda n, a: n >= a, "at least"), "maxItems": length("array", lambda n, a: n <= a, "at most"),
    "minLength": length("string", lambda n, a: n >= a, "at least"),
}
