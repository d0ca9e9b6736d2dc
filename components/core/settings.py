"""What every section of a recipe has in common."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """One section of the recipe, as its stage reads it. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Fields that say how a stage runs and not what it makes: they stay out of its key.
    non_key_fields: ClassVar[frozenset[str]] = frozenset()

    def identity(self) -> dict[str, Any]:
        """The settings that decide the content of a stage."""
        named = {name: getattr(self, name) for name in type(self).model_fields if name not in self.non_key_fields}
        plain = self.model_dump(mode="json", include=set(named))
        return plain | {name: value.identity() for name, value in named.items() if isinstance(value, Settings)}

    def to_dict(self) -> dict[str, Any]:
        """JSON values without nulls, as compiled pipelines need it: so None must be the default where it is allowed."""
        return self.model_dump(mode="json", exclude_none=True)
