"""One example judged before a run: does the judge end on a score that is read?"""

from __future__ import annotations

import asyncio

from components.core.hashing import seed_from
from components.judging.parser import Score, parse_score
from components.judging.settings import JudgingSettings
from components.serving.address import Address
from components.serving.client import Client, Request
from components.serving.description import resolve
from components.serving.patience import RetryPolicy

INSTRUCTION = "Name a river in Africa, and say in one sentence where it ends."
RESPONSE = "The Nile. It ends in the Mediterranean Sea, north of Cairo, where it forms a large delta."


def try_judge(settings: JudgingSettings, endpoint: str | Address) -> list[tuple[str, Score]]:
    """The judge's completions for the example, as many as the run asks for each candidate, with their scores.

    Raises UserError where the endpoint does not answer.
    """
    judge_prompt = settings.judge_prompt()
    text, address = judge_prompt.fill(INSTRUCTION, RESPONSE), resolve(endpoint)

    async def ask() -> list[tuple[str, Score]]:
        client = Client(address, RetryPolicy(attempts=3, patience=120.0))
        requests = [
            Request(
                str(n), [{"role": "user", "content": text}], settings.sampling(), seed_from(settings.seed, "trial", n)
            )
            for n in range(settings.samples)
        ]
        try:
            answers = await asyncio.gather(*map(client.complete, requests))
        finally:
            await client.close()
        score_format = judge_prompt.score_format
        return [(one.text, parse_score(one.text, one.finish_reason == "length", score_format)) for one in answers]

    return asyncio.run(ask())
