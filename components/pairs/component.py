from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def pair(before: dict) -> str:
    """Best against worst of each prompt of the model `before`; returns the preference pairs' URI."""
    from components.core.context import open_step
    from components.pairs.pairs import make_pairs
    from components.pairs.settings import PairsSettings

    name = before["name"]
    with open_step(before["run"], f"pair {name.upper()}'s answers") as context:
        settings = context.section("pairs", PairsSettings).of_round(int(name[1:]))
        judged = (before["candidates"], before["judgements"])
        return context.make(f"{name}/pairs", lambda: make_pairs(context.store, settings, *judged))
