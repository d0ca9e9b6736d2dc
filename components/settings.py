"""What every section of a recipe has in common."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """One section of the recipe, as its stage reads it. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Fields that say how a stage runs and not what it makes: they stay out of its key.
    run_time: ClassVar[frozenset[str]] = frozenset()

    def identity(self) -> dict[str, Any]:
        """The settings that decide the content of a stage."""
        return self.model_dump(mode="json", exclude=set(self.run_time))
