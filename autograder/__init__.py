"""The instructor's tool: build labs from one source, grade a class, return feedback."""

import sys

# On import, jsonschema (and so nbformat and nbgrader) compiles a grammar for international web
# addresses: 2.5 s in every process. Nothing here checks one; with None the import is skipped.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
