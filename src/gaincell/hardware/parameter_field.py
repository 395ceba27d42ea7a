"""A field of parameters that says its unit and where its value comes from."""

from typing import Any

from pydantic import Field


def described(default: Any, unit: str, source: str, description: str, **limits: Any) -> Any:
    """A pydantic field whose unit and source the documentation shows."""
    extra: dict[str, Any] = {"unit": unit, "source": source}
    return Field(default, description=description, json_schema_extra=extra, **limits)
