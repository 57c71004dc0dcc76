"""What a template, or an expression of a rule, may raise that meets values it was not written for."""

from __future__ import annotations

from jinja2.exceptions import TemplateError

FAILURES = (
    TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
)
