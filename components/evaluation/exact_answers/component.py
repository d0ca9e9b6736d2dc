from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def questions(root: str, run: str, settings: dict, metrics: dsl.Output[dsl.Metrics]) -> str:
    """Import the questions with their reference answers; returns their URI."""
    from components.core.step import run_stage
    from components.evaluation.exact_answers.questions import import_questions
    from components.evaluation.exact_answers.settings import QuestionsSettings

    return run_stage(root, run, "questions", lambda: import_questions(root, QuestionsSettings(**settings)), metrics)
