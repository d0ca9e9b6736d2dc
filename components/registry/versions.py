"""All versions of all registered models, as `srlm gc` asks for them: what the registry refers to in the store."""

from __future__ import annotations

from dataclasses import dataclass

from components.registry.client import DIGEST, RUN, registry


@dataclass(frozen=True)
class Version:
    """A registered version: its model's name, its digest and its run ("" where it was registered by something else).

    `texts` are its source and the values of its tags, which name its stage, those that measured it, and the gate's.
    """

    name: str
    digest: str
    run: str
    texts: tuple[str, ...]


def all_versions(tracking_uri: str) -> list[Version]:
    """Raises RegistryError where the registry does not give them all."""
    with registry(tracking_uri) as client:
        page = client.search_model_versions()
        found = list(page)
        while page.token:
            page = client.search_model_versions(page_token=page.token)
            found += page
    return [
        Version(one.name, one.tags.get(DIGEST, ""), one.tags.get(RUN, ""), (one.source or "", *one.tags.values()))
        for one in found
    ]
